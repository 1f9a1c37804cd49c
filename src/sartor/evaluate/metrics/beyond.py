"""What accuracy does not see: how much of the catalogue is shown, how unknown, how varied and how surprising it is.

With `p_i` the share of all shown places that item i has, and `q_i` the share of all training events:

| name                   | definition | higher means |
|------------------------|------------|--------------|
| coverage               | items shown at least once / items | more of the catalogue is used |
| distributional_coverage | -sum p_i log2 p_i, in bits | places are spread more evenly |
| gini                   | Gini coefficient of the places over all items, 0 even .. 1 all on one | more concentrated |
| novelty                | mean -log2 q_i over a list, in bits | less known items |
| arp                    | mean training events of the items of a list (average recommendation popularity) | more popular items |
| aplt                   | share of a list that is from the tail (average percentage of long-tail items) | more tail |
| diversity              | 1 - mean pairwise cosine of the items of a list | more varied lists |
| serendipity            | mean over a list of relevant x (1 - mean cosine to the person's history) | useful and unexpected |

Items without a training event count as one event in novelty, so that it stays finite. Sources: Jadon and Patil, 2023; Abdollahpouri et
al., 2019 (ARP, APLT); Zhou et al., PNAS 2010 (novelty).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numba
import numpy as np

from sartor.errors import ConfigError

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

    from sartor.evaluate.metrics.ranking import Truth

TAIL_SHARE = 0.8
"""The tail is the 80% of items with the fewest events."""


def tail_items(counts: np.ndarray, *, share: float = TAIL_SHARE) -> np.ndarray:
    """bool [items]: whether an item is of the tail; the head are the `1 - share` most popular (ties by number)."""
    head = np.argsort(-counts, kind="stable")[: round(counts.size * (1 - share))]
    tail = np.ones(counts.size, bool)
    tail[head] = False
    return tail


def popularity(best: np.ndarray, counts: np.ndarray, ks: Sequence[int]) -> dict[str, np.ndarray]:
    """Novelty, ARP and APLT of lists.

    Parameters
    ----------
    best: int32 [people, length], item numbers; negative where a list is shorter.
    counts: int64 [items], training events.
    ks: cut-offs.

    Returns
    -------
    metric -> float64 [people, ks]; means over the places that are filled, NaN for an empty list.
    """
    total = max(1, int(counts.sum()))
    of_item = {
        "novelty": -np.log2(np.maximum(counts, 1) / total),
        "arp": counts.astype(np.float64),
        "aplt": tail_items(counts).astype(np.float64),
    }
    filled = best >= 0
    lengths = np.cumsum(filled, axis=1)
    out = {}
    for name, values in of_item.items():
        sums = np.cumsum(np.where(filled, values[np.where(filled, best, 0)], 0.0), axis=1)
        out[name] = _at(_ratio(sums, lengths), ks)
    return out


def _at(running: np.ndarray, ks: Sequence[int]) -> np.ndarray:
    """The running values at each cut-off; a list shorter than k is taken whole."""
    if running.shape[1] == 0:
        return np.full((running.shape[0], len(ks)), np.nan)
    return running[:, np.minimum(np.asarray(ks), running.shape[1]) - 1]


def _ratio(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.divide(a, b, out=np.full(a.shape, np.nan), where=b > 0)


def coverage(exposure: np.ndarray) -> float:
    """Share of items shown at least once; `exposure` is [items], how often each was."""
    return float(np.count_nonzero(exposure) / exposure.size) if exposure.size else float("nan")


def distributional_coverage(exposure: np.ndarray) -> float:
    """Entropy in bits of where the places went."""
    total = exposure.sum()
    if not total:
        return float("nan")
    p = exposure[exposure > 0] / total
    # Adding 0 turns -0.0 into 0.0.
    return float(-(p * np.log2(p)).sum()) + 0.0


def gini(exposure: np.ndarray) -> float:
    """Gini coefficient: mean absolute difference of all pairs / twice the mean."""
    total, n = float(exposure.sum()), exposure.size
    if not total:
        return float("nan")
    ordered = np.sort(exposure).astype(np.float64)
    return float(((2 * np.arange(1, n + 1) - n - 1) * ordered).sum() / (n * total))


def catalogue(exposure: np.ndarray) -> dict[str, float]:
    """Coverage, distributional coverage and Gini of what was shown."""
    return {"coverage": coverage(exposure), "distributional_coverage": distributional_coverage(exposure), "gini": gini(exposure)}


def unit_vectors(vectors: np.ndarray | csr_matrix) -> np.ndarray | csr_matrix:
    """Rows of length 1 (zero rows stay zero), float64, dense or CSR. Item vectors may be content, or columns of the people x items matrix."""
    if isinstance(vectors, np.ndarray):
        lengths = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
        return np.divide(vectors, lengths, out=np.zeros(vectors.shape), where=lengths > 0)
    from scipy.sparse import csr_matrix, diags_array

    csr = csr_matrix(vectors, dtype=np.float64)
    lengths = np.sqrt(np.asarray(csr.multiply(csr).sum(axis=1)).ravel())
    return csr_matrix(diags_array(np.divide(1, lengths, out=np.zeros_like(lengths), where=lengths > 0)) @ csr)


def diversity(best: np.ndarray, vectors: np.ndarray | csr_matrix, ks: Sequence[int]) -> np.ndarray:
    """1 - mean pairwise cosine inside each list: float64 [people, ks]; NaN for lists with fewer than two items.

    Uses that the sum over all pairs follows from the squared length of the sum of unit vectors, so the cost is linear in k.
    """
    units = unit_vectors(vectors)
    _check_vectors(units, best)
    out = np.full((best.shape[0], len(ks)), np.nan)
    for at, k in enumerate(ks):
        top = best[:, :k]
        n = (top >= 0).sum(1).astype(np.float64)
        sums = _sums(top, units)
        squared = _row_squares(sums)
        # A zero vector's cosine with itself is 0, not 1: count what is really on the diagonal.
        own = np.where(top >= 0, _row_squares(units)[np.where(top >= 0, top, 0)], 0.0).sum(1)
        mean = _ratio(squared - own, n * (n - 1))
        out[:, at] = np.where(n > 1, 1 - mean, np.nan)
    return out


def serendipity(best: np.ndarray, truth: Truth, history: Truth, vectors: np.ndarray | csr_matrix, ks: Sequence[int]) -> np.ndarray:
    """Mean over each list of relevant x (1 - mean cosine to the history): float64 [people, ks]; NaN without history or truth."""
    units = unit_vectors(vectors)
    _check_vectors(units, best)
    hits = hit_mask(best, truth)
    profile = _sums_ragged(history, units)
    lengths = history.lengths.astype(np.float64)
    gains = np.zeros(best.shape)
    rows, places = np.nonzero(hits)
    if rows.size:
        chosen = units[best[rows, places]]
        mean = _dots(chosen, profile[rows]) / np.maximum(lengths[rows], 1)
        gains[rows, places] = 1 - mean
    filled = np.cumsum(best >= 0, axis=1)
    out = _at(_ratio(np.cumsum(gains, axis=1), filled), ks)
    out[(lengths == 0) | (truth.lengths == 0)] = np.nan
    return out


def hit_mask(best: np.ndarray, truth: Truth) -> np.ndarray:
    """bool [people, length]: which places hold a relevant item."""
    return _hit_mask(np.ascontiguousarray(best, np.int32), truth.indptr, truth.indices)


@numba.njit(cache=True, nogil=True)
def _hit_mask(best, indptr, indices):  # type: ignore[no-untyped-def]
    out = np.zeros(best.shape, np.bool_)
    for row in range(best.shape[0]):
        own = indices[indptr[row] : indptr[row + 1]]
        for place in range(best.shape[1]):
            if best[row, place] >= 0 and own.size:
                at = np.searchsorted(own, best[row, place])
                out[row, place] = at < own.size and own[at] == best[row, place]
    return out


def in_rows(pairs: Truth, others: Truth) -> np.ndarray:
    """bool [pairs]: which pairs of `pairs` are also in the same row of `others`."""
    return _in_rows(pairs.indptr, pairs.indices, others.indptr, others.indices)


@numba.njit(cache=True, nogil=True)
def _in_rows(indptr, indices, other_indptr, others):  # type: ignore[no-untyped-def]
    out = np.zeros(indices.size, np.bool_)
    for row in range(indptr.size - 1):
        own = others[other_indptr[row] : other_indptr[row + 1]]
        for place in range(indptr[row], indptr[row + 1]):
            at = np.searchsorted(own, indices[place])
            out[place] = at < own.size and own[at] == indices[place]
    return out


def _check_vectors(units: np.ndarray | csr_matrix, best: np.ndarray) -> None:
    if best.size and int(best.max()) >= units.shape[0]:
        raise ConfigError(f"item {int(best.max())} is shown, but there are vectors of {units.shape[0]} items", fix="give one vector per item")


def _sums(top: np.ndarray, units: np.ndarray | csr_matrix) -> np.ndarray | csr_matrix:
    from scipy.sparse import csr_matrix

    rows, places = np.nonzero(top >= 0)
    shape = (top.shape[0], units.shape[0])
    return csr_matrix((np.ones(rows.size), (rows, top[rows, places])), shape=shape) @ units


def _sums_ragged(lists: Truth, units: np.ndarray | csr_matrix) -> np.ndarray | csr_matrix:
    from scipy.sparse import csr_matrix

    return csr_matrix((np.ones(lists.indices.size), lists.indices, lists.indptr), shape=(len(lists), units.shape[0])) @ units


def _row_squares(rows: np.ndarray | csr_matrix) -> np.ndarray:
    return _dots(rows, rows)


def _dots(a: np.ndarray | csr_matrix, b: np.ndarray | csr_matrix) -> np.ndarray:
    from scipy.sparse import csr_matrix

    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return np.einsum("ij,ij->i", a, b, dtype=np.float64)
    return np.asarray(csr_matrix(a).multiply(b).sum(axis=1), np.float64).ravel()
