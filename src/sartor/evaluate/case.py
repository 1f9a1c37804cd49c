"""Who is judged by what: the catalogue, the people with held-out events, and what may be known of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from sartor.data.ids import IdMap
from sartor.errors import ConfigError, EmptyData, UnknownId
from sartor.evaluate.metrics.beyond import in_rows
from sartor.evaluate.metrics.ranking import Truth
from sartor.recommend.popularity import Popularity

if TYPE_CHECKING:
    from sartor.data.interactions import Interactions
    from sartor.data.population import Population
    from sartor.data.splits import Split


@dataclass(eq=False)
class Case:
    """One evaluation's data, in the numbers of its own catalogue; rows are people."""

    items: IdMap
    people: IdMap
    truth: Truth
    evidence: Population
    seen: Truth
    """Evidence items of the same rows."""
    left_out: Truth
    events: np.ndarray
    """int64 [people], evidence events."""
    counts_train: np.ndarray
    """int64 [items], training events."""
    popular: Popularity
    """How many people have each item in training: the same yardstick for every method."""
    fitted: np.ndarray
    """bool [people], whether `fit` saw them."""
    population: Population
    pool: np.ndarray | None
    """int32, the item numbers to rank among; None is all."""
    counts: dict[str, int]
    notes: list[str]

    @classmethod
    def of(
        cls,
        method: Any,
        split: Split,
        on: str,
        exclude: str | None,
        people: Any,
        seed: int,
        graded: bool,
        candidates: int | str | Sequence[Any] | None,
    ) -> Case:
        if on not in ("test", "validation"):
            raise ConfigError(f"on is '{on}'", fix="use 'test' or 'validation'")
        if exclude not in ("seen", None):
            raise ConfigError(f"exclude is '{exclude}'", fix="use 'seen' or None")
        held = split.test if on == "test" else split.validation
        evidence = split.evidence if on == "test" else split.validation_evidence
        wanted = held.events.select("person").unique().collect()["person"].sort()
        if people is not None and not isinstance(people, int):
            wanted = wanted.filter(wanted.is_in(IdMap(wanted, name="person").coerce(people).implode()))
        elif isinstance(people, int) and people < 1:
            raise ConfigError(f"people is {people}", fix="measure at least 1 person, or everybody with None")
        elif isinstance(people, int) and people < wanted.len():
            wanted = wanted.gather(np.sort(np.random.default_rng(seed).choice(wanted.len(), people, replace=False)))
        who = IdMap(wanted, name="person")
        items = _items(method, split, held)
        histories = evidence.interactions(items=items, people=who)
        seen = Truth.of(histories)
        truth = Truth.of(held.interactions(items=items, people=who), graded=graded)
        train = split.train.interactions()
        if train.items != items:
            train = split.train.interactions(items=items)
        pool = _pool(candidates, items, train.counts())
        if pool is not None:
            truth = truth.keep(np.isin(truth.indices, pool))
        repeated = 0
        if exclude == "seen":
            # Such an item cannot be shown, so it cannot be asked for either.
            again = in_rows(truth, seen)
            repeated, truth = int(again.sum()), truth.keep(~again)
        keep = np.flatnonzero(truth.lengths > 0)
        skipped = len(who) - keep.size
        if not keep.size:
            raise EmptyData(f"nobody has {on} events to be judged by", fix="check the split, or evaluate with exclude=None")
        if skipped or keep.size < len(who):
            who, truth, seen = IdMap(wanted.gather(keep), name="person"), truth.take(keep), seen.take(keep)
        events = histories.lengths[keep]
        known = len(method.items_) if hasattr(method, "items_") else len(items)
        counts = {
            "people": int(keep.size), "people_skipped": skipped, "people_without_evidence": int((events == 0).sum()),
            "items": len(items), "relevant": int(truth.indices.size), "relevant_repeated": repeated,
            "relevant_unknown_to_method": int((truth.indices >= known).sum()),
        }  # fmt: skip
        notes = [f"{skipped} people had nothing left to be judged by and were skipped"] if skipped else []
        nothing = Truth(np.zeros(keep.size + 1, np.int64), np.empty(0, np.int32))
        fitted = train.people.numbers(who.ids) >= 0
        left_out = seen if exclude == "seen" else nothing
        return cls(items, who, truth, evidence, seen, left_out, events, train.counts(), _popular(train), fitted, split.train, pool, counts, notes)


def _popular(train: Interactions) -> Popularity:
    """Popularity in the evaluation's own item numbers."""
    method = Popularity()
    method.items_ = train.items
    method.popularity_ = np.bincount(train.matrix().indices, minlength=len(train.items)).astype(np.float32)
    return method


def _pool(candidates: int | str | Sequence[Any] | None, items: IdMap, counts: np.ndarray) -> np.ndarray | None:
    """The item numbers to rank among, or None."""
    if candidates is None or isinstance(candidates, int):
        return None
    if isinstance(candidates, str):
        if candidates != "new":
            raise ConfigError(f"candidates is '{candidates}'", fix="use 'new', a number, a list of item ids, or None")
        pool = np.flatnonzero(counts == 0).astype(np.int32)
    else:
        numbers = items.numbers(candidates)
        if (numbers < 0).any():
            raise UnknownId(f"{int((numbers < 0).sum())} candidate items are not in the catalogue", fix="leave them out")
        pool = np.unique(numbers)
    if not pool.size:
        raise EmptyData("there is no candidate item", fix="with candidates='new' use a split with cold items")
    return pool


def _items(method: Any, split: Split, held: Population) -> IdMap:
    """The method's items in their own order, then what only the data knows: such items can be relevant, and are always missed."""
    data = split.train.interactions().items
    if not hasattr(method, "items_"):
        return data
    extra = pl.concat([data.ids, held.events.select("item").unique().collect()["item"].cast(data.ids.dtype)])
    extra = extra.filter(method.items_.numbers(extra) < 0).unique().sort()
    if not extra.len():
        return method.items_
    own = method.items_.ids.rename("item")
    return IdMap(pl.concat([own, extra.rename("item").cast(own.dtype)]), name="item")
