"""Whether the process lives, is ready, how busy it is; and the API's own description."""

from __future__ import annotations

from anyio import to_thread
from fastapi import APIRouter, Request, Response

from sartor import __version__
from sartor.serve import metrics
from sartor.serve.auth import check_people, check_scope
from sartor.serve.mapping import json_response
from sartor.serve.overview import HealthOut, ReadyOut
from sartor.serve.problems import Refused
from sartor.serve.server import Server

router = APIRouter(tags=["server"])


@router.get("/healthz")
async def health() -> HealthOut:
    """The process answers."""
    return HealthOut(ok=True, version=__version__)


@router.get("/readyz")
def ready(request: Request) -> ReadyOut:
    """The store answers too, this process has its master key, and its first request would be as quick as the next; problem 503 when not."""
    server: Server = request.app.state.server
    engine = server.engine
    engine.store.check()
    if not server.warm:
        raise Refused(503, "warming-up", "the server reads its model and catalogue", fix="ask again in a second")
    return ReadyOut(ready=True, model=engine.store.active_model(engine.tenant, "recommend") is not None)


@router.get("/metrics", response_class=Response)
async def numbers(request: Request) -> Response:
    """Prometheus metrics of all tenants together; needs a key with scope admin unless the server was told otherwise."""
    server: Server = request.app.state.server
    if not server.settings.open_metrics:
        caller = await server.keys.caller(request.scope["headers"])
        check_scope(caller, "admin")
        check_people(caller, [None])
    return Response(await to_thread.run_sync(server.scrape), media_type=metrics.CONTENT_TYPE)


@router.get("/openapi.json", include_in_schema=False)
async def document(request: Request) -> Response:
    """The OpenAPI document."""
    return json_response(request.app.openapi())


@router.get("/docs", include_in_schema=False)
def docs(request: Request) -> Response:
    """The API as a page to be read."""
    from sartor.serve import docs

    return Response(docs.page(request.app.openapi()), media_type="text/html", headers={"Content-Security-Policy": docs.CSP})
