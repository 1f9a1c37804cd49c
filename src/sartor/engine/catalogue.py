"""What there is to recommend: attributes of items for filters, titles and rules, read once per version of the catalogue."""

from __future__ import annotations

import copy
import logging
import threading
import time
from collections import OrderedDict
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from sartor.data.ids import IdMap
from sartor.engine.ids import ItemIds

if TYPE_CHECKING:
    import polars as pl

    from sartor.engine.ids import Id
    from sartor.method import Recommender
    from sartor.profile.store import ProfileStore
    from sartor.retrieve.attributes import Attributes

WAITED_FOR = 0.05
"""Seconds: a catalogue that is read in less is read by the request that meets its change; a larger one beside it."""

log = logging.getLogger(__name__)


class Shelf:
    """The items of one fitted model with what one version of a tenant's catalogue says of them. Shared by all requests; nothing of any person.

    Everything is in the order of the model's item numbers.
    """

    def __init__(self, ids: ItemIds, catalogue: pl.DataFrame, hidden: frozenset[str]) -> None:
        self.ids = ids
        self.hidden_ids = hidden
        self.catalogue = catalogue
        """All items of the catalogue, also those that the model does not know; `item` String."""

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
        return np.unique(self.ids.numbers(self.hidden_ids))

    def hiding(self, hidden: frozenset[str]) -> Shelf:
        """The same with other items hidden; what was computed is shared."""
        other = copy.copy(self)
        other.__dict__.pop("hidden", None)
        other.hidden_ids = hidden
        return other

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
        if not found.height or str(item) in self.hidden_ids:
            return None
        return {name: value for name, value in found.row(0, named=True).items() if name not in ("item", "hidden")}

    @cached_property
    def attributes(self) -> Attributes:
        """What filters ask; it remembers the newest of them."""
        from sartor.retrieve.attributes import Attributes

        return Attributes(self.frame)

    def where(self, condition: str) -> np.ndarray:
        """bool [items]: for which of the model's items a condition over the attributes holds (`filter_text.parse`); unknown is no.

        Raises `ConfigError` for a condition that is too long, is not understood, or does not fit the attributes.
        """
        return self.attributes.keeps(condition)


class Shelves:
    """Shelves by tenant and model, each at the newest version of the tenant's catalogue."""

    def __init__(self, store: ProfileStore) -> None:
        self._store = store
        self._ids: OrderedDict[str, ItemIds] = OrderedDict()
        self._frames: dict[str, tuple[int, pl.DataFrame]] = {}
        self._shelves: dict[tuple[str, str], tuple[int, Shelf]] = {}
        self._took: dict[str, float] = {}
        self._reading: set[tuple[str, str]] = set()
        self._locks: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()

    def ids(self, method: Recommender) -> ItemIds:
        """The id map of a fitted model, made once."""
        found = self._ids.get(method.fingerprint_)
        if found is None:
            # A model that draws knows no items.
            found = ItemIds(getattr(method, "items_", None) or IdMap([]))
            with self._lock:
                found = self._ids.setdefault(method.fingerprint_, found)
                while len(self._ids) > 32:
                    self._ids.popitem(last=False)
        return found

    def of(self, tenant: str, method: Recommender) -> Shelf:
        """The model's items as the tenant's catalogue has them now: what was hidden a moment ago is hidden, in every process.

        Other attributes of a large catalogue, which takes long to read, follow within seconds; requests do not wait for them.
        """
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
            if kept is None or self._took.get(tenant, 0.0) < WAITED_FOR:
                return self._read(tenant, method)
            shelf = kept[1].hiding(self._store.hidden_items(tenant))
            self._shelves[key] = version, shelf
            if key not in self._reading:
                self._reading.add(key)
                threading.Thread(target=self._follow, args=(tenant, method), name="sartor-catalogue", daemon=True).start()
            return shelf

    def _read(self, tenant: str, method: Recommender) -> Shelf:
        start = time.perf_counter()
        version = self._store.items_version(tenant)
        known = self._frames.get(tenant)
        if known is None or known[0] < version:
            known = version, self._store.items(tenant)
            self._frames[tenant] = known
        catalogue = known[1]
        shelf = self._made(method, catalogue, self._store.hidden_items(tenant))
        # Computed here, so that no request is the first.
        _ = shelf.frame, shelf.titles, shelf.hidden, shelf.attributes
        if len(self._shelves) > 64:
            self._shelves.clear()
            self._frames = {tenant: known}
        self._shelves[tenant, method.fingerprint_] = known[0], shelf
        self._took[tenant] = max(time.perf_counter() - start, self._took.get(tenant, 0.0) / 2)
        return shelf

    def _made(self, method: Recommender, catalogue: pl.DataFrame, hidden: frozenset[str]) -> Shelf:
        return Shelf(self.ids(method), catalogue, hidden)

    def _follow(self, tenant: str, method: Recommender) -> None:
        """Read a catalogue that has changed, and again as long as it goes on changing; most of the time at rest."""
        try:
            read = -1
            while read != self._store.items_version(tenant):
                time.sleep(min(2 * self._took.get(tenant, 0.0), 5.0) if read >= 0 else 0.0)
                self._read(tenant, method)
                read = self._frames.get(tenant, (read, None))[0]
        except Exception as problem:  # the store is closed or away: the next request that meets a change starts this again
            log.warning("the catalogue could not be read again: %s", type(problem).__name__)
        finally:
            self._reading.discard((tenant, method.fingerprint_))
