"""Factors: groups of phrases that mean the same to somebody's answers, with counts of how often they were there and what came of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

COUNTS = ("support", "signs", "values")


@dataclass(frozen=True, eq=False)
class Factors:
    """Phrases in groups, and the sums from which all statistics follow.

    The mean with and without a factor, the mean influence and the consistency are computed from sums on reading, so that taking an item out
    touches the factors that it had, and no other.
    """

    labels: np.ndarray
    """int32 [phrases], the factor of each."""
    names: tuple[str, ...]
    sums: np.ndarray
    """float64 [factors, 3]: items that have it, sum of their signs (each item's once), sum of their values."""
    items: int
    total: float
    """Of the values of all items."""

    def __len__(self) -> int:
        return len(self.names)

    @property
    def support(self) -> np.ndarray:
        """float64 [factors], items that have it."""
        return self.sums[:, 0]

    @property
    def influence(self) -> np.ndarray:
        """float64 [factors]: mean sign, -1 to 1."""
        return self.sums[:, 1] / np.maximum(self.sums[:, 0], 1)

    @property
    def present(self) -> np.ndarray:
        """float64 [factors]: mean value of the items that have it, shrunk towards the mean of all by one item."""
        return (self.sums[:, 2] + self.mean) / (self.sums[:, 0] + 1)

    @property
    def absent(self) -> np.ndarray:
        """float64 [factors]: the same of the items that do not."""
        return (self.total - self.sums[:, 2] + self.mean) / (self.items - self.sums[:, 0] + 1)

    @property
    def mean(self) -> float:
        """Mean value of all items."""
        return self.total / max(1, self.items)

    def table(self, least: int = 2, most: int = 20) -> np.ndarray:
        """int64 [rows], the factors worth a row: had by `least` items or more, by support times consistency."""
        kept = np.flatnonzero(self.support >= least)
        weight = self.support[kept] * np.abs(self.influence[kept])
        return kept[np.argsort(-weight, kind="stable")][:most]

    def lines(self, rows: Sequence[int] | np.ndarray) -> list[str]:
        """The table in words, one line per factor."""
        return [
            f"{self.names[at]}: in {int(self.support[at])} of {self.items}, mean influence {self.influence[at]:+.2f}, mean answer "
            f"{self.present[at]:+.2f} with it, {self.absent[at]:+.2f} without"
            for at in rows
        ]  # fmt: skip


def grouped(vectors: np.ndarray, threshold: float) -> np.ndarray:
    """Labels int32 [n] from 0 of average-link clusters; two merge while their mean cosine is at least `threshold`. Vectors are unit length."""
    if len(vectors) < 2:
        return np.zeros(len(vectors), np.int32)
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform

    distance = np.clip(1 - vectors.astype(np.float64) @ vectors.T.astype(np.float64), 0, 2)
    np.fill_diagonal(distance, 0)
    tree = linkage(squareform(distance, checks=False), "average")
    return np.unique(fcluster(tree, 1 - threshold, "distance"), return_inverse=True)[1].astype(np.int32)


def counted(labels: np.ndarray, phrases: Sequence[str], features: np.ndarray, values: np.ndarray, names: Sequence[str] | None = None) -> Factors:
    """Factors of int [rows, 3] features (item, phrase, sign) and float [items] values; a factor's name is the phrase that most items have."""
    count = int(labels.max()) + 1 if labels.size else 0
    sums = np.zeros((count, len(COUNTS)))
    for at in range(count):
        sums[at] = _sums(labels, features, values, at)
    own = tuple(names) if names is not None else tuple(_name(labels, phrases, features, at) for at in range(count))
    return Factors(labels, own, sums, len(values), float(np.sum(values)))


def without(factors: Factors, phrases: Sequence[str], features: np.ndarray, values: np.ndarray, item: int) -> tuple[Factors, np.ndarray]:
    """The factors when an item is gone, and which of them it touched (int64). Features and values are still with the item.

    Phrases that no other item has keep their label, and count nothing. A touched factor is named anew by what is left, unless a job named it
    and it has all its phrases still.
    """
    gone = features[:, 0] == item
    left, touched = features[~gone], np.unique(factors.labels[features[gone, 1]]).astype(np.int64)
    sums, names = factors.sums.copy(), list(factors.names)
    for at in touched.tolist():
        sums[at] = _sums(factors.labels, left, values, at)
        had, has = (set(rows[factors.labels[rows[:, 1]] == at, 1].tolist()) for rows in (features, left))
        # A name that a job made says what the phrases are; without one of them it may say what is gone.
        if names[at] in phrases or had != has:
            names[at] = _name(factors.labels, phrases, left, at)
    total = float(np.sum(np.delete(values, item)))
    return replace(factors, sums=sums, names=tuple(names), items=factors.items - 1, total=total), touched


def of_items(labels: np.ndarray, features: np.ndarray) -> dict[int, dict[int, int]]:
    """Item -> factor -> sign: that of the sum of its phrases' signs."""
    out: dict[int, dict[int, int]] = {}
    for item, phrase, sign in features.tolist():
        own = out.setdefault(item, {})
        own[int(labels[phrase])] = own.get(int(labels[phrase]), 0) + sign
    return {item: {factor: int(np.sign(sign)) for factor, sign in own.items()} for item, own in out.items()}


def _sums(labels: np.ndarray, features: np.ndarray, values: np.ndarray, factor: int) -> np.ndarray:
    mine = features[labels[features[:, 1]] == factor] if features.size else features
    items, rows = np.unique(mine[:, 0], return_inverse=True)
    signs = np.sign(np.bincount(rows, mine[:, 2], items.size)) if items.size else np.zeros(0)
    out: Any = np.array([items.size, signs.sum(), values[items].sum()])
    return np.asarray(out)


def _name(labels: np.ndarray, phrases: Sequence[str], features: np.ndarray, factor: int) -> str:
    had = Counter(phrases[phrase] for phrase in features[:, 1].tolist() if labels[phrase] == factor)
    return min(had, key=lambda phrase: (-had[phrase], phrase)) if had else ""
