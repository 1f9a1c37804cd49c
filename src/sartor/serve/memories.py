"""Memories as the API takes and gives them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import Path
from pydantic import Field, FiniteFloat, JsonValue, StrictBool, StringConstraints, model_validator

from sartor.serve.answers import Out, iso
from sartor.serve.schemas import ID_LENGTH, In, Time

if TYPE_CHECKING:
    from sartor.engine.memory import Recollection, Remembered
    from sartor.write.memory import Memory

Kind = Literal["fact", "preference", "summary", "message"]
Form = Literal["mem0", "chatgpt"]
Confirm = Literal["never", "inferred", "always"]
MemoryPath = Annotated[str, Path(min_length=1, max_length=ID_LENGTH)]
MemoryId = Annotated[str, StringConstraints(min_length=1, max_length=300)]
Sentence = Annotated[str, StringConstraints(min_length=1, max_length=8_000)]
Content = Annotated[str, StringConstraints(max_length=1_000_000)]


class PartIn(In):
    """A part of a message that has several."""

    type: Literal["text"]
    text: Content


class MessageIn(In):
    """One message of a chat; only those of the user are read."""

    role: Literal["user", "assistant", "system", "developer", "tool"] = "user"
    content: Content | list[PartIn] | None
    id: MemoryId | None = None
    time: Time | None = None


class RememberIn(In):
    text: Sentence | None = None
    """A sentence to be kept as it is."""
    messages: Annotated[list[MessageIn], Field(max_length=500)] | None = None
    """Instead: messages, out of which the user's statements about herself are taken."""
    kind: Kind | None = None
    id: MemoryId | None = None
    """The same id again adds nothing."""
    time: Time | None = None
    recalled: Annotated[list[MemoryId], Field(max_length=100)] = []
    """Memories that were in front of the speaker: what only repeats them is not kept."""
    confirm: Confirm = "inferred"
    """Which extracted memories wait for the person's word."""

    @model_validator(mode="after")
    def _one(self) -> RememberIn:
        if (self.text is None) == (self.messages is None):
            raise ValueError("give either text or messages")
        return self


class RecallIn(In):
    query: Sentence
    k: Annotated[int, Field(strict=True, ge=1, le=100)] = 5
    budget_tokens: Annotated[int, Field(strict=True, ge=1, le=1_000_000)] | None = None


class EditIn(In):
    text: Sentence | None = None
    polarity: Annotated[FiniteFloat, Field(ge=-1, le=1)] | None = None

    @model_validator(mode="after")
    def _something(self) -> EditIn:
        if self.text is None and self.polarity is None:
            raise ValueError("give text or polarity")
        return self


class ConfirmIn(In):
    right: StrictBool = True
    """False: it is wrong, and is deleted."""


class ImportIn(In):
    form: Form | None = None
    """Null looks."""
    data: JsonValue
    """What mem0's get_all gives, or conversations.json of a ChatGPT export."""
    confirm: Confirm = "inferred"


class MemoryOut(Out):
    id: str
    text: str
    kind: str
    time: str
    polarity: float
    """-1 dislikes .. 1 likes."""
    subject: str | None
    value: str | None
    source: str
    confirmed: bool
    valid_from: str | None
    valid_to: str | None
    """Since when something newer holds."""
    recalled_from: list[str]
    made_from: list[str]
    version: int
    change: str


class MemoriesOut(Out):
    items: list[MemoryOut]
    next: str | None


class RememberedOut(Out):
    added: list[MemoryOut]
    known: list[MemoryOut]
    """They said it already."""
    replaced: list[MemoryOut]
    """They no longer hold."""


class RecalledOut(Out):
    memory: MemoryOut
    score: float
    parts: dict[str, float]
    """What each part adds to the score."""


class RecollectionOut(Out):
    person: str
    query: str
    memories: list[RecalledOut]
    fallback: str | None
    seconds: float


class ConfirmedOut(Out):
    memory: MemoryOut | None
    """Null: it was wrong and is deleted."""


class ExportedOut(Out):
    form: str
    data: JsonValue


def memory(one: Memory) -> dict[str, Any]:
    """One memory."""
    return {
        "id": one.id, "text": one.text, "kind": one.kind, "time": iso(one.time), "polarity": one.polarity, "subject": one.subject,
        "value": one.value, "source": one.source, "confirmed": one.confirmed, "valid_from": iso(one.valid_from), "valid_to": iso(one.valid_to),
        "recalled_from": list(one.recalled_from), "made_from": list(one.made_from), "version": one.version, "change": one.change,
    }  # fmt: skip


def remembered(given: Remembered) -> dict[str, Any]:
    """What became of something that was told."""
    return {name: [memory(one) for one in getattr(given, name)] for name in ("added", "known", "replaced")}


def recollection(given: Recollection) -> dict[str, Any]:
    """What was recalled, and why."""
    return {
        "person": given.person, "query": given.query, "fallback": given.fallback, "seconds": given.seconds,
        "memories": [{"memory": memory(one.memory), "score": one.score, "parts": one.parts} for one in given.memories],
    }  # fmt: skip
