"""Episodes of a household agent: a home, what it is told, what must be true afterwards, and which memory that takes."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Literal

from sartor.data.world.household.scene import Goal, Home
from sartor.errors import BadValue

Stage = Literal["acquisition", "single", "joint"]


@dataclass(frozen=True)
class Episode:
    """One task."""

    id: str
    scene: str
    stage: Stage
    instruction: str
    home: Home
    goal: Goal
    related: tuple[str, ...]
    """Ids of the episodes in which what it presupposes was said; of an acquisition episode, those that presuppose it."""
    type: str
    """"object_semantics" (which thing is meant), "user_pattern" (how she likes things), "combined"."""
    subtypes: tuple[str, ...]
    memory: tuple[str, ...]
    """The knowledge in a sentence, for diagnosis; no agent sees it."""
    targets: tuple[str, ...] = ()
    """Handles of things that only the memory tells apart."""
    distractors: tuple[tuple[str, str], ...] = ()
    """Handle of a thing of the same category, and of the thing that it may be taken for."""

    def __post_init__(self) -> None:
        goal = [one for proposition in self.goal.propositions for one in proposition.things]
        if absent := [one for one in goal if one not in self.home.things]:
            raise BadValue(f"the goal names {absent[0]}, which is not in the home", fix="leave this episode out", episode=self.id)
        if self.type == "object_semantics" and not self.distractors:
            warnings.warn(f"episode {self.id} has no distractors: its caption alone decides", stacklevel=2)

    def done(self, homes: list[Home]) -> tuple[float, bool]:
        """Share of propositions that are true after a course of states, and whether all are."""
        met = self.goal.met(homes)
        return sum(met) / len(met), all(met)
