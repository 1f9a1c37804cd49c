"""An upstream that is a server with OpenAI's API: asked again while it has not begun to answer, checked line by line when it has."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

from sartor.errors import AccessDenied, BadValue, EndpointFailed, RateLimited, SartorError, TooLarge
from sartor.parts.event_stream import EventStream
from sartor.parts.remote import Remote
from sartor.serve.problems import Refused
from sartor.serve.upstream import OURS, Busy, Json

if TYPE_CHECKING:
    import httpx

    from sartor.serve.settings import Settings

KEY = "SARTOR_UPSTREAM_KEY"
END = b"[DONE]"
FRESH = 60.0
"""Seconds for which the upstream's list of models is believed."""
PATIENCE = 5.0
"""Seconds between two tries while a client waits; an upstream that asks for more is told of at once."""
LONGEST_TOLD = 3_600
"""Seconds that a client is told to wait, at most."""


class RemoteUpstream:
    """A server with the API; its key is in SARTOR_UPSTREAM_KEY, and stays with this process: clients send keys of this server."""

    def __init__(self, url: str, model: str | None, settings: Settings) -> None:
        self._remote = Remote(url=url, key=KEY, timeout=settings.upstream_seconds, retries=settings.upstream_retries, kind="a chat API")
        self.name, self.model = f"endpoint:{self._remote.url}" + (f"#{model}" if model else ""), model
        self.retried: Callable[[], None] = lambda: None
        self._busy = Busy(settings.upstream_requests)
        self._client: httpx.AsyncClient | None = None
        self._models: tuple[float, list[Json]] = (0.0, [])

    async def chat(self, body: Json) -> Json:
        return await self._json("/chat/completions", self._named(body), "choices")

    async def embeddings(self, body: Json) -> Json:
        return await self._json("/embeddings", self._named(body), "data")

    @asynccontextmanager
    async def stream(self, body: Json) -> AsyncIterator[AsyncIterator[bytes]]:
        with self._busy:
            async with AsyncExitStack() as stack:
                answer = await self._answer("/chat/completions", self._named(body), stack)
                yield self._lines(answer)

    async def models(self) -> list[Json]:
        """The upstream's, or the one that was named for it where the upstream has no list or does not answer."""
        until, known = self._models
        if time.monotonic() < until:
            return known
        found: list[Json] = []
        if self.model is None:
            with suppress(SartorError):
                told = await self._get("/models")
                found = [one for one in told.get("data", []) if isinstance(one, dict) and isinstance(one.get("id"), str)]
        else:
            found = [{"id": self.model, "object": "model", "created": 0, "owned_by": "upstream"}]
        self._models = (time.monotonic() + FRESH, found)
        return found

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    def _named(self, body: Json) -> Json:
        if body.get("model") in (None, "", OURS):
            if self.model is None:
                raise BadValue("no model is named", fix="name one of the upstream's, or start the server with --upstream endpoint:URL#MODEL")
            return body | {"model": self.model}
        return body

    async def _json(self, path: str, body: Json, has: str) -> Json:
        import httpx

        with self._busy:
            async with AsyncExitStack() as stack:
                answer = await self._answer(path, body, stack)
                try:
                    await answer.aread()
                except httpx.RequestError as error:
                    raise EndpointFailed(f"the upstream broke off its answer: {type(error).__name__}", fix="try again") from None
        try:
            told = answer.json()
        except (ValueError, RecursionError):
            told = None
        if not isinstance(told, dict) or not isinstance(told.get(has), list) or not told[has]:
            raise EndpointFailed(f"the upstream does not answer with {has}", fix="whoever runs this server: is it an API of OpenAI's kind?")
        return told

    async def _get(self, path: str) -> Json:
        import httpx

        try:
            answer = await self._opened().get(path, timeout=min(5.0, self._remote.timeout))
            told = answer.json() if answer.status_code == 200 else None
        except (httpx.RequestError, ValueError, RecursionError):
            told = None
        if not isinstance(told, dict):
            raise EndpointFailed("the upstream has no list of models", fix="name one: endpoint:URL#MODEL")
        return told

    async def _answer(self, path: str, body: Json, stack: AsyncExitStack) -> httpx.Response:
        """A successful answer whose body is still to come; raises what the client is to be told."""
        import httpx

        client, data = self._opened(), json.dumps(body, ensure_ascii=False).encode()
        for tried in range(self._remote.retries + 1):
            answer, failed = None, None
            try:
                request = client.build_request("POST", path, content=data, headers={"Content-Type": "application/json"})
                answer = await client.send(request, stream=True)
                stack.push_async_callback(answer.aclose)
                if answer.status_code == 200:
                    return answer
                await answer.aread()
            except httpx.RequestError as error:
                answer, failed = None, error
            wait = self._remote.wait(tried, answer)
            if wait is None or wait > PATIENCE:
                if answer is None:
                    # Where it stands is nothing to clients.
                    what = f"the upstream cannot be reached: {type(failed).__name__} in each of {tried + 1} tries"
                    raise EndpointFailed(what, fix="try again later") from None
                raise self._told(answer, tried + 1)
            self.retried()
            await asyncio.sleep(wait)
        raise AssertionError("the last try returns or raises")

    def _told(self, answer: httpx.Response, tries: int) -> Exception:
        """What the client is told: a refusal of its request is its own to mend, everything else is the server's."""
        if answer.status_code in (400, 404, 413, 422):
            # Its own words and codes: they say what it does not like, and clients act on them.
            detail = f"the upstream refuses this: {self._remote.reason(answer)}"
            return Refused(answer.status_code, "upstream-refused", detail, fix="change the request", **_codes(answer))
        error = self._remote.refusal(answer, tries)
        if isinstance(error, RateLimited):
            wait = answer.headers.get("Retry-After", "")
            seconds = min(int(wait[:9]), LONGEST_TOLD) if wait.isdecimal() else 5
            return RateLimited("the upstream is asked too much", fix="come again later", retry_after=seconds)
        if isinstance(error, AccessDenied):
            return EndpointFailed("the upstream does not accept this server's key", fix=f"whoever runs this server has to set {KEY}")
        return EndpointFailed(f"the upstream answers {answer.status_code}, in each of {tries} tries", fix="try again later")

    async def _lines(self, answer: httpx.Response) -> AsyncIterator[bytes]:
        """Data lines as they came, each checked to be one; raises `EndpointFailed` where the stream ends before its end."""
        import httpx

        events = EventStream()
        try:
            async for chunk in answer.aiter_bytes():
                for data in events.feed(chunk):
                    yield _checked(data)
                    if data == END:
                        return
            for data in events.end():
                yield _checked(data)
                if data == END:
                    return
        except (httpx.RequestError, TooLarge) as error:
            raise EndpointFailed(f"the upstream broke off its answer: {type(error).__name__}", fix="try again") from None
        raise EndpointFailed("the upstream ended its answer too early", fix="try again")

    def _opened(self) -> httpx.AsyncClient:
        if self._client is None:
            import httpx

            most = self._busy.most
            limits = httpx.Limits(max_connections=most + 8, max_keepalive_connections=min(most, 64))
            self._client = httpx.AsyncClient(
                base_url=self._remote.url, headers=self._remote.headers(), timeout=httpx.Timeout(self._remote.timeout, connect=5.0), limits=limits
            )
        return self._client


def _codes(answer: httpx.Response) -> dict[str, Any]:
    """What an upstream says of its refusal beside words: `code`, `field` (OpenAI's `param`)."""
    try:
        error = answer.json()["error"]
        found = {"code": error.get("code"), "field": error.get("param")}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}
    return {name: value[:100] for name, value in found.items() if isinstance(value, str)}


def _checked(data: bytes) -> bytes:
    """A data line; raises `EndpointFailed` for what is no part of an answer."""
    try:
        good = data == END or isinstance(json.loads(data), dict)
    except (ValueError, RecursionError):
        good = False
    if not good:
        raise EndpointFailed("the upstream streams something that is no part of an answer", fix="try again later")
    return b"data: " + data
