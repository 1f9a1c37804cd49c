"""What a search finds: the answer of every index, whatever it searches by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, eq=False)
class Hits:
    """What a batch of queries found, best first."""

    indices: np.ndarray
    """int32 [queries, k], row numbers; -1 where there were fewer."""
    scores: np.ndarray
    """float32 [queries, k], higher is better (l2: minus the squared distance); -inf where there is no row."""
    ids: Sequence[Any]
    """Of all rows of the index, by number."""
    plan: str
    """How it was searched, and why."""

    def __len__(self) -> int:
        return int(self.indices.shape[0])

    def __getitem__(self, query: int) -> list[Any]:
        """Ids for one query, best first."""
        return [self.ids[row] for row in self.indices[query] if row >= 0]
