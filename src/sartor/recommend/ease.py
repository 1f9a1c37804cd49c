"""A linear item-to-item model with a closed form, hard to beat on dense implicit data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sartor.errors import ConfigError, Diverged
from sartor.method import Run, States, learned
from sartor.progress import track
from sartor.recommend._base import ItemRecommender, PersonalArrays, seen_matrix

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

    from sartor.data.interactions import Interactions
    from sartor.data.population import Population

BLOCK = 512
"""Rows of the item-by-item matrix worked on at once."""


@dataclass(kw_only=True, eq=False)
class EASE(ItemRecommender):
    """Scores are a person's history times one item-by-item matrix, learned in closed form with a zero diagonal.

    For catalogues up to some 20,000 items: fitting takes 12 bytes times items squared (5 GB for 20,000) and time grows with items cubed;
    the model keeps 4 bytes times items squared. A new person costs nothing: the state is the history itself.

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
        if not 0 < self.regularization < np.inf:
            raise ConfigError(f"regularization is {self.regularization}", fix="use a number above 0")
        history = _binary(data)
        gram = _gram(history, run.progress)
        gram[np.diag_indices_from(gram)] += self.regularization
        _invert(gram)
        # Every column by its own diagonal, in place: one float64 matrix is all the memory there is beside the result.
        gram /= -np.diag(gram).copy()
        np.fill_diagonal(gram, 0.0)
        self.item_weights_ = gram.astype(np.float32)
        self.population_scores_ = np.asarray(history.mean(axis=0)).ravel().astype(np.float32) @ self.item_weights_

    def _encode(self, histories: Interactions) -> PersonalArrays:
        return {}

    def _score(self, states: States, items: np.ndarray | None) -> np.ndarray:
        weights = self.item_weights_ if items is None else self.item_weights_[:, items]
        average = self.population_scores_ if items is None else self.population_scores_[items]
        history = seen_matrix(states, len(self.items_))
        scores = history @ weights
        scores[np.diff(history.indptr) == 0] = average
        return scores


def _binary(data: Interactions) -> csr_matrix:
    history = data.matrix()
    history.data[:] = 1.0
    return history


def _gram(history: csr_matrix, progress: bool) -> np.ndarray:
    """History' history, float64 [items, items], a block of rows at a time."""
    items = history.shape[1]
    columns = history.T.tocsr()
    gram = np.empty((items, items))
    for start in track(range(0, items, BLOCK), "EASE", enabled=progress):
        gram[start : start + BLOCK] = (columns[start : start + BLOCK] @ history).toarray()
    return gram


def _invert(matrix: np.ndarray) -> None:
    """The inverse of a symmetric positive definite float64 matrix, in place."""
    from scipy.linalg import lapack

    # LAPACK works by columns: the transposed view is the same symmetric matrix in its order, so that nothing is copied.
    _, failed = lapack.dpotrf(matrix.T, lower=1, overwrite_a=1)
    if not failed:
        _, failed = lapack.dpotri(matrix.T, lower=1, overwrite_c=1)
    if failed:
        raise Diverged("the item-by-item matrix is not positive definite", fix="raise regularization")
    for start in range(0, len(matrix), BLOCK):
        stop = min(start + BLOCK, len(matrix))
        matrix[start:stop, :start] = matrix[:start, start:stop].T
        corner = np.triu(matrix[start:stop, start:stop])
        matrix[start:stop, start:stop] = corner + np.triu(corner, 1).T
