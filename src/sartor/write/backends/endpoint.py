"""Words from a server with the chat API of OpenAI: the company itself, vLLM, TGI, Ollama, llama.cpp, LiteLLM and many more."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import numpy as np

from sartor.errors import ConfigError, TooLarge
from sartor.parts.event_stream import EventStream
from sartor.parts.remote import Remote
from sartor.write.backends.backend import Generation, Message, check_messages, check_settings

if TYPE_CHECKING:
    import httpx

KEY = "SARTOR_WRITER_KEY"
DONE = b"[DONE]"


class ChatEndpoint:
    """A chat model behind HTTP: POST {url}/chat/completions. Neither messages nor keys are ever logged.

    Parameters
    ----------
    url: up to the version, such as https://api.openai.com/v1.
    model: as the server names it. An adapter is a model's name, too: servers of many adapters (vLLM, LoRAX) name them like models.
    key, timeout, retries, backoff: see `sartor.parts.remote.Remote`. Only what has not begun to arrive is asked for again.
    at_once: conversations of one batch that are on their way together.
    """

    def __init__(
        self, url: str, model: str, *, key: str = KEY, timeout: float = 60.0, retries: int = 4, backoff: float = 0.5, at_once: int = 8
    ) -> None:
        self._remote = Remote(url=url, key=key, timeout=timeout, retries=retries, backoff=backoff, kind="a chat API")
        if not model:
            raise ConfigError("no model is named", fix="write for example endpoint:https://api.openai.com/v1#gpt-5-mini")
        if at_once < 1:
            raise ConfigError(f"at_once is {at_once}", fix="use at least 1")
        self.url, self.model, self.at_once = self._remote.url, model, at_once
        self.name = f"endpoint:{self.url}#{model}"
        self._client: httpx.Client | None = None

    def generate(
        self, batch: Sequence[Sequence[Message]], *, max_tokens: int = 256, temperature: float = 0.0, seed: int | None = None,
        stop: Sequence[str] = (), logprobs: bool = False, adapters: Sequence[str | None] | None = None,
    ) -> list[Generation]:  # fmt: skip
        """See `Backend.generate`. Raises `AccessDenied`, `RateLimited`, `BadValue` and `EndpointFailed`, the latter also for what is no answer."""
        check_settings(len(batch), max_tokens, temperature, adapters)
        bodies = []
        for messages, adapter in zip(batch, adapters or [None] * len(batch), strict=True):
            bodies.append(self._body(messages, max_tokens, temperature, seed, stop, adapter) | ({"logprobs": True} if logprobs else {}))
        if len(bodies) < 2:
            return [self._one(body) for body in bodies]
        with ThreadPoolExecutor(min(self.at_once, len(bodies))) as pool:
            return list(pool.map(self._one, bodies))

    def stream(
        self, messages: Sequence[Message], *, max_tokens: int = 256, temperature: float = 0.0, seed: int | None = None, stop: Sequence[str] = (),
        adapter: str | None = None,
    ) -> Iterator[str]:  # fmt: skip
        """See `Backend.stream`. A stream that ends before the server said so raises `EndpointFailed`."""
        check_settings(1, max_tokens, temperature, None)
        body = self._body(messages, max_tokens, temperature, seed, stop, adapter) | {"stream": True}
        return self._pieces(body)

    def logprobs(self, contexts: Sequence[Sequence[Message]], continuations: Sequence[str]) -> list[np.ndarray]:
        """Chat APIs do not score texts that are given to them: raises `ConfigError`."""
        raise ConfigError("a chat API cannot tell how likely a given text is", fix="use transformers:FOLDER or tiny:FOLDER")

    def count_tokens(self, text: str) -> int:
        """An estimate, since the tokenizer is the server's: one token per 3 bytes of UTF-8, which is more than English has."""
        return math.ceil(len(text.encode("utf-8", "replace")) / 3)

    def close(self) -> None:
        """Give the connections back."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def _body(
        self, messages: Sequence[Message], max_tokens: int, temperature: float, seed: int | None, stop: Sequence[str], adapter: str | None
    ) -> dict[str, Any]:
        check_messages(messages)
        body = {"model": adapter or self.model, "messages": [dict(one) for one in messages], "max_tokens": max_tokens, "temperature": temperature}
        return body | ({} if seed is None else {"seed": seed}) | ({"stop": list(stop)} if stop else {})

    def _one(self, body: Mapping[str, Any]) -> Generation:
        import httpx

        with ExitStack() as stack:
            answer = self._answer(body, stack)
            try:
                answer.read()
            except httpx.RequestError as error:
                raise self._remote.malformed(f"broke off its answer: {type(error).__name__}") from None
        try:
            told = answer.json()
            choice = told["choices"][0]
            text = choice["message"]["content"]
            used = told.get("usage") or {}
            tokens = choice["logprobs"]["content"] if body.get("logprobs") else None
            given = None if tokens is None else tuple(float(one["logprob"]) for one in tokens)
            if not isinstance(text, str):
                raise TypeError
            counts = [int(used.get(name) or 0) for name in ("prompt_tokens", "completion_tokens")]
        except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError):
            raise self._remote.malformed("does not answer with a message") from None
        return Generation(text, str(choice.get("finish_reason") or "stop"), counts[0], counts[1], given)

    def _pieces(self, body: Mapping[str, Any]) -> Iterator[str]:
        import httpx

        with ExitStack() as stack:
            answer = self._answer(body, stack)
            events = EventStream()
            try:
                for chunk in answer.iter_bytes():
                    for data in events.feed(chunk):
                        if data == DONE:
                            return
                        if piece := self._piece(data):
                            yield piece
            except (httpx.RequestError, TooLarge) as error:
                raise self._remote.malformed(f"broke off its answer: {type(error).__name__}") from None
            if DONE in events.end():
                return
        raise self._remote.malformed("ended its answer too early")

    def _piece(self, data: bytes) -> str:
        try:
            told = json.loads(data)
            if "error" in told:
                raise ValueError
            choices = told["choices"]
            piece = choices[0]["delta"].get("content") if choices else None
            if not isinstance(piece, str | None):
                raise TypeError
        except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError):
            raise self._remote.malformed("streams something that is no part of a message") from None
        return piece or ""

    def _answer(self, body: Mapping[str, Any], stack: ExitStack) -> httpx.Response:
        """A successful answer whose body is still to come."""
        if self._client is None:
            self._client = self._remote.client("write")
        client = self._client

        def send() -> httpx.Response:
            answer = stack.enter_context(client.stream("POST", "/chat/completions", json=body))
            if answer.status_code != 200:
                answer.read()
            return answer

        answer, tries = self._remote.ask(send)
        if answer.status_code != 200:
            raise self._remote.refusal(answer, tries)
        return answer
