"""How far an inverted file must look: measured on its own vectors as queries, over filters of many shares, at random and against the query."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from sartor.retrieve.bitmaps import Bitmap

if TYPE_CHECKING:
    from sartor.retrieve.inverted import InvertedIndex

SHARES = np.array([1.0, 0.9, 0.7, 0.5, 0.2, 0.1, 0.03, 0.01])
"""Of allowed rows, for which the stop is calibrated; between two of them the smaller one's holds."""
SLACKS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0, 2.25, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0, 8.0)
GROUPS, EACH, K = 8, 32, 10
"""Queries: half of the groups are neighbours of one vector, so that one filter can be against them all, half are from everywhere."""
LEAST = 48
"""Queries of one kind of filter on which it is judged."""
MARGIN = 0.02
"""Recall aimed at beyond the target: other queries are not these."""


def calibrate(index: InvertedIndex) -> tuple[np.ndarray, np.ndarray]:
    """Per share the least slacks with which the worst filter reaches the index's recall (inf where none does), and what is looked at with the first.

    Filters are random ones, the rows nearest a group of queries, the rows farthest from it, and random ones among the farther half. Queries
    that find a filter against them are judged apart from the others, as the search treats them.
    """
    rng = np.random.default_rng(index.seed)
    n = index.rows
    vectors, numbers = index._vectors.array, index._numbers.array
    groups = []
    for number, seed in enumerate(rng.choice(n, min(GROUPS, n), replace=False)):
        near, _ = index._exactly(vectors[seed : seed + 1], min(EACH * 8, n), None)
        own = np.sort(rng.choice(n if number % 2 else near[0], min(EACH, n), replace=False))
        groups.append((vectors[index._places.array[own]], own.astype(np.int32), _by_nearness(index, vectors[seed], numbers)))
    slacks, looked = np.full((len(SHARES), 2), np.inf, np.float32), np.ones((len(SHARES), 2), np.float32)
    for at, share in enumerate(SHARES):
        size = max(1, round(share * n))
        cases = []
        for queries, own, order in groups:
            farther = order[n // 2 :] if share <= 0.25 else order
            kinds = [rng.choice(n, size, replace=False), order[:size], order[n - size :], rng.choice(farther, size, replace=False)]
            for kind, rows in enumerate(kinds if share < 1 else kinds[:1]):
                allowed = Bitmap.of_rows(rows, n)
                k = min(K, size)
                truth, _ = index._exactly(queries, min(k + 1, size), allowed)
                cases.append((kind, queries, own, allowed, k, _without(truth, own, k)))
        for slack in SLACKS:
            hits = np.zeros((2, 4, 3))
            work = []
            for kind, queries, own, allowed, k, truth in cases:
                found, _, done = index._scan(queries, k, allowed, np.array([slack, slack], np.float32), skip=own, share=share)
                work.append(done[done[:, 2] == 0, :2] / n)
                for against in (0, 1):
                    judged = done[:, 2] == against
                    hits[against, kind] += judged.sum(), *_hits(found[judged], truth[judged])
            for against in (0, 1):
                enough = hits[against, :, 0] >= LEAST
                good = (hits[against, enough, 1] >= min(index.recall + MARGIN, 0.995) * hits[against, enough, 2]).all()
                if not against and not enough.any():
                    # So few vectors tell nothing, and are soon compared all.
                    good = np.False_
                if good and not np.isfinite(slacks[at, against]):
                    slacks[at, against] = slack
                    if not against and (looks := np.concatenate(work)).size:
                        looked[at] = looks.mean(0)
            if np.isfinite(slacks[at]).all():
                break
        if not np.isfinite(slacks[at, 0]):
            # Fewer allowed ask for more: nothing is left to try for the smaller shares.
            break
    # Who is against is found out late, by few cells: never less for them than for the others.
    slacks[:, 1] = np.maximum(slacks[:, 0], slacks[:, 1])
    slacks = np.maximum.accumulate(slacks, axis=0)
    return slacks, looked


def _by_nearness(index: InvertedIndex, query: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    scores = index._vectors.array @ query
    if index._biases.array.size:
        scores += index._biases.array
    return numbers[np.argsort(-scores, kind="stable")]


def _without(truth: np.ndarray, own: np.ndarray, k: int) -> np.ndarray:
    """The k best rows of each query but itself; -1 where there are fewer."""
    out = np.full((len(truth), k), -1, np.int32)
    for query, row in enumerate(own):
        rest = truth[query][truth[query] != row][:k]
        out[query, : rest.size] = rest
    return out


def _hits(found: np.ndarray, truth: np.ndarray) -> tuple[int, int]:
    """How many of the true rows were found, and how many there are."""
    there = truth >= 0
    return int(((truth[:, :, None] == found[:, None, :]).any(2) & there).sum()), int(there.sum())


WINDOWS = (10, 12, 14, 16, 18, 20, 24, 28, 32, 40, 48, 64, 80, 96, 128, 192, 256, 384, 512)
"""Of a walk through a graph: how many of the best it keeps."""
BEYOND = 0.005
"""Recall aimed at beyond the target, of a graph's window: other queries are not these."""


def least_window(search: Callable[[int], np.ndarray], truth: np.ndarray, recall: float) -> int:
    """The least window with which a search finds so many of the true rows [q, k]; the largest where none does."""
    for window in WINDOWS:
        if float((truth[:, :, None] == search(window)[:, None, :]).any(2).mean()) >= min(recall + BEYOND, 0.995):
            return window
    return WINDOWS[-1]
