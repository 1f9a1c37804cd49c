"""What there is to recommend: attributes of items for filters, titles and rules, read once per version of the catalogue."""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from sartor.engine.ids import ItemIds
from sartor.errors import ConfigError

if TYPE_CHECKING:
    import polars as pl

    from sartor.engine.ids import Id
    from sartor.method import Recommender
    from sartor.profile.store import ProfileStore

LONGEST_FILTER = 2_000
"""Characters of a filter."""
MOST_OPERATORS = 100
"""Of a filter: a chain takes time that grows with its square."""
DEEPEST = 12
"""Brackets within brackets of a filter: some take the parser twice as long with every further pair."""
FILTERS_KEPT = 256
"""Evaluated filters that a shelf remembers; each is one bool per item."""

_OPERATORS = frozenset(["and", "or", "not", "is", "like", "ilike", "between", "case", "when", "+", "-", "*", "/", "|", "%", "<", ">", "=", "!"])
_QUERY = frozenset(["select", "from", "table", "values", "with", "exists"])
_COMMENT = re.compile(r"--|/\*|\\|\$|`")


class Shelf:
    """The items of one fitted model with what one version of a tenant's catalogue says of them. Shared by all requests; nothing of any person.

    Everything is in the order of the model's item numbers.
    """

    def __init__(self, ids: ItemIds, catalogue: pl.DataFrame) -> None:
        self.ids = ids
        self.catalogue = catalogue
        """All items of the catalogue, also those that the model does not know; `item` String."""
        self._masks: OrderedDict[str, np.ndarray] = OrderedDict()
        self._lock = threading.Lock()

    @cached_property
    def frame(self) -> pl.DataFrame:
        """One row per item of the model, nulls where the catalogue has none; `item` in the model's kind."""
        import polars as pl

        wanted = pl.DataFrame({"item": self.ids.map.ids.cast(pl.String)})
        rows = wanted.join(self.catalogue.drop("hidden", strict=False).unique("item", keep="last"), on="item", how="left", maintain_order="left")
        return rows.with_columns(self.ids.map.ids.alias("item"))

    @cached_property
    def hidden(self) -> np.ndarray:
        """int32: numbers of the items that must not be shown."""
        if "hidden" not in self.catalogue.columns:
            return np.empty(0, np.int32)
        return np.unique(self.ids.numbers(self.catalogue.filter(self.catalogue["hidden"].fill_null(False))["item"].to_list()))

    @cached_property
    def titles(self) -> list[str | None]:
        """By item number."""
        return self.frame["title"].to_list() if "title" in self.frame.columns else [None] * len(self.ids)

    @cached_property
    def categories(self) -> list[frozenset[str]]:
        """By item number; empty where the catalogue says nothing."""
        if "categories" not in self.frame.columns:
            return [frozenset()] * len(self.ids)
        return [
            frozenset(map(str, one)) if isinstance(one, list) else frozenset([str(one)] if one else ()) for one in self.frame["categories"].to_list()
        ]

    def row(self, number: int) -> dict[str, Any]:
        """One item's attributes."""
        return {name: value for name, value in self.frame.row(number, named=True).items() if value is not None and name != "item"}

    def lookup(self, item: Id) -> dict[str, Any] | None:
        """The catalogue's row of an item, whether the model knows it or not; None where there is none or it is hidden."""
        import polars as pl

        found = self.catalogue.filter(pl.col("item") == str(item))
        row = found.row(0, named=True) if found.height else None
        return None if row is None or row.pop("hidden", False) else row

    def where(self, condition: str) -> np.ndarray:
        """bool [items]: for which of the model's items an SQL condition over the attributes holds; unknown is no.

        Raises `ConfigError` for a condition that is too long, is not understood, or is not one.
        """
        with self._lock:
            if condition in self._masks:
                self._masks.move_to_end(condition)
                return self._masks[condition]
        mask = _evaluated(condition, self.frame)
        with self._lock:
            self._masks[condition] = mask
            while len(self._masks) > FILTERS_KEPT:
                self._masks.popitem(last=False)
        return mask


def _evaluated(condition: str, frame: pl.DataFrame) -> np.ndarray:
    import polars as pl

    _check(condition)
    fix = f"columns are {', '.join(frame.columns)}"
    try:
        kept = frame.select(pl.sql_expr(condition).alias("kept"))["kept"]
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as cause:
        what = (str(cause).splitlines() or ["it cannot be evaluated"])[0]
        raise ConfigError(f"the filter is not understood: {what[:200]}", fix=fix, filter=condition) from cause
    if kept.dtype != pl.Boolean or kept.len() not in (1, frame.height):
        raise ConfigError("the filter is not a condition on each item", fix=fix, filter=condition)
    mask = kept.fill_null(False).to_numpy()
    return np.ascontiguousarray(np.broadcast_to(mask, frame.height))


def _check(condition: str) -> None:
    """Refuse what is no plain condition over the columns, or would take long to parse: filters come from outside."""
    fix = "write a condition over the items' attributes, such as year > 1990"
    if not isinstance(condition, str) or not condition.strip() or len(condition) > LONGEST_FILTER:
        raise ConfigError(f"the filter is empty, or longer than {LONGEST_FILTER} characters", fix=fix)
    if found := _COMMENT.search(condition):
        raise ConfigError(f"the filter holds {found[0]}", fix="leave out comments, backslashes and dollar signs; use LIKE", filter=condition)
    words = re.findall(r"\w+|[^\w\s]", re.sub(r"'[^']*'|\"[^\"]*\"", "", condition.lower()))
    if query := sorted(_QUERY.intersection(words)):
        # A query inside the filter could name files, and would be told whether they are there.
        raise ConfigError(f"the filter holds {query[0].upper()}", fix=fix, filter=condition)
    depth = deepest = 0
    for word in words:
        depth += (word in "([") - (word in ")]")
        deepest = max(deepest, depth)
    if deepest > DEEPEST or sum(word in _OPERATORS for word in words) > MOST_OPERATORS:
        what = f"the filter has more than {MOST_OPERATORS} operators, or brackets nested deeper than {DEEPEST}"
        raise ConfigError(what, fix="name many items with IN (...)", filter=condition[:100])


class Shelves:
    """Shelves by tenant and model, each at the newest version of the tenant's catalogue."""

    def __init__(self, store: ProfileStore) -> None:
        self._store = store
        self._ids: OrderedDict[str, ItemIds] = OrderedDict()
        self._frames: dict[str, tuple[int, pl.DataFrame]] = {}
        self._shelves: dict[tuple[str, str], tuple[int, Shelf]] = {}
        self._locks: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()

    def ids(self, method: Recommender) -> ItemIds:
        """The id map of a fitted model, made once."""
        found = self._ids.get(method.fingerprint_)
        if found is None:
            found = ItemIds(method.items_)  # type: ignore[attr-defined]
            with self._lock:
                found = self._ids.setdefault(method.fingerprint_, found)
                while len(self._ids) > 32:
                    self._ids.popitem(last=False)
        return found

    def of(self, tenant: str, method: Recommender) -> Shelf:
        """The model's items as the tenant's catalogue has them now: what was hidden a moment ago is hidden, in every process."""
        version = self._store.items_version(tenant)
        key = (tenant, method.fingerprint_)
        kept = self._shelves.get(key)
        if kept is not None and kept[0] == version:
            return kept[1]
        with self._lock:
            lock = self._locks.setdefault(tenant, threading.Lock())
        with lock:
            kept = self._shelves.get(key)
            if kept is not None and kept[0] >= version:
                return kept[1]
            frame = self._frames.get(tenant)
            if frame is None or frame[0] < version:
                frame = version, self._store.items(tenant)
                self._frames[tenant] = frame
            shelf = Shelf(self.ids(method), frame[1])
            if len(self._shelves) > 64:
                self._shelves.clear()
            self._shelves[key] = version, shelf
        return shelf
