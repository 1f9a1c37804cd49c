"""Fitted models, and the long work that makes and switches them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from anyio import to_thread
from fastapi import APIRouter, Request, Response
from pydantic_core import to_json
from starlette.responses import StreamingResponse

from sartor.errors import ModelRefused, UnknownId
from sartor.serve import mapping
from sartor.serve.auth import check_people
from sartor.serve.gate import Call, Guarded, Here, call_of, needs
from sartor.serve.overview import JobOut, JobsOut, ModelsOut
from sartor.serve.problems import Refused
from sartor.serve.schemas import ActivateIn, FitIn, JobPath, Limit

router = APIRouter(prefix="/v1", tags=["models"], route_class=Guarded)

EVERY = 0.5
"""Seconds between looks at a job that is followed."""
QUIET = 15.0
"""Seconds after which a stream says that it is still there."""
FINISHED = ("done", "failed", "cancelled")


@router.get("/models", response_model=ModelsOut, **needs("read", anybody=True))
async def models(request: Request) -> Response:
    """All models, newest first: what was measured on people held out, and which one serves. `data` has those that answer chats.

    A key of one person sees `data` alone, which chat clients ask for first: what was measured is about everybody.
    """
    call = call_of(request)
    if call.server.upstream is None:
        check_people(call.caller, [None])
    cards = await to_thread.run_sync(call.engine.models) if call.caller.person is None else []
    return mapping.json_response({"items": [mapping.model(card) for card in cards], "next": None, "object": "list", "data": await _chatting(call)})


@router.get("/models/{model}", response_model=dict[str, Any], **needs("read", anybody=True))
async def chat_model(request: Request, model: JobPath) -> Response:
    """One of the models that answer chats."""
    found = next((one for one in await _chatting(call_of(request)) if one["id"] == model), None)
    if found is None:
        raise UnknownId("no such model answers chats here", fix="GET /v1/models lists those there are")
    return mapping.json_response(found)


async def _chatting(call: Call) -> list[dict[str, Any]]:
    return [] if call.server.upstream is None else await call.server.upstream.models()


@router.post("/models", response_model=JobOut, status_code=202, **needs("models", cost=20))
def fit(call: Here, asked: FitIn) -> Response:
    """Fit a model on the evidence of everybody who agreed to `train`, measure it, and switch to it unless people would be served worse."""
    return _started(call, "fit", asked.model_dump())


@router.post("/models/{fingerprint}/activate", response_model=JobOut, status_code=202, **needs("models", cost=20))
def activate(call: Here, fingerprint: JobPath, asked: ActivateIn) -> Response:
    """Switch to a model, once everybody has a state for it. A model that was refused needs `force`."""
    card = next((card for card in call.engine.models() if (card.fingerprint, card.verb) == (fingerprint, asked.verb)), None)
    if card is None:
        raise UnknownId("there is no such model", fix="GET /v1/models lists those there are")
    if card.status == "refused" and not asked.force:
        raise ModelRefused("people would be served worse by this model", fix='fit another one, or send {"force": true}')
    return _started(call, "switch", {"fingerprint": fingerprint, "force": asked.force, "verb": asked.verb})


@router.get("/jobs", response_model=JobsOut, **needs("models"))
def jobs(call: Here, limit: Limit = 100) -> Response:
    """Jobs, newest first."""
    return mapping.page([mapping.job(one) for one in call.engine.store.jobs(call.caller.tenant, limit=limit)], None)


@router.get("/jobs/{job}", response_model=JobOut, **needs("models"))
def job(call: Here, job: JobPath) -> Response:
    """One job."""
    return mapping.json_response(mapping.job(call.engine.store.job(call.caller.tenant, job)))


@router.delete("/jobs/{job}", response_model=JobOut, **needs("models"))
def cancel(call: Here, job: JobPath) -> Response:
    """Ask a job to stop; it does at its next sign of progress, and nothing is switched."""
    return mapping.json_response(mapping.job(call.engine.store.cancel_job(call.caller.tenant, job)))


@router.get("/jobs/{job}/stream", response_class=StreamingResponse, **needs("models", gives="text/event-stream"))
async def follow(request: Request, job: JobPath) -> Response:
    """Server-sent events: `progress` with the job whenever something changes, `end` when it is finished."""
    call = call_of(request)
    server, store, tenant = call.server, call.engine.store, call.caller.tenant
    first = await to_thread.run_sync(store.job, tenant, job)
    most = server.settings.streams
    if server.streams.total() >= most or server.streams[tenant] >= max(1, most // 2):
        raise Refused(503, "too-many-streams", "too many jobs are being followed", fix="ask for the job itself now and then")

    async def events() -> AsyncIterator[bytes]:
        server.streams[tenant] += 1
        try:
            now, told, quiet = first, b"", 0.0
            while True:
                data = to_json(mapping.job(now))
                if data != told:
                    yield b"event: progress\ndata: " + data + b"\n\n"
                    told, quiet = data, 0.0
                if now.status in FINISHED or server.stopping:
                    yield b"event: end\ndata: {}\n\n"
                    return
                await asyncio.sleep(EVERY)
                quiet += EVERY
                if quiet >= QUIET:
                    yield b": still here\n\n"
                    quiet = 0.0
                await server.keys.caller(request.scope["headers"])
                now = await to_thread.run_sync(store.job, tenant, job)
        except Refused:
            # The key has ended meanwhile, and with it what it opened.
            yield b"event: end\ndata: {}\n\n"
        finally:
            server.streams[tenant] -= 1

    return StreamingResponse(events(), media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})


def _started(call: Call, kind: str, args: dict[str, Any]) -> Response:
    made = call.engine.store.put_job(call.caller.tenant, kind, args)
    call.server.wake_jobs()
    response = mapping.json_response(mapping.job(made), 202)
    response.headers["Location"] = f"/v1/jobs/{made.id}"
    return response
