"""RPM with a language model that reads and writes: reasons of past cases, checked by answering from them alone, and answers in a fixed schema."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sartor.write.backends import Backend
from sartor.write.parts.language_job import extract
from sartor.write.rpm_answers import Answer, Reason
from sartor.write.rpm_features import Feature

if TYPE_CHECKING:
    from sartor.write.rpm_memory import Memory, Path

_REASONS: dict[str, Any] = {
    "type": "array", "maxItems": 8,
    "items": {
        "type": "object", "required": ["feature", "factor", "direction"], "additionalProperties": False,
        "properties": {"feature": {"type": "string"}, "factor": {"type": "string"}, "direction": {"enum": [-1, 1]}},
    },
}  # fmt: skip
ANSWER: dict[str, Any] = {
    "type": "object", "required": ["reasoning", "answer"], "additionalProperties": False,
    "properties": {"reasoning": _REASONS, "answer": {"type": "string", "minLength": 1}},
}  # fmt: skip
WHY: dict[str, Any] = {
    "type": "object",
    "required": ["reasoning", "why"],
    "additionalProperties": False,
    "properties": {"reasoning": _REASONS, "why": {"type": "string", "minLength": 1, "maxLength": 500}},
}
_TABLE = "The first text is the table of this person's factors, with counts."
ASKED = (
    f"{_TABLE} The others but the last are past cases of hers, with her reasons and answers. The last is a request. Write the reasons that she "
    "would have (feature: phrase of the request, or empty where the factor is missing; factor: its name in the table; direction: 1 for, -1 "
    "against), then the answer that follows, in the form of her answers."
)
EXPLAIN = (
    f"{_TABLE} The second is a request with its features, the third how she answered it. Write why she answered so in terms of her factors, in at "
    "most 80 tokens, without quoting the answer."
)
AGAIN = (
    "The first text is a request, the second the reasons of a person. Which answer follows from the reasons? Answer in the form of the third text."
)


def reasons(writer: Backend, memory: Memory, rows: np.ndarray) -> list[tuple[Path | None, str]]:
    """A path for each case, and why in words; None where it cannot be read, or another answer follows from it than she gave."""
    table = "\n".join(memory.factors.lines(rows))
    names = {memory.factors.names[at]: int(at) for at in rows}
    explain, again = extract(writer, EXPLAIN, schema=WHY), extract(writer, AGAIN, schema=ANSWER)
    forms = " | ".join(sorted({one.answer for one in memory.items})[:8])
    out: list[tuple[Path | None, str]] = []
    for at, one in enumerate(memory.items):
        phrases = ", ".join(memory.phrases[phrase] for phrase in memory.phrases_of(at))
        found = explain.one([table, f"{one.request}\nfeatures: {phrases}", one.answer])
        if found.error is not None:
            out.append((None, ""))
            continue
        path = tuple((names[step["factor"]], step["direction"]) for step in found.value["reasoning"] if step["factor"] in names)
        told = again.one([one.request, found.value["why"], forms])
        follows = told.error is None and told.value["answer"].strip().casefold() == one.answer.strip().casefold()
        out.append((path, found.value["why"]) if follows and path else (None, ""))
    return out


def answer(
    writer: Backend, request: str, memory: Memory | None, found: Sequence[Feature], shown: Sequence[int], rows: np.ndarray, flags: tuple[str, ...]
) -> Answer:
    """The model's answer, with the reasons that cite her table; raises `BadAnswer` where it cannot be read."""
    texts = ["nothing is known of her" if memory is None or not len(rows) else "\n".join(memory.factors.lines(rows))]
    if memory is not None:
        texts += [f"{one.request}\nreasons: {one.why or 'unknown'}\nanswer: {one.answer}" for one in (memory.items[at] for at in shown)]
    phrases = ", ".join(phrase for phrase, _ in found)
    made = extract(writer, ASKED, schema=ANSWER).must([*texts, f"{request}\nfeatures: {phrases}"])
    names = {memory.factors.names[at] for at in rows} if memory is not None else set[str]()
    kept = tuple(Reason(step["feature"], step["factor"], step["direction"]) for step in made["reasoning"] if step["factor"] in names)
    uncited = ("uncited",) if len(kept) < len(made["reasoning"]) else ()
    items = tuple(memory.items[at].id for at in shown) if memory is not None else ()
    return Answer(made["answer"], float("nan"), kept, items, (*flags, *uncited))
