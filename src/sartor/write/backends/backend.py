"""What every writer backend offers, and the messages it takes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np

from sartor.errors import BadValue, ConfigError, EmptyData

Message = Mapping[str, Any]
"""{"role": "system" | "user" | "assistant" | "tool" | ..., "content": text, or a list of parts of which those of type "text" have a text}."""

Finish = Literal["stop", "length"]


@dataclass(frozen=True)
class Generation:
    """What was written."""

    text: str
    finish: str
    """"stop": it came to its end, or to one of the stop texts, which is not part of it; "length": `max_tokens` were used up. Servers have more."""
    prompt_tokens: int
    completion_tokens: int
    logprobs: tuple[float, ...] | None = None
    """Natural logarithm of each written token's probability, where it was asked for."""


class Backend(Protocol):
    """A language model that answers conversations. Safe to use from several threads."""

    name: str
    """As it was asked for; holds no key."""

    def generate(
        self, batch: Sequence[Sequence[Message]], *, max_tokens: int = 256, temperature: float = 0.0, seed: int | None = None,
        stop: Sequence[str] = (), logprobs: bool = False, adapters: Sequence[str | None] | None = None,
    ) -> list[Generation]:  # fmt: skip
        """One answer per conversation, in their order.

        Parameters
        ----------
        max_tokens: of each answer.
        temperature: 0 takes the likeliest token each time.
        seed: of the draws; the same seed gives the same texts where the model can promise that.
        stop: texts at which an answer ends.
        logprobs: give the log-probability of each token along.
        adapters: per conversation the name of an adapter that changes the model for it, or None.

        Raises `BadValue` for messages that are none, `ConfigError` for settings that cannot be, and what the backend names beside.
        """
        ...

    def stream(
        self, messages: Sequence[Message], *, max_tokens: int = 256, temperature: float = 0.0, seed: int | None = None, stop: Sequence[str] = (),
        adapter: str | None = None,
    ) -> Iterator[str]:  # fmt: skip
        """One answer in pieces as they come; joined they are its text."""
        ...

    def logprobs(self, contexts: Sequence[Sequence[Message]], continuations: Sequence[str]) -> list[np.ndarray]:
        """For each conversation, log-probability float64 [tokens] of the tokens of a given answer. `ConfigError` where the model cannot tell."""
        ...

    def count_tokens(self, text: str) -> int:
        """How many tokens a text has; an estimate that errs high where the tokenizer is not known."""
        ...


def check_messages(messages: Sequence[Message]) -> None:
    """Raise `BadValue` unless this is a conversation: a list of messages with a role each, some text among them."""
    if isinstance(messages, str | bytes | Mapping) or not isinstance(messages, Sequence):
        raise BadValue("messages is no list", fix='give [{"role": "user", "content": "..."}]')
    if not messages:
        raise EmptyData("there are no messages", fix='give at least [{"role": "user", "content": "..."}]')
    for at, one in enumerate(messages):
        if not isinstance(one, Mapping) or not isinstance(one.get("role"), str) or not one["role"]:
            raise BadValue("a message has no role", fix='each message is like {"role": "user", "content": "..."}', message=at)
        if not isinstance(one.get("content"), str | Sequence | None):
            raise BadValue("a message's content is no text", fix="give a text, or a list of parts", message=at)


def text_of(message: Message) -> str:
    """The text of a message: its content, or its text parts one after another."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    parts = (part.get("text") for part in content or () if isinstance(part, Mapping) and part.get("type") in (None, "text", "input_text"))
    return "\n".join(part for part in parts if isinstance(part, str))


def check_settings(batch: int, max_tokens: int, temperature: float, adapters: Sequence[str | None] | None) -> None:
    """Raise `ConfigError` for settings that no backend can follow."""
    if isinstance(max_tokens, bool) or not isinstance(max_tokens, int) or max_tokens < 1:
        raise ConfigError(f"max_tokens is {max_tokens!r}", fix="use a whole number, at least 1")
    if isinstance(temperature, bool) or not isinstance(temperature, int | float) or not 0 <= temperature <= 100:
        raise ConfigError(f"temperature is {temperature!r}", fix="use a number from 0, which takes the likeliest token, to about 2")
    if adapters is not None and len(adapters) != batch:
        raise ConfigError(f"{len(adapters)} adapters for {batch} conversations", fix="give one, or None, per conversation")
