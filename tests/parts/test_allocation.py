"""Budgets shared among many: equal to trying everything, to a general solver, and honest about what cannot be."""

import itertools

import numpy as np
import pytest
import scipy.optimize
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st

from sartor.errors import BadValue, ConfigError, Infeasible
from sartor.parts.allocation import Allocator, cheapest


@given(st.integers(0, 10_000), st.booleans())
@settings(max_examples=60, deadline=None)
def test_it_is_the_best_of_all(seed, whole):
    """Every combination is tried; ties and equal costs come with whole numbers."""
    rng = np.random.default_rng(seed)
    n, levels = rng.integers(1, 6, 2)
    cost, utility = (rng.integers(0, 10, (n, levels)).astype(float) if whole else 10 * rng.random((n, levels)) for _ in range(2))
    allowed = rng.random((n, levels)) < 0.8
    allowed[:, 0] = True
    budget = np.where(allowed, cost, np.inf).min(1).sum() + 20 * rng.random()
    target = np.where(allowed, utility, -np.inf).max(1).sum() - 10 * rng.random()
    rows = range(n)
    every = list(itertools.product(*(np.flatnonzero(one) for one in allowed)))
    totals = np.array([(sum(cost[i, one[i]] for i in rows), sum(utility[i, one[i]] for i in rows)) for one in every])
    found = Allocator(cost, utility, allowed).within(budget, tolerance=0.0)
    assert found.spent <= budget + 1e-9
    assert found.value == pytest.approx(totals[totals[:, 0] <= budget, 1].max(), abs=1e-9)
    assert found.gap < 1e-9
    bought = cheapest(cost, utility, target, allowed, tolerance=0.0)
    assert bought.value >= target - 1e-9
    assert bought.spent == pytest.approx(totals[totals[:, 1] >= target, 0].min(), abs=1e-9)


def test_people_who_are_alike_are_not_split_without_end(monkeypatch):
    """Each split moves the gap to another one of them."""
    tried = []
    whole = Allocator._relaxed
    monkeypatch.setattr(Allocator, "_relaxed", lambda self, *more: tried.append(0) or whole(self, *more))
    rates = np.tile(np.linspace(0, 10, 100), (50, 1))
    found = Allocator(rates, 1 / (1 + np.exp(-1.3 * (rates - 3.5)))).within(25.0)
    assert found.spent <= 25.0
    assert found.gap < 0.02
    assert len(tried) < 100


@pytest.mark.filterwarnings("error")
def test_without_a_budget_everybody_gets_the_best():
    cost, utility = _curves(0, 20, 12)
    found = Allocator(cost, utility).within(np.inf)
    assert (found.choice == utility.argmax(1)).all()
    assert (found.price, found.gap) == (0.0, 0.0)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_general_solver_agrees(seed):
    """Sigmoid utilities (not concave below their middle) of 60 people with 12 levels: HiGHS, run to no gap."""
    cost, utility = _curves(seed, 60, 12)
    budget = 0.4 * cost.max(1).sum()
    n, levels = cost.shape
    each = scipy.sparse.kron(scipy.sparse.eye(n), np.ones((1, levels)))
    solved = scipy.optimize.milp(
        -utility.ravel(), integrality=np.ones(n * levels), bounds=scipy.optimize.Bounds(0, 1), options={"mip_rel_gap": 0.0},
        constraints=[scipy.optimize.LinearConstraint(each, 1, 1), scipy.optimize.LinearConstraint(cost.ravel()[None], -np.inf, budget)],
    )  # fmt: skip
    found = Allocator(cost, utility).within(budget)
    assert found.exact
    assert found.value == pytest.approx(-solved.fun, rel=1e-7)


def test_fine_grids_are_closed_too():
    """40 people with 400 levels: the jump over the convex part leaves a gap that only many small changes close."""
    cost, utility = _curves(5, 40, 400)
    found = Allocator(cost, utility).within(60.0)
    assert found.exact
    assert found.spent <= 60 + 1e-9
    assert found.bound - found.value < 1e-6


def test_costs_in_whole_steps_are_closed():
    """A budget between two sums of steps: what cannot be spent is no gap, and the budget is kept."""
    _, utility = _curves(7, 12, 300)
    cost = np.tile(np.linspace(0, 9.97, 300), (12, 1))
    found = Allocator(cost, utility).within(40.0)
    assert found.exact
    assert 40 - 9.97 / 299 < found.spent <= 40


def test_prices():
    """A front is monotone; the multiplier is what one more unit brings; a warm start changes nothing; enough budget has no price."""
    cost, utility = _curves(3, 200, 60)
    allocator = Allocator(cost, utility)
    spent, worth = allocator.front(np.geomspace(1e-3, 10, 30))
    assert (np.diff(spent) <= 0).all()
    assert (np.diff(worth) <= 0).all()
    few, more = allocator.within(300.0), allocator.within(303.0)
    assert few.price == pytest.approx((more.value - few.value) / 3, rel=0.05)
    warm = allocator.within(303.0, start=few.price)
    assert warm.value == pytest.approx(more.value, abs=1e-7)
    rich = allocator.within(1e6)
    assert rich.price == 0
    assert rich.exact
    np.testing.assert_array_equal(rich.choice, utility.argmax(1))


def test_bad_input():
    cost, utility = _curves(0, 3, 5)
    with pytest.raises(Infeasible, match="least") as small:
        Allocator(cost + 1, utility).within(2.0)
    assert small.value.where["least"] == pytest.approx(3.0)
    with pytest.raises(Infeasible, match="most"):
        cheapest(cost, utility, 4.0)
    with pytest.raises(BadValue, match="row 1"):
        Allocator(np.where(np.arange(3)[:, None] == 1, -1.0, cost), utility)
    with pytest.raises(BadValue, match=r"row 2.*allowed"):
        Allocator(cost, utility, np.arange(3)[:, None] < np.full((3, 5), 2))
    with pytest.raises(ConfigError, match="utilities"):
        Allocator(cost, utility[:, :2])
    with pytest.raises(ConfigError, match="nan"):
        Allocator(cost, utility).within(float("nan"))


def _curves(seed, n, levels):
    rng = np.random.default_rng([seed, 9])
    rates = np.linspace(0, 12, levels)
    middle, slope, efficiency = rng.uniform(1, 6, (n, 1)), rng.uniform(0.6, 3, (n, 1)), rng.uniform(0.8, 5.5, (n, 1))
    return rates / efficiency, 1 / (1 + np.exp(-slope * (rates - middle)))
