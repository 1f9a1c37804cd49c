"""Evidence: what people did."""

from __future__ import annotations

from typing import Any

from anyio import to_thread
from fastapi import APIRouter, Request, Response
from pydantic import ValidationError

from sartor.profile.records import Record
from sartor.serve import arrow, mapping
from sartor.serve.answers import Accepted
from sartor.serve.auth import check_people
from sartor.serve.gate import Call, Guarded, StrictRequest, call_of, needs
from sartor.serve.problems import Refused, invalid
from sartor.serve.schemas import EventIn, EventsIn

router = APIRouter(prefix="/v1", tags=["events"], route_class=Guarded)

_JSON = "application/json"
_DOOR = needs("write", anybody=True)
_DOOR["openapi_extra"]["requestBody"] = {
    "required": True,
    "content": {_JSON: {"schema": {"$ref": "#/components/schemas/EventsIn"}}, arrow.MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}},
}


@router.post("/events", response_model=Accepted, **_DOOR)
async def observe(request: Request) -> Response:
    """Store events. They are on disk when this answers; an event whose id is already there is counted as a duplicate and changes nothing.

    JSON, or an Arrow IPC stream with the same columns, without compression.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in (_JSON, arrow.MEDIA_TYPE):
        raise Refused(
            415, "unsupported-media-type", "this takes JSON or an Arrow IPC stream", fix=f"send Content-Type: {_JSON} or {arrow.MEDIA_TYPE}"
        )
    body = await request.body()
    call = call_of(request)
    given = await request.json() if kind == _JSON and len(body) < _AT_ONCE else None
    return await to_thread.run_sync(_observe, call, kind, body, given)


_AT_ONCE = 10_000
"""Bytes of JSON that the event loop may parse itself; more is parsed in a thread."""


def _observe(call: Call, kind: str, body: bytes, given: Any) -> Response:
    most = call.server.settings.bulk_rows
    try:
        if kind == arrow.MEDIA_TYPE:
            events = arrow.read_events(body, most=most)
        else:
            events = EventsIn.model_validate(StrictRequest.parse(body) if given is None else given).events
    except ValidationError as error:
        raise invalid("body", error) from None
    if len(events) > most:
        raise Refused(413, "too-large", f"more than {most} events", fix="send them in several requests")
    check_people(call.caller, {event.person for event in events})
    source = f"api:{call.caller.label}"
    with call.server.span("observe"):
        receipt = call.engine.observe_many([_record(event, source) for event in events], source=source)
    call.server.metrics.events.inc(receipt.accepted)
    return mapping.json_response({"accepted": receipt.accepted, "duplicates": receipt.duplicates, "position": receipt.position})


def _record(event: EventIn, source: str) -> Record:
    content: dict[str, Any] = {"item": event.item}
    for name in ("value", "weight", "context"):
        given = getattr(event, name)
        if given is not None:
            content[name] = given
    return Record(event.person, "events", event.id or "", time=event.time, kind=event.kind, content=content, purposes=event.purposes, source=source)
