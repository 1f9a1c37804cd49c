"""Things of a state ready to be drawn, and how a batch of prompts is drawn with them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from torch import Tensor

from sartor.draw.parts.tap import Slots
from sartor.draw.parts.tokens import Concept

Strength = float | Mapping[str, float]
"""How much learned weights count: of all things, or of each by its word; 1 is as learned, also of things that are not named."""


def strength_of(strength: Strength, name: str) -> float:
    """Of one thing."""
    return strength.get(name, 1.0) if isinstance(strength, Mapping) else strength


class Taught(NamedTuple):
    """One thing of a state, ready to be drawn."""

    class_word: str
    tensors: dict[str, Tensor]

    def concept(self, name: str, rows: str = "rows") -> Concept:
        """Its learned word."""
        return Concept(name, self.tensors[rows])

    def changes(self, prefix: str = "weights.") -> dict[str, Tensor]:
        """What was learned of the denoiser's weights."""
        return {key.removeprefix(prefix): value for key, value in self.tensors.items() if key.startswith(prefix)}


@dataclass(kw_only=True, eq=False)
class Plan:
    """How a batch of prompts is drawn."""

    context: Tensor
    """float [n, T, d]."""
    slots: Slots | None = None
    inside: AbstractContextManager[Any] = field(default_factory=nullcontext)
    """Entered while it is drawn."""
    options: dict[str, Any] = field(default_factory=dict)
    """Further arguments of `sampler.sample`."""
