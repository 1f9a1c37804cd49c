"""The leak guard: while it is active, reading a population that holds held-out test rows raises `LeakError`."""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import WeakSet

import polars as pl

from sartor.data.population import Population
from sartor.data.schema import FrameName
from sartor.errors import LeakError

if TYPE_CHECKING:
    from sartor.data.splits import Split

KEYS = ("person", "item", "time")
"""What identifies an event. Rows are compared by content, so that a copy, another file or a rebuilt frame does not get past the guard."""


class LeakGuard:
    """Knows the held-out rows of a split and looks for them in every population that is read.

    A population leaks when it holds some (person, item, time) more often than all that may be seen does, and that row is in the test
    part. Counting matters where people do the same thing again: the repeated event in train is honest, having it once more is not. When the
    times are missing in what is read, persons and items decide. Texts (reviews) are looked at like events. Whoever renames people or
    items gets past it: it catches mistakes, not attacks.
    """

    def __init__(self, held_out: Population, allowed: tuple[Population, ...]) -> None:
        self._held_out = held_out
        self._allowed = allowed
        self._clean: WeakSet[Population] = WeakSet()
        self._tables: dict[tuple[str, ...], pl.DataFrame] = {}

    @classmethod
    def of(cls, split: Split) -> LeakGuard:
        """The guard of a split's test part."""
        return cls(split.test, (split.train, split.validation, split.evidence, split.validation_evidence))

    def inspect(self, population: Population) -> None:
        """Raise `LeakError` when the population holds test rows; a population is looked at once."""
        if population in self._clean:
            return
        names: tuple[FrameName, ...] = ("events", "texts")
        for name in names:
            if name in population:
                self._inspect(population, name)
        self._clean.add(population)

    def _inspect(self, population: Population, name: FrameName) -> None:
        frame, held_out = population.unguarded[name], self._held_out.unguarded.get("events")
        if held_out is None:
            return
        schema, ours = frame.collect_schema(), held_out.collect_schema()
        keys = tuple(key for key in KEYS if key in schema and key in ours)
        if "person" not in keys or "item" not in keys:
            return
        if name == "texts":
            # A review may be written some time after the event.
            keys = ("person", "item")
        table = self._table(keys)
        rows = frame.select(_same_type(key, schema[key], table.schema[key]) for key in keys)
        if name == "texts":
            rows = rows.unique()
            table = table.with_columns(pl.col("allowed").clip(0, 1))
        found = (
            rows.join(table.lazy(), on=keys, how="inner", nulls_equal=True).group_by(keys).agg(pl.len(), pl.col("allowed").first())
            .filter(pl.col("len") > pl.col("allowed")).sort(keys).collect(engine="streaming")
        )  # fmt: skip
        if len(found):
            first = found.row(0, named=True)
            raise LeakError(
                f"'{population.name}' holds {len(found)} held-out test rows among its {name}",
                fix="fit on split.train and adapt on split.evidence only",
                person=repr(first["person"]), item=repr(first["item"]), time=first.get("time"),
            )  # fmt: skip

    def _table(self, keys: tuple[str, ...]) -> pl.DataFrame:
        """One row per held-out key, with how often it may be seen."""
        if keys not in self._tables:
            table = self._held_out.unguarded["events"].select(keys).unique().collect(engine="streaming").with_columns(allowed=pl.lit(0, pl.UInt32))
            for one in self._allowed:
                counts = one.unguarded["events"].select(keys).join(table.lazy(), on=keys, how="semi", nulls_equal=True)
                seen = counts.group_by(keys).agg(pl.len().cast(pl.UInt32).alias("_seen")).collect(engine="streaming")
                # Parts overlap (evidence holds train), so the most that any one part, or train and validation together, holds.
                table = (
                    table.join(seen, on=keys, how="left", nulls_equal=True)
                    .with_columns(pl.max_horizontal("allowed", pl.col("_seen").fill_null(0)))
                    .drop("_seen")
                )
            self._tables[keys] = table
        return self._tables[keys]


def _same_type(key: str, found: pl.DataType, wanted: pl.DataType) -> pl.Expr:
    return pl.col(key) if found == wanted else pl.col(key).cast(wanted, strict=False)
