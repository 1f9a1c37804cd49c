"""One of 5 levels for each of 10,000 people under a shared budget, against a general solver (HiGHS, by scipy).

Sigmoid satisfaction that is not concave below its middle, so that it is no linear program. Both sides get the same tables; HiGHS as a
mixed-integer program, one binary per person and level. Both may stop when a relative gap of 1e-6 is proved. The quality is the total
satisfaction reached. `size` has our own seconds with 20 levels as well: there HiGHS had found no allocation at all after 100 seconds of the
processor.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

NAME = "allocate-10k"
UNIT = "seconds"
PEER = "scipy"

PEOPLE, LEVELS, BUDGET = 10_000, 5, 15_000.0
GAP = 1e-6
MORE = 20
"""Levels of ours alone."""
SIZE = {"people": PEOPLE, "levels": LEVELS, "budget": BUDGET}


def world(levels: int = LEVELS) -> tuple[np.ndarray, np.ndarray]:
    """Costs and utilities, float64 [people, levels]."""
    rng = np.random.default_rng(0)
    rates = np.linspace(0.0, 12.0, levels)
    middle, slope, efficiency = rng.uniform(1, 6, (PEOPLE, 1)), rng.uniform(0.6, 3, (PEOPLE, 1)), rng.uniform(0.8, 5.5, (PEOPLE, 1))
    return rates / efficiency, 1 / (1 + np.exp(-slope * (rates - middle)))


def ours() -> dict[str, Any]:
    from sartor.parts.allocation import Allocator

    cost, utility = world()
    Allocator(cost[:50], utility[:50]).within(BUDGET / PEOPLE * 50)
    seconds, value = [], 0.0
    for levels in (MORE, LEVELS):
        tables = world(levels)
        start = time.perf_counter()
        found = Allocator(*tables).within(BUDGET, tolerance=GAP)
        seconds.append(time.perf_counter() - start)
        # What is said to be exact is, by the tolerance that was given.
        assert found.exact
        assert found.spent <= BUDGET
        value = found.value
    return {"value": seconds[1], "quality": value, "size": SIZE | {f"seconds with {MORE} levels": round(seconds[0], 4)}}


def peer() -> dict[str, Any]:
    import scipy.optimize
    import scipy.sparse

    cost, utility = world()
    each = scipy.sparse.kron(scipy.sparse.eye(PEOPLE), np.ones((1, LEVELS)), format="csc")
    budget = scipy.sparse.csc_matrix(cost.ravel()[None])
    limits = [scipy.optimize.LinearConstraint(each, 1, 1), scipy.optimize.LinearConstraint(budget, -np.inf, BUDGET)]
    start = time.perf_counter()
    found = scipy.optimize.milp(
        -utility.ravel(), integrality=np.ones(cost.size), bounds=scipy.optimize.Bounds(0, 1), constraints=limits, options={"mip_rel_gap": GAP}
    )
    seconds = time.perf_counter() - start
    assert found.success, found.message
    return {"value": seconds, "quality": float(-found.fun), "size": SIZE}
