"""Many solutions between two objectives, by NSGA-II; and how much of the plane a front covers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from sartor.errors import ConfigError, MissingExtra


def nsga2(
    objectives: Callable[[np.ndarray], np.ndarray], lower: np.ndarray, upper: np.ndarray, *, starts: np.ndarray | None = None, size: int = 60,
    generations: int = 150, seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Solutions none of which is better than another in all objectives: float64 [k, n], and their objectives [k, m], by the first one.

    Parameters
    ----------
    objectives: of solutions [size, n], float64 [size, m], each to be made small.
    lower, upper: float64 [n], what a solution may be.
    starts: float64 [any, n], solutions that the first generation holds; the rest of it is drawn uniformly.
    size, generations: of the population.

    Simulated binary crossover (eta 15, probability 0.9), polynomial mutation (eta 20, one of n), crowding. Without starts it stays far from the
    front where n is above some twenty.

    Source: Deb, Pratap, Agarwal and Meyarivan, A fast and elitist multiobjective genetic algorithm: NSGA-II, 2002; run by pymoo.
    """
    try:
        from pymoo.algorithms.moo.nsga2 import NSGA2
        from pymoo.core.problem import Problem
        from pymoo.operators.crossover.sbx import SBX
        from pymoo.operators.mutation.pm import PM
        from pymoo.optimize import minimize
    except ImportError as missing:
        raise MissingExtra("pymoo", "decide") from missing
    if lower.shape != upper.shape or (lower > upper).any():
        raise ConfigError("the lower bounds are not below the upper ones", fix="give one of each for every variable")
    n = lower.size
    first = np.random.default_rng([seed, n]).uniform(lower, upper, (size, n))
    if starts is not None:
        first[: len(starts)] = np.clip(starts[:size], lower, upper)

    class Asked(Problem):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(n_var=n, n_obj=objectives(first[:1]).shape[1], xl=lower, xu=upper)

        def _evaluate(self, x: np.ndarray, out: dict[str, np.ndarray], *_: object, **__: object) -> None:
            out["F"] = objectives(x)

    algorithm = NSGA2(pop_size=size, sampling=first, crossover=SBX(eta=15, prob=0.9), mutation=PM(eta=20, prob=1.0, prob_var=1 / n))
    found = minimize(Asked(), algorithm, ("n_gen", generations), seed=seed, verbose=False)
    order = np.argsort(found.F[:, 0], kind="stable")
    return np.asarray(found.X[order], np.float64), np.asarray(found.F[order], np.float64)


def hypervolume(points: np.ndarray, reference: np.ndarray) -> float:
    """Area of what points [k, 2] are at least as good as (small is good), up to a reference point that is worse.

    Source: Zitzler and Thiele, 1999; exact for two objectives by one sweep.
    """
    inside = points[(points < reference).all(1)]
    order = np.lexsort((inside[:, 1], inside[:, 0]))
    area, height = 0.0, float(reference[1])
    for one, other in inside[order]:
        if other < height:
            area += (float(reference[0]) - float(one)) * (height - float(other))
            height = float(other)
    return area
