"""Texts that are in no catalogue, as a person would want them: by how they read beside what she took."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sartor.data.ids import IdMap
from sartor.errors import SpaceMismatch
from sartor.method import States
from sartor.represent.text import TextEncoder, uncached


class TextTaste:
    """Scores of some texts for states whose `items` are rows of item vectors from the same encoder; a `Taste` for `Reranker`.

    A text's score is the inner product of its vector with the mean vector of the person's items, each less what all items share. Nobody, and
    who took nothing, scores 0; so does an empty text.

    Source: Rocchio's relevance feedback (1971) with positive examples only.

    Parameters
    ----------
    texts: kept in memory alone; they are numbered 0, 1, ...
    encoder: as it made the item vectors; raises `SpaceMismatch` when `space` is another one's fingerprint.
    vectors: float32 [items, dim].
    mean: float32 [dim], of the vectors.
    """

    def __init__(self, texts: Sequence[str], encoder: TextEncoder, vectors: np.ndarray, mean: np.ndarray, *, space: str = "") -> None:
        if space and encoder.fingerprint != space:
            raise SpaceMismatch("the items' vectors come from another encoder", fix="fit again", expected=space, got=encoder.fingerprint)
        self.fingerprint_ = encoder.fingerprint
        self.items_ = IdMap(np.arange(len(texts)), name="text")
        self._vectors, self._mean = vectors, mean
        # What is given is somebody's: nothing of it is kept on disk.
        found = uncached(encoder).encode(list(texts))
        self._texts = np.where(found.any(axis=1, keepdims=True), found - mean, np.float32(0))

    def score(self, states: States, items: Sequence[int] | None = None) -> np.ndarray:
        """float32 [states, texts]."""
        out = np.zeros((len(states), len(self.items_)), np.float32)
        for row, state in enumerate(states):
            own = state["items"] if state is not None else np.empty(0, np.int32)
            # Items that came after the vectors were made have none.
            own = own[(own >= 0) & (own < len(self._vectors))]
            if own.size:
                out[row] = self._texts @ (self._vectors[own].mean(axis=0) - self._mean)
        return out if items is None else out[:, self.items_.numbers(items)]
