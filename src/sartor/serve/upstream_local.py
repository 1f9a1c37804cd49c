"""An upstream that is a model in this process: a writer backend behind OpenAI's API."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from anyio import CapacityLimiter, to_thread

from sartor.errors import BadValue, ConfigError
from sartor.serve.upstream import DONE, Busy, Json
from sartor.write.backends.backend import text_of

if TYPE_CHECKING:
    from sartor.serve.settings import Settings
    from sartor.write.backends import Backend

DEFAULT_TOKENS = 512
THREADS = 4


class LocalUpstream:
    """A writer backend in this process behind the same API. One conversation is answered at a time; the others wait."""

    def __init__(self, backend: Backend, settings: Settings) -> None:
        self.backend, self.name = backend, backend.name
        self.retried: Callable[[], None] = lambda: None
        self._busy = Busy(settings.upstream_requests)
        # Threads of its own: every other route needs the common ones.
        self._threads = CapacityLimiter(THREADS)
        self._embeddings = settings.embeddings
        self._encoder: Any = None

    async def chat(self, body: Json) -> Json:
        asked = _settings(body)
        with self._busy:
            made = (await to_thread.run_sync(lambda: self.backend.generate([body["messages"]], **asked), limiter=self._threads))[0]
        usage = self._usage(made.prompt_tokens, made.completion_tokens)
        choice = {"index": 0, "message": {"role": "assistant", "content": made.text}, "finish_reason": made.finish, "logprobs": None}
        return self._about("chat.completion") | {"choices": [choice], "usage": usage}

    @asynccontextmanager
    async def stream(self, body: Json) -> AsyncIterator[AsyncIterator[bytes]]:
        with self._busy:
            pieces = await to_thread.run_sync(lambda: self.backend.stream(body["messages"], **_settings(body)), limiter=self._threads)
            # The first piece is waited for here, so that what is wrong with the request is an error and not a broken stream.
            first = await to_thread.run_sync(_next, pieces, limiter=self._threads)
            yield self._events(body, first, pieces)

    async def _events(self, body: Json, now: tuple[str | None, str], pieces: Iterator[str]) -> AsyncIterator[bytes]:
        about = self._about("chat.completion.chunk")

        def event(delta: Mapping[str, Any], finish: str | None = None) -> bytes:
            return b"data: " + json.dumps(about | {"choices": [{"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}]}).encode()

        yield event({"role": "assistant", "content": ""})
        said = []
        while now[0] is not None:
            said.append(now[0])
            yield event({"content": now[0]})
            now = await to_thread.run_sync(_next, pieces, limiter=self._threads)
        yield event({}, now[1])
        if (body.get("stream_options") or {}).get("include_usage"):
            usage = self._usage(sum(self.backend.count_tokens(text_of(one)) for one in body["messages"]), self.backend.count_tokens("".join(said)))
            yield b"data: " + json.dumps(about | {"choices": [], "usage": usage}).encode()
        yield DONE

    @staticmethod
    def _usage(prompt: int, completion: int) -> Json:
        return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}

    async def embeddings(self, body: Json) -> Json:
        if self._embeddings is None:
            raise ConfigError("this server makes no embeddings", fix="start it with SARTOR_SERVE_EMBEDDINGS=minilm, or with an endpoint")
        texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
        if not texts or not all(isinstance(one, str) for one in texts):
            raise BadValue("input is no text or list of texts", fix="send texts; token numbers belong to another model's tokenizer")
        vectors = await to_thread.run_sync(self._encoded, texts, limiter=self._threads)
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


def _next(pieces: Iterator[str]) -> tuple[str | None, str]:
    """The next piece, or None and how it ended."""
    try:
        return next(pieces), ""
    except StopIteration as end:
        return None, end.value or "stop"


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
        "n": body.get("n") not in (None, 1), "tools": bool(body.get("tools")) and body.get("tool_choice") != "none",
        "response_format": form != "text", "top_p": body.get("top_p") not in (None, 1),
    }  # fmt: skip
    cannot |= {name: bool(body.get(name)) for name in ("logprobs", "audio", "presence_penalty", "frequency_penalty", "logit_bias")}
    for name, wrong in cannot.items():
        if wrong:
            raise BadValue(f"the model of this server cannot do what {name} asks for", fix=f"leave {name} out", field=name)
    given = (body.get("max_completion_tokens"), body.get("max_tokens"), DEFAULT_TOKENS)
    tokens = next(one for one in given if one is not None)
    stop = body.get("stop") or []
    found = {"max_tokens": tokens, "temperature": 1.0 if body.get("temperature") is None else body["temperature"], "seed": body.get("seed")}
    for name, kind in (("max_tokens", int), ("temperature", int | float), ("seed", int | None)):
        if isinstance(found[name], bool) or not isinstance(found[name], kind):
            raise BadValue(f"{name} is no number", fix="give a number", field=name)
    stop = [stop] if isinstance(stop, str) else stop
    if not isinstance(stop, list) or not all(isinstance(one, str) for one in stop):
        raise BadValue("stop is no text or list of texts", fix="give texts", field="stop")
    return found | {"stop": stop}
