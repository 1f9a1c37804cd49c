"""What a decision says of itself: what was chosen, what it costs, why not more, and what the population's answer would have been."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Alternative:
    """What would have been chosen otherwise."""

    action: Any
    cost: float
    expected: float
    """Of this person, by what is believed of her: not what the alternative itself would have expected."""


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What was chosen for one person."""

    action: Any
    """A level, or rates by name."""
    unit: str
    """Of the action."""
    cost: float
    """Of the shared budget."""
    expected: float
    """What it is believed to be worth to her: satisfaction from 0 to 1, or a cost to be kept low, as the method says."""
    interval: tuple[float, float]
    """Of that, 90 %."""
    target: float | None = None
    """What she was promised, if anything."""
    binding: tuple[str, ...] = ()
    """What kept the action from being another one: "budget", "target", "highest level", ..."""
    state_version: int | None = None
    """Of the state it was made from; None is the population's answer."""
    population: Alternative | None = None
    """What the population's answer would have been under the same budget."""
    note: str = ""


@dataclass(frozen=True, eq=False)
class Decisions(Mapping[Any, Decision]):
    """A decision for each person, and how the budget was shared."""

    of: Mapping[Any, Decision]
    budget: float
    spent: float
    unit: str
    """Of the budget."""
    price: float = 0.0
    """What one more unit of the budget would be worth in total; 0 when the budget does not bind."""
    gap: float | None = 0.0
    """What the total could be better by at most; None where the solver cannot say."""
    refused: Mapping[Any, str] = field(default_factory=dict)
    """Who got nothing, and why."""

    def __getitem__(self, person: Any) -> Decision:
        return self.of[person]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.of)

    def __len__(self) -> int:
        return len(self.of)
