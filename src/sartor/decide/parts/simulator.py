"""A process that can be run and controlled, whatever is inside: an agent-based model, a queue, a plant."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from sartor.errors import BadValue


class Simulator(Protocol):
    """Several runs at once; its randomness is its own, from a seed given when it is made."""

    @property
    def counts(self) -> np.ndarray:
        """What is seen now, float64 [runs, m]."""
        ...

    def step(self, rates: np.ndarray) -> np.ndarray:
        """One tick under controls [runs, q]; returns `counts` after it."""
        ...


@dataclass(eq=False)
class Stepped:
    """A simulator from any function of one run, such as `model.step` of an agent-based model of mesa."""

    function: Callable[[Any, np.ndarray, np.random.Generator], Any]
    """The next state of a state, controls [q] and a random generator."""
    states: list[Any]
    """One for each run; changed by `step`."""
    seen: Callable[[Any], Sequence[float] | np.ndarray]
    """What is measured of a state, [m]."""
    seed: int = 0

    def __post_init__(self) -> None:
        self._rngs = [np.random.default_rng([self.seed, 113, run]) for run in range(len(self.states))]

    @property
    def counts(self) -> np.ndarray:
        """float64 [runs, m]."""
        out = np.array([self.seen(state) for state in self.states], np.float64)
        if not np.isfinite(out).all():
            raise BadValue("the simulator shows something that is not finite", run=int(np.argwhere(~np.isfinite(out))[0, 0]), fix="mend its function")
        return out

    def step(self, rates: np.ndarray) -> np.ndarray:
        """Every run alone, with its own random numbers."""
        self.states = [self.function(state, rate, rng) for state, rate, rng in zip(self.states, rates, self._rngs, strict=True)]
        return self.counts


def rollout(simulator: Simulator, policy: Callable[[np.ndarray], np.ndarray], ticks: int) -> tuple[np.ndarray, np.ndarray]:
    """What is seen and what was done, float64 [ticks, runs, m] and [ticks, runs, q], under a policy that looks at what was seen last."""
    states, controls = [], []
    for _ in range(ticks):
        controls.append(policy(simulator.counts))
        states.append(simulator.step(controls[-1]))
    return np.stack(states), np.stack(controls)
