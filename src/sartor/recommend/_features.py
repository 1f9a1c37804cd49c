"""What recommenders that read attributes share: fields of items and people as codes, new items after `fit`, people described by a frame."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import polars as pl

from sartor.data.ids import IdMap
from sartor.data.interactions import Interactions
from sartor.errors import ConfigError, DuplicateRows, EmptyData
from sartor.method import State, learned
from sartor.parts.fields import Codes, FieldCodec, Kind, take
from sartor.recommend._base import ItemRecommender, PersonalArrays, _after

if TYPE_CHECKING:
    from sartor.data.population import Evidence, Population

Fields = Mapping[str, Kind] | Literal["all"] | None
"""Columns and how to read them (`sartor.parts.fields`); "all" takes every column by its type; None takes none."""

ABOUT = "about."
"""Prefix of the state arrays that hold the codes of a person's fields."""


@dataclass(frozen=True, eq=False)
class Described(Interactions):
    """Interactions whose people have fields."""

    about: Codes = field(default_factory=dict)
    """Codes of the people's fields, rows as in `people`."""

    def take(self, people: np.ndarray) -> Described:
        """The same for some people only."""
        return describe(super().take(people), take(self.about, people))


def describe(histories: Interactions, about: Codes) -> Described:
    """Histories together with the fields of their people."""
    own = {f.name: getattr(histories, f.name) for f in dataclasses.fields(Interactions)}
    return Described(**own, about=about)


@dataclass(kw_only=True, eq=False)
class FieldRecommender(ItemRecommender):
    """A recommender that reads the columns of the `items` frame, and of the `people` frame where it has `person_fields`.

    State: beside the items, `about.<field>` for every person field: its codes.
    """

    item_fields: Fields = "all"
    """Columns of the `items` frame to use."""
    use_ids: bool = True
    """Whether the item's id is a field too. Without it items are only what their columns say."""
    person_fields: Fields = None
    """Columns of the `people` frame to use."""

    item_codec_: list[dict[str, Any]] = learned()
    """The item fields, as `FieldCodec.facts` gives them."""
    item_vocabulary_: np.ndarray = learned()
    """uint64, the keys of the item fields' values."""
    person_codec_: list[dict[str, Any]] = learned()
    """The person fields; empty when there are none."""
    person_vocabulary_: np.ndarray = learned()
    """uint64, the keys of the person fields' values."""

    # --- what a method says beside `_learn`, `_encode` and `_score`

    @abstractmethod
    def _item_arrays(self, codes: Codes, frame: pl.DataFrame) -> dict[str, np.ndarray]:
        """Learned attributes with one row per item, from the items' codes: set when `fit` ends, and extended by `add_items`."""

    # --- what all share

    def _code(self, codec: FieldCodec, frame: pl.DataFrame) -> Codes:
        """How a frame becomes codes."""
        return codec.encode(frame)

    def _read_items(self, population: Population, known: np.ndarray | None = None) -> tuple[Codes, pl.DataFrame]:
        """Fit the item codec on the items that are `known` (bool [items]; None is all of them); what only others have is unknown to it.

        Codes and frame have one row per item of `items_`.
        """
        frame = population.item_frame(self.items_) if "items" in population else pl.DataFrame({"item": self.items_.ids})
        shown = frame if known is None else frame.filter(known)
        kinds = None if self.item_fields == "all" else dict(self.item_fields or {})
        codec = FieldCodec.fit(shown, kinds, leave_out=("item",))
        if self.use_ids:
            codec = _join(FieldCodec.fit(shown.select("item"), {"item": "category"}), codec)
        if not codec.fields:
            raise EmptyData(f"the items of '{population.name}' have no fields", fix="add columns to the items frame, or set use_ids=True")
        self.item_codec_, self.item_vocabulary_ = codec.facts(), codec.flat_vocabulary()
        # That an unknown item has an unknown id is no news.
        named = frame if known is None else frame.with_columns(pl.when(pl.Series(known)).then("item").alias("item"))
        return self._code(codec, named), frame

    def _read_people(self, population: Population, people: IdMap) -> Codes:
        """Fit the person codec; codes have one row per person of `people`."""
        frame = _person_frame(population.frame("people").collect(), people) if self.person_fields is not None and "people" in population else None
        if frame is None:
            if self.person_fields not in (None, "all"):
                raise EmptyData(f"population '{population.name}' has no people frame", fix="give one, or set person_fields=None")
            codec = FieldCodec([], {})
        else:
            codec = FieldCodec.fit(frame, None if self.person_fields == "all" else dict(self.person_fields or {}), leave_out=("person",))
        self.person_codec_, self.person_vocabulary_ = codec.facts(), codec.flat_vocabulary()
        return self._code(codec, frame) if frame is not None and codec.fields else {}

    @property
    def item_codec(self) -> FieldCodec:
        """Reads the items' columns."""
        return FieldCodec.restore(self.item_codec_, self.item_vocabulary_)

    @property
    def person_codec(self) -> FieldCodec:
        """Reads the people's columns."""
        return FieldCodec.restore(self.person_codec_, self.person_vocabulary_)

    def _set_items(self, codes: Codes, frame: pl.DataFrame) -> None:
        for name, array in self._item_arrays(codes, frame).items():
            setattr(self, name, array)

    def add_items(self, items: pl.DataFrame) -> Self:
        """Put new items into the catalogue of the fitted model, from their columns alone; they can be recommended at once.

        items: a frame as the population's `items`; columns that `fit` read and that are not there count as missing. Changes this
        method in place; states made before stay valid. Raises `DuplicateRows` when an id is already there.
        """
        self.check_fitted()
        fresh = self.items_.coerce(items["item"])
        if fresh.is_duplicated().any() or (self.items_.numbers(fresh) >= 0).any():
            known = fresh.filter(fresh.is_duplicated() | pl.Series(self.items_.numbers(fresh) >= 0))
            raise DuplicateRows("the item is in the catalogue already", fix="leave it out", id=repr(known[0]), rows=known.len())
        codec = self.item_codec
        frame = items.with_columns(fresh.alias("item"), *(_null(codec, name) for name in codec.names if name not in items.columns))
        codes = self._code(codec, frame.with_columns(pl.lit(None, dtype=pl.String).alias("item")) if self.use_ids else frame)
        for name, array in self._item_arrays(codes, frame).items():
            setattr(self, name, np.concatenate([getattr(self, name), array]))
        self.items_ = IdMap(pl.concat([self.items_.ids, fresh.rename(self.items_.ids.name)]), name=self.items_.name)
        return self

    def adapt(self, evidence: Evidence, state: State | None = None) -> State:
        self.check_state(state)
        fresh = evidence.interactions(self.items_)
        own = evidence.frames.get("people")
        histories = fresh if state is None else _after(state, fresh)
        if own is not None and own.height:
            about = self._about(own.head(1))
        elif state is not None:
            about = {name: state[ABOUT + name][None] for name in self.person_codec.names}
        else:
            about = self._about(None)
        return next(self._states(describe(histories, about), [state], [len(fresh)], fresh.unknown))

    def adapt_all(self, population: Population, *, progress: bool = False) -> dict[Any, State]:
        """States of everybody in a population, by person id, encoded as one batch."""
        self.check_fitted()
        histories = self.histories(population)
        made = self._states(histories, [None] * len(histories.people), histories.lengths.tolist(), 0)
        return dict(zip(histories.people.ids.to_list(), made, strict=True))

    def histories(self, population: Population, people: IdMap | None = None) -> Described:
        """Everybody's interactions and fields, as this fitted method reads them."""
        own = population.interactions(items=self.items_, people=people)
        frame = _person_frame(population.frame("people").collect(), own.people) if self.person_codec_ and "people" in population else None
        return describe(own, self._about(frame, len(own.people)))

    def _about(self, frame: pl.DataFrame | None, count: int = 1) -> Codes:
        """Codes of people's fields; unknown where there is no frame or no column."""
        if not self.person_codec_:
            return {}
        codec = self.person_codec
        given = pl.DataFrame({"person": pl.Series([None] * count)}) if frame is None else frame
        return self._code(codec, given.with_columns(_null(codec, name) for name in codec.names if name not in given.columns))

    def _about_of(self, histories: Interactions) -> Codes:
        """The people's codes that come with histories, or unknown ones."""
        return histories.about if isinstance(histories, Described) else self._about(None, len(histories.people))


def check_settings(method: ItemRecommender, *, at_least_1: Sequence[str] = (), positive: Sequence[str] = (), shares: Sequence[str] = ()) -> None:
    """Raise `ConfigError` with the name of the first setting that is out of range; shares are from 0 to below 1."""
    ranges = (
        (at_least_1, "at least 1", lambda x: x >= 1),
        (positive, "more than 0", lambda x: x > 0),
        (shares, "0 to below 1", lambda x: 0 <= x < 1),
    )
    for names, wanted, fits in ranges:
        for name in names:
            if not fits(getattr(method, name)):
                raise ConfigError(f"{name} is {getattr(method, name)}", fix=f"use {wanted}")


def about_arrays(about: Codes) -> PersonalArrays:
    """As state arrays."""
    return {ABOUT + name: codes for name, codes in about.items()}


def _null(codec: FieldCodec, name: str) -> pl.Expr:
    kind = codec[name].kind
    wanted = pl.Float64() if kind == "number" else pl.List(pl.String) if kind == "categories" else pl.String()
    return pl.lit(None, dtype=wanted).alias(name)


def _join(first: FieldCodec, second: FieldCodec) -> FieldCodec:
    kept = [one for one in second.fields if one.name not in first.names]
    return FieldCodec([*first.fields, *kept], {**second.vocabularies, **first.vocabularies})


def _person_frame(frame: pl.DataFrame, people: IdMap) -> pl.DataFrame:
    """The `people` frame, one row per person of the map, in its order; nulls where somebody has no row."""
    rows = frame.with_columns(people.coerce(frame["person"]).alias("person")).unique("person", keep="first")
    return pl.DataFrame({"person": people.ids}).join(rows, on="person", how="left", maintain_order="left")
