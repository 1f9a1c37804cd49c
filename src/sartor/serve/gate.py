"""The door of every route: which scope it needs, what it costs, and the strict JSON it reads.

A route says `**needs("profile")`; before its handler runs and before the body is read, the key is checked, its scope, its rate, and that a
key bound to one person asks about no other.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import parse_qsl

from fastapi import Depends, Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel
from pydantic_core import from_json
from starlette.types import Scope

from sartor.serve.answers import Problem
from sartor.serve.auth import Caller, check_people, check_scope
from sartor.serve.edge import SLASH
from sartor.serve.problems import MEDIA_TYPE, Refused

if TYPE_CHECKING:
    from sartor.engine import Engine
    from sartor.serve.server import Server

_PROBLEMS = {
    400: "the request cannot be read", 401: "no key, or not a valid one", 403: "the key may not do this", 404: "there is no such thing",
    408: "the body did not arrive in time", 409: "it does not fit what is there", 413: "too large", 415: "not a content type this route takes",
    422: "something in it is not valid", 429: "too many requests", 500: "something went wrong in the server", 503: "the store cannot be reached",
}  # fmt: skip


@dataclass(frozen=True)
class Call:
    """One request: who makes it, and the engine of the caller's tenant."""

    caller: Caller
    engine: Engine
    server: Server

    def search(self, query: str | None) -> None:
        """Count a search for more than a look: it goes through everything the tenant has."""
        if query:
            self.server.rate.check(self.caller.key, SEARCH)


SEARCH = 20
"""Requests that a search counts as, beside its own."""


def needs(
    scope: str | None, *, cost: int = 1, anybody: bool = False, gives: str | None = None, query: type[BaseModel] | None = None
) -> dict[str, Any]:  # fmt: skip
    """Arguments of a route.

    Parameters
    ----------
    scope: of the key; None: any key will do.
    cost: how many requests it counts as.
    anybody: keys of one person may use it although its address names nobody: it looks for itself whom the request is about.
    gives: the media type of its answer, where that is not JSON.
    query: the query that it reads by itself.
    """
    problem = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    responses: dict[int, Any] = {status: {"description": text, "content": problem} for status, text in _PROBLEMS.items()}
    if gives:
        responses[200] = {"description": "OK", "content": {gives: {"schema": {"type": "string", "format": "binary"}}}}
    extra: dict[str, Any] = {"x-scope": scope, "x-cost": cost, "x-anybody": anybody, "security": [{"key": []}]}
    if query:
        fields = query.model_json_schema()["properties"].items()
        extra["parameters"] = [{"name": name, "in": "query", "required": False, "schema": schema} for name, schema in fields]
    return {"openapi_extra": extra, "responses": responses}


class StrictRequest(Request):
    """Reads JSON as the standard has it: no NaN, no Infinity, nothing nested beyond 200 levels, no lone surrogates."""

    async def json(self) -> Any:
        if not hasattr(self, "_json"):
            self._json = self.parse(await self.body())
        return self._json

    @staticmethod
    def parse(body: bytes) -> Any:
        """Strict JSON; raises `Refused`."""
        try:
            return from_json(body, allow_inf_nan=False)
        except ValueError as error:
            # The message has a line and a column, never the text itself.
            raise Refused(400, "malformed-json", f"the body is not JSON: {error}", fix="send JSON (RFC 8259) in UTF-8") from None


@dataclass(frozen=True)
class Door:
    """What a request has to show before its route does anything."""

    scope: str | None
    cost: int
    anybody: bool

    async def admit(self, request: Scope, server: Server, route: APIRoute) -> Call:
        """Check a request's key, its scope and rate, whom it is about, and its query; raises `Refused`."""
        request["sartor.route"] = route
        caller = await server.keys.caller(request["headers"])
        request["sartor.caller"] = caller
        server.rate.check(caller.key, self.cost)
        if self.scope is not None:
            check_scope(caller, self.scope)
        path = request["path_params"]
        for name, value in path.items():
            if SLASH in value:
                path[name] = value.replace(SLASH, "/")
        if caller.person is not None and not self.anybody:
            check_people(caller, [path.get("person")])
        if b"&" in request["query_string"]:
            _check_query(request["query_string"])
        return Call(caller, server.engine_of(caller.tenant), server)


class Guarded(APIRoute):
    """A route behind the door."""

    @property
    def door(self) -> Door:
        """This route's own."""
        extra = self.openapi_extra or {}
        return Door(extra.get("x-scope"), extra.get("x-cost", 1), extra.get("x-anybody", False))

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        inner, door = super().get_route_handler(), self.door
        takes_json = self.body_field is not None

        async def handler(request: Request) -> Response:
            bare = request.scope
            call = await door.admit(bare, request.app.state.server, self)
            strict = StrictRequest(bare, request.receive)
            if takes_json:
                _check_type(strict)
            bare["sartor.call"] = call
            return await inner(strict)

        return handler


def _check_query(query: bytes) -> None:
    names = [name for name, _ in parse_qsl(query.decode("latin-1"), keep_blank_values=True)]
    if len(names) != len(set(names)):
        raise Refused(422, "invalid-request", "a query parameter is given twice", fix="give each once")


def _check_type(request: Request) -> None:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    # Without this check a page elsewhere could send JSON as plain text, which browsers do not ask about first.
    if kind != "application/json":
        raise Refused(415, "unsupported-media-type", f"this takes application/json, not '{kind[:100]}'" if kind else "this needs a Content-Type")


def call_of(request: Request) -> Call:
    """The call that a request was admitted as."""
    call: Call = request.scope["sartor.call"]
    return call


async def _call(request: Request) -> Call:
    return call_of(request)


Here = Annotated[Call, Depends(_call)]

__all__ = ["Call", "Guarded", "Here", "Problem", "StrictRequest", "call_of", "needs"]
