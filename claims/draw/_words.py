"""What the checks of methods that learn words share: subjects, seeds, arms, tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from sartor.data.world.shapes import FAMILIES, ShapesWorld, Subject
from sartor.data.world.shapes.prompts import Prompts, concept_prompts
from sartor.draw._base import ConceptMethod
from sartor.evaluate.drawing import NAME, Measured, concepts
from sartor.parts.statistics import bootstrap

_ALL = concept_prompts(NAME)
HALF = Prompts(_ALL.texts[::2], _ALL.edits[::2])
"""24 of the 48 prompts: the CPU time of a check is that of drawing."""


def subjects(world: ShapesWorld, seed: int, count: int = 2) -> list[Subject]:
    """Of one family, another at every seed, and no individual at two seeds."""
    return world.subjects(count, noun=FAMILIES[seed % len(FAMILIES)], start=2 * seed)


def run(
    methods: Mapping[str, ConceptMethod], world: ShapesWorld, seeds: Sequence[int], *, progress: bool, **settings: Any
) -> dict[str, list[Measured]]:
    """Every arm with the two subjects of every seed, in the order of seeds; `settings` are those of `concepts`."""
    arms: dict[str, list[Measured]] = {name: [] for name in methods}
    kept: dict[Any, np.ndarray] = {}
    for seed in seeds:
        for name, method in methods.items():
            made = concepts(method, world, subjects(world, seed), seed=seed, kept=kept, **settings)
            arms[name] += made
            if progress:
                figures = {key: round(float(np.mean([one.figures[key] for one in made])), 3) for key in made[0].figures}
                print(seed, name, figures, flush=True)
    return arms


def best_rate(
    make: Callable[[float], ConceptMethod], world: ShapesWorld, rates: Sequence[float] = (5e-3, 2e-2, 6e-2)
) -> tuple[float, dict[str, float]]:
    """The rate with which a baseline is most alike, on a subject that no check is about, and the subject score of each."""
    other = world.subjects(1, noun="critter", start=100)
    scores = {rate: concepts(make(rate), world, other, seed=100, prompts=HALF)[0].figures["subject"] for rate in rates}
    return max(scores, key=scores.__getitem__), {str(rate): score for rate, score in scores.items()}


def over(made: Sequence[Measured], figure: str) -> np.ndarray:
    """One figure of each subject."""
    return np.array([one.figures[figure] for one in made])


def by_seed(values: np.ndarray) -> np.ndarray:
    """Means of the two subjects of each seed."""
    means: np.ndarray = np.asarray(values).reshape(-1, 2).mean(1)
    return means


def table(arms: Mapping[str, Sequence[Measured]]) -> dict[str, dict[str, Any]]:
    """Arm -> figure -> its mean, and its value for each subject where it is compared."""
    return {
        arm: {name: float(over(made, name).mean()) for name in made[0].figures}
        | {f"{name}, each": over(made, name).round(4).tolist() for name in ("subject", "prompt", "joint")}
        for arm, made in arms.items()
    }


def scales(made: Sequence[Measured]) -> dict[str, Any]:
    """The three scales of an outcome, of the subject score."""
    return {
        "gain": float(over(made, "gain").mean()), "gain_interval": bootstrap(over(made, "gain")).tolist(),
        "swap_gap": float(over(made, "swap_gap").mean()), "swap_gap_interval": bootstrap(over(made, "swap_gap")).tolist(),
        "state_bytes": float(over(made, "bytes").mean()), "adapt_seconds": float(over(made, "adapt_seconds").mean()),
    }  # fmt: skip
