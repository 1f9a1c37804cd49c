"""The tools of `serve.mcp` at /mcp, by streamable HTTP: each request stands for itself, with a key of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mcp.server.transport_security import TransportSecuritySettings
from starlette.types import ASGIApp, Receive, Scope, Send

from sartor.serve.auth import check_people
from sartor.serve.mcp import CONNECTION, Connection, tools
from sartor.serve.problems import Refused
from sartor.serve.schemas import ID_LENGTH

if TYPE_CHECKING:
    from sartor.serve.server import Server

PERSON = b"x-sartor-person"
"""Header with which a key of many people says whom this connection is about. It is the client program's to set; no model can."""


class Tools:
    """ASGI app behind the door: a key, its rate, and one person, before the protocol sees a request."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self._tools = tools(_connection)
        # Without sessions there is none that another key could take over. Whose name was asked for is checked by the outermost layer.
        security = TransportSecuritySettings(enable_dns_rebinding_protection=False)
        self._app: ASGIApp = self._tools.streamable_http_app(stateless_http=True, json_response=True, transport_security=security)

    def running(self) -> Any:
        """Async context in which requests are answered."""
        return self._tools.session_manager.run()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        caller = await self.server.keys.caller(scope["headers"])
        scope["sartor.caller"] = caller
        self.server.rate.check(caller.key, 1)
        person = _person(scope) or caller.person
        if person is None:
            raise Refused(403, "forbidden", "it is not said whom this is about", fix=f"use a key of one person, or send {PERSON.decode()}")
        check_people(caller, [person])
        scope[CONNECTION] = Connection(self.server.engine_of(caller.tenant), person, caller)
        await self._app(scope, receive, send)


def _person(scope: Scope) -> str | None:
    given = [value for name, value in scope["headers"] if name == PERSON]
    if not given:
        return None
    try:
        person = given[0].decode()
    except UnicodeDecodeError:
        person = ""
    if len(given) > 1 or not person or len(person) > ID_LENGTH or not person.isprintable():
        raise Refused(422, "invalid-request", f"{PERSON.decode()} is no id", fix=f"send one, of 1 to {ID_LENGTH} printable characters, in UTF-8")
    return person


def _connection(ctx: Any) -> Connection:
    found: Connection = ctx.request_context.request.scope[CONNECTION]
    return found
