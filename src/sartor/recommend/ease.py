"""A linear item-to-item model with a closed form, hard to beat on dense implicit data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sartor.method import Run, States, learned
from sartor.recommend._base import ItemRecommender, PersonalArrays

if TYPE_CHECKING:
    from sartor.data.interactions import Interactions
    from sartor.data.population import Population


@dataclass(kw_only=True, eq=False)
class EASE(ItemRecommender):
    """Scores are a person's history times one item-by-item matrix, learned in closed form with a zero diagonal.

    For catalogues up to some 20,000 items (memory and time grow with items squared and cubed). A new person costs nothing: the state is
    the history itself.

    Source: Steck, Embarrassingly Shallow Autoencoders for Sparse Data, WWW 2019.

    State: `items` int32 [n]; 4 bytes per event.
    """

    regularization: float = 250.0
    """L2; the larger, the more popular items dominate. Published: 200 to 1,000."""

    item_weights_: np.ndarray = learned()
    """float32 [items, items]: row = item in the history, column = item to score."""
    population_scores_: np.ndarray = learned()
    """float32 [items]: scores of the average person."""

    def _learn(self, data: Interactions, population: Population, run: Run) -> None:
        from scipy.linalg import lapack

        history = _binary(data)
        gram = (history.T @ history).toarray().astype(np.float64)
        gram[np.diag_indices_from(gram)] += self.regularization
        factor, _ = lapack.dpotrf(gram, lower=0, overwrite_a=1)
        inverse, _ = lapack.dpotri(factor, lower=0, overwrite_c=1)
        inverse = np.triu(inverse) + np.triu(inverse, 1).T
        weights = -inverse / np.diag(inverse)
        np.fill_diagonal(weights, 0.0)
        self.item_weights_ = weights.astype(np.float32)
        self.population_scores_ = np.asarray(history.mean(axis=0)).ravel().astype(np.float32) @ self.item_weights_

    def _encode(self, histories: Interactions) -> PersonalArrays:
        return {}

    def _score(self, states: States, items: np.ndarray | None) -> np.ndarray:
        from scipy.sparse import csr_matrix

        weights = self.item_weights_ if items is None else self.item_weights_[:, items]
        average = self.population_scores_ if items is None else self.population_scores_[items]
        own = [np.empty(0, np.int32) if state is None else np.unique(state["items"]) for state in states]
        indptr = np.concatenate([[0], np.cumsum([one.size for one in own])])
        indices = np.concatenate([*own, np.empty(0, np.int32)])
        scores = csr_matrix((np.ones(indices.size, np.float32), indices, indptr), shape=(len(own), len(self.items_))) @ weights
        scores[[row for row, state in enumerate(states) if state is None]] = average
        return scores


def _binary(data: Interactions):  # type: ignore[no-untyped-def]
    history = data.matrix()
    history.data[:] = 1.0
    return history
