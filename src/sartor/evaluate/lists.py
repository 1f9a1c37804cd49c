"""Recommendations that are already made, by sartor or anything else, as a table: checked, and measured with the same metrics."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from sartor.data.ids import IdMap
from sartor.errors import BadValue, EmptyData, MissingColumn
from sartor.evaluate.metrics import beyond
from sartor.evaluate.metrics.ranking import Truth, ranking
from sartor.parts.statistics import bootstrap


@dataclass(frozen=True, eq=False)
class Lists:
    """Ranked lists of people, next to what they wanted. Rows of `best` and `truth` are people with something to be judged by."""

    people: IdMap
    items: IdMap
    best: np.ndarray
    """int32 [people, longest list], item numbers, -1 where a list is shorter."""
    truth: Truth
    seen: Truth
    training_counts: np.ndarray
    """int64 [items]; all 0 without training interactions."""
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, recommendations: Any, truth: Any, *, training: Any = None, items: Sequence[Any] | None = None, dedup: bool = False) -> Lists:
        """From tables: polars, pandas or Arrow, or dicts of columns.

        Parameters
        ----------
        recommendations: person, item, and `rank` (1 is best) or `score` (highest is best); without either the order of the rows counts.
        truth: person, item, and optionally relevance (0 or less is irrelevant).
        training: person, item: what each had already seen; recommending it again is a mistake.
        items: the whole catalogue, for coverage; default all items of the three tables.
        dedup: repair lists that hold an item twice, or one already seen, by removing it, instead of raising.

        Raises `MissingColumn`; `BadValue` with the count of duplicates or of seen items; `EmptyData`.
        """
        made, wanted = _frame(recommendations, "recommendations"), _frame(truth, "truth")
        past = _frame(training, "training") if training is not None else wanted.head(0)
        if made.is_empty() or wanted.is_empty():
            raise EmptyData("there are no recommendations" if made.is_empty() else "the truth is empty")
        known = pl.concat([frame["item"].cast(made["item"].dtype) for frame in (made, wanted, past)])
        goods = IdMap.of(known if items is None else pl.concat([known, pl.Series("item", items, dtype=made["item"].dtype)]))
        wanted_people = IdMap.of(wanted["person"])
        full = Truth.from_pairs(
            wanted_people.numbers(wanted["person"]), goods.numbers(wanted["item"]), len(wanted_people),
            relevance=wanted["relevance"].cast(pl.Float32).to_numpy() if "relevance" in wanted.columns else None,
        )  # fmt: skip
        notes = []
        if barren := int((full.lengths == 0).sum()):
            notes.append(f"{barren} people have truth with no relevance above 0: their metrics are NaN and left out of means")
        if (full.lengths == 0).all():
            warnings.warn("every relevance is 0: there is nothing to find, so all metrics are NaN", stacklevel=2)
        rows, places = wanted_people.numbers(made["person"]), goods.numbers(made["item"])
        if strangers := int((rows < 0).sum()):
            notes.append(f"{strangers} recommendations are for people without truth and were skipped")
        if missing := int(len(wanted_people) - np.unique(rows[rows >= 0]).size):
            notes.append(f"{missing} people with truth have no list; it counts as an empty one")
        seen = Truth.from_pairs(*_known_pairs(wanted_people, goods, past), len(wanted_people))
        best, repaired = _matrix(made, rows, places, len(wanted_people), seen, dedup)
        if repaired:
            notes.append(f"{repaired} repeated or already seen recommendations were removed")
        counts = np.bincount(goods.numbers(past["item"]), minlength=len(goods)) if past.height else np.zeros(len(goods), np.int64)
        return cls(wanted_people, goods, best, full, seen, counts, tuple(notes))

    def measure(self, ks: Sequence[int] = (5, 10, 20), *, resamples: int = 1000, seed: int = 0) -> pl.DataFrame:
        """metric, k, value, low, high (95% bootstrap over people), n, notes; `.to_arrow()` gives an Arrow table."""
        lengths = (self.best >= 0).sum(1)
        values = ranking(self.best, self.truth, ks)
        if self.training_counts.any():
            values |= beyond.popularity(self.best, self.training_counts, ks)
        rows: list[dict[str, Any]] = []
        short = {}
        for k in ks:
            if (lengths < k).any():
                short[k] = f"{int((lengths < k).sum())} lists are shorter: mean length {np.minimum(lengths, k).mean():.1f}"
        if short:
            warnings.warn(f"k = {', '.join(map(str, short))} is larger than some lists ({int(lengths.min())} items)", stacklevel=2)
        for name, table in values.items():
            ends = bootstrap(table, resamples=resamples, seed=seed)
            for at, k in enumerate(ks):
                known = ~np.isnan(table[:, at])
                value = float(table[known, at].mean()) if known.any() else float("nan")
                note = short.get(k, "") if known.any() else "nobody has a relevant item: nothing can be said"
                rows.append({"metric": name, "k": k, "value": value, "low": ends[at, 0], "high": ends[at, 1], "n": int(known.sum()), "notes": note})
        for k in ks:
            top = self.best[:, :k]
            for name, value in beyond.catalogue(np.bincount(top[top >= 0], minlength=len(self.items))).items():
                rows.append({"metric": name, "k": k, "value": value, "low": None, "high": None, "n": len(self.people), "notes": short.get(k, "")})
        numbers = dict.fromkeys(("value", "low", "high"), pl.Float64)
        return pl.DataFrame(rows, schema={"metric": pl.String, "k": pl.Int64, **numbers, "n": pl.Int64, "notes": pl.String})


def _frame(table: Any, name: str) -> pl.DataFrame:
    from sartor.data.population import _as_lazy

    frame = _as_lazy(table).collect()
    for needed in ("person", "item"):
        if needed not in frame.columns:
            raise MissingColumn(f"{name} need the column '{needed}'", fix=f"this has {frame.columns}", frame=name, column=needed)
        if frame[needed].null_count():
            raise BadValue(f"{frame[needed].null_count()} ids are missing", fix="drop the rows", frame=name, column=needed)
    return frame


def _known_pairs(people: IdMap, items: IdMap, past: pl.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    rows, places = people.numbers(past["person"]), items.numbers(past["item"])
    return rows[rows >= 0], places[rows >= 0]


def _matrix(made: pl.DataFrame, rows: np.ndarray, places: np.ndarray, people: int, seen: Truth, dedup: bool) -> tuple[np.ndarray, int]:
    """Lists as a matrix, and how many entries were removed."""
    if "rank" in made.columns:
        key = made["rank"].cast(pl.Float64).to_numpy()
    elif "score" in made.columns:
        key = -made["score"].cast(pl.Float64).to_numpy()
    else:
        key = np.zeros(made.height)
    if np.isnan(key).any():
        raise BadValue(f"{int(np.isnan(key).sum())} ranks or scores are missing", fix="drop the rows", frame="recommendations")
    keep = rows >= 0
    rows, places, key = rows[keep], places[keep], key[keep]
    order = np.lexsort((np.arange(rows.size), key, rows))
    rows, places = rows[order], places[order]
    width = int(places.max(initial=0)) + 1
    _, first = np.unique(rows.astype(np.int64) * width + places, return_index=True)
    fresh = np.zeros(rows.size, bool)
    fresh[first] = True
    lists = Truth.from_pairs(rows, places, people)
    again_pairs = beyond.in_rows(lists, seen)
    again = np.isin(rows.astype(np.int64) * width + places, lists.rows[again_pairs] * width + lists.indices[again_pairs])
    twice, repeated = int((~fresh).sum()), int(again.sum())
    if (twice or repeated) and not dedup:
        what = [f"{twice} repeat an item in the same list"] * bool(twice) + [f"{repeated} are items the person has already seen"] * bool(repeated)
        raise BadValue(f"of the recommendations {' and '.join(what)}", fix="correct them, or pass dedup=True to remove them", frame="recommendations")
    keep = fresh & ~again
    rows, places = rows[keep], places[keep]
    lengths = np.bincount(rows, minlength=people)
    best = np.full((people, int(lengths.max(initial=0))), -1, np.int32)
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    best[rows, np.arange(rows.size) - starts[rows]] = places
    return best, int((~keep).sum())
