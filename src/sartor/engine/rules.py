"""Business rules and diversity: from a method's scores to the list that is shown."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from sartor.errors import ConfigError

if TYPE_CHECKING:
    from sartor.engine.catalogue import Shelf
    from sartor.engine.ids import Id
    from sartor.method import Recommender, State

DEEP = 100
"""Items that diversity chooses from, at least; five times k when that is more, as long as that is at most 500."""


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What the business wants, beside what the person wants. Conditions are over the items' attributes, as in `where`."""

    pinned: Sequence[Id] = ()
    """Items shown first, in this order, even when the person has seen them or the model does not know them; never when they are hidden."""
    boosted: Mapping[str, float] = field(default_factory=dict)
    """Condition -> how far its items move, in standard deviations of this person's scores over the items she may see; below 0 is down.
    An item that meets several conditions moves by their sum."""
    buried: str | None = None
    """Items that come only when nothing else is left."""
    hidden: Sequence[Id] = ()
    """Items never shown."""
    max_per_category: int | None = None
    """Most items of one category (column `categories`; an item counts in each of its own). Pinned items count too, but always stay."""

    def __post_init__(self) -> None:
        for name in ("pinned", "hidden"):
            if isinstance(getattr(self, name), str) or not isinstance(getattr(self, name), Sequence):
                raise ConfigError(f"{name} is not a list", fix="give a list of item ids")
        if not isinstance(self.boosted, Mapping) or not all(_finite(strength) for strength in self.boosted.values()):
            raise ConfigError("boosted is not {condition: number}", fix="give numbers of standard deviations, such as {'year > 2020': 0.5}")
        if self.max_per_category is not None and (isinstance(self.max_per_category, bool) or not _whole(self.max_per_category)):
            raise ConfigError(f"max_per_category is {self.max_per_category!r}", fix="use a whole number, at least 1, or None")

    @property
    def reorders(self) -> bool:
        """Whether the order of a method's own list may change."""
        return bool(self.boosted) or self.buried is not None or self.max_per_category is not None


NO_RULES = Rules()


def check_diversity(diversity: Any) -> None:
    """Raise `ConfigError` unless it is a number from 0 to 1."""
    if not _finite(diversity) or not 0 <= diversity <= 1:
        raise ConfigError(f"diversity is {diversity!r}", fix="use a number from 0 (the method's own order) to 1")


def best(
    method: Recommender, states: Sequence[State | None], k: int, left_out: list[np.ndarray], pool: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """The method's own list in item numbers: int32 and float32 [states, k]; -1 and -inf where there are fewer.

    left_out: item numbers, one array per state. pool: item numbers to choose from, sorted; None is all.
    """
    from sartor.recommend._base import ItemRecommender

    if isinstance(method, ItemRecommender) and type(method).recommend is ItemRecommender.recommend:
        return method.best_numbers(states, k, left_out=left_out, pool=pool)
    ids = method.items_.array  # type: ignore[attr-defined]
    candidates = None if pool is None else ids[pool].tolist()
    ranking = method.recommend(states, k, exclude=[ids[own].tolist() for own in left_out], candidates=candidates)
    return ranking.indices, ranking.scores


def arranged(
    method: Recommender,
    state: State | None,
    k: int,
    left_out: np.ndarray,
    pool: np.ndarray | None,
    shelf: Shelf,
    rules: Rules,
    diversity: float,
    pinned: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """One person's list by rules and diversity: item numbers int32 [at most k], and the method's own scores float32 [same].

    The list is not sorted by score where rules or diversity moved something. `pinned` are numbers of items that stand before it and take
    room of their categories. Deterministic.
    """
    count = len(shelf.ids) if pool is None else pool.size
    near = max(k, DEEP, min(5 * k, 5 * DEEP)) if diversity else 0
    depth = min(count, max(near, k, DEEP))
    worth = _worth(method, state, left_out, pool, shelf, rules) if rules.boosted or rules.buried is not None else None
    while True:
        order, own, value = _first(method, state, depth, left_out, pool) if worth is None else worth.first(depth)
        likeness = _likeness(method, order[:near], shelf) if near else np.empty((0, 0))
        chosen = _choose(order, value, k, _Room(shelf, rules, pinned), likeness, diversity)
        if chosen.size >= k or depth >= count or order.size < depth:
            return order[chosen], own[chosen]
        # Too many of one category among the best: look further down.
        depth = min(count, depth * 8)


def _first(
    method: Recommender, state: State | None, depth: int, left_out: np.ndarray, pool: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    numbers, scores = best(method, [state], depth, [left_out], pool)
    real = numbers[0] >= 0
    return numbers[0][real], scores[0][real], scores[0][real]


@dataclass(frozen=True)
class _Worth:
    """What items are worth once they are boosted and buried."""

    numbers: np.ndarray
    own: np.ndarray
    """The method's own scores."""
    worth: np.ndarray

    def first(self, depth: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The best ones: numbers, own scores, worth."""
        at = np.argpartition(-self.worth, depth - 1)[:depth] if depth < self.worth.size else np.arange(self.worth.size)
        # What is worth the same comes in the order of the method's scores, then of item numbers.
        at = at[np.lexsort((self.numbers[at], -self.own[at], -self.worth[at]))]
        return self.numbers[at], self.own[at], self.worth[at]


def _worth(method: Recommender, state: State | None, left_out: np.ndarray, pool: np.ndarray | None, shelf: Shelf, rules: Rules) -> _Worth:
    """Of all items that may be shown."""
    numbers, own = _scores(method, state, pool)
    shown = np.ones(len(shelf.ids), bool)
    shown[left_out] = False
    keep = shown[numbers] & np.isfinite(own)
    numbers, own = numbers[keep], own[keep]
    worth = own.astype(np.float64)
    spread = (float(worth.std()) if worth.size else 0.0) or 1.0
    for condition, strength in rules.boosted.items():
        worth += strength * spread * shelf.where(condition)[numbers]
    if rules.buried is not None and worth.size:
        worth -= (float(np.ptp(worth)) + spread) * shelf.where(rules.buried)[numbers]
    return _Worth(numbers, own, worth)


def _scores(method: Recommender, state: State | None, pool: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Numbers and scores of all items, or of some."""
    from sartor.recommend._base import ItemRecommender

    items = method.items_  # type: ignore[attr-defined]
    numbers = np.arange(len(items), dtype=np.int32) if pool is None else pool
    if isinstance(method, ItemRecommender):
        scores = method.score([state])[0]
        return numbers, scores if pool is None else scores[pool]
    found, scores = best(method, [state], numbers.size, [np.empty(0, np.int32)], pool)
    real = found[0] >= 0
    return found[0][real], scores[0][real]


class _Room:
    """What the categories still have room for."""

    def __init__(self, shelf: Shelf, rules: Rules, pinned: np.ndarray) -> None:
        self._shelf, self._most = shelf, rules.max_per_category
        self._counts: dict[str, int] = {}
        for number in pinned.tolist():
            self._count(number)

    def takes(self, number: int) -> bool:
        """Whether an item has room, which is then taken."""
        if self._most is None:
            return True
        if any(self._counts.get(category, 0) >= self._most for category in self._shelf.categories[number]):
            return False
        self._count(number)
        return True

    def _count(self, number: int) -> None:
        if self._most is not None:
            for category in self._shelf.categories[number]:
                self._counts[category] = self._counts.get(category, 0) + 1


def _choose(order: np.ndarray, worth: np.ndarray, k: int, room: _Room, likeness: np.ndarray, diversity: float) -> np.ndarray:
    """Places in `order` of the items to show, one after the other: by maximal marginal relevance as far as `likeness` reaches, then in order."""
    reach = len(likeness)
    chosen: list[int] = []
    relevance, nearest, left = _unit(worth[:reach]), np.zeros(reach), np.ones(reach, bool)
    while len(chosen) < k and left.any():
        place = int(np.argmax(np.where(left, (1 - diversity) * relevance - diversity * nearest, -np.inf)))
        left[place] = False
        if room.takes(int(order[place])):
            chosen.append(place)
            nearest = np.maximum(nearest, likeness[place])
    for place in range(reach, order.size):
        if len(chosen) >= k:
            break
        if room.takes(int(order[place])):
            chosen.append(place)
    return np.array(chosen, np.int64)


def _unit(worth: np.ndarray) -> np.ndarray:
    """Scores from 0 to 1."""
    if not worth.size:
        return worth
    low, high = float(worth.min()), float(worth.max())
    return (worth - low) / (high - low) if high > low else np.ones(worth.size)


def _likeness(method: Recommender, numbers: np.ndarray, shelf: Shelf) -> np.ndarray:
    """float64 [n, n] in [0, 1]: how alike items are; by their vectors, else by who chose both, else by categories."""
    vectors = getattr(method, "item_vectors_", None)
    if isinstance(vectors, np.ndarray):
        own = vectors[numbers].astype(np.float64)
        own /= np.maximum(np.linalg.norm(own, axis=1, keepdims=True), 1e-12)
        return np.clip(own @ own.T, 0, 1)
    similar = getattr(method, "similarity_", None)
    if similar is not None:
        block = similar[numbers][:, numbers]
        block = np.asarray(block.toarray() if hasattr(block, "toarray") else block, np.float64)
        block = np.maximum(block, block.T)
        top = float(block.max()) if block.size else 0.0
        return np.clip(block / top, 0, 1) if top > 0 else block
    return _shared_categories([shelf.categories[number] for number in numbers.tolist()])


def _shared_categories(sets: list[frozenset[str]]) -> np.ndarray:
    """float64 [n, n]: Jaccard similarity of sets."""
    out = np.zeros((len(sets), len(sets)))
    for row, one in enumerate(sets):
        for column in range(row):
            union = len(one | sets[column])
            out[row, column] = out[column, row] = len(one & sets[column]) / union if union else 0.0
    return out


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _whole(value: Any) -> bool:
    return isinstance(value, int) and value >= 1
