"""Which examples a batch holds: shuffled pairs, and negatives that are uniform, popular, or unseen by a person.

All draw from the generator they are given, so that a seed decides everything.
"""

from __future__ import annotations

from collections.abc import Iterator

import numba
import numpy as np

from sartor.errors import ConfigError, EmptyData


def pairs(rng: np.random.Generator, rows: np.ndarray, columns: np.ndarray, batch_size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """One epoch of (person, item) pairs in random order: arrays (rows int32 [b], columns int32 [b]) with b <= batch_size."""
    for chosen in order(rng, rows.size, batch_size):
        yield rows[chosen], columns[chosen]


def order(rng: np.random.Generator, count: int, batch_size: int) -> Iterator[np.ndarray]:
    """One epoch of positions 0..count-1 in random order, int64 [b] with b <= batch_size; every position exactly once."""
    if batch_size < 1:
        raise ConfigError(f"batch_size is {batch_size}", fix="use at least 1")
    shuffled = rng.permutation(count)
    for start in range(0, count, batch_size):
        yield shuffled[start : start + batch_size]


def identities(rng: np.random.Generator, labels: np.ndarray, people: int, each: int) -> Iterator[np.ndarray]:
    """One epoch of P x K batches: rows of `people` different labels with `each` examples of each, int64 [people * each].

    Every label comes about once an epoch; of a label with fewer than `each` examples some come twice. Labels beyond the last full batch wait for
    another epoch. Raises `EmptyData` where there are fewer labels than a batch needs. Source: Hermans, Beyer and Leibe, 2017.
    """
    names, number = np.unique(labels, return_inverse=True)
    if names.size < people or people < 2 or each < 1:
        raise EmptyData(f"{names.size} identities for batches of {people} x {each}", fix="give more of them, or make the batches smaller")
    rows = np.split(np.argsort(number, kind="stable"), np.cumsum(np.bincount(number))[:-1])
    shuffled = rng.permutation(names.size)
    for start in range(0, names.size - people + 1, people):
        chosen = shuffled[start : start + people]
        yield np.concatenate([rng.choice(rows[one], each, replace=rows[one].size < each) for one in chosen])


def unseen(rng: np.random.Generator, rows: np.ndarray, n: int, indptr: np.ndarray, sorted_indices: np.ndarray, items: int) -> np.ndarray:
    """Uniform items that a person has not: int32 [len(rows), n], drawn with replacement.

    Exact, without rejection: a uniform rank among the unseen items is turned into the item of that rank by binary search.

    Parameters
    ----------
    rows: int [B], person numbers.
    indptr, sorted_indices: what each person has, as CSR with sorted and distinct columns (`Interactions.matrix()` is such).
    items: how many there are. Raises `EmptyData` for a person who has them all.
    """
    free = items - (indptr[rows + 1] - indptr[rows])
    if free.size and free.min() < 1:
        raise EmptyData("a person has seen every item, so that there is no negative", fix="leave this person out", person=int(rows[free.argmin()]))
    ranks = (rng.random((rows.size, n)) * free[:, None]).astype(np.int32)
    return _nth_unseen(np.asarray(rows, np.int64), np.minimum(ranks, (free - 1)[:, None]).astype(np.int32), indptr, sorted_indices)


@numba.njit(cache=True, nogil=True)
def _nth_unseen(rows, ranks, indptr, seen):  # type: ignore[no-untyped-def]
    out = np.empty_like(ranks)
    for b in range(rows.size):
        first, last = indptr[rows[b]], indptr[rows[b] + 1]
        for column in range(ranks.shape[1]):
            rank = ranks[b, column]
            # How many seen items come before the unseen item of this rank.
            low, high = first, last
            while low < high:
                middle = (low + high) // 2
                if seen[middle] - (middle - first) <= rank:
                    low = middle + 1
                else:
                    high = middle
            out[b, column] = rank + (low - first)
    return out


class Popularity:
    """Draws items in proportion to count ** power: 0 is uniform, 1 is by popularity, 0.75 is word2vec's.

    Items without events are drawn only when power is 0.
    """

    def __init__(self, counts: np.ndarray, power: float = 1.0) -> None:
        weights = np.where(counts > 0, np.maximum(counts, 1).astype(np.float64) ** power, 1.0 if power == 0 else 0.0)
        if not weights.sum() > 0:
            raise EmptyData("no item has an event, so that none can be drawn", fix="give counts, or power=0")
        self.log_q: np.ndarray = np.log(np.maximum(weights / weights.sum(), 1e-38)).astype(np.float32)
        """float32 [items]: log probability of each item in one draw."""
        self._upto = np.cumsum(weights)

    def draw(self, rng: np.random.Generator, shape: int | tuple[int, ...]) -> np.ndarray:
        """int32 item numbers of the given shape, with replacement."""
        return np.searchsorted(self._upto, rng.random(shape) * self._upto[-1], side="right").astype(np.int32)
