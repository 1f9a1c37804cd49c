"""Many memories in a few words, with the ids of what they were made from: a summary that outlives its sources would be a leak.

`LeadingSummary` needs no language model: it lists likes, dislikes and facts, newest first, within a budget. A language model's summary is
another `Summariser`; both are kept as memories of kind summary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from sartor.errors import EmptyData
from sartor.write.memory.records import Memory, count_tokens


class Summariser(Protocol):
    """Makes one text of many memories."""

    name: str

    def summarise(self, memories: Sequence[Memory]) -> tuple[str, tuple[str, ...]]:
        """A text, and the ids of the memories that are in it."""


@dataclass(frozen=True)
class LeadingSummary:
    """Lists of likes, dislikes and facts.

    Parameters
    ----------
    budget_tokens: the longest summary.
    """

    budget_tokens: int = 200
    name: str = "lists"

    def summarise(self, memories: Sequence[Memory]) -> tuple[str, tuple[str, ...]]:
        """See `Summariser`; raises `EmptyData` when there is nothing to summarise."""
        parts: dict[str, list[str]] = {"Likes": [], "Dislikes": [], "Facts": []}
        used: list[str] = []
        budget = self.budget_tokens
        for one in sorted((one for one in memories if one.kind in ("fact", "preference")), key=lambda one: -one.time):
            part = "Facts" if one.kind == "fact" or not one.polarity else "Likes" if one.polarity > 0 else "Dislikes"
            phrase = (
                f"{one.subject} {one.value}"
                if one.subject and one.value
                else one.subject
                if one.subject and part != "Facts"
                else one.text.rstrip(".")
            )
            need = count_tokens(f"{phrase}; ")
            if need > budget:
                continue
            budget -= need
            parts[part].append(phrase)
            used.append(one.id)
        if not used:
            raise EmptyData("there is nothing to summarise", fix="remember facts or preferences first")
        return " ".join(f"{part}: {'; '.join(own)}." for part, own in parts.items() if own), tuple(used)


def outdated(summary: Memory, memories: Sequence[Memory], now: float) -> bool:
    """Whether something that a summary was made from is gone, or holds no longer."""
    holding = {one.id for one in memories if one.holds(now)}
    return any(source not in holding for source in summary.made_from)
