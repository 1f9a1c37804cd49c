"""How good the top of a list is, measured per person: precision, recall, F1, hit rate, MRR, ARHR, MAP, NDCG, AUC.

With `hits@k` the relevant items among the first k of a list and `R` all relevant items of that person:

| name        | definition |
|-------------|------------|
| precision   | hits@k / k |
| recall      | hits@k / R |
| f1          | harmonic mean of the two; 0 without a hit |
| hit_rate    | 1 if hits@k > 0 |
| mrr         | 1 / rank of the first hit; 0 without one |
| arhr        | sum of 1 / rank over all hits |
| map         | sum over hits of precision at their rank, / min(k, R) |
| map_ref     | the same / R, as trec_eval and the survey's reference code have it; it cannot reach 1 where R > k |
| ndcg        | sum over hits of 1 / log2(rank + 1), / the same sum of an ideal list |
| ndcg_graded | the same with gains 2^relevance - 1 (or the relevance itself) |
| auc         | share of (relevant, other) pairs in the right order over the whole catalogue, ties count half |

k stays the divisor of precision where a list is shorter than k. A person without a relevant item gets NaN, never 0: nothing can be said of
that person. Sources: Jadon and Patil, A Comprehensive Survey of Evaluation Techniques for Recommendation Systems, 2023; Järvelin and
Kekäläinen, 2002 (NDCG); Deshpande and Karypis, 2004 (ARHR).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numba
import numpy as np

from sartor.errors import ConfigError

if TYPE_CHECKING:
    from sartor.data.interactions import Interactions

RANKING = ("precision", "recall", "f1", "hit_rate", "mrr", "arhr", "map", "map_ref", "ndcg")
"""Metrics of binary relevance, in the order the kernel writes them."""
GRADED = "ndcg_graded"


@dataclass(frozen=True, eq=False)
class Truth:
    """Relevant items per person, sorted by item number and without duplicates.

    Row p's are `indices[indptr[p]:indptr[p + 1]]`.
    """

    indptr: np.ndarray
    """int64 [people + 1]."""
    indices: np.ndarray
    """int32 [pairs], item numbers."""
    relevance: np.ndarray | None = None
    """float32 [pairs], grades > 0; None where every pair counts the same."""

    def __len__(self) -> int:
        return self.indptr.size - 1

    @property
    def lengths(self) -> np.ndarray:
        """int64 [people], relevant items of each."""
        return np.diff(self.indptr)

    @property
    def rows(self) -> np.ndarray:
        """int64 [pairs], the row of each pair."""
        return np.repeat(np.arange(len(self)), self.lengths)

    @classmethod
    def of(cls, data: Interactions, *, graded: bool = False) -> Truth:
        """From held-out events. Graded truth takes the events' values: of a pair seen twice the best counts, and 0 or less is irrelevant."""
        return cls.from_pairs(data.rows, data.indices, len(data.people), relevance=data.values if graded else None)

    @classmethod
    def from_pairs(cls, rows: np.ndarray, items: np.ndarray, people: int, *, relevance: np.ndarray | None = None) -> Truth:
        """From (row, item number) pairs in any order; pairs whose relevance is 0 or less are left out."""
        if relevance is not None:
            if np.isnan(relevance).any():
                raise ConfigError("some relevances are NaN", fix="give every pair a grade, or none at all")
            keep = relevance > 0
            rows, items, relevance = rows[keep], items[keep], relevance[keep].astype(np.float32)
        order = np.lexsort((items, rows)) if relevance is None else np.lexsort((-relevance, items, rows))
        rows, items = rows[order], items[order]
        first = np.ones(rows.size, bool)
        first[1:] = (rows[1:] != rows[:-1]) | (items[1:] != items[:-1])
        indptr = np.concatenate([[0], np.cumsum(np.bincount(rows[first], minlength=people))]).astype(np.int64)
        return cls(indptr, items[first].astype(np.int32), None if relevance is None else relevance[order][first])

    def take(self, rows: np.ndarray) -> Truth:
        """Some rows only, in the given order."""
        lengths = self.lengths[rows]
        indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        flat = np.arange(indptr[-1]) + np.repeat(self.indptr[rows] - indptr[:-1], lengths)
        return Truth(indptr, self.indices[flat], None if self.relevance is None else self.relevance[flat])

    def keep(self, pairs: np.ndarray) -> Truth:
        """Only the pairs where the mask (bool [pairs]) holds; rows may become empty."""
        counts = np.bincount(self.rows[pairs], minlength=len(self))
        indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        return Truth(indptr, self.indices[pairs], None if self.relevance is None else self.relevance[pairs])


def ranking(best: np.ndarray, truth: Truth, ks: Sequence[int], *, gain: Literal["exponential", "linear"] = "exponential") -> dict[str, np.ndarray]:
    """All ranking metrics of lists.

    Parameters
    ----------
    best: int32 [people, length], item numbers, best first; negative where a list is shorter. Duplicates are the caller's mistake
        (`Lists` checks) and would count twice.
    truth: relevant items of the same rows.
    ks: cut-offs.
    gain: of a grade in `ndcg_graded`: 2^relevance - 1, or the relevance itself, as trec_eval has it.

    Returns
    -------
    metric -> float64 [people, len(ks)]; NaN in rows without a relevant item. `ndcg_graded` is there when the truth has grades.
    """
    if best.shape[0] != len(truth):
        raise ConfigError(f"{best.shape[0]} lists for {len(truth)} people", fix="give one list per person with truth")
    if not len(ks) or min(ks) < 1:
        raise ConfigError(f"ks are {list(ks)}", fix="give at least one cut-off, each at least 1")
    order = np.argsort(np.asarray(ks), kind="stable")
    cuts = np.asarray(ks, np.int64)[order]
    graded = truth.relevance is not None
    gains = np.empty(0) if truth.relevance is None else truth.relevance.astype(np.float64)
    gains = np.exp2(gains) - 1 if graded and gain == "exponential" else gains
    out = np.empty((best.shape[0], len(RANKING) + graded, cuts.size))
    _measure(np.ascontiguousarray(best, np.int32), truth.indptr, truth.indices, gains, cuts, _discounts(max(best.shape[1], int(cuts[-1]))), out)
    back = np.argsort(order)
    names = (*RANKING, GRADED) if graded else RANKING
    return {name: np.ascontiguousarray(out[:, at, back]) for at, name in enumerate(names)}


def _discounts(n: int) -> np.ndarray:
    return 1 / np.log2(np.arange(2, n + 2))


@numba.njit(cache=True, nogil=True, parallel=True)
def _measure(best, indptr, indices, gains, cuts, discounts, out):  # type: ignore[no-untyped-def]
    rows = best.shape[0]
    blocks = min(rows, 64)
    for block in numba.prange(blocks):
        for row in range(block * rows // blocks, (block + 1) * rows // blocks):
            start, stop = indptr[row], indptr[row + 1]
            if start == stop:
                out[row] = np.nan
            else:
                _measure_row(best[row], indices[start:stop], gains[start:stop] if gains.size else gains, cuts, discounts, out[row])


@numba.njit(cache=True, nogil=True)
def _measure_row(best, relevant, gains, cuts, discounts, out):  # type: ignore[no-untyped-def]
    total = relevant.size
    graded = gains.size > 0
    ideal_gains = np.sort(gains)[::-1] if graded else gains
    hits, first, reciprocal, precisions, dcg, ideal, dcg_graded, ideal_graded = 0, 0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    rank = 0
    for cut in range(cuts.size):
        k = cuts[cut]
        while rank < k:
            if rank < total:
                ideal += discounts[rank]
                if graded:
                    ideal_graded += ideal_gains[rank] * discounts[rank]
            if rank < best.size and best[rank] >= 0:
                at = np.searchsorted(relevant, best[rank])
                if at < total and relevant[at] == best[rank]:
                    hits += 1
                    if first == 0:
                        first = rank + 1
                    reciprocal += 1 / (rank + 1)
                    precisions += hits / (rank + 1)
                    dcg += discounts[rank]
                    if graded:
                        dcg_graded += gains[at] * discounts[rank]
            rank += 1
        precision, recall = hits / k, hits / total
        out[0, cut], out[1, cut] = precision, recall
        out[2, cut] = 2 * precision * recall / (precision + recall) if hits else 0.0
        out[3, cut] = 1.0 if hits else 0.0
        out[4, cut] = 1 / first if first else 0.0
        out[5, cut] = reciprocal
        out[6, cut] = precisions / min(k, total)
        out[7, cut] = precisions / total
        out[8, cut] = dcg / ideal
        if graded:
            out[9, cut] = dcg_graded / ideal_graded


def auc(scores: np.ndarray, truth: Truth, left_out: Truth | None = None) -> np.ndarray:
    """Area under the ROC curve of each person over the whole catalogue.

    Parameters
    ----------
    scores: float32 [people, items].
    truth: relevant items of the same rows.
    left_out: items that do not take part, e.g. those already seen.

    Returns
    -------
    float64 [people]; NaN where there is no relevant or no other item. Equal scores count half, NaN scores as the worst.
    """
    skip = Truth(np.zeros(len(truth) + 1, np.int64), np.empty(0, np.int32)) if left_out is None else left_out
    return _auc(np.ascontiguousarray(scores, np.float32), truth.indptr, truth.indices, skip.indptr, skip.indices)


@numba.njit(cache=True, nogil=True, parallel=True)
def _auc(scores, indptr, indices, skip_indptr, skip):  # type: ignore[no-untyped-def]
    rows, items = scores.shape
    out = np.full(rows, np.nan)
    for row in numba.prange(rows):
        role = np.zeros(items, np.int8)
        for at in range(skip_indptr[row], skip_indptr[row + 1]):
            role[skip[at]] = 2
        positives = 0
        for at in range(indptr[row], indptr[row + 1]):
            if role[indices[at]] == 0:
                role[indices[at]] = 1
                positives += 1
        kept = np.empty(items, np.float32)
        labels = np.empty(items, np.int8)
        n = 0
        for item in range(items):
            if role[item] < 2:
                score = scores[row, item]
                kept[n] = score if score == score else -np.inf
                labels[n] = role[item]
                n += 1
        if positives == 0 or positives == n:
            continue
        # Mann-Whitney: the sum of the positives' mean ranks.
        order = np.argsort(kept[:n])
        ranks, at = 0.0, 0
        while at < n:
            end, here = at, 0
            while end < n and kept[order[end]] == kept[order[at]]:
                here += labels[order[end]]
                end += 1
            ranks += here * (at + 1 + end) / 2
            at = end
        out[row] = (ranks - positives * (positives + 1) / 2) / (positives * (n - positives))
    return out
