"""The ASGI app."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import import_module
from typing import TYPE_CHECKING

from anyio import to_thread
from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from sartor import __version__
from sartor.serve import openapi, problems, routes, studio
from sartor.serve.direct import Direct
from sartor.serve.edge import Edge
from sartor.serve.gate import Guarded
from sartor.serve.mcp_door import Door
from sartor.serve.routes import recommend
from sartor.serve.server import Server
from sartor.serve.settings import Settings
from sartor.serve.tracing import Traced

if TYPE_CHECKING:
    from sartor.engine import Engine
    from sartor.serve.opening import Opening

SHOWN = ["X-Request-Id", "X-Sartor-Personal", "X-Sartor-Used", "X-Sartor-Fallback", "Retry-After"]
"""Headers that scripts of the named origins may read."""
LOCAL = frozenset({"127.0.0.1", "localhost", "::1", "testserver"})


def create_app(engine: Engine, *, dev: bool = False, settings: Settings | None = None, opening: Opening | None = None) -> FastAPI:
    """The API and the studio over an engine.

    Parameters
    ----------
    dev: no key is needed, for trying things out; requests that did not ask for this very machine by its name are refused. Listen on 127.0.0.1 only.
    settings: limits and habits.
    opening: how to open the same engine in another process; long jobs then run in one of their own.

    The engine is not closed with the app: whoever made it closes it.
    """
    server = Server(engine, settings or Settings(), dev=dev, opening=opening)
    agents = Door(server)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        server.start()
        yield
        await agents.close()
        if server.upstream is not None:
            await server.upstream.close()
        await to_thread.run_sync(server.close)

    app = App(
        title="sartor",
        version=__version__,
        summary="One personalization engine: observe, recommend, explain, forget.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        # Its own traces hold addresses, and so people's ids; ours hold routes.
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    app.state.server = server
    problems.install(app)
    for name in routes.SUBJECTS:
        # One flat list: routers inside the app's router cost every request a search of their own.
        app.router.routes.extend(import_module(f"{routes.__name__}.{name}").router.routes)
    app.router.routes.append(Route("/mcp", agents, name="mcp", include_in_schema=False))
    openapi.install(app)
    if (studio.DIST / "index.html").is_file():
        studio.mount(app)
    app.way = _way(app, server, LOCAL if dev else None)
    return app


class App(FastAPI):
    """The framework, entered last: every request passes what is ours on its way there, and the most frequent ones never get there."""

    way: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.framework(scope, receive, send)
        else:
            await self.way(scope, receive, send)

    async def framework(self, scope: Scope, receive: Receive, send: Send) -> None:
        """FastAPI's own way."""
        await super().__call__(scope, receive, send)


def _way(app: App, server: Server, hosts: frozenset[str] | None) -> ASGIApp:
    """What a request passes, innermost first."""
    route = next(one for one in recommend.router.routes if isinstance(one, Guarded) and one.endpoint is recommend.recommend)
    way: ASGIApp = Direct(app.framework, server=server, route=route, answer=recommend.answered)
    if server.tracing:
        way = Traced(way, tracing=server.tracing)
    if server.settings.origins:
        way = CORSMiddleware(
            way, allow_origins=list(server.settings.origins), allow_methods=["*"], allow_headers=["*"], expose_headers=SHOWN, max_age=600
        )
    return Edge(way, settings=server.settings, observe=server.observe, hosts=hosts)
