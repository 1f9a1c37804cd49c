"""Who answers chats in the end: a server with an API of OpenAI's kind, or a model in this process.

Nothing of a conversation is logged. What has not begun to arrive is asked for again a few times; what has, never.
"""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Protocol

from anyio import to_thread

from sartor.errors import AccessDenied, BadValue, ConfigError, EndpointFailed, RateLimited, SartorError
from sartor.parts.remote import Remote
from sartor.serve.problems import Refused

if TYPE_CHECKING:
    import httpx

    from sartor.serve.settings import Settings
    from sartor.write.backends import Backend

KEY = "SARTOR_UPSTREAM_KEY"
OURS = "sartor"
"""The model's name with which a client leaves the choice to the server."""
DONE = b"data: [DONE]"
FRESH = 60.0
"""Seconds for which the upstream's list of models is believed."""
DEFAULT_TOKENS = 512

Json = dict[str, Any]


class Upstream(Protocol):
    """Takes and gives bodies of OpenAI's API."""

    name: str

    async def chat(self, body: Json) -> Json:
        """A whole answer."""
        ...

    @asynccontextmanager
    def stream(self, body: Json) -> AsyncIterator[AsyncIterator[bytes]]:
        """Lines of server-sent events, once the first is certain to come; leaving the context ends the upstream's work."""
        ...

    async def embeddings(self, body: Json) -> Json: ...

    async def models(self) -> list[Json]: ...

    async def close(self) -> None: ...


def upstream(settings: Settings) -> Upstream | None:
    """What `settings.upstream` names: "endpoint:URL#MODEL", or a writer backend in this process. Raises `ConfigError` and what opening raises."""
    name = settings.upstream
    if name is None:
        return None
    kind, _, rest = name.partition(":")
    if kind == "endpoint" or name.startswith(("http://", "https://")):
        url, _, model = (rest if kind == "endpoint" else name).partition("#")
        return RemoteUpstream(url, model or None, settings)
    from sartor.write.backends import backend

    return LocalUpstream(backend(name), settings)


class Busy:
    """Counts what is on its way; one too many is told to come again, rather than all waiting longer and longer."""

    def __init__(self, most: int) -> None:
        self.most, self.now = most, 0

    def __enter__(self) -> None:
        if self.now >= self.most:
            raise Refused(503, "overloaded", "the model has more requests than it can answer", fix="come again in a moment")
        self.now += 1

    def __exit__(self, *_: object) -> None:
        self.now -= 1


class RemoteUpstream:
    """A server with the API; its key is in SARTOR_UPSTREAM_KEY, and stays with this process: clients send keys of this server."""

    def __init__(self, url: str, model: str | None, settings: Settings) -> None:
        self._remote = Remote(url=url, key=KEY, timeout=settings.upstream_seconds, retries=settings.upstream_retries, kind="a chat API")
        self.name, self.model = f"endpoint:{self._remote.url}" + (f"#{model}" if model else ""), model
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
                except httpx.TransportError as error:
                    raise self._remote.malformed(f"broke off its answer: {type(error).__name__}") from None
        try:
            told = answer.json()
        except ValueError:
            told = None
        if not isinstance(told, dict) or not isinstance(told.get(has), list) or not told[has]:
            raise self._remote.malformed(f"does not answer with {has}")
        return told

    async def _get(self, path: str) -> Json:
        import httpx

        try:
            answer = await self._opened().get(path, timeout=min(5.0, self._remote.timeout))
            told = answer.json() if answer.status_code == 200 else None
        except (httpx.TransportError, ValueError):
            told = None
        if not isinstance(told, dict):
            raise self._remote.malformed("does not answer")
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
            except httpx.TransportError as error:
                answer, failed = None, error
            wait = self._remote.wait(tried, answer)
            if wait is None:
                if answer is None:
                    assert failed is not None
                    raise self._remote.unreachable(failed, tried + 1) from None
                raise self._told(answer, tried + 1)
            await asyncio.sleep(wait)
        raise AssertionError("the last try returns or raises")

    def _told(self, answer: httpx.Response, tries: int) -> SartorError:
        """What the client is told: a refusal of its request is its own to mend, everything else is the server's."""
        error = self._remote.refusal(answer, tries)
        if isinstance(error, RateLimited):
            wait = answer.headers.get("Retry-After", "")
            return RateLimited("the upstream is asked too much", fix="come again later", retry_after=wait if wait.isdecimal() else "5")
        if isinstance(error, BadValue) or answer.status_code == 404:
            # Its own words: they say which of the client's fields it does not like.
            return BadValue(f"the upstream refuses this ({answer.status_code}): {self._remote.reason(answer)}", fix="change the request")
        if isinstance(error, AccessDenied):
            return EndpointFailed("the upstream does not accept this server's key", fix=f"whoever runs this server has to set {KEY}")
        return EndpointFailed(f"the upstream answers {answer.status_code}, in each of {tries} tries", fix="try again later")

    async def _lines(self, answer: httpx.Response) -> AsyncIterator[bytes]:
        """Data lines as they came, each checked to be one; raises `EndpointFailed` where the stream ends before its end."""
        import httpx

        try:
            async for line in answer.aiter_lines():
                if not line.startswith("data:"):
                    continue
                data = line[5:].strip()
                if data == "[DONE]":
                    yield DONE
                    return
                try:
                    good = isinstance(json.loads(data), dict)
                except ValueError:
                    good = False
                if not good:
                    raise EndpointFailed("the upstream streams something that is no part of an answer", fix="try again later")
                yield b"data: " + data.encode()
        except httpx.TransportError as error:
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


class LocalUpstream:
    """A writer backend in this process behind the same API. One conversation is answered at a time; the others wait."""

    def __init__(self, backend: Backend, settings: Settings) -> None:
        self.backend, self.name = backend, backend.name
        self._busy = Busy(settings.upstream_requests)
        self._embeddings = settings.embeddings
        self._encoder: Any = None

    async def chat(self, body: Json) -> Json:
        asked = _settings(body)
        with self._busy:
            made = (await to_thread.run_sync(lambda: self.backend.generate([body["messages"]], **asked)))[0]
        usage = {"prompt_tokens": made.prompt_tokens, "completion_tokens": made.completion_tokens}
        usage["total_tokens"] = made.prompt_tokens + made.completion_tokens
        choice = {"index": 0, "message": {"role": "assistant", "content": made.text}, "finish_reason": made.finish, "logprobs": None}
        return self._about("chat.completion") | {"choices": [choice], "usage": usage}

    @asynccontextmanager
    async def stream(self, body: Json) -> AsyncIterator[AsyncIterator[bytes]]:
        with self._busy:
            pieces = await to_thread.run_sync(lambda: self.backend.stream(body["messages"], **_settings(body)))
            # The first piece is waited for here, so that what is wrong with the request is an error and not a broken stream.
            first = await to_thread.run_sync(next, pieces, None)
            yield self._events(first, pieces)

    async def _events(self, first: str | None, pieces: Iterator[str]) -> AsyncIterator[bytes]:
        about = self._about("chat.completion.chunk")

        def event(delta: Mapping[str, Any], finish: str | None = None) -> bytes:
            return b"data: " + json.dumps(about | {"choices": [{"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}]}).encode()

        yield event({"role": "assistant", "content": ""})
        piece = first
        while piece is not None:
            yield event({"content": piece})
            piece = await to_thread.run_sync(next, pieces, None)
        yield event({}, "stop")
        yield DONE

    async def embeddings(self, body: Json) -> Json:
        if self._embeddings is None:
            raise ConfigError("this server makes no embeddings", fix="start it with SARTOR_SERVE_EMBEDDINGS=minilm, or with an endpoint")
        texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
        if not texts or not all(isinstance(one, str) for one in texts):
            raise BadValue("input is no text or list of texts", fix="send texts; token numbers belong to another model's tokenizer")
        vectors = await to_thread.run_sync(self._encoded, texts)
        data = [{"object": "embedding", "index": at, "embedding": row} for at, row in enumerate(_as_asked(vectors, body.get("encoding_format")))]
        count = sum(self.backend.count_tokens(one) for one in texts)
        return {"object": "list", "model": self._embeddings, "data": data, "usage": {"prompt_tokens": count, "total_tokens": count}}

    def _encoded(self, texts: list[str]) -> Any:
        if self._encoder is None:
            from sartor.represent.text import text_encoder

            self._encoder = text_encoder(self._embeddings or "hashed", cache=False)
        return self._encoder.encode(texts)

    async def models(self) -> list[Json]:
        return [{"id": name, "object": "model", "created": 0, "owned_by": "sartor"} for name in (self.name, self._embeddings) if name]

    async def close(self) -> None:
        """There is nothing to give back."""

    def _about(self, kind: str) -> Json:
        return {"id": f"chatcmpl-{uuid.uuid4().hex}", "object": kind, "created": int(time.time()), "model": self.name}


def _as_asked(vectors: Any, form: str | None) -> list[Any]:
    """Vectors as lists of numbers, or as base64 of little-endian float32, which the official client asks for."""
    if form != "base64":
        return [row.tolist() for row in vectors]
    import base64

    return [base64.b64encode(row.astype("<f4").tobytes()).decode() for row in vectors]


def _settings(body: Json) -> Json:
    """What a backend is told; raises `BadValue` for what a model in this process cannot do, rather than leaving it out."""
    form = (body.get("response_format") or {}).get("type", "text") if isinstance(body.get("response_format"), dict | None) else "?"
    cannot = {
        "n": body.get("n") not in (None, 1), "tool_choice": body.get("tool_choice") not in (None, "auto", "none"), "response_format": form != "text",
        "logprobs": bool(body.get("logprobs")), "audio": bool(body.get("audio")),
    }  # fmt: skip
    for name, wrong in cannot.items():
        if wrong:
            raise BadValue(f"the model of this server cannot do what {name} asks for", fix=f"leave {name} out", field=name)
    tokens = body.get("max_completion_tokens") or body.get("max_tokens") or DEFAULT_TOKENS
    stop = body.get("stop") or []
    found = {"max_tokens": tokens, "temperature": 1.0 if body.get("temperature") is None else body["temperature"], "seed": body.get("seed")}
    for name, kind in (("max_tokens", int), ("temperature", int | float), ("seed", int | None)):
        if isinstance(found[name], bool) or not isinstance(found[name], kind):
            raise BadValue(f"{name} is no number", fix="give a number", field=name)
    stop = [stop] if isinstance(stop, str) else stop
    if not isinstance(stop, list) or not all(isinstance(one, str) for one in stop):
        raise BadValue("stop is no text or list of texts", fix="give texts", field="stop")
    return found | {"stop": stop}
