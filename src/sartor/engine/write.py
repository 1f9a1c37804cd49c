"""Words for one person: what is remembered of her, put before a language model as data, and what was used and why.

Her own words are data, never instructions (`write.parts.data_block`); what reads like an order to a model is held back
(`write.parts.instructions`); nothing is used without her consent to "write"; and only her own memories can be reached at all.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal

from sartor.engine.ids import Id, person_id
from sartor.engine.memory import Remembering
from sartor.engine.memory_reading import Confirm
from sartor.errors import ConfigError
from sartor.write.backends.backend import Backend, Message, check_messages, text_of
from sartor.write.memory import Recalled, count_tokens
from sartor.write.parts.instructions import Verdicts
from sartor.write.parts.prompt import Composer, Prompt, Template, template

LONGEST_QUERY = 1_000
"""Characters of a message that memories are looked up by; of a longer one its end, where the question is."""
MOST = 100
"""Memories in one prompt."""
SPARE = 4
"""Memories looked up beyond those asked for, in place of those that are held back."""
SYSTEM = ("system", "developer")
_VERDICTS = Verdicts()
Delimiting = Literal["quoted", "marked", "none"]


@dataclass(frozen=True)
class Used:
    """A memory that was put before the model."""

    id: str
    text: str
    kind: str
    score: float
    parts: Mapping[str, float]
    """What made it matter: `meaning`, `words`, `recency`, ... (`write.memory.Recall`); their sum is the score."""
    cut: bool = False
    """Whether there was room for its beginning only."""

    @property
    def why(self) -> str:
        """In words: what made it matter most."""
        best = sorted(((part, name) for name, part in self.parts.items() if part > 0), reverse=True)[:2]
        return " and ".join(name for _, name in best) or "nothing nearer was there"


@dataclass(frozen=True)
class Composed:
    """A conversation with what is known of the person in it."""

    messages: list[dict[str, Any]]
    used: tuple[Used, ...] = ()
    person: str | None = None
    held_back: Mapping[str, str] = field(default_factory=dict)
    """Ids of memories that read like orders to a model, and why."""
    fallback: str | None = None
    """Why nothing of hers was used: "no person", "no consent", "nothing remembered", "nothing asked", "not personal"."""
    note: str = ""
    """The same in a sentence."""
    seconds: float = 0.0
    """To look up and to compose."""

    @property
    def personal(self) -> bool:
        """Whether anything of hers is in it."""
        return bool(self.used)


@dataclass(frozen=True)
class WriteAnswer:
    """What was written, and from what."""

    text: str
    person: str | None
    personal: bool
    used: tuple[Used, ...]
    held_back: Mapping[str, str]
    model: str
    """The writer backend's name."""
    fallback: str | None = None
    note: str = ""
    finish: str = "stop"
    prompt_tokens: int = 0
    completion_tokens: int = 0
    remembered: tuple[str, ...] = ()
    """Ids of memories that her last message added."""
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class WriteAsk:
    """How much of a person may go into a prompt, and how it is guarded.

    Parameters
    ----------
    k: memories at most.
    budget: tokens that they may have, with the words around them.
    personal: False looks at nothing of hers.
    guarded: hold back memories that read like orders. For measuring what that is worth; leave it on.
    delimiting: "quoted", between marks and so that nothing inside can spell one; "marked", between marks as they are; "none", a plain list. The
        other two are for measuring what quoting is worth.
    """

    k: int = 8
    budget: int = 600
    personal: bool = True
    guarded: bool = True
    delimiting: Delimiting = "quoted"

    def __post_init__(self) -> None:
        if isinstance(self.k, bool) or not isinstance(self.k, int) or not 0 <= self.k <= MOST:
            raise ConfigError(f"k is {self.k!r}", fix=f"use 0 to {MOST} memories")
        if isinstance(self.budget, bool) or not isinstance(self.budget, int) or self.budget < 1:
            raise ConfigError(f"budget is {self.budget!r}", fix="give a whole number of tokens")


class WriteStream:
    """Pieces of an answer as they come; `answer` has all of it once they have come."""

    def __init__(self, pieces: Iterator[str], answer: WriteAnswer) -> None:
        self._pieces, self.answer = pieces, answer

    def __iter__(self) -> Iterator[str]:
        start, told = time.perf_counter(), []
        for piece in self._pieces:
            told.append(piece)
            yield piece
        self.answer = replace(self.answer, text="".join(told), seconds=self.answer.seconds + time.perf_counter() - start)


class Writing(Remembering):
    """The half of `Engine` that writes, on top of the one that remembers."""

    writer: Backend | str | None
    """Who writes: a backend or its name (`write.backends.backend`)."""
    prompt_template: Template | None = None
    """Words around memories, with one data slot "memories"; None is the template "personal"."""

    def write(
        self, person: Id | None, messages: Sequence[Message], *, k: int = 8, budget: int = 600, personal: bool = True, remember: bool = False,
        max_tokens: int = 256, temperature: float = 0.0, seed: int | None = None, stop: Sequence[str] = (),
    ) -> WriteAnswer:  # fmt: skip
        """An answer to a conversation, as this person would like it.

        Parameters
        ----------
        person: None is nobody: everybody's answer.
        messages: {role, content} of the conversation so far.
        k, budget: memories at most, and tokens that they may have in the prompt.
        personal: False is everybody's answer; nothing of the person is looked at.
        remember: keep what her last message says of herself. Replies of the model are never remembered, nor is what only repeats a memory.
        max_tokens, temperature, seed, stop: as `Backend.generate` takes them.

        Raises `BadValue` for messages that are none, `ConfigError`, `BudgetTooSmall`, and what the backend raises. An unknown person, and one who
        does not agree to "write", get everybody's answer; `fallback` and `note` say so.
        """
        start, backend = time.perf_counter(), self._backend()
        composed = self.compose(person, messages, WriteAsk(k=k, budget=budget, personal=personal), count=backend.count_tokens)
        made = backend.generate([composed.messages], max_tokens=max_tokens, temperature=temperature, seed=seed, stop=stop)[0]
        kept = self.remember_message(composed, messages) if remember else ()
        about = _answer(composed, backend.name, start)
        return replace(
            about, text=made.text, finish=made.finish, prompt_tokens=made.prompt_tokens, completion_tokens=made.completion_tokens, remembered=kept,
            seconds=time.perf_counter() - start,
        )  # fmt: skip

    def stream(
        self, person: Id | None, messages: Sequence[Message], *, k: int = 8, budget: int = 600, personal: bool = True, remember: bool = False,
        max_tokens: int = 256, temperature: float = 0.0, seed: int | None = None, stop: Sequence[str] = (),
    ) -> WriteStream:  # fmt: skip
        """The same in pieces as they come."""
        start, backend = time.perf_counter(), self._backend()
        composed = self.compose(person, messages, WriteAsk(k=k, budget=budget, personal=personal), count=backend.count_tokens)
        kept = self.remember_message(composed, messages) if remember else ()
        pieces = backend.stream(composed.messages, max_tokens=max_tokens, temperature=temperature, seed=seed, stop=stop)
        return WriteStream(pieces, replace(_answer(composed, backend.name, start), remembered=kept))

    def compose(self, person: Id | None, messages: Sequence[Message], ask: WriteAsk | None = None, *, count: Any = count_tokens) -> Composed:
        """The conversation with what is known of the person put before it, as any chat model takes it.

        Her memories go to the end of the system message, which is made where there is none, so that the rest stays as it was.
        """
        start, ask = time.perf_counter(), ask or WriteAsk()
        check_messages(messages)
        bare = [dict(one) for one in messages]
        who = None if person is None else person_id(person)
        query = _query(messages)
        if who is None:
            return Composed(bare, fallback="no person", note="nobody is named: everybody's answer")
        if not ask.personal or not ask.k:
            return Composed(bare, person=who, fallback="not personal", note="everybody's answer, as asked")
        if not query:
            return Composed(bare, person=who, fallback="nothing asked", note="the person has written no words: everybody's answer")
        found = self.recall(who, query, ask.k + SPARE)
        if found.fallback == "no consent":
            note = "this person does not allow writing for her: everybody's answer, nothing of hers was used"
            return Composed(bare, person=who, fallback=found.fallback, note=note, seconds=time.perf_counter() - start)
        held = {one.memory.id: why for one in found.memories if (why := _VERDICTS.of(one.memory.text))} if ask.guarded else {}
        free = [one for one in found.memories if one.memory.id not in held][: ask.k]
        if not free:
            fallback = found.fallback or "nothing remembered"
            note = "nothing is remembered of this person" if not held else "what is remembered reads like orders and waits to be looked at"
            return Composed(bare, (), who, held, fallback, f"{note}: everybody's answer", time.perf_counter() - start)
        told = Composer(self.prompt_template or template("personal"), count).compose({"memories": [_line(one) for one in free]}, budget=ask.budget)
        used = tuple(_used(free[one.number], one.cut) for one in told.pieces)
        if not used:
            note = "the budget has no room for a single memory: everybody's answer"
            return Composed(bare, (), who, held, "nothing remembered", note, time.perf_counter() - start)
        text = told.text if ask.delimiting == "quoted" else _unquoted(told, ask.delimiting)
        note = f"{len(used)} of what is remembered" + (f"; {len(held)} held back" if held else "")
        return Composed(_with_system(bare, text), used, who, held, None, note, time.perf_counter() - start)

    def remember_message(
        self, composed: Composed, messages: Sequence[Message], *, confirm: Confirm = "inferred", source: str = "chat"
    ) -> tuple[str, ...]:
        """Keep what the person's last message says of her, as far as she allows; ids of what was added.

        What was put before the model is named to the memory, so that words that only come back are no evidence. `confirm` as in `remember`.
        """
        last = next((one for one in reversed(messages) if one.get("role") == "user"), None)
        if composed.person is None or composed.fallback == "no consent" or last is None or not text_of(last).strip():
            return ()
        said = {"role": "user", "content": text_of(last)[-100_000:]}
        kept = self.remember(composed.person, [said], recalled=[one.id for one in composed.used], confirm=confirm, source=source)
        return tuple(one.id for one in kept.added)

    def _backend(self) -> Backend:
        if self.writer is None:
            raise ConfigError("this engine has nobody who writes", fix='give Engine(..., writer="endpoint:URL#MODEL")')
        if isinstance(self.writer, str):
            from sartor.write.backends import backend

            self.writer = backend(self.writer)
        return self.writer


def _answer(composed: Composed, model: str, start: float) -> WriteAnswer:
    return WriteAnswer(
        "", composed.person, composed.personal, composed.used, composed.held_back, model, composed.fallback, composed.note,
        seconds=time.perf_counter() - start,
    )  # fmt: skip


def _query(messages: Sequence[Message]) -> str:
    """What the person has just written: the end of her last message that has words."""
    for one in reversed(messages):
        if one.get("role") == "user" and (words := " ".join(text_of(one).replace("\0", " ").split())):
            return words.encode("utf-8", "replace").decode()[-LONGEST_QUERY:].strip()
    return ""


def _line(one: Recalled) -> str:
    when = one.memory.time
    return f"{datetime.fromtimestamp(when, UTC):%Y-%m-%d}: {one.memory.text}" if when else one.memory.text


def _unquoted(told: Prompt, delimiting: Delimiting) -> str:
    """The same prompt with people's words as they are."""
    lines = "\n".join(f"- {one.text}" for one in told.pieces)
    head = told.text[: told.text.rindex("<memories>")]
    return f"{head}<memories>\n{lines}\n</memories>" if delimiting == "marked" else head + lines


def _used(one: Recalled, cut: bool) -> Used:
    return Used(one.memory.id, one.memory.text, one.memory.kind, one.score, one.parts, cut)


def _with_system(messages: list[dict[str, Any]], text: str) -> list[dict[str, Any]]:
    """The same conversation with a text at the end of its system message."""
    if messages[0].get("role") not in SYSTEM:
        return [{"role": "system", "content": text}, *messages]
    first = dict(messages[0])
    content = first.get("content")
    first["content"] = [*content, {"type": "text", "text": text}] if isinstance(content, list) else f"{content or ''}\n\n{text}".lstrip()
    return [first, *messages[1:]]
