"""The outermost layer of the app: everything that is true of every request, as one plain ASGI middleware.

A request gets its id, a path that is split before it is decoded, a limit on its body and a clock; an answer gets its security headers; and
whatever goes wrong inside becomes problem details here at the latest.
"""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import Callable
from urllib.parse import unquote_to_bytes

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sartor.serve import problems
from sartor.serve.problems import Refused
from sartor.serve.settings import Settings

SLASH = "\x00"
"""Stands for a slash inside one part of a path (%2F); no id may hold it."""

PATH_BYTES = 8_192

_ID = re.compile(rb"^[A-Za-z0-9_.:-]{1,64}$")
_BULK = {"/v1/events", "/v1/items"}
_FILES = {"/v1/imports", "/v1/imports/preview"}

# Answers of the API are never pages; the studio sets its own policy for its own files.
CSP = b"default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
_HEADERS = {
    b"x-content-type-options": b"nosniff",
    b"x-frame-options": b"DENY",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-resource-policy": b"same-origin",
    b"cross-origin-opener-policy": b"same-origin",
    b"permissions-policy": b"camera=(), microphone=(), geolocation=()",
}

Observe = Callable[[Scope, int, float], None]


class Edge:
    """ASGI middleware; `observe` is told of every finished request: its scope, status and seconds."""

    def __init__(self, app: ASGIApp, *, settings: Settings, observe: Observe, hosts: frozenset[str] | None = None) -> None:
        self.app, self.settings, self.observe, self.hosts = app, settings, observe, hosts
        self.open = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1000})
                return
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        headers = dict(scope["headers"])
        given = headers.get(b"x-request-id", b"")
        request_id = given.decode() if _ID.match(given) else f"{random.getrandbits(64):016x}"
        scope["sartor.id"] = request_id
        head = scope["method"] == "HEAD"
        if head:
            # Routes know GET; the server below must go on knowing that it was HEAD, so it keeps its own scope.
            scope = {**scope, "method": "GET"}
        status = 0
        self.open += 1

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = _secured(message["headers"], request_id)
            elif head and message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        try:
            scope["path"] = _path(scope)
            self._check_host(headers)
            if self.open > self.settings.open_requests and scope["path"].startswith("/v1/"):
                raise Refused(503, "overloaded", "the server has more requests than it can answer", fix="come again in a moment")
            await self.app(scope, self._limited(scope, headers, receive), sending)
        except Refused as refused:
            if not status:
                await _answer(problems.for_chat(problems.refusal(refused, request_id), scope["path"]), scope, receive, sending)
        except Exception as error:
            # Kept for the log, which tells its kind and place but not its words: those may be somebody's.
            scope["sartor.error"] = error
            if not status:
                await _answer(problems.for_chat(problems.internal(request_id), scope["path"]), scope, receive, sending)
        finally:
            self.open -= 1
            self.observe({**scope, "method": "HEAD"} if head else scope, status or 499, time.perf_counter() - started)

    def _check_host(self, headers: dict[bytes, bytes]) -> None:
        if self.hosts is None:
            return
        host = re.sub(r":\d+$", "", headers.get(b"host", b"").decode("latin-1")).strip("[]")
        if host not in self.hosts:
            # Without keys, a page elsewhere could reach this server through a name that it points here.
            raise Refused(403, "forbidden", "a development server answers only under the name of its own machine", fix="open http://127.0.0.1")

    def _limit(self, path: str) -> tuple[int, float]:
        """Bytes of a body, and seconds that it may take: files may take as long as they would as bulk bodies one after the other."""
        settings = self.settings
        if path in _FILES:
            return settings.import_bytes, settings.body_seconds * max(1.0, settings.import_bytes / settings.bulk_bytes)
        if path in problems.CHAT:
            return settings.chat_bytes, settings.body_seconds
        bulk = path in _BULK or path.endswith(("/memories/import", "/pictures", "/enrolment", "/identify", "/verify"))
        return settings.bulk_bytes if bulk else settings.body_bytes, settings.body_seconds

    def _limited(self, scope: Scope, headers: dict[bytes, bytes], receive: Receive) -> Receive:
        limit, seconds = self._limit(scope["path"])
        fix = f"send at most {limit} bytes at once"
        declared = headers.get(b"content-length")
        if declared is not None and (not declared.isdigit() or int(declared) > limit):
            raise Refused(413, "too-large", "the body is too large", fix=fix)
        if headers.get(b"content-encoding", b"identity").lower() != b"identity":
            raise Refused(415, "unsupported-media-type", "compressed bodies are not taken", fix="send the body as it is")
        seen, until = 0, time.monotonic() + seconds
        coming = bool(declared and int(declared)) or b"transfer-encoding" in headers

        async def counted() -> Message:
            nonlocal seen, coming
            if not coming:
                return await receive()
            try:
                # Somebody who sends a byte now and then must not hold a place for ever.
                message = await asyncio.wait_for(receive(), until - time.monotonic())
            except TimeoutError:
                slow = "the body did not arrive in time"
                raise Refused(408, "too-slow", slow, fix="send smaller parts", headers={"Connection": "close"}) from None
            coming = bool(message.get("more_body"))
            if message["type"] == "http.request":
                seen += len(message.get("body", b""))
                # Chunked bodies do not say how long they are.
                if seen > limit:
                    raise Refused(413, "too-large", "the body is too large", fix=fix)
            return message

        return counted


async def _answer(response: Response, scope: Scope, receive: Receive, send: Send) -> None:
    await response(scope, receive, send)


def _path(scope: Scope) -> str:
    """The path with every part decoded on its own, so that an id may hold a slash and no id can pretend to be another route."""
    raw: bytes = scope.get("raw_path") or scope["path"].encode()
    if len(raw) > PATH_BYTES or len(scope["query_string"]) > PATH_BYTES:
        raise Refused(414, "address-too-long", "the address is too long", fix="ids have at most 512 characters, filters 2,000")
    if b"%" not in raw:
        return str(scope["path"])
    try:
        parts = [unquote_to_bytes(part).decode() for part in raw.split(b"/")]
    except UnicodeDecodeError:
        raise Refused(400, "malformed-request", "the address is not UTF-8", fix="percent-encode ids as UTF-8") from None
    if any(character < " " or character == "\x7f" for part in parts for character in part):
        raise Refused(422, "invalid-request", "the address holds a control character", fix="ids are printable text")
    return "/".join(part.replace("/", SLASH) for part in parts)


def _secured(headers: list[tuple[bytes, bytes]], request_id: str) -> list[tuple[bytes, bytes]]:
    given = {name.lower() for name, _ in headers}
    out = [*headers, (b"x-request-id", request_id.encode())]
    out += [(name, value) for name, value in _HEADERS.items() if name not in given]
    if b"content-security-policy" not in given:
        out.append((b"content-security-policy", CSP))
    if b"cache-control" not in given:
        out.append((b"cache-control", b"no-store"))
    return out
