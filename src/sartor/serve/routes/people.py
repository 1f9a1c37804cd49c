"""What is known of people, and their right to see, correct, take away and delete it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, BinaryIO

from fastapi import APIRouter, Query, Response
from starlette.responses import StreamingResponse

from sartor.serve import mapping
from sartor.serve.answers import ErasureOut, EventsOut, ExplanationOut, PeopleOut, ProfileOut, Removed, WhatIfOut
from sartor.serve.gate import Call, Guarded, Here, needs
from sartor.serve.schemas import AttributesIn, EventPath, ItemPath, Limit, PersonPath, Search, WhatIfIn

router = APIRouter(prefix="/v1/people", tags=["people"], route_class=Guarded)


@router.get("", response_model=PeopleOut, **needs("profile", cost=5))
def people(call: Here, query: Search = None, limit: Limit = 100, after: Annotated[str, Query(max_length=4096)] = "") -> Response:
    """Everybody the tenant knows, a page at a time; with `query`, those whose id holds it."""
    call.search(query)
    found = call.engine.store.people(call.caller.tenant, after=after, limit=limit + 1, query=query)
    return mapping.page([mapping.person(card) for card in found[:limit]], found[limit - 1].person if len(found) > limit else None)


@router.get("/{person}", response_model=ProfileOut, **needs("profile", cost=2))
def profile(call: Here, person: PersonPath) -> Response:
    """What is known of a person, in numbers and in words."""
    return mapping.json_response(_profile(call, person))


@router.put("/{person}/attributes", response_model=ProfileOut, **needs("write", cost=2))
def attributes(call: Here, person: PersonPath, given: AttributesIn) -> Response:
    """Say what a person is (age group, language, interests ...): enough for a first answer before there is any event. Null takes one back."""
    call.engine.observe(person, attributes=given.model_dump(), source=f"api:{call.caller.label}")
    return mapping.json_response(_profile(call, person))


@router.get("/{person}/events", response_model=EventsOut, **needs("profile", cost=2))
def timeline(call: Here, person: PersonPath, limit: Limit = 100, before: Annotated[int | None, Query(ge=1, lt=2**63)] = None) -> Response:
    """Everything kept of a person, newest first, with where it came from."""
    return mapping.json_response(_timeline(call, person, limit, before))


@router.delete("/{person}/events/{event}", response_model=Removed, **needs("profile"))
def correct(call: Here, person: PersonPath, event: EventPath) -> Response:
    """Delete one record for good; the person's state is made again without it."""
    return mapping.json_response({"removed": call.engine.correct(person, [event])})


@router.get("/{person}/explanations/{item}", response_model=ExplanationOut, **needs("profile", cost=10))
def explain(call: Here, person: PersonPath, item: ItemPath, top: Annotated[int, Query(ge=1, le=50)] = 5) -> Response:
    """Which of her own events moved this item up, and by how much: each verified by leaving it out."""
    return mapping.json_response(mapping.explanation(call.engine.explain(person, item, top)))


@router.post("/{person}/what-if", response_model=WhatIfOut, **needs("profile", cost=5))
def what_if(call: Here, person: PersonPath, asked: WhatIfIn) -> Response:
    """How the list would change with other evidence; nothing is stored."""
    add: list[dict[str, Any]] = [one.model_dump(exclude_none=True) for one in asked.add]
    return mapping.json_response(mapping.what_if(call.engine.what_if(person, add=add, remove=asked.remove, k=asked.k)))


@router.get("/{person}/export", response_class=StreamingResponse, **needs("profile", cost=50, gives="application/zip"))
def export(call: Here, person: PersonPath) -> Response:
    """Everything that is kept of a person as one zip file."""
    with tempfile.TemporaryDirectory(prefix="sartor-") as folder:
        # Open, but without a name from here on: however this request ends, nothing of the person is left lying about.
        archive = open(call.engine.export(person, Path(folder, "person.zip")), "rb")  # noqa: SIM115
    length = os.fstat(archive.fileno()).st_size
    headers = {"Content-Length": str(length), "Content-Disposition": 'attachment; filename="person.zip"'}
    return StreamingResponse(_pieces(archive), media_type="application/zip", headers=headers)


@router.delete("/{person}", response_model=ErasureOut, **needs("erase", cost=10))
def forget(call: Here, person: PersonPath) -> Response:
    """Delete everything of a person, everywhere, and say what was deleted and whether a scan found anything left."""
    receipt = call.engine.forget(person)
    call.server.keys.forget()  # keys that were bound to her are gone too
    call.server.metrics.erased.inc()
    told = receipt.as_dict()
    return mapping.json_response(told | {"finished": told["erased_at"]})


def _pieces(archive: BinaryIO) -> Iterator[bytes]:
    with archive:
        while piece := archive.read(1 << 18):
            yield piece


def _profile(call: Call, person: str) -> dict[str, Any]:
    found = call.engine.profile(person)
    store, tenant = call.engine.store, call.caller.tenant
    stored = None if found.state is None else store.state(tenant, person, "recommend", version=found.state.version)
    state = None if stored is None else mapping.state(stored, current=True, lag=found.lag)
    return mapping.profile(found, state, stale=store.is_stale(tenant, person))


def _timeline(call: Call, person: str, limit: int, before: int | None) -> dict[str, Any]:
    found = call.engine.store.evidence(call.caller.tenant, person, newest_first=True, limit=limit + 1, before=before)
    shown = found[:limit]
    titles = _titles(call, [str(one.content["item"]) for one in shown if "item" in one.content])
    return {"items": [mapping.event(one, titles) for one in shown], "next": str(shown[-1].position) if len(found) > limit else None}


def _titles(call: Call, items: list[str]) -> dict[str, str | None]:
    found = call.engine.store.items(call.caller.tenant, sorted(set(items)))
    return dict(zip(found["item"], found["title"], strict=True)) if "title" in found.columns else {}
