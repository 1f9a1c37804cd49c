"""Mixtures over clusters of items: how they are counted, smoothed, given budgets, and merged into one list."""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np


@dataclass(frozen=True, eq=False)
class Mixtures:
    """Mixtures of some people as sparse rows, the largest share of each person first."""

    indptr: np.ndarray
    """int64 [people + 1]."""
    clusters: np.ndarray
    """int32 [rows]."""
    shares: np.ndarray
    """float32 [rows], sum to 1 for each person."""
    queries: np.ndarray
    """float32 [rows, dim]."""

    def own(self, person: int) -> slice:
        """Where one person's rows are."""
        return slice(self.indptr[person], self.indptr[person + 1])

    def take(self, people: np.ndarray) -> Mixtures:
        """Those of some people, in the given order."""
        lengths = np.diff(self.indptr)[people]
        indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        flat = np.arange(indptr[-1]) + np.repeat(self.indptr[people] - indptr[:-1], lengths)
        return Mixtures(indptr, self.clusters[flat], self.shares[flat], self.queries[flat])


def budgets(shares: np.ndarray, n: int) -> np.ndarray:
    """How many of n items each cluster gets, by largest remainder: int64 [people, clusters] that sum to n for each person.

    shares: float [people, clusters], not negative, sum to 1 for each person. Equal remainders go to the larger share first.
    """
    shares = np.asarray(shares, np.float64)
    quota = n * shares / shares.sum(axis=1, keepdims=True)
    out = np.floor(quota + 1e-9).astype(np.int64)
    order = np.lexsort((-shares, -np.round(quota - out, 9)), axis=1)
    left = n - out.sum(axis=1)
    extra = np.arange(shares.shape[1])[None, :] < left[:, None]
    np.put_along_axis(out, order, np.take_along_axis(out, order, 1) + extra, 1)
    return out


def units(vectors: np.ndarray) -> np.ndarray:
    """The rows [n, dim] at length 1."""
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@numba.njit(cache=True, nogil=True)
def smooth(rows, near, smoothing, indptr, clusters, own_shares, own_queries, shares, sums):  # type: ignore[no-untyped-def]
    """Mix the neighbours' mean mixture into each row: shares, and queries weighted by shares."""
    for at in range(rows.size):
        row = rows[at]
        count = 0
        for other in near[at]:
            count += other >= 0
        if count == 0:
            continue
        shares[row] *= 1 - smoothing
        sums[row] *= 1 - smoothing
        for other in near[at]:
            if other < 0:
                continue
            for place in range(indptr[other], indptr[other + 1]):
                part = own_shares[place] * smoothing / count
                cluster = clusters[place]
                shares[row, cluster] += part
                for a in range(sums.shape[2]):
                    sums[row, cluster, a] += part * own_queries[place, a]


@numba.njit(cache=True, nogil=True)
def merge(row, cluster, lists, worth, shares, items, found, score, interest):  # type: ignore[no-untyped-def]
    """Each cluster in turn takes its budget of items that no cluster before it took."""
    taken = np.full(items, -1, np.int32)
    filled = 0
    for at in range(row.size):
        own, c = row[at], cluster[at]
        if at == 0 or own != row[at - 1]:
            filled = 0
        got = 0
        for place in range(lists.shape[1]):
            item = lists[at, place]
            if got == worth[own, c] or item < 0:
                break
            if taken[item] != own:
                taken[item] = own
                got += 1
                found[own, filled], interest[own, filled] = item, c
                score[own, filled] = shares[own, c] / np.float32(got)
                filled += 1
