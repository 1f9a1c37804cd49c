"""A fitted search over a catalogue that has changed since: new items and new texts are found at once, without another fit."""

from __future__ import annotations

import copy
import hashlib
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from sartor.data.ids import IdMap, as_ids
from sartor.represent.text import item_texts
from sartor.retrieve.bitmaps import Bitmap
from sartor.retrieve.hits import Hits

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sartor.data.interactions import Interactions
    from sartor.method import States
    from sartor.recommend._base import ItemRecommender, PersonalArrays
    from sartor.recommend.personal_search import PersonalSearch
    from sartor.retrieve.hybrid import HybridIndex


def over(method: PersonalSearch, catalogue: pl.DataFrame) -> PersonalSearch:
    """The same search over the catalogue as it is now; the method itself where nothing differs. The method is not changed.

    Items whose texts differ from those that were fitted on are indexed again, items that it does not know are added behind its own: item numbers
    of states stay what they were, and the states of the fitted model are this one's. New items have no popularity yet, and no taste moves
    them. An item that has lost all its text is found by nothing; one that the catalogue does not name stays as it was: leave it out by
    `candidates`. What this returned may be given again, with what has changed since.

    Parameters
    ----------
    catalogue: one row per item: `item`, and the columns that are searched. New items without any text, and ids that cannot be of the
        model's kind ("x" among integers), are left out.
    """
    fitted, before = method.__dict__.get(_CHANGED, (method, None))
    fields = list(fitted.hybrid.words.fields)
    ids = as_ids(catalogue["item"], method.items_.ids.dtype)
    missing = [pl.lit(None, pl.String).alias(name) for name in fields if name not in catalogue.columns]
    texts = catalogue.with_columns(missing).select(fields)
    rows = texts.with_columns(item=ids, digest=digests(texts), known=pl.Series(method.items_.numbers(ids) >= 0))
    rows = rows.filter(pl.col("item").is_not_null() & (pl.col("known") | (pl.col("digest") != EMPTY))).drop("known")
    if before is not None:
        rows = pl.concat([before, rows.select(before.columns).cast(dict(before.schema))])
    # In the order in which items came first, so that those added before keep their numbers.
    rows = rows.group_by("item", maintain_order=True).last()
    numbers = fitted.items_.numbers(rows["item"])
    differs = (numbers < 0) | (rows["digest"].to_numpy() != fitted.text_digests_[np.maximum(numbers, 0)])
    rows, numbers = rows.filter(differs), numbers[differs]
    if not rows.height or (before is not None and rows.select("item", "digest").equals(before.select("item", "digest"))):
        return method if rows.height else fitted
    fresh = numbers < 0
    known, count = len(fitted.items_), int(fresh.sum())
    numbers = numbers.copy()
    numbers[fresh] = np.arange(known, known + count)
    live = copy.copy(fitted)
    live.items_ = IdMap(pl.concat([fitted.items_.ids, rows.filter(fresh)["item"].alias(fitted.items_.ids.name)]), name=fitted.items_.name)
    live.popularity_ = np.concatenate([fitted.popularity_, np.zeros(count, np.float32)])
    live.taste = _Narrower(fitted.taste, known + count)
    hybrid = fitted.open_index()
    hybrid.remove(rows["item"].to_list())
    told = (rows["digest"] != EMPTY).to_numpy()
    if told.any():
        hybrid.add(rows.filter(told).select(fields), rows.filter(told)["item"].to_list())
    live.__dict__["hybrid"] = _Renumbered(hybrid, np.concatenate([np.arange(known, dtype=np.int32), numbers[told].astype(np.int32)]), known + count)
    live.__dict__[_CHANGED] = (fitted, rows)
    return live


_CHANGED = "_changed_since"
"""Where a search over a changed catalogue keeps the fitted one, and the rows that differ from it."""
EMPTY = 0
"""Digest of a text without a word."""


def digests(texts: pl.DataFrame) -> pl.Series:
    """UInt64 [rows], equal for equal texts; `EMPTY` for those without a word."""
    joined = item_texts(texts, texts.columns)
    marks = [int.from_bytes(hashlib.blake2b(one.encode(), digest_size=8).digest(), "big") if _WORD.search(one) else EMPTY for one in joined]
    return pl.Series("digest", marks, pl.UInt64)


_WORD = re.compile(r"\w")


class _Narrower:
    """A taste that knows the first items only: the others get the same from everybody."""

    def __init__(self, taste: ItemRecommender, items: int) -> None:
        self._taste, self._items = taste, items

    def __getattr__(self, name: str) -> Any:
        return getattr(self._taste, name)

    def _score(self, states: States, items: np.ndarray | None) -> np.ndarray:
        wanted = np.arange(self._items) if items is None else items
        known = wanted < len(self._taste.items_)
        out = np.zeros((len(states), wanted.size), np.float32)
        out[:, known] = self._taste._score(states, None if items is None else items[known])
        return out

    def _encode(self, histories: Interactions) -> PersonalArrays:
        return self._taste._encode(replace(histories, items=self._taste.items_))


class _Renumbered:
    """A hybrid index whose rows are other numbers: an item that was indexed again has a new row and its old number."""

    def __init__(self, index: HybridIndex, numbers: np.ndarray, items: int) -> None:
        self._index, self._numbers, self._items = index, numbers, items
        self._alive = np.array(index.words._alive)
        self.space = index.space

    @property
    def words(self) -> _Renumbered:
        """Of the words, the same."""
        return self

    @property
    def fields(self) -> Mapping[str, float]:
        """Columns that are searched."""
        return self._index.words.fields

    def lists(self, queries: Sequence[str], k: int, *, where: Any = None, allowed: Bitmap | None = None) -> tuple[Hits, Hits]:
        """See `HybridIndex.lists`."""
        bits = None if allowed is None else Bitmap.of(allowed.mask()[self._numbers])
        found, near = self._index.lists(queries, k, where=where, allowed=bits)
        return self._told(found), self._told(near)

    def _told(self, hits: Hits) -> Hits:
        there = hits.indices >= 0
        return Hits(np.where(there, self._numbers[np.where(there, hits.indices, 0)], -1).astype(np.int32), hits.scores, hits.ids, hits.plan)

    def known(self, queries: Sequence[str]) -> np.ndarray:
        """See `BM25.known`."""
        return self._index.words.known(queries)

    def matched(self, queries: Sequence[str]) -> np.ndarray:
        """See `BM25.matched`; [queries, items]."""
        rows = self._index.words.matched(queries)
        out = np.zeros((len(rows), self._items), rows.dtype)
        out[:, self._numbers[self._alive]] = rows[:, self._alive]
        return out
