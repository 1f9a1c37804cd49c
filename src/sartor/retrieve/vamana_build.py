"""A graph over coded vectors: built by inserting one after the other, pruned so that few links lead far.

Source: Subramanya et al., DiskANN: Fast Accurate Billion-point Nearest Neighbor Search on a Single Node, NeurIPS 2019.
"""

from __future__ import annotations

from collections.abc import Iterator

import numba
import numpy as np

from sartor.retrieve.codes import decode, dims, inner, number, prefetch
from sartor.retrieve.vamana import walk

SLACK = 1.3
"""While it is built a vector may have so many times as many links as in the end: pruning is rarer."""
ENTRIES, SAMPLE, FEW = 128, 8_192, 64
"""Rows that walks start from, among how many they are chosen, and how many are enough for the wide walks that build the graph."""
RELAX = np.float32(1.2)
"""Between rounds of pruning, as in the source."""


def build(
    codes: np.ndarray, facts: np.ndarray, among: np.ndarray, degree: int, window: int, alpha: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Links int32 [n, degree] of a graph over some rows, and where walks start: int32, some of them that lie far apart."""
    half = halves(codes, facts)
    rng = np.random.default_rng(seed)
    order = rng.permutation(among).astype(np.int32)
    entries = _apart(order[:SAMPLE], codes, facts, min(ENTRIES, -(-len(among) // 32)))
    order = np.concatenate([entries, order[~np.isin(order, entries)]])
    links = np.full((len(codes), max(degree + 1, int(degree * SLACK))), -1, np.int32)
    insert(order[1:], codes, facts, half, links, entries[:FEW], degree, window, np.float32(alpha))
    trim(codes, facts, half, links, degree, np.float32(alpha))
    return np.ascontiguousarray(links[:, :degree]), entries


def _apart(rows: np.ndarray, codes: np.ndarray, facts: np.ndarray, count: int) -> np.ndarray:
    """So many of the rows, each the farthest from those before it."""
    vectors = decode(codes[rows], facts[rows])
    squares = np.einsum("nd,nd->n", vectors, vectors)
    chosen, far = [0], np.full(len(rows), np.inf, np.float32)
    while len(chosen) < count:
        far = np.minimum(far, squares - 2 * (vectors @ vectors[chosen[-1]]) + squares[chosen[-1]])
        chosen.append(int(far.argmax()))
    return rows[list(dict.fromkeys(chosen))]


def halves(codes: np.ndarray, facts: np.ndarray) -> np.ndarray:
    """float32 [n]: half of each coded vector's squared length."""
    return np.concatenate([np.einsum("nd,nd->n", part, part) / 2 for part in _decoded(codes, facts)]).astype(np.float32)


def _decoded(codes: np.ndarray, facts: np.ndarray) -> Iterator[np.ndarray]:
    for at in range(0, len(codes), 4096):
        yield decode(codes[at : at + 4096], facts[at : at + 4096])


@numba.njit(nogil=True, cache=True)
def as_query(codes, facts, row, whole):  # type: ignore[no-untyped-def]
    """A coded vector as a query, exactly; returns the sum of its coordinates."""
    zero = np.int16(round(facts[row, 1] / facts[row, 0]))
    total = np.int32(0)
    for at in range(whole.size):
        whole[at] = number(codes, row, at) + zero
        total = np.int32(total + whole[at])
    return facts[row, 0] * np.float32(total)


@numba.njit(nogil=True, cache=True)
def prune(pool, far, count, codes, facts, half, degree, alpha, factor, whole, kept):  # type: ignore[no-untyped-def]
    """Choose at most `degree` of `count` rows in `pool`, sorted by squared distance `far`, into `kept`; returns how many.

    One is left out when a chosen one is nearer to it than it is to the vector whose links these are, by the factor `alpha`.
    """
    chosen = 0
    for at in range(count):
        factor[at] = np.float32(0)
    limit = np.float32(1)
    while chosen < degree:
        for at in range(count):
            if chosen == degree:
                break
            if factor[at] > limit:
                continue
            factor[at] = np.inf
            row = pool[at]
            kept[chosen] = row
            chosen += 1
            total = as_query(codes, facts, row, whole)
            for other in range(at + 1, count):
                if factor[other] > alpha:
                    continue
                that = pool[other]
                apart = 2 * (half[row] + half[that] - inner(whole, facts[row, 0], total, codes, facts, that))
                factor[other] = np.inf if apart <= 0 else max(factor[other], far[other] / apart)
        if limit >= alpha:
            break
        limit = min(limit * RELAX, alpha)
    return chosen


@numba.njit(nogil=True, cache=True)
def _prune_links(row, extra, links, codes, facts, half, degree, alpha, pool, far, factor, whole, kept):  # type: ignore[no-untyped-def]
    """Choose anew among the links of a row and one more (-1: none)."""
    total = as_query(codes, facts, row, whole)
    count = 0
    for at in range(links.shape[1] + 1):
        link = links[row, at] if at < links.shape[1] else extra
        if link < 0:
            continue
        count = _near(link, 2 * (half[row] + half[link] - inner(whole, facts[row, 0], total, codes, facts, link)), pool, far, count)
    count = prune(pool, far, count, codes, facts, half, degree, alpha, factor, whole, kept)
    for at in range(links.shape[1]):
        links[row, at] = kept[at] if at < count else -1


@numba.njit(nogil=True, cache=True)
def _near(row, distance, pool, far, count):  # type: ignore[no-untyped-def]
    """Put a row into a pool sorted by distance."""
    place = count
    while place > 0 and far[place - 1] > distance:
        pool[place], far[place] = pool[place - 1], far[place - 1]
        place -= 1
    pool[place], far[place] = row, distance
    return count + 1


@numba.njit(nogil=True, cache=True)
def insert(order, codes, facts, half, links, entries, degree, window, alpha):  # type: ignore[no-untyped-def]
    """Give rows links, one after the other: out to what their walk met, and back."""
    dim, width, most, biases = dims(codes), links.shape[1], 4 * window + 64, -half
    rows, scores, trail = np.empty(window, np.int64), np.empty(window, np.float32), np.empty(most, np.int32)
    fresh, seen = np.empty(width, np.int32), np.zeros(len(codes) // 64 + 1, np.uint64)
    pool, far, factor = np.empty(most + width, np.int32), np.empty(most + width, np.float32), np.empty(most + width, np.float32)
    whole, kept, other = np.empty(dim, np.int16), np.empty(width, np.int32), np.empty(width, np.int32)
    for row in order:
        step, total = facts[row, 0], as_query(codes, facts, row, whole)
        _, _, steps = walk(whole, step, total, codes, facts, biases, links, entries, window, rows, scores, fresh, seen, trail)
        count = 0
        for at in range(steps):
            that = trail[at]
            if that == row:
                continue
            count = _near(that, 2 * (half[row] + half[that] - inner(whole, step, total, codes, facts, that)), pool, far, count)
        count = prune(pool, far, count, codes, facts, half, degree, alpha, factor, whole, kept)
        for at in range(count):
            links[row, at] = kept[at]
            prefetch(links, kept[at])
        for at in range(count):
            that, number = kept[at], 0
            while number < width and links[that, number] >= 0:
                number += 1
            if number < width:
                links[that, number] = row
            else:
                _prune_links(that, row, links, codes, facts, half, degree, alpha, pool, far, factor, whole, other)


@numba.njit(nogil=True, cache=True)
def trim(codes, facts, half, links, degree, alpha):  # type: ignore[no-untyped-def]
    """Leave at most `degree` links to each row."""
    width, dim = links.shape[1], dims(codes)
    pool, far, factor = np.empty(width + 1, np.int32), np.empty(width + 1, np.float32), np.empty(width + 1, np.float32)
    whole, kept = np.empty(dim, np.int16), np.empty(width, np.int32)
    for row in range(len(links)):
        if links[row, degree] >= 0:
            _prune_links(row, -1, links, codes, facts, half, degree, alpha, pool, far, factor, whole, kept)
