"""The requests about memories, for both clients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

from sartor.serve import memories as out
from sartor.serve.answers import Removed
from sartor.serve.asks import Ask, Id, _get, _part, _person, _plain

T = TypeVar("T")


def _memories(person: Id, rest: str = "") -> str:
    return _person(person, f"/memories{rest}")


def _given(**fields: Any) -> dict[str, Any]:
    return {name: _plain(value) for name, value in fields.items() if value is not None}


def remember(
    person: Id, what: str | Sequence[str | Mapping[str, Any]], *, kind: str | None = None, id: str | None = None,
    time: float | datetime | None = None, recalled: Sequence[str] = (), confirm: str = "inferred",
) -> Ask[out.RememberedOut]:  # fmt: skip
    """Keep a sentence as it is, or what the user says of herself in messages; see `Engine.remember`."""
    body = _given(kind=kind, id=id, time=time, recalled=list(recalled), confirm=confirm)
    if isinstance(what, str):
        body["text"] = what
    else:
        body["messages"] = [{"content": one} if isinstance(one, str) else dict(one) for one in what]
    # Without an id, words said twice may be meant twice; but what is known already is not kept again, so that trying anew does no harm.
    return Ask("POST", _memories(person), out.RememberedOut, json=body)


def memories(
    person: Id, *, kind: str | None = None, history: bool = False, waiting: bool | None = None, limit: int = 100, after: str | None = None
) -> Ask[out.MemoriesOut]:
    """What is remembered, newest first, a page at a time."""
    return _get(_memories(person), out.MemoriesOut, kind=kind, history=history, waiting=waiting, limit=limit, after=after)


def recall(person: Id, query: str, k: int = 5, *, budget_tokens: int | None = None) -> Ask[out.RecollectionOut]:
    """The memories that matter most for a question, and why."""
    return Ask("POST", _memories(person, "/recall"), out.RecollectionOut, json=_given(query=query, k=k, budget_tokens=budget_tokens))


def memory_history(person: Id, memory: str) -> Ask[out.MemoriesOut]:
    """All versions of a memory, newest first."""
    return _get(_memories(person, f"/{_part(memory)}/history"), out.MemoriesOut)


def edit_memory(person: Id, memory: str, text: str | None = None, *, polarity: float | None = None) -> Ask[out.MemoryOut]:
    """Correct a memory."""
    # Not repeated: a second correction would be one more version.
    return Ask("PATCH", _memories(person, f"/{_part(memory)}"), out.MemoryOut, json=_given(text=text, polarity=polarity), repeat=False)


def confirm_memory(person: Id, memory: str, right: bool = True) -> Ask[out.ConfirmedOut]:
    """Say that a memory is right; or wrong, and it is deleted."""
    return Ask("POST", _memories(person, f"/{_part(memory)}/confirm"), out.ConfirmedOut, json={"right": right}, repeat=right)


def forget_memory(person: Id, memory: str) -> Ask[Removed]:
    """Delete a memory for good."""
    return Ask("DELETE", _memories(person, f"/{_part(memory)}"), Removed, repeat=False)


def summarise(person: Id) -> Ask[out.MemoryOut]:
    """Keep a short text of what holds now."""
    return Ask("POST", _memories(person, "/summary"), out.MemoryOut, repeat=False)


def import_memories(person: Id, data: Any, form: str | None = None, *, confirm: str = "inferred") -> Ask[out.RememberedOut]:
    """Take in what mem0 or ChatGPT has exported, as parsed JSON."""
    return Ask("POST", _memories(person, "/import"), out.RememberedOut, json={"data": data, "form": form, "confirm": confirm})


def export_memories(person: Id, form: str = "mem0") -> Ask[out.ExportedOut]:
    """Everything that is remembered, in another system's form."""
    return _get(_memories(person, "/export"), out.ExportedOut, form=form)
