"""One of 20 levels for each of 10,000 people under a shared budget, against a general solver (HiGHS, by scipy).

Sigmoid satisfaction that is not concave below its middle, so that it is no linear program. Both sides get the same tables; HiGHS as a
mixed-integer program, one binary per person and level, and may stop at a relative gap of 1e-6; ours stops at 1e-9. The quality is the total
satisfaction reached.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

NAME = "allocate-10k"
UNIT = "seconds"
PEER = "scipy"

PEOPLE, LEVELS, BUDGET = 10_000, 20, 15_000.0
SIZE = {"people": PEOPLE, "levels": LEVELS, "budget": BUDGET}


def world() -> tuple[np.ndarray, np.ndarray]:
    """Costs and utilities, float64 [people, levels]."""
    rng = np.random.default_rng(0)
    rates = np.linspace(0.0, 12.0, LEVELS)
    middle, slope, efficiency = rng.uniform(1, 6, (PEOPLE, 1)), rng.uniform(0.6, 3, (PEOPLE, 1)), rng.uniform(0.8, 5.5, (PEOPLE, 1))
    return rates / efficiency, 1 / (1 + np.exp(-slope * (rates - middle)))


def ours() -> dict[str, Any]:
    from sartor.parts.allocation import Allocator

    cost, utility = world()
    Allocator(cost[:50], utility[:50]).within(BUDGET / PEOPLE * 50)
    start = time.perf_counter()
    found = Allocator(cost, utility).within(BUDGET)
    seconds = time.perf_counter() - start
    assert found.exact
    assert found.spent <= BUDGET
    return {"value": seconds, "quality": found.value, "size": SIZE}


def peer() -> dict[str, Any]:
    import scipy.optimize
    import scipy.sparse

    cost, utility = world()
    each = scipy.sparse.kron(scipy.sparse.eye(PEOPLE), np.ones((1, LEVELS)), format="csc")
    budget = scipy.sparse.csc_matrix(cost.ravel()[None])
    limits = [scipy.optimize.LinearConstraint(each, 1, 1), scipy.optimize.LinearConstraint(budget, -np.inf, BUDGET)]
    start = time.perf_counter()
    found = scipy.optimize.milp(
        -utility.ravel(), integrality=np.ones(cost.size), bounds=scipy.optimize.Bounds(0, 1), constraints=limits, options={"mip_rel_gap": 1e-6}
    )
    seconds = time.perf_counter() - start
    assert found.success, found.message
    return {"value": seconds, "quality": float(-found.fun), "size": SIZE}
