"""What there is: items with departments, brands, colours, prices, words, and the shares of each topic they serve."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl

from sartor.data.world.draws import Draws
from sartor.data.world.taste import Topics
from sartor.data.world.titles import describe
from sartor.data.world.vocabulary import BRANDS, BRANDS_PER_SHOP, COLOURS, KINDS, MEDIA, MOODS, PLACES, PRICES, SHOPS, SUBS

BLENDED = 0.25
"""Share of items that also serve a second topic."""
SECOND_SHARE = 0.3
"""How much of a blended item is its second topic's."""


@dataclass(frozen=True, eq=False)
class Shelf:
    """How the items of every (shop, topic) are drawn: row `shop * topics + topic`.

    Inside a row items stand in the order of their third-level category, each about a third of it, so that a step of a third along the row is
    a step to the next category.
    """

    starts: np.ndarray
    """int64 [rows + 1]."""
    entries: np.ndarray
    """int32 [entries], items."""
    cumulative: np.ndarray
    """float64 [entries], row number + running sum of chances inside the row."""
    totals: np.ndarray
    """float64 [rows], popularity in the row, by which chances are divided."""

    def draw(self, rows: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        """One item per (row, number in [0, 1))."""
        found = np.searchsorted(self.cumulative, rows + uniform, side="right")
        return self.entries[np.clip(found, self.starts[rows], self.starts[rows + 1] - 1)]


@dataclass(frozen=True, eq=False)
class Catalogue:
    """All items of a world, their truth, and how they are drawn."""

    topics: Topics
    topic: np.ndarray
    """int16 [items], main topic."""
    second: np.ndarray
    """int16 [items], second topic; the same as the main one where there is none."""
    share: np.ndarray
    """float32 [items], the main topic's share; the second topic has the rest."""
    popularity: np.ndarray
    """float64 [items], rank in its shop and topic to the power of minus the popularity bias."""
    sub: np.ndarray
    """int8 [items], number of the third-level category in its kind."""
    shop: np.ndarray
    """int8 [items]."""
    cold: np.ndarray
    """bool [items], appears only in the last part of the time."""
    shelves: tuple[Shelf, Shelf]
    """Before and after the cold items appear."""
    fields: pl.DataFrame
    """The `items` frame."""

    def __len__(self) -> int:
        return int(self.topic.size)

    @property
    def shops(self) -> int:
        return int(self.shop.max()) + 1

    @cached_property
    def prominence(self) -> np.ndarray:
        """Float64 [items], how likely an event of the average person is with each item, in its own shop."""
        return self.chance(self.topics.share[None, :], np.arange(len(self)), late=True)[0].astype(np.float64)

    def affinity(self, weights: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Float32 [people, items] from topic weights [people, topics]: the share of a person's taste that each item serves."""
        share = self.share[items]
        return weights[:, self.topic[items]] * share + weights[:, self.second[items]] * (1 - share)

    def chance(self, weights: np.ndarray, items: np.ndarray, *, late: bool) -> np.ndarray:
        """Float32 [people, items]: how likely a taste-driven event is with each item, in the item's own shop."""
        shelf = self.shelves[int(late)]
        base = self.shop[items].astype(np.int64) * len(self.topics)
        first, second = shelf.totals[base + self.topic[items]], shelf.totals[base + self.second[items]]
        popularity = self.popularity[items] * (1.0 if late else ~self.cold[items])
        share = self.share[items]
        one = (popularity * share / first).astype(np.float32)
        two = (popularity * (1 - share) / second).astype(np.float32)
        return weights[:, self.topic[items]] * one + weights[:, self.second[items]] * two

    def truth(self) -> pl.DataFrame:
        """One row per item: item, topic, topic_name, second, share, popularity, subcategory number, cold."""
        return pl.DataFrame(
            {
                "item": np.arange(len(self), dtype=np.int64), "topic": self.topic, "topic_name": [self.topics.names[t] for t in self.topic],
                "second": self.second, "share": self.share, "popularity": self.popularity, "sub": self.sub, "cold": self.cold,
            }
        )  # fmt: skip


def make_catalogue(
    draws: Draws, topics: Topics, items: int, *, shops: int, popularity_bias: float, cold: float, field_correlation: float, released: tuple[int, int]
) -> Catalogue:
    """`items` items in `shops` shops with the same topics; `released` are the times at which warm and cold items appear."""
    rng = draws.generator("items")
    shop = (np.arange(items) % shops).astype(np.int8)
    topic, popularity = np.empty(items, np.int16), np.empty(items)
    for one in range(shops):
        own = np.flatnonzero(shop == one)
        topic[own] = rng.permutation(np.repeat(np.arange(len(topics)), _counts(topics.share, own.size)))
        for t in range(len(topics)):
            mine = own[topic[own] == t]
            popularity[mine] = (rng.permutation(mine.size) + 1.0) ** -popularity_bias
    second, share = _blend(rng, topics, topic)
    row = shop.astype(np.int64) * len(topics) + topic
    sub = _subs(rng, row, popularity)
    is_cold = _cold(rng, cold, row)
    arrays = (topic, second, share, popularity, sub, shop)
    shelves = (_shelf(len(topics), *arrays, ~is_cold), _shelf(len(topics), *arrays, np.ones(items, bool)))
    fields = _fields(rng, topics, topic, second, sub, shop, np.where(is_cold, released[1], released[0]), field_correlation)
    return Catalogue(topics, *arrays, is_cold, shelves, fields)


def _counts(share: np.ndarray, items: int) -> np.ndarray:
    """Items per topic: at least 2, the rest in proportion, by largest remainder."""
    rest = items - 2 * share.size
    exact = share * rest
    counts = np.floor(exact).astype(np.int64)
    counts[np.argsort(counts - exact, kind="stable")[: rest - counts.sum()]] += 1
    return counts + 2


def _blend(rng: np.random.Generator, topics: Topics, topic: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A second topic for some items: another mood of the same kind, or the same mood elsewhere."""
    second = topic.copy()
    for t in range(len(topics)):
        near = np.flatnonzero(((topics.kind == topics.kind[t]) | (topics.mood == topics.mood[t])) & (np.arange(len(topics)) != t))
        blended = np.flatnonzero(topic == t)
        blended = blended[rng.random(blended.size) < BLENDED]
        if near.size:
            second[blended] = near[rng.integers(0, near.size, blended.size)]
    return second, np.where(second == topic, 1.0, 1 - SECOND_SHARE).astype(np.float32)


def _subs(rng: np.random.Generator, row: np.ndarray, popularity: np.ndarray) -> np.ndarray:
    """Third-level categories, about equally popular on every shelf: each item, the most popular first, goes where there is least."""
    load = rng.random((int(row.max()) + 1, SUBS)) * 1e-6
    out = np.empty(row.size, np.int8)
    for item in np.argsort(-popularity, kind="stable"):
        out[item] = one = int(load[row[item]].argmin())
        load[row[item], one] += popularity[item]
    return out


def _cold(rng: np.random.Generator, share: float, row: np.ndarray) -> np.ndarray:
    """Which items are cold: the asked share, but never a whole shelf."""
    order = rng.permutation(row.size)
    _, keep = np.unique(row[order], return_index=True)
    free = np.delete(order, keep)
    out = np.zeros(row.size, bool)
    out[free[: round(share * row.size)]] = True
    return out


def _shelf(
    topics: int,
    topic: np.ndarray,
    second: np.ndarray,
    share: np.ndarray,
    popularity: np.ndarray,
    sub: np.ndarray,
    shop: np.ndarray,
    there: np.ndarray,
) -> Shelf:
    rows = int(shop.max() + 1) * topics
    numbers = np.flatnonzero(there)
    blended = numbers[second[numbers] != topic[numbers]]
    entries = np.concatenate([numbers, blended])
    row = shop[entries].astype(np.int64) * topics + np.concatenate([topic[numbers], second[blended]])
    weight = popularity[entries] * np.concatenate([share[numbers], 1 - share[blended]])
    order = np.lexsort((sub[entries], row))
    entries, row, weight = entries[order].astype(np.int32), row[order], weight[order]
    starts = np.searchsorted(row, np.arange(rows + 1))
    sums = np.concatenate([[0.0], np.cumsum(weight)])
    totals = sums[starts[1:]] - sums[starts[:-1]]
    return Shelf(starts, entries, row + (sums[1:] - sums[starts[row]]) / totals[row], totals)


def _fields(
    rng: np.random.Generator,
    topics: Topics,
    topic: np.ndarray,
    second: np.ndarray,
    sub: np.ndarray,
    shop: np.ndarray,
    released: np.ndarray,
    rho: float,
) -> pl.DataFrame:
    """The `items` frame. Every field follows the topic or another field with probability `rho`, and is drawn at random otherwise."""
    n = topic.size
    kind, mood = topics.kind[topic], topics.mood[topic]

    def follows(value: np.ndarray, choices: int) -> np.ndarray:
        return np.where(rng.random(n) < rho, value, rng.integers(0, choices, n))

    # Two brands share the work of a topic in a shop; a brand sits in one place and keeps to a price level.
    house = rng.integers(0, BRANDS_PER_SHOP, (int(shop.max()) + 1, len(topics), 2))
    brand = follows(house[shop, topic, rng.integers(0, 2, n)], BRANDS_PER_SHOP) + shop * BRANDS_PER_SHOP
    origin = follows(rng.integers(0, len(PLACES), len(BRANDS))[brand], len(PLACES))
    level = np.array([0.6, 1.0, 1.7])[follows(rng.integers(0, 3, len(BRANDS))[brand], 3)]
    price = np.array([PRICES[KINDS[k].department] for k in kind]) * level * np.exp(0.15 * rng.standard_normal(n))
    palette = np.array([[COLOURS.index(one) for one in m.colours] for m in MOODS])
    colour = follows(palette[mood, rng.integers(0, 2, n)], len(COLOURS))
    era = np.array([2012, 2004, 2016, 1998, 2010, 1968, 1992, 1984, 2001, 2018])
    year = np.where(rng.random(n) < rho, era[mood] + rng.integers(-6, 7, n), rng.integers(1950, 2024, n))
    tag = follows(mood, len(MOODS))
    names = describe(rng, kind, mood, topics.mood[second], sub, brand, colour, origin)
    return pl.DataFrame(
        {
            "item": np.arange(n, dtype=np.int64),
            "title": names.titles,
            "text": names.texts,
            "categories": [[KINDS[k].department, KINDS[k].plural, f"{KINDS[k].subs[s]} {KINDS[k].plural}"] for k, s in zip(kind, sub, strict=True)],
            "department": [KINDS[k].department for k in kind],
            "kind": [KINDS[k].plural for k in kind],
            "subcategory": [f"{KINDS[k].subs[s]} {KINDS[k].plural}" for k, s in zip(kind, sub, strict=True)],
            "brand": [BRANDS[b] for b in brand],
            "colour": [COLOURS[c] for c in colour],
            "origin": [PLACES[o] for o in origin],
            "price": np.round(price, 2).astype(np.float32),
            "year": year.astype(np.int32),
            "tags": [
                [(MOODS[m].media if KINDS[k].department in MEDIA else MOODS[m].goods)[0], KINDS[k].subs[s], COLOURS[c]]
                for m, k, s, c in zip(tag, kind, sub, colour, strict=True)
            ],
            "shop": [SHOPS[s] for s in shop],
            "released": released,
        }
    )
