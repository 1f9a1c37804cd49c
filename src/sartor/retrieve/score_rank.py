"""How near a matrix of scores is to one of low rank."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class RankReport:
    """How near a score matrix is to one of low rank, which is what its completion from a few columns lives on."""

    singular_values: np.ndarray
    """float64, falling."""

    @classmethod
    def of(cls, scores: np.ndarray) -> RankReport:
        """Of scores [queries, items]; from products of rows, so that columns, of which there may be millions, are never held twice."""
        gram = np.zeros((len(scores), len(scores)))
        for first in range(0, scores.shape[1], 65_536):
            block = scores[:, first : first + 65_536].astype(np.float64)
            gram += block @ block.T
        return cls(np.sqrt(np.maximum(np.linalg.eigvalsh(gram)[::-1], 0)))

    def rank(self, share: float) -> int:
        """How many of them hold this share of the squared total."""
        energy = np.cumsum(self.singular_values**2)
        return int(np.searchsorted(energy, share * energy[-1]) + 1)

    @property
    def effective(self) -> float:
        """exp of the entropy of the normalised singular values: the number of equal ones that would be as spread out.

        Source: Roy and Vetterli, The effective rank, EUSIPCO 2007.
        """
        share = self.singular_values / self.singular_values.sum()
        share = share[share > 0]
        return float(np.exp(-(share * np.log(share)).sum()))
