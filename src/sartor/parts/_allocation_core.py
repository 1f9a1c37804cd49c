"""The loops of `allocation`: envelopes, prices, steps that fit, and the search among the few levels that matter."""

from __future__ import annotations

import numba
import numpy as np


def search(
    people: np.ndarray, levels: np.ndarray, loss: np.ndarray, extra: np.ndarray, price: float, slack: float, best: float, small: float, states: int
) -> tuple[list[tuple[int, int]] | None, float, float]:
    """The changes of least loss found (None: none beats `best`), that loss, and a loss that nothing is below.

    People are added one by one, those with the smallest losses first; of partial answers that cost no less and are worth no more than another
    one nothing is kept. A tree of parents remembers how each came about.
    """
    changed = extra != 0
    people, levels, loss, extra = (one[changed] for one in (people, levels, loss, extra))
    groups = [np.flatnonzero(people == one) for one in np.unique(people)]
    groups.sort(key=lambda group: float(loss[group].min()))
    saves = np.cumsum([0.0] + [max(0.0, float(-extra[group].min())) for group in groups[::-1]])[::-1]
    spends = np.cumsum([0.0] + [max(0.0, float(extra[group].max())) for group in groups[::-1]])[::-1]
    costs, losses, nodes = np.zeros(1), np.zeros(1), np.full(1, -1)
    parents, options = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    size, winner, dropped = 0, -1, np.inf
    for number, group in enumerate(groups):
        more_cost = (costs[:, None] + extra[group]).ravel()
        more_loss = (losses[:, None] + loss[group]).ravel()
        parent, option = np.repeat(nodes, group.size), np.tile(group, costs.size)
        # Later people can save and spend only so much.
        lowest = more_loss + price * np.maximum(0.0, slack - more_cost - spends[number + 1])
        keep = (lowest < best) & (more_cost - saves[number + 1] <= slack)
        more_cost, more_loss = more_cost[keep], more_loss[keep]
        fresh = size + np.arange(more_cost.size)
        parents.append(parent[keep])
        options.append(option[keep])
        size += more_cost.size
        total = np.where(more_cost <= slack, more_loss + price * (slack - more_cost), np.inf)
        if total.size and total.min() < best:
            at = int(np.argmin(total))
            best, winner = float(total[at]), int(fresh[at])
            if best <= small:
                break
        costs, losses, nodes = np.concatenate([costs, more_cost]), np.concatenate([losses, more_loss]), np.concatenate([nodes, fresh])
        keep = losses + price * np.maximum(0.0, slack - costs - spends[number + 1]) < best
        order = np.lexsort((losses, costs))
        order = order[keep[order]]
        worth = price * costs[order] - losses[order]
        order = order[worth > np.concatenate([[-np.inf], np.maximum.accumulate(worth)[:-1]])]
        if order.size > states:
            ranked = order[np.argsort(losses[order], kind="stable")]
            dropped = min(dropped, float(losses[ranked[states]]))
            order = np.sort(ranked[:states])
        costs, losses, nodes = costs[order], losses[order], nodes[order]
    if winner < 0:
        return None, best, min(best, dropped)
    parent, option = np.concatenate(parents), np.concatenate(options)
    changes = []
    while winner >= 0:
        changes.append((int(people[option[winner]]), int(levels[option[winner]])))
        winner = int(parent[winner])
    return changes, best, min(best, dropped)


@numba.njit(cache=True, nogil=True)
def fill(order, owner, ends, level, cost, vertex, slack, kept):  # type: ignore[no-untyped-def]
    """Move `vertex` so that the budget is kept (flattest steps of all but `kept` given back first), then up again by the steepest steps that fit."""
    for place in range(order.size - 1, -1, -1):
        if slack >= 0:
            break
        step, who = order[place], owner[place]
        if who != kept and vertex[who] == step and step > ends[who]:
            slack += cost[who, level[step]] - cost[who, level[step - 1]]
            vertex[who] = step - 1
    if slack < 0:
        return
    for place in range(order.size):
        step, who = order[place], owner[place]
        if vertex[who] == step - 1 and step > ends[who]:
            more = cost[who, level[step]] - cost[who, level[step - 1]]
            if more <= slack:
                slack -= more
                vertex[who] = step


@numba.njit(cache=True, nogil=True)
def envelopes(cost, utility, allowed, order):  # type: ignore[no-untyped-def]
    """Of every row the levels on its upper concave envelope, cheapest first, and the slope that leads to each (infinite for the first)."""
    n, width = cost.shape
    ends = np.zeros(n + 1, np.int64)
    level, slope = np.empty(n * width, np.int64), np.empty(n * width)
    size = 0
    for row in range(n):
        first = size
        for position in range(width):
            one = order[row, position]
            if not allowed[row, one]:
                continue
            steep = np.inf
            skip = False
            while size > first:
                before = level[size - 1]
                rise, run = utility[row, one] - utility[row, before], cost[row, one] - cost[row, before]
                if rise <= 0:
                    skip = True
                    break
                steep = np.inf if run <= 0 else rise / run
                if run <= 0 or (size - 1 > first and steep >= slope[size - 1]):
                    size -= 1
                else:
                    break
            if skip:
                continue
            level[size] = one
            slope[size] = np.inf if size == first else steep
            size += 1
        ends[row + 1] = size
    return ends, level[:size].copy(), slope[:size].copy()


@numba.njit(cache=True, nogil=True)
def vertices(ends, slope, price):  # type: ignore[no-untyped-def]
    """Of every row the last place on its envelope that a slope above the price leads to."""
    out = np.empty(ends.size - 1, np.int64)
    for row in range(out.size):
        low, high = ends[row], ends[row + 1] - 1
        while low < high:
            middle = (low + high + 1) // 2
            if slope[middle] > price:
                low = middle
            else:
                high = middle - 1
        out[row] = low
    return out


@numba.njit(cache=True, nogil=True)
def spent(ends, level, slope, cost, price):  # type: ignore[no-untyped-def]
    """What all cost together at a price."""
    total = 0.0
    places = vertices(ends, slope, price)
    for row in range(places.size):
        total += cost[row, level[places[row]]]
    return total
