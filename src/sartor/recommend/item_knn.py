"""People who chose this also chose that: neighbours of the items in a history."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from sartor.errors import ConfigError
from sartor.method import Run, States, learned
from sartor.parts.topk import top_k
from sartor.progress import bar
from sartor.recommend._base import ItemRecommender, PersonalArrays, seen_matrix

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

    from sartor.data.interactions import Interactions
    from sartor.data.population import Population

BLOCK_BYTES = 64_000_000
"""Similarities held at once while looking for neighbours."""


@dataclass(kw_only=True, eq=False)
class ItemKNN(ItemRecommender):
    """An item scores the sum of its similarities to the items of a history, of which each lends its support to its k nearest only.

    Strong on dense data with many repeats of the same tastes, instantly explainable, and new people cost nothing. Without a state it
    recommends what is popular.

    Source: Deshpande and Karypis, Item-based top-N recommendation algorithms, ACM TOIS 2004.

    State: `items` int32 [n].
    """

    neighbours: int = 100
    """Items that each item lends its support to."""
    similarity: Literal["cosine", "jaccard", "tfidf", "bm25"] = "cosine"
    """tfidf and bm25 first weigh people down who choose everything, then take the cosine, or for bm25 the inner product."""
    shrinkage: float = 0.0
    """Added to the denominator of cosine, tfidf and jaccard: distrusts similarities that rest on few people."""
    normalize: bool = False
    """Divide an item's support by its sum, so that items with many near neighbours do not speak louder."""
    k1: float = 1.2
    """Of bm25: how slowly repeated weight saturates."""
    b: float = 0.75
    """Of bm25: 0 ignores how long a history is, 1 counts it fully."""

    similarity_: csr_matrix = learned()
    """float32 [items, items]: row = item in the history, column = item it supports."""
    population_scores_: np.ndarray = learned()
    """float32 [items]: share of people who chose the item, the answer to somebody without a history."""

    def _learn(self, data: Interactions, population: Population, run: Run) -> None:
        if self.neighbours < 1 or self.shrinkage < 0:
            raise ConfigError(f"neighbours {self.neighbours}, shrinkage {self.shrinkage}", fix="use neighbours >= 1, shrinkage >= 0")
        history = data.matrix()
        history.data[:] = 1.0
        self.similarity_ = self._neighbours(self._weighted(history), run)
        if self.normalize:
            totals = np.asarray(self.similarity_.sum(axis=1)).ravel()
            self.similarity_.data /= np.repeat(np.maximum(totals, 1e-12), np.diff(self.similarity_.indptr)).astype(np.float32)
        # Not the average person's scores: cosine divides popularity out, so those would show everybody the odd corners of the catalogue.
        self.population_scores_ = np.asarray(history.mean(axis=0)).ravel().astype(np.float32)

    def _weighted(self, history: csr_matrix) -> csr_matrix:
        """People x items with the weights that similarity is computed on."""
        if self.similarity not in ("cosine", "jaccard", "tfidf", "bm25"):
            raise ConfigError(f"there is no similarity '{self.similarity}'", fix="use cosine, jaccard, tfidf or bm25")
        weighted = history.astype(np.float32)
        if self.similarity in ("tfidf", "bm25"):
            # Here people are the terms and items the documents: choosing much says little about each item chosen.
            lengths = np.diff(history.indptr)
            idf = np.log(history.shape[1] / np.maximum(1 + lengths, 1)).clip(0).astype(np.float32)
            weighted.data *= np.repeat(idf, lengths)
            if self.similarity == "bm25":
                counts = np.bincount(history.indices, minlength=history.shape[1])
                longer = 1 - self.b + self.b * counts / max(counts.mean(), 1e-12)
                weighted.data *= ((self.k1 + 1) / (self.k1 * longer + 1)).astype(np.float32)[history.indices]
        return weighted

    def _neighbours(self, weighted: csr_matrix, run: Run) -> csr_matrix:
        """Each row's k greatest similarities to other items, computed a block of rows at a time."""
        from scipy.sparse import csr_matrix

        items = weighted.shape[1]
        columns = weighted.T.tocsr()
        squares = np.asarray(weighted.multiply(weighted).sum(axis=0)).ravel().astype(np.float32)
        k = min(self.neighbours, max(1, items - 1))
        step = max(1, BLOCK_BYTES // (4 * max(1, items)))
        parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        with bar("item-knn", items, enabled=run.progress, unit="item") as shown:
            for start in range(0, items, step):
                rows = np.arange(start, min(start + step, items))
                similar = (columns[rows] @ weighted).toarray()
                if self.similarity == "jaccard":
                    similar /= np.maximum(squares[rows, None] + squares - similar + self.shrinkage, 1e-12)
                elif self.similarity != "bm25":
                    similar /= np.maximum(np.sqrt(squares[rows, None] * squares) + self.shrinkage, 1e-12)
                best, scores = top_k(similar, k, left_out=list(rows[:, None]), seed=self.seed)
                real = (best >= 0) & (scores > 0)
                parts.append((np.repeat(rows, real.sum(1)), best[real], scores[real]))
                shown.advance(rows.size)
        row, column, value = (np.concatenate([part[at] for part in parts]) for at in range(3))
        return csr_matrix((value, (row, column)), shape=(items, items), dtype=np.float32)

    def _encode(self, histories: Interactions) -> PersonalArrays:
        return {}

    def _score(self, states: States, items: np.ndarray | None) -> np.ndarray:
        history = seen_matrix(states, len(self.items_))
        similarity = self.similarity_ if items is None else self.similarity_[:, items]
        scores = (history @ similarity).toarray()
        scores[np.diff(history.indptr) == 0] = self.population_scores_ if items is None else self.population_scores_[items]
        return scores
