"""What people chose over what, as triples: a question, the answer preferred and the one not."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

import polars as pl

from sartor.errors import BadValue

if TYPE_CHECKING:
    from sartor.data.population import Evidence, Population


class Choice(NamedTuple):
    """This one, not that one."""

    prompt: str
    """The question; empty when nothing is known of it."""
    chosen: str
    rejected: str


def choices_of(evidence: Evidence) -> list[Choice]:
    """One person's choices, oldest first; contradicted ones are left out with a warning.

    Raises `BadValue` for a row that is somebody else's, lacks an answer, or has the same one twice.
    """
    if "preferences" not in evidence.frames:
        return []
    frame = evidence.frames["preferences"]
    if "person" in frame.columns and evidence.person is not None:
        others = frame.filter(pl.col("person").is_not_null() & (pl.col("person").cast(pl.String) != str(evidence.person)))["person"]
        if others.len():
            raise BadValue(f"choices of {others[0]!r} among those of {evidence.person!r}", fix="give each person's own only", column="person")
    kept, contrary = settled(_rows(frame))
    _warn(contrary)
    return kept


def by_person(population: Population) -> dict[Any, list[Choice]]:
    """Everybody's choices, oldest first, by person in the order of their ids."""
    parts = population.preferences.collect().filter(pl.col("person").is_not_null()).partition_by("person", as_dict=True, maintain_order=True)
    out, contrary = {}, 0
    for (person,), rows in sorted(parts.items()):
        out[person], found = settled(_rows(rows))
        contrary += found
    _warn(contrary)
    return out


def population_choices(population: Population) -> list[Choice]:
    """All of them."""
    return [one for own in by_person(population).values() for one in own]


def settled(rows: list[Choice]) -> tuple[list[Choice], int]:
    """A person's choices, oldest first, without those that a later one contradicts (A over B, then B over A), and how many these were."""
    last = {_both(one): one.chosen for one in rows}
    kept = [one for one in rows if last[_both(one)] == one.chosen]
    return kept, len(rows) - len(kept)


def _both(one: Choice) -> tuple[str, frozenset[str]]:
    return one.prompt, frozenset((one.chosen, one.rejected))


def _warn(contrary: int) -> None:
    if contrary:
        warnings.warn(f"{contrary} choices contradict an earlier one of the same person; the later ones count", stacklevel=3)


def _rows(frame: pl.DataFrame) -> list[Choice]:
    """Oldest first; raises `BadValue` with the row's number where an answer is missing, or both are the same."""
    for what, wrong in (
        ("an answer is missing", frame["chosen"].is_null() | frame["rejected"].is_null()),
        ("the chosen answer is the rejected one", frame["chosen"] == frame["rejected"]),
    ):
        if wrong.any():
            raise BadValue(what, fix="leave the row out: it says nothing", row=wrong.arg_true()[0])
    frame = frame.sort("time", maintain_order=True, nulls_last=False) if "time" in frame.columns else frame
    prompts = frame["prompt"].fill_null("").to_list() if "prompt" in frame.columns else [""] * frame.height
    return [Choice(*row) for row in zip(prompts, frame["chosen"].to_list(), frame["rejected"].to_list(), strict=True)]
