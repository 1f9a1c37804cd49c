"""The short way to a route that is asked all the time: from the edge through the same door to the same answer.

A request that goes through the framework costs as much again in layers that this route does not use (a body, dependencies, files to close)
as in all that it does use. The framework keeps its own route to it, which the OpenAPI document describes and which takes whatever is unusual.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from sartor.serve import problems
from sartor.serve.edge import SLASH
from sartor.serve.gate import Call, Guarded
from sartor.serve.schemas import ID_LENGTH

if TYPE_CHECKING:
    from sartor.serve.server import Server

Answer = Callable[[Call, bytes, str], Awaitable[Response]]
"""Call, query string, the person of the address -> response."""


class Direct:
    """ASGI middleware for one `GET` route with a person in its address.

    Parameters
    ----------
    app: what answers everything else.
    route: the framework's route; its door is this way's, and its name stands in logs and metrics.
    answer: what both ways end in.
    """

    def __init__(self, app: ASGIApp, *, server: Server, route: Guarded, answer: Answer) -> None:
        self.app, self.server, self.route, self.answer = app, server, route, answer
        self.before, self.after = route.path.split("{person}")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        person = self._person(scope)
        if person is None:
            await self.app(scope, receive, send)
            return
        scope["path_params"] = {"person": person}
        try:
            call = await self.route.door.admit(scope, self.server, self.route)
            response = await self.answer(call, scope["query_string"], person)
        except Exception as error:
            found = problems.of_known(error, scope)
            if found is None:
                raise
            response = found
        await response(scope, receive, send)

    def _person(self, scope: Scope) -> str | None:
        """Whom the request is about; None for a request that is another route's, or that the framework has something to say to."""
        path = scope["path"]
        if scope["method"] != "GET" or scope.get("root_path") or not (path.startswith(self.before) and path.endswith(self.after)):
            return None
        person: str = path[len(self.before) : -len(self.after)]
        return person.replace(SLASH, "/") if 0 < len(person) <= ID_LENGTH and "/" not in person else None
