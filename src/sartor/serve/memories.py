"""Memories as the API gives them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import JsonValue

from sartor.serve.answers import Out, iso

if TYPE_CHECKING:
    from sartor.engine.memory import Recollection
    from sartor.engine.memory_keeping import Remembered
    from sartor.write.memory import Memory


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
