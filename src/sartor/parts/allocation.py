"""One level for each of many under a shared budget, at most total utility: the multiple-choice knapsack, exactly.

For every one of n there are L levels with a cost and a utility. Given a price of the budget the problem falls apart: each takes the level of
most utility - price * cost, which lies on the upper concave envelope of its levels. The price at which the budget is used up is found by
bisection. The little that is left is closed exactly: steps that still fit are taken, a search with dominance goes through the few levels whose
loss against that price is small enough to matter, and where that is too many, the levels of the one who would get a share of a step are split
in two and both halves are solved again.

Source: Everett, Generalized Lagrange multiplier method, Operations Research 1963 (prices); Pisinger, A minimal algorithm for the
multiple-choice knapsack problem, EJOR 1995 (a core of few levels, searched with dominance).
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import numpy as np

from sartor.errors import BadValue, ConfigError, Infeasible
from sartor.parts import _allocation_core as core

BISECTIONS = 64
WIDTHS = (100, 2_000)
"""Partial answers that the search for the last bit keeps, the narrow search first: a better answer leaves fewer levels to the next."""
MATTER = 5
"""Levels per person, on average, up to which they are few enough to be searched: until then problems are split in two."""
MOST = 2_000
"""The same of all together."""
NODES = 300
"""Problems that may be split in two; what gap remains after them is said."""
STILL = 20
"""Splits after which a bound that has not moved at all is taken to stay where it is."""


@dataclass(frozen=True, eq=False)
class Allocation:
    """A level for each, and what it is worth."""

    choice: np.ndarray
    """int64 [n], numbers of levels."""
    value: float
    """Total utility."""
    spent: float
    """Total cost."""
    price: float
    """Utility that one more unit of the budget would bring (the multiplier); 0 when the budget does not bind."""
    bound: float
    """No allocation within the budget is worth more."""
    tolerance: float
    """Relative to the value; a smaller gap is none."""

    @property
    def gap(self) -> float:
        """What an allocation could be better by at most."""
        return max(0.0, self.bound - self.value)

    @property
    def exact(self) -> bool:
        """Whether none is better."""
        return self.gap <= self.tolerance * max(1.0, abs(self.value))


@dataclass(frozen=True, eq=False)
class _Relaxed:
    """What a problem would be if steps could be shared."""

    vertex: np.ndarray
    choice: np.ndarray
    price: float
    slack: float
    bound: float
    split: tuple[int, float] | None
    """Who would get a share of a step, and what the level that it leads to costs."""
    budget: float


class Allocator:
    """Costs and utilities of a set of people, ready for any number of prices and budgets.

    Parameters
    ----------
    cost, utility: float [n, L], each person's levels in any order; costs may not be negative.
    allowed: bool [n, L], which levels may be given; at least one to each. None is all.

    Raises `BadValue` with the row for numbers that are not finite, negative costs, or nothing allowed.
    """

    def __init__(self, cost: np.ndarray, utility: np.ndarray, allowed: np.ndarray | None = None) -> None:
        self.cost, self.utility = (np.ascontiguousarray(one, np.float64) for one in (cost, utility))
        if self.cost.ndim != 2 or self.cost.shape != self.utility.shape or 0 in self.cost.shape:
            raise ConfigError(f"costs are {self.cost.shape}, utilities {self.utility.shape}", fix="give one of each for every person and level")
        self.allowed = np.ones(self.cost.shape, bool) if allowed is None else np.ascontiguousarray(allowed, bool)
        for name, wrong in (
            ("a cost is negative or not finite", ~(np.isfinite(self.cost) & (self.cost >= 0)) & self.allowed),
            ("a utility is not finite", ~np.isfinite(self.utility) & self.allowed),
            ("no level is allowed", np.broadcast_to(~self.allowed.any(1, keepdims=True), self.cost.shape)),
        ):
            if wrong.any():
                raise BadValue(name, row=int(np.flatnonzero(wrong.any(1))[0]), fix="give every person at least one level with finite numbers")
        order = np.argsort(np.where(self.allowed, self.cost, np.inf), axis=1, kind="stable")
        self._ends, self._level, self._slope = core.envelopes(self.cost, self.utility, self.allowed, order)
        self._unit = _common(self.cost[self.allowed])
        self.least = float(self._at(self._level[self._ends[:-1]], self.cost).sum())
        """The smallest budget that gives everybody something."""

    def at_price(self, price: float) -> np.ndarray:
        """int64 [n]: the level of most utility - price * cost; the cheapest of equal ones."""
        return self._level[core.vertices(self._ends, self._slope, float(price))]

    def front(self, prices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Total cost and total utility, float64 [prices] each, at each price: the supported points of the trade-off."""
        choices = [self.at_price(price) for price in prices]
        return np.array([self._at(one, self.cost).sum() for one in choices]), np.array([self._at(one, self.utility).sum() for one in choices])

    def within(self, budget: float, *, start: float | None = None, tolerance: float = 1e-9, nodes: int = NODES) -> Allocation:
        """The allocation of most utility that costs at most `budget`.

        Parameters
        ----------
        start: a price to begin at, such as that of a moment ago.
        tolerance: an answer this close to the bound, relative to its value, is taken as the best.
        nodes: see `NODES`.

        Raises `Infeasible` with the least budget.
        """
        if not budget >= 0:
            raise ConfigError(f"the budget is {budget}", fix="give a number not below 0")
        if self.least > budget * (1 + 1e-12):
            raise Infeasible(f"the budget {budget:g} is below {self.least:g}, the least that gives everybody something", least=self.least,
                             fix=f"give at least {self.least:g}, or leave somebody out")  # fmt: skip
        # More than all that there is to have is as good as no bound, and stays a number that can be multiplied.
        budget = min(budget, 2 * float(np.where(self.allowed, self.cost, 0.0).max(1).sum()))
        if self._unit:
            # Of whole steps only so many can be spent: a bound on what cannot be is never reached.
            budget = min(budget, self._unit * np.floor(budget / self._unit + 1e-9) + 1e-9 * self._unit)
        root = self._relaxed(budget, start)
        choice, value = root.choice, float(self._at(root.choice, self.utility).sum())
        small = tolerance * max(1.0, abs(value))
        # Problems with the most to gain first; the number settles ties.
        waiting, number, bound = [(-root.bound, 0, self, root)], 0, value
        while waiting:
            _, _, part, node = heapq.heappop(waiting)
            # Among people who are alike, another one takes the split each time: then splitting leads nowhere.
            stuck = number >= 2 * STILL and root.bound - node.bound <= 1e-12 * max(1.0, abs(root.bound))
            if node.bound <= value + small or number >= 2 * nodes or stuck:
                bound = max(bound, node.bound)
                break
            better, missed = part._closed(node, value, small)
            if better is not None:
                choice, value = better, float(self._at(better, self.utility).sum())
            if missed <= value + small or node.split is None:
                bound = max(bound, missed)
                continue
            who, cost = node.split
            for half in (self.cost[who] < cost, self.cost[who] >= cost):
                allowed = part.allowed.copy()
                allowed[who] &= half
                smaller = Allocator(self.cost, self.utility, allowed)
                if smaller.least <= budget:
                    number += 1
                    heapq.heappush(waiting, (-(found := smaller._relaxed(budget, node.price)).bound, number, smaller, found))
        return Allocation(choice, value, float(self._at(choice, self.cost).sum()), root.price, max(bound, value), tolerance)

    def _at(self, choice: np.ndarray, table: np.ndarray) -> np.ndarray:
        return np.take_along_axis(table, choice[:, None], 1)[:, 0]

    def _relaxed(self, budget: float, start: float | None) -> _Relaxed:
        """The best choice on the envelopes that fits, the price at which the next step would not fit, and what is left of the budget."""
        steep = float(self._slope[np.isfinite(self._slope)].max(initial=0.0))
        low, high = 0.0, 2 * steep + 1e-300
        if core.spent(self._ends, self._level, self._slope, self.cost, low) <= budget:
            vertex = core.vertices(self._ends, self._slope, 0.0)
            return self._node(vertex, 0.0, budget, None)
        for turn in range(BISECTIONS):
            middle = (low + high) / 2
            if turn < 3 and start is not None and low < (near := start * (1.0, 1.05 if low >= start else 0.95, 0.8)[turn]) < high:
                middle = near  # prices move little from one moment to the next
            if core.spent(self._ends, self._level, self._slope, self.cost, middle) <= budget:
                high = middle
            else:
                low = middle
            if high - low <= 1e-15 * high:
                break
        vertex = core.vertices(self._ends, self._slope, high)
        spent = float(self._at(self._level[vertex], self.cost).sum())
        # Steps between the two prices, steepest first, as long as they fit; the first that does not sets the price.
        last = core.vertices(self._ends, self._slope, low)
        steps = np.concatenate([np.arange(one + 1, end + 1) for one, end in zip(vertex[last > vertex], last[last > vertex], strict=True)])
        owner = np.searchsorted(self._ends, steps, side="right") - 1
        for step, who in sorted(zip(steps.tolist(), owner.tolist(), strict=True), key=lambda one: (-self._slope[one[0]], one[0])):
            more = self.cost[who, self._level[step]] - self.cost[who, self._level[vertex[who]]]
            if spent + more > budget:
                return self._node(vertex, float(self._slope[step]), budget, (who, step))
            vertex[who], spent = step, spent + more
        return self._node(vertex, low, budget, None)

    def _node(self, vertex: np.ndarray, price: float, budget: float, split: tuple[int, int] | None) -> _Relaxed:
        choice = self._level[vertex]
        slack = budget - float(self._at(choice, self.cost).sum())
        bound = float(self._at(choice, self.utility).sum()) + price * slack
        shared = None if split is None else (split[0], float(self.cost[split[0], self._level[split[1]]]))
        return _Relaxed(vertex, choice, price, slack, bound, shared, budget)

    def _closed(self, node: _Relaxed, value: float, small: float) -> tuple[np.ndarray | None, float]:
        """A choice worth more than `value`, if one is found, and a bound on all that this problem holds.

        The loss of a choice is what its levels lose at the price, and the price of what it leaves unspent; both are never negative.
        """
        price, slack, rows = node.price, node.slack, np.arange(node.choice.size)
        worth = np.where(self.allowed, self.utility - price * self.cost, -np.inf)
        loss = np.maximum(worth[rows, node.choice][:, None] - worth, 0.0)
        extra = self.cost - self.cost[rows, node.choice][:, None]
        best, choice = node.bound - value, None
        # One person's level changed is often all that is needed.
        alone = np.where(self.allowed & (extra <= slack), loss + price * (slack - extra), np.inf)
        if alone.min() < best:
            who, level = (int(one) for one in np.unravel_index(int(np.argmin(alone)), alone.shape))
            best, choice = float(alone[who, level]), node.choice.copy()
            choice[who] = level
        for given in self._filled(node) if best > small else []:
            if (found := node.bound - float(self._at(given, self.utility).sum())) < best:
                best, choice = found, given
        missed = 0.0
        for width in WIDTHS:
            if best <= small or missed >= best - small:
                break
            people, levels = np.nonzero(self.allowed & (loss < best))
            if people.size > min(MATTER * rows.size, MOST):
                break
            changes, best, missed = core.search(people, levels, loss[people, levels], extra[people, levels], price, slack, best, small, width)
            if changes is not None:
                choice = node.choice.copy()
                for who, level in changes:
                    choice[who] = level
        return choice, node.bound - (0.0 if best <= small else min(missed, best))

    def _filled(self, node: _Relaxed) -> list[np.ndarray]:
        """Choices with further steps taken, steepest first, while they fit: without the one that did not fit; with it, others given back."""
        slack, vertices = [node.slack], [node.vertex.copy()]
        order = np.argsort(-self._slope, kind="stable")
        owner = np.searchsorted(self._ends, order, side="right") - 1
        if node.split is not None:
            who, cost = node.split
            given = node.vertex.copy()
            given[who] += 1
            vertices.append(given)
            slack.append(node.slack - (cost - float(self.cost[who, node.choice[who]])))
        for vertex, left in zip(vertices, slack, strict=True):
            core.fill(order, owner, self._ends, self._level, self.cost, vertex, left, -1 if node.split is None else node.split[0])
        return [self._level[one] for one in vertices if self._at(self._level[one], self.cost).sum() <= node.budget]


def _common(costs: np.ndarray) -> float:
    """What all costs are whole multiples of, where the smallest of them is that; 0 where it is not."""
    unit = float(costs[costs > 0].min(initial=np.inf))
    if not np.isfinite(unit):
        return 0.0
    multiples = costs / unit
    return unit if bool((np.abs(multiples - np.rint(multiples)) < 1e-9 * np.maximum(1.0, multiples)).all()) else 0.0


def cheapest(cost: np.ndarray, utility: np.ndarray, target: float, allowed: np.ndarray | None = None, *, tolerance: float = 1e-9) -> Allocation:
    """The allocation of least cost whose total utility is at least `target`; its price is what one more unit of utility would cost.

    The same problem the other way round: what is given up is bought. `bound` is a cost below which there is certainly none. Raises `Infeasible`
    with the most that can be reached.
    """
    allowed = np.ones(cost.shape, bool) if allowed is None else allowed
    most_cost, most = (np.where(allowed, one, -np.inf).max(1, keepdims=True) for one in (cost, utility))
    if target > most.sum() + 1e-12 * abs(target):
        raise Infeasible(f"a total of {target:g} cannot be reached: {float(most.sum()):g} is the most", most=float(most.sum()), fix="ask for less")
    found = Allocator(np.where(allowed, most - utility, 0.0), np.where(allowed, most_cost - cost, 0.0), allowed).within(
        max(0.0, float(most.sum()) - target), tolerance=tolerance
    )
    rows = np.arange(cost.shape[0])
    spent, value = float(cost[rows, found.choice].sum()), float(utility[rows, found.choice].sum())
    return Allocation(found.choice, value, spent, found.price, value if found.exact else value + found.gap, tolerance)
