"""Who did what with which item, as compact arrays: the form in which recommenders read a population."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sartor.data.ids import IdMap

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


@dataclass(frozen=True, eq=False)
class Interactions:
    """Events grouped by person and ordered in time inside each person.

    Person p's events are rows `indptr[p]:indptr[p + 1]` of the flat arrays.
    """

    people: IdMap
    items: IdMap
    indptr: np.ndarray
    """int64 [people + 1]."""
    indices: np.ndarray
    """int32 [events], item numbers."""
    values: np.ndarray
    """float32 [events], ratings or labels; NaN where an event has none."""
    weights: np.ndarray
    """float32 [events], how much an event counts; 1 where not given."""
    times: np.ndarray
    """int64 [events], seconds since 1970 UTC; all 0 when the data has no times."""
    unknown: int = 0
    """Events left out because their item is not among `items`."""

    def __len__(self) -> int:
        return int(self.indices.size)

    @property
    def shape(self) -> tuple[int, int]:
        """(people, items)."""
        return len(self.people), len(self.items)

    @property
    def lengths(self) -> np.ndarray:
        """int64 [people], events per person."""
        return np.diff(self.indptr)

    @property
    def rows(self) -> np.ndarray:
        """int32 [events], the person number of every event."""
        return np.repeat(np.arange(len(self.people), dtype=np.int32), self.lengths)

    def history(self, person: int) -> np.ndarray:
        """Item numbers of one person, oldest first."""
        return self.indices[self.indptr[person] : self.indptr[person + 1]]

    def counts(self) -> np.ndarray:
        """int64 [items], events per item."""
        return np.bincount(self.indices, minlength=len(self.items))

    def matrix(self, *, values: bool = False) -> csr_matrix:
        """People x items, float32 CSR, sorted and without duplicates.

        A pair seen several times gets the sum of its weights, or with `values=True` the newest value.
        """
        from scipy.sparse import csr_matrix

        if not values:
            out = csr_matrix((self.weights.copy(), self.indices.copy(), self.indptr.copy()), shape=self.shape)
            out.sum_duplicates()
            return out
        keys = self.rows.astype(np.int64) * len(self.items) + self.indices
        # np.unique keeps the first of equal keys; reversed, that is the newest event.
        unique, first = np.unique(keys[::-1], return_index=True)
        rows, columns = np.divmod(unique, len(self.items))
        return csr_matrix((self.values[::-1][first], (rows, columns)), shape=self.shape, dtype=np.float32)

    def take(self, people: np.ndarray) -> Interactions:
        """The same for some people only, in the given order (person numbers)."""
        lengths = self.lengths[people]
        indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        flat = np.arange(indptr[-1]) + np.repeat(self.indptr[people] - indptr[:-1], lengths)
        ids = IdMap(self.people.ids.gather(people), name=self.people.name)
        return Interactions(ids, self.items, indptr, self.indices[flat], self.values[flat], self.weights[flat], self.times[flat])
