"""The metabolic pathway, steered as predator and prey are: reported beside them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import polars as pl

from sartor.data.population import Population
from sartor.data.world.pathway import PULSES, RANGE, Pathway
from sartor.decide.parts.simulator import rollout
from sartor.decide.pathway_control import PathwayControl
from sartor.errors import Infeasible
from sartor.method import State

PATIENTS, OTHERS, SIDE = 3, 6, 50
STEPS, LAST = 240, 100
"""Controlled steps of 25 ticks, and those that count."""


def errors(seed: int) -> dict[str, np.ndarray]:
    """Way of steering -> mean |ln(count / target)| of the last steps, of each patient's agents."""
    seen, strangers = (Pathway.generated(n, whose=whose, seed=chance, side=SIDE) for n, whose, chance in _who(seed))
    frames = [seen.measured(PULSES), strangers.measured(PULSES)]
    method = PathwayControl(seed=seed, fit_steps=50, adapt_steps=25, starts=4).fit(Population.from_frames(events=frames[1]), progress=False)
    both = pl.concat([frames[0], frames[1].with_columns(pl.col("person") + PATIENTS)])
    states = method.adapt_all(Population.from_frames(events=both))
    pool = [states[row] for row in range(PATIENTS + OTHERS)]
    enzymes = np.concatenate([np.asarray(one.enzymes) for one in (seen, strangers)]) / (RANGE[1] - RANGE[0])
    swapped = [pool[int(np.argmax(((enzymes - enzymes[row]) ** 2).sum(1)))] for row in range(PATIENTS)]
    held = np.stack([_held(method, one) for one in pool[:PATIENTS]])

    def by(who: Sequence[State | None]) -> Callable[[np.ndarray], np.ndarray]:
        return lambda counts: method.rates(who, counts)

    arms: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "inflow of 1": lambda counts: np.ones((PATIENTS, 1)), "population, constant": lambda counts: np.tile(method.constant(None), (PATIENTS, 1)),
        "own, constant": lambda counts: held, "population": by([None] * PATIENTS), "own": by(pool[:PATIENTS]), "swapped": by(swapped),
    }  # fmt: skip
    out = {}
    for name, policy in arms.items():
        agents = Pathway.generated(PATIENTS, whose=_who(seed)[0][1], seed=seed + 3, side=SIDE)
        came, _ = rollout(agents, policy, STEPS)
        out[name] = method.distance(came[-LAST:].mean(0))
    return out


def _who(seed: int) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """Of the patients and of the others: how many, whose enzymes, what happens to them."""
    return (PATIENTS, seed, seed + 2), (OTHERS, seed + 1_000, seed + 1)


def _held(method: PathwayControl, state: State) -> np.ndarray:
    try:
        return method.constant(state)
    except Infeasible:
        return np.array([method.limit])
