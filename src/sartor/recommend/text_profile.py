"""A person as what the things she took say about themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from sartor.errors import ConfigError, MissingColumn
from sartor.method import Run, learned
from sartor.recommend._base import PersonalArrays, VectorRecommender
from sartor.represent.text import item_texts, text_encoder

if TYPE_CHECKING:
    from sartor.data.interactions import Interactions
    from sartor.data.population import Population

TEXT_FIELDS = ("title", "categories", "text")


@dataclass(kw_only=True, eq=False)
class TextProfile(VectorRecommender):
    """Items are their texts' vectors, less the mean text; a person is the mean of what she took, newer things more.

    For catalogues where most items are new, for people with a handful of events, and as the taste of a search. It knows nothing of what other
    people chose together, so on items with events it is far behind `ease`.

    Source: Rocchio's relevance feedback (1971) with positive examples only; a profile of texts as in Pazzani and Billsus, Content-Based
    Recommendation Systems, 2007. Decay by the number of later events is ours: it needs no times.

    State: `vector` float32 [text dim], beside the items. Its length says how much the things have in common.
    """

    encoder: str = "hashed"
    """Name or folder, as `represent.text.text_encoder` takes it."""
    text_fields: Sequence[str] = TEXT_FIELDS
    """Columns of the items frame that make up an item's text, those of them that there are."""
    half_life: float | None = 50.0
    """After so many later events a thing counts half; None counts all alike."""

    encoder_fingerprint_: str = learned("")

    population_frames: ClassVar[tuple[str, ...]] = ("events", "items")
    keeps: ClassVar[tuple[str, ...]] = ("weights",)

    def _learn(self, data: Interactions, population: Population, run: Run) -> None:
        if self.half_life is not None and not self.half_life > 0:
            raise ConfigError(f"half_life is {self.half_life}", fix="use a number of events above 0, or None")
        frame = population.item_frame(self.items_)
        present = [name for name in self.text_fields if name in frame.columns]
        if not present:
            raise MissingColumn(f"the items have none of {list(self.text_fields)}", fix=f"they have {frame.columns}", frame="items")
        encoder = text_encoder(self.encoder)
        vectors = encoder.encode(item_texts(frame, present), progress=run.progress)
        # What all texts share tells nobody from anybody; an item without a text stays at 0.
        told = vectors.any(axis=1)
        vectors[told] -= vectors[told].mean(axis=0) if told.any() else 0
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        self.item_vectors_ = (vectors / np.maximum(lengths, 1e-12)).astype(np.float32)
        self.encoder_fingerprint_ = encoder.fingerprint
        self.population_vector_ = self.item_vectors_[data.indices].mean(axis=0) if len(data) else np.zeros(self.item_vectors_.shape[1], np.float32)

    def _encode(self, histories: Interactions) -> PersonalArrays:
        from scipy.sparse import csr_matrix

        ends = np.repeat(histories.indptr[1:], histories.lengths)
        age = 0.0 if self.half_life is None else (ends - 1 - np.arange(len(histories))) / self.half_life
        weights = histories.weights * np.exp2(-age)
        matrix = csr_matrix((weights, histories.indices.copy(), histories.indptr.copy()), shape=histories.shape)
        totals = np.asarray(matrix.sum(axis=1)).ravel()
        vectors = (matrix @ self.item_vectors_) / np.maximum(totals, 1e-12)[:, None]
        vectors[totals <= 0] = self.population_vector_
        return {"vector": vectors.astype(np.float32)}
