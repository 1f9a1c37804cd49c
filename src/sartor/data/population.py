"""People and what is known of them, as lazily read columnar frames."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import polars as pl

from sartor.data.checks import check_values, checked
from sartor.data.digest import Digest
from sartor.data.ids import IdMap, as_ids, id_column
from sartor.data.interactions import Interactions
from sartor.data.schema import FRAMES, FrameName
from sartor.errors import ConfigError, EmptyData, UnknownId, WrongType

if TYPE_CHECKING:
    from pathlib import Path

Frames = Mapping[FrameName, pl.LazyFrame]


class Guard(Protocol):
    """Looks at every population that is read while it is active, and raises `LeakError` when it holds what it must not."""

    def inspect(self, population: Population) -> None: ...


_guards: ContextVar[tuple[Guard, ...]] = ContextVar("sartor_guards", default=())


@contextlib.contextmanager
def guarded(guard: Guard) -> Iterator[None]:
    """While inside, every reading of any population's events is shown to the guard first."""
    token = _guards.set((*_guards.get(), guard))
    try:
        yield
    finally:
        _guards.reset(token)


class Population:
    """The people of a data set: `events`, `items`, `people`, `texts`, `preferences`, `images`, `edges`, each optional.

    Frames are polars `LazyFrame`s: nothing is read before it is needed, and what streams need never fit in memory. Columns and
    their meaning: `sartor.data.schema.SCHEMAS`. Column names and types are checked here; values are checked when they are read.

    `population["ana"]` is that person's `Evidence`.
    """

    def __init__(self, frames: Mapping[FrameName, pl.LazyFrame | pl.DataFrame], *, name: str = "population", folder: Path | None = None) -> None:
        self.name = name
        self.folder = folder
        self._frames: dict[FrameName, pl.LazyFrame] = {}
        for key, frame in frames.items():
            if key not in FRAMES:
                raise ConfigError(f"'{key}' is not a frame", fix=f"frames are {', '.join(FRAMES)}")
            self._frames[key] = checked(frame.lazy(), key, name)
        if not self._frames:
            raise EmptyData("a population needs at least one frame", fix=f"give one of {', '.join(FRAMES)}")
        self._interactions: Interactions | None = None
        self._digest: Digest | None = None

    @classmethod
    def from_frames(cls, *, name: str = "population", **frames: Any) -> Population:
        """From data frames or anything polars reads: polars, pandas or Arrow tables, dicts of columns.

        >>> Population.from_frames(events={"person": ["ana", "ben"], "item": ["Heat", "Ronin"]})
        Population(population: events)
        """
        return cls({key: _as_lazy(value) for key, value in frames.items()}, name=name)  # type: ignore[misc]

    def __repr__(self) -> str:
        return f"Population({self.name}: {', '.join(self._frames)})"

    def __contains__(self, frame: object) -> bool:
        return frame in self._frames

    @property
    def frames(self) -> Frames:
        """All frames by name."""
        for guard in _guards.get():
            guard.inspect(self)
        return dict(self._frames)

    @property
    def unguarded(self) -> Frames:
        """All frames by name, for guards themselves: reading these is not looked at."""
        return self._frames

    def frame(self, name: FrameName) -> pl.LazyFrame:
        """One frame; raises `EmptyData` when this population has none of that name."""
        if name not in self._frames:
            raise EmptyData(f"population '{self.name}' has no {name}", fix=f"it has {', '.join(self._frames)}")
        for guard in _guards.get():
            guard.inspect(self)
        return self._frames[name]

    events = property(lambda self: self.frame("events"), doc="Who did what, when.")
    items = property(lambda self: self.frame("items"), doc="What there is.")
    people = property(lambda self: self.frame("people"), doc="Who there is.")
    texts = property(lambda self: self.frame("texts"), doc="What people wrote or said.")
    preferences = property(lambda self: self.frame("preferences"), doc="What people chose over what.")
    images = property(lambda self: self.frame("images"), doc="What people showed.")
    edges = property(lambda self: self.frame("edges"), doc="Who or what is linked to whom or what.")

    def replace(self, *, name: str | None = None, **frames: pl.LazyFrame | pl.DataFrame | None) -> Population:
        """The same with some frames exchanged (or dropped, with None)."""
        merged: dict[Any, Any] = {**self._frames, **frames}
        kept = {key: value for key, value in merged.items() if value is not None}
        return Population(kept, name=name or self.name, folder=self.folder)

    def positives(self, at_least: float) -> Population:
        """Explicit ratings as implicit feedback: keeps events whose value is at least the given one, and drops the values."""
        return self.replace(events=self.events.filter(pl.col("value") >= at_least).drop("value"))

    def only(self, people: Sequence[Any] | pl.Series) -> Population:
        """The same for some people only: every frame with a `person` column keeps their rows."""
        schemas = {key: frame.collect_schema() for key, frame in self._frames.items()}
        kept: dict[str, Any] = {
            key: frame.filter(pl.col("person").is_in(as_ids(people, schemas[key]["person"]).drop_nulls().implode()))
            if "person" in schemas[key]
            else frame
            for key, frame in self._frames.items()
        }
        return Population(kept, name=self.name, folder=self.folder)  # type: ignore[arg-type]

    def __getitem__(self, person: Any) -> Evidence:
        own: dict[FrameName, pl.DataFrame] = {}
        for key in self._frames:
            frame = self.frame(key)
            schema = frame.collect_schema()
            if "person" in schema:
                own[key] = frame.filter(pl.col("person").is_in(as_ids([person], schema["person"]).drop_nulls().implode())).collect()
        if not any(len(frame) for frame in own.values()):
            raise UnknownId("this person is not in the population", id=repr(person), fix="for somebody new, give their items as evidence")
        return Evidence(own, person=person)

    def each(self) -> Iterator[Evidence]:
        """Everybody's evidence in one pass, in the order of their ids; the frames with a `person` column are read into memory."""
        parts: dict[FrameName, dict[Any, pl.DataFrame]] = {}
        for key in self._frames:
            frame = self.frame(key)
            if "person" in frame.collect_schema():
                grouped = frame.collect().partition_by("person", as_dict=True, maintain_order=True)
                parts[key] = {person: rows for (person,), rows in grouped.items()}
        for person in sorted({person for rows in parts.values() for person in rows if person is not None}):
            yield Evidence({key: rows[person] for key, rows in parts.items() if person in rows}, person=person)

    def interactions(self, *, items: IdMap | None = None, people: IdMap | None = None) -> Interactions:
        """The events as compact arrays, in memory.

        Parameters
        ----------
        items: a fitted model's items; events with others are left out and counted in `.unknown`. Default: all items with events,
            and all of the `items` frame (so that cold items have numbers).
        people: rows in this order (people without events get empty rows). Default: all people with events, sorted.

        Raises `BadValue` on null ids, NaN values, negative or far-future times; `EmptyData` when there is no event.
        """
        events = self.frame("events")
        default = items is None and people is None
        if default and self._interactions is not None:
            return self._interactions
        schema = events.collect_schema()
        optional = [column for column in ("time", "value", "weight") if column in schema]
        frame = events.select("person", "item", *optional).collect()
        if frame.is_empty() and items is None:
            raise EmptyData(f"population '{self.name}' has no events")
        check_values(frame, "events", self.name)
        if items is None:
            known = frame["item"]
            if "items" in self._frames:
                known = pl.concat([known, self.frame("items").select("item").collect()["item"]])
            items = IdMap.of(known.rename("item"))
        if people is None:
            people = IdMap.of(frame["person"])
        out = _group(frame, people, items)
        if default:
            self._interactions = out
        return out

    def digest(self) -> Digest:
        """Tells this population's events from others, in 24 bytes; looked at once."""
        self.frame("events")
        if self._digest is None:
            try:
                self._digest = Digest.of(self.interactions())
            except EmptyData:
                self._digest = Digest()
        return self._digest

    def item_frame(self, items: IdMap) -> pl.DataFrame:
        """The `items` frame in memory, one row per id in the map's order; nulls where an item has no row."""
        wanted = pl.DataFrame({"item": items.ids})
        rows = self.frame("items").with_columns(pl.col("item").cast(items.ids.dtype)).unique("item", keep="first").collect()
        return wanted.join(rows, on="item", how="left", maintain_order="left")


@dataclass(frozen=True, eq=False)
class Evidence:
    """What is known of one person: the same frames as the population's, with that person's rows only, in memory."""

    frames: Mapping[FrameName, pl.DataFrame] = field(default_factory=dict)
    person: Any = None

    @classmethod
    def from_items(
        cls, items: Sequence[Any], *, values: Sequence[float] | None = None, times: Sequence[int] | None = None, person: Any = None
    ) -> Evidence:
        """Evidence from item ids alone, oldest first.

        >>> Evidence.from_items(["Heat", "Ronin"]).events.height
        2
        """
        for name, given in (("values", values), ("times", times)):
            if given is not None and len(given) != len(items):
                raise ConfigError(f"{len(given)} {name} for {len(items)} items", fix=f"give one of the {name} for each item")
        # Texts and integers together are texts: a model that knows integers finds those among them.
        columns: dict[str, Any] = {"item": id_column(items, name="item")}
        if values is not None:
            columns["value"] = pl.Series("value", values, dtype=pl.Float32)
        if times is not None:
            columns["time"] = pl.Series("time", times, dtype=pl.Int64)
        return cls({"events": pl.DataFrame(columns)}, person=person)

    @property
    def events(self) -> pl.DataFrame:
        """The person's events (an empty frame when there are none)."""
        return self.frames.get("events", pl.DataFrame({"item": pl.Series([], dtype=pl.String)}))

    def interactions(self, items: IdMap) -> Interactions:
        """The events as compact arrays with one row."""
        frame = self.events.with_columns(pl.lit(0, dtype=pl.Int64).alias("person"))
        check_values(frame, "events", f"evidence of {self.person!r}")
        return _group(frame, IdMap([0], name="person"), items)


def _group(frame: pl.DataFrame, people: IdMap, items: IdMap) -> Interactions:
    rows, columns = people.numbers(frame["person"]), items.numbers(frame["item"])
    times = frame["time"].fill_null(0).to_numpy() if "time" in frame.columns else np.zeros(frame.height, np.int64)
    keep = (rows >= 0) & (columns >= 0)
    unknown = int(np.count_nonzero((rows >= 0) & (columns < 0)))
    if unknown or not keep.all():
        rows, columns, times = rows[keep], columns[keep], times[keep]
    order = _order(rows, times)

    def number(name: str, default: float) -> np.ndarray:
        if name not in frame.columns:
            return np.full(rows.size, default, np.float32)
        return frame[name].cast(pl.Float32).fill_null(default).to_numpy()[keep][order]

    indptr = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=len(people)))]).astype(np.int64)
    values, weights = number("value", np.nan), number("weight", 1.0)
    return Interactions(people, items, indptr, np.ascontiguousarray(columns[order]), values, weights, np.ascontiguousarray(times[order]), unknown)


def _order(rows: np.ndarray, times: np.ndarray) -> np.ndarray | slice:
    """By person and then by time; stable, so that events of equal time keep the order of the file."""
    if bool(np.all((np.diff(rows) > 0) | ((np.diff(rows) == 0) & (np.diff(times) >= 0)))):
        return slice(None)
    low, high = int(times.min()), int(times.max())
    bits = (high - low).bit_length()
    if bits + int(rows.max()).bit_length() < 63:
        # Both in one number: a single sort, several times as fast as two.
        return np.argsort((rows.astype(np.int64) << bits) | (times - low), kind="stable")
    return np.lexsort((times, rows))


def _as_lazy(value: Any) -> pl.LazyFrame:
    if isinstance(value, pl.LazyFrame):
        return value
    if isinstance(value, pl.DataFrame):
        return value.lazy()
    try:
        if isinstance(value, Mapping):
            return pl.DataFrame(value).lazy()
        if type(value).__module__.startswith("pandas"):
            return pl.from_pandas(value).lazy()
        converted = pl.from_arrow(value)
    except (pl.exceptions.PolarsError, TypeError, ValueError, OverflowError) as cause:
        what = f"this {type(value).__name__} is not a table: {str(cause).splitlines()[0]}"
        raise WrongType(what, fix="give a polars, pandas or Arrow table, or a dict of columns of equal length") from cause
    return (converted if isinstance(converted, pl.DataFrame) else converted.to_frame()).lazy()
