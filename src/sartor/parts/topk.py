"""The k best of many scores, with exclusions, and ties broken by a seeded lottery instead of by position."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numba
import numpy as np

from sartor.errors import ConfigError
from sartor.parts.threads import even, over_rows, threads

STRETCH = 16
"""Columns looked at together: one or two vector registers."""
LONG = 100
"""Lists longer than this are cut out of all scores first and sorted then: to insert into them one by one would cost more."""

PLACES = 100_000_000
"""Places of an answer, over all its rows, above which it must not be longer than what there is to find."""


def checked_k(k: object, rows: int, there: int) -> int:
    """How many are asked for, for each of some rows, of `there` things; raises `ConfigError` for what is no whole number above 0, and for one
    so large that the answer would be nothing but empty places and no memory."""
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
        raise ConfigError(f"k is {k!r}", fix="ask for a whole number, at least 1")
    if k > there and int(k) * max(1, rows) > PLACES:
        raise ConfigError(f"k is {k}, of {there}", fix=f"ask for at most {there}")
    return int(k)


def top_k(
    scores: np.ndarray,
    k: int,
    *,
    left_out: Sequence[np.ndarray] | None = None,
    columns: np.ndarray | None = None,
    seed: int = 0,
    width: int | None = None,
    least: float = -np.inf,
) -> tuple[np.ndarray, np.ndarray]:
    """The k best columns of every row.

    Parameters
    ----------
    scores: float32 [rows, n], higher is better; NaN counts as worst. Not changed.
    k: how many.
    left_out: per row the item numbers to skip.
    columns: int32 [n], the item number of each column, when the columns are not simply 0..n-1.
    seed: of the lottery between equal scores. Items that score alike would otherwise come in the order of their ids.
    width: number of items there are, when `columns` names only some.
    least: scores below are as if they were not there.

    Returns
    -------
    item numbers int32 [rows, k] (-1 where there are fewer) and scores float32 [rows, k] (-inf there).
    """
    scores = np.ascontiguousarray(scores, np.float32)
    rows, n = scores.shape
    items = np.arange(n, dtype=np.int32) if columns is None else columns.astype(np.int32)
    total = n if width is None else width
    if left_out is None:
        indptr, skip = np.zeros(rows + 1, np.int64), np.empty(0, np.int32)
    else:
        indptr = np.concatenate([[0], np.cumsum([own.size for own in left_out])]).astype(np.int64)
        skip = np.concatenate([*left_out, np.empty(0, np.int32)]).astype(np.int32)
    k = min(k, n)
    out, best = np.full((rows, k), -1, np.int32), np.full((rows, k), -np.inf, np.float32)
    if k > LONG:
        lottery = _lottery(total, seed)
        for row in range(rows):
            own = skip[indptr[row] : indptr[row + 1]]
            kept = scores[row] if not own.size else np.where(np.isin(items, own), np.float32(-np.inf), scores[row])
            chosen = _cut(kept, k, lottery[items], least)
            out[row, : chosen.size], best[row, : chosen.size] = items[chosen], scores[row][chosen]
    elif rows and k > 0:
        bounds = even(np.ones(rows), 1 if scores.size < 200_000 else 4 * threads())
        over_rows(_select_rows, bounds, scores, items, _lottery(total, seed), indptr, skip, k, total, np.float32(least), out, best)
    return out, best


def _cut(scores: np.ndarray, k: int, lottery: np.ndarray, least: float) -> np.ndarray:
    """Columns of the k best of one row, best first."""
    # NaN is never greater than anything.
    there = np.flatnonzero((scores > -np.inf) & (scores >= least))
    if there.size > k:
        last = np.partition(scores[there], there.size - k)[there.size - k]
        above, at = there[scores[there] > last], there[scores[there] == last]
        need = k - above.size
        there = np.concatenate([above, at[np.argpartition(lottery[at], need - 1)[:need]]])
    return there[np.lexsort((lottery[there], -scores[there]))]


@lru_cache(maxsize=8)
def _lottery(n: int, seed: int) -> np.ndarray:
    """A random rank for every item; the lower wins a tie."""
    return np.random.default_rng([seed, n]).permutation(n).astype(np.int32)


@numba.njit(cache=True, nogil=True)
def _select_rows(start, stop, scores, items, lottery, indptr, skip, k, total, lowest, out, best):  # type: ignore[no-untyped-def]
    n = scores.shape[1]
    mark = np.full(total, -1, np.int32)
    for row in range(start, stop):
        for at in range(indptr[row], indptr[row + 1]):
            mark[skip[at]] = row
        filled, least = 0, lowest
        for first in range(0, n - n % STRETCH, STRETCH):
            # Most stretches hold nothing good enough; counting those that are needs no branches, and NaN is never >= anything.
            good = 0
            for column in range(first, first + STRETCH):
                good += scores[row, column] >= least
            if good:
                filled, least = _offer(first, first + STRETCH, scores[row], items, lottery, mark, row, k, filled, least, out[row], best[row])
        filled, least = _offer(n - n % STRETCH, n, scores[row], items, lottery, mark, row, k, filled, least, out[row], best[row])


@numba.njit(cache=True, nogil=True)
def _offer(first, last, scores, items, lottery, mark, row, k, filled, least, out, best):  # type: ignore[no-untyped-def]
    """Put what is good enough of some columns into the list; returns how many there are and the least score that still gets in."""
    for column in range(first, last):
        score = scores[column]
        if not score >= least:
            continue
        item = items[column]
        if mark[item] == row or not score > -np.inf:
            continue
        place = filled if filled < k else k - 1
        if filled == k and score == best[place] and lottery[item] > lottery[out[place]]:
            continue
        # Insertion from the end: the list is short and nearly always kept as it is.
        while place > 0 and (score > best[place - 1] or (score == best[place - 1] and lottery[item] < lottery[out[place - 1]])):
            best[place], out[place] = best[place - 1], out[place - 1]
            place -= 1
        best[place], out[place] = score, item
        filled += filled < k
        if filled == k:
            least = best[k - 1]
    return filled, least
