"""Attributes of items, people or events as vectors: categorical, multi-valued, numeric and text fields, each with a default row.

`FieldCodec` turns data frames into arrays of codes once; `FieldEmbedding` turns codes into vectors inside a network.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np
import polars as pl

from sartor.errors import ConfigError, MissingColumn, WrongType
from sartor.parts import hashing

Kind = Literal["category", "categories", "number", "text"]

Codes = dict[str, np.ndarray]
"""Field -> int32 [n] (category), int32 [n, width] (categories, text; padded on the right), float32 [n] (number; NaN where missing)."""

DEFAULT = 0
"""The code of a value that is missing, unknown or hidden."""


class UnknownValues(UserWarning):
    """Values that were not there when the codec was fitted; they share one unknown row per field."""


@dataclass(frozen=True)
class Field:
    """One field: what its codes mean."""

    name: str
    kind: Kind
    size: int = 0
    """Codes 1..size stand for values; 0 is the default, size + 1 pads bags. 0 for numbers."""
    width: int = 1
    """Most values in one bag."""
    buckets: int = 0
    """Words of a text are hashed into so many values."""
    mean: float = 0.0
    scale: float = 1.0
    """Numbers are coded as (number - mean) / scale."""

    @property
    def is_bag(self) -> bool:
        """Whether it may hold several values."""
        return self.kind in ("categories", "text")

    @property
    def padding(self) -> int:
        """The code that fills bags up."""
        return self.size + 1


class FieldCodec:
    """From the columns of a data frame to codes, the same in every process; fitted on the frame that is trained on.

    A value is known by its 64-bit key (`sartor.parts.hashing`), so that a codec is a few numbers per field and a sorted array of keys.
    """

    def __init__(self, fields: Sequence[Field], vocabularies: Mapping[str, np.ndarray]) -> None:
        self.fields = tuple(fields)
        self.vocabularies = dict(vocabularies)
        """Field -> uint64 [size], its values' keys, sorted (all but numbers)."""

    @classmethod
    def fit(
        cls,
        frame: pl.DataFrame,
        kinds: Mapping[str, Kind] | None = None,
        *,
        leave_out: Sequence[str] = (),
        min_count: int = 1,
        buckets: int = 65_536,
        max_values: int = 16,
    ) -> FieldCodec:
        """Learn the values of every field.

        Parameters
        ----------
        frame: one row per item, person or event.
        kinds: column -> "category", "categories" (a list column), "number" or "text"; by default all columns that say something
            (`says_something`), by their type: lists are categories, `title` and `text` are text, floats numbers, the rest categories.
        leave_out: columns never taken by default.
        min_count: rarer values share the unknown row, which is trained by them.
        buckets: how many values the words of a text are hashed into; only those that occur take a row.
        max_values: of one bag; more are cut off.
        """
        if kinds is None:
            kinds = {name: kind_of(frame[name]) for name in frame.columns if name not in leave_out and says_something(frame[name])}
        fields, vocabularies = [], {}
        for name, kind in kinds.items():
            if name not in frame.columns:
                raise MissingColumn(f"there is no column '{name}'", fix=f"there are {frame.columns}", column=name)
            column = _checked(frame[name], kind)
            if kind == "number":
                numbers = _numbers(column)
                known = numbers[np.isfinite(numbers)]
                scale = float(known.std()) if known.size else 1.0
                fields.append(Field(name, kind, mean=float(known.mean()) if known.size else 0.0, scale=scale or 1.0))
                continue
            values = _values(column, kind)
            width = 1 if kind == "category" else min(max_values, max(1, int(str(values.list.len().max() or 1))))
            found, counts = np.unique(_hashed(values if kind == "category" else values.explode(), buckets * (kind == "text")), return_counts=True)
            vocabularies[name] = found[(found != hashing.MISSING) & (counts >= min_count)]
            fields.append(Field(name, kind, vocabularies[name].size, width, buckets * (kind == "text")))
        return cls(fields, vocabularies)

    def __getitem__(self, name: str) -> Field:
        for field in self.fields:
            if field.name == name:
                return field
        raise ConfigError(f"field '{name}' not declared; known: {self.names}", fix="name it when fitting")

    @property
    def names(self) -> list[str]:
        """Of all fields."""
        return [field.name for field in self.fields]

    def keys(self, frame: pl.DataFrame) -> Codes:
        """int64 bits of the 64-bit keys: [n] or, for bags, [n, width] with `MISSING` as padding. For tables without a vocabulary.

        Numbers become categories in steps of half a standard deviation.
        """
        self._complete(frame)
        return {field.name: self._keys(frame[field.name], field).view(np.int64) for field in self.fields}

    def encode(self, frame: pl.DataFrame, *, warn: bool = True) -> Codes:
        """Codes of every row; values never seen in fitting get the default, with one warning that counts them per field.

        Unknown words of a text are left out silently, as long as one is known.
        """
        self._complete(frame)
        codes: Codes = {}
        unknown: dict[str, int] = {}
        for field in self.fields:
            if field.kind == "number":
                numbers = (_numbers(_checked(frame[field.name], "number")) - field.mean) / field.scale
                codes[field.name] = np.where(np.isfinite(numbers), numbers, np.nan).astype(np.float32)
                continue
            keys = self._keys(frame[field.name], field)
            present = keys != hashing.MISSING
            found = self._find(field.name, keys)
            known = found != DEFAULT
            if (lost := int(np.count_nonzero(present & ~known))) and field.kind != "text":
                unknown[field.name] = lost
            if field.is_bag:
                out = np.where(known, found, field.padding)
                # Known values first, so that an empty bag can show its default in front.
                out = np.take_along_axis(out, np.argsort(~known, axis=1, kind="stable"), 1)
                out[~known.any(1), 0] = DEFAULT
            else:
                out = np.where(known, found, DEFAULT)
            codes[field.name] = out.astype(np.int32)
        if unknown and warn:
            counted = ", ".join(f"{name} {count}" for name, count in unknown.items())
            warnings.warn(f"values never seen in fitting, now as unknown: {counted} (in {frame.height} rows)", UnknownValues, stacklevel=2)
        return codes

    def numbers(self, name: str, values: pl.Series) -> np.ndarray:
        """int64 [n]: the codes of single values of a category field; 0 where unknown."""
        return self._find(name, hashing.keys(values))

    def _find(self, name: str, keys: np.ndarray) -> np.ndarray:
        """int64, the shape of the keys: their codes, 0 where unknown."""
        vocabulary = self.vocabularies[name]
        if not vocabulary.size:
            return np.zeros(keys.shape, np.int64)
        at = np.searchsorted(vocabulary, keys)
        at[at == vocabulary.size] = 0
        return np.where(vocabulary[at] == keys, at + 1, DEFAULT)

    def missing(self, codes: Codes) -> np.ndarray:
        """bool [n, fields]: which values are missing or unknown."""
        return np.stack([_is_default(codes[field.name], field) for field in self.fields], 1)

    def facts(self) -> list[dict[str, Any]]:
        """The fields as JSON, to be saved beside `flat_vocabulary`."""
        return [asdict(field) for field in self.fields]

    def flat_vocabulary(self) -> np.ndarray:
        """uint64 [all values]: the vocabularies one after the other."""
        return np.concatenate([*(self.vocabularies[field.name] for field in self.fields if field.name in self.vocabularies), np.empty(0, np.uint64)])

    @classmethod
    def restore(cls, facts: Sequence[Mapping[str, Any]], flat: np.ndarray) -> FieldCodec:
        """The reverse of `facts` and `flat_vocabulary`."""
        fields = [Field(**one) for one in facts]
        sizes = [field.size for field in fields if field.kind != "number"]
        if sum(sizes) != flat.size:
            raise ConfigError(f"{flat.size} keys for fields of {sum(sizes)} values", fix="restore with the vocabulary of the same codec")
        parts = iter(np.split(flat, np.cumsum(sizes)[:-1]) if sizes else [])
        return cls(fields, {field.name: next(parts) for field in fields if field.kind != "number"})

    def _keys(self, column: pl.Series, field: Field) -> np.ndarray:
        """uint64 [n] or [n, width]."""
        if field.kind == "number":
            steps = (_numbers(_checked(column, "number")) - field.mean) / (field.scale / 2)
            binned = pl.Series(np.clip(np.rint(steps), -8, 8)).fill_nan(None)
            return hashing.keys(binned.cast(pl.Int64))
        values = _values(_checked(column, field.kind), field.kind)
        if not field.is_bag:
            return hashing.keys(values)
        values = values.list.head(field.width)
        lengths = values.list.len().fill_null(0).to_numpy().astype(np.int64)
        out = np.full((len(values), field.width), hashing.MISSING, np.uint64)
        rows = np.repeat(np.arange(len(values)), lengths)
        columns = np.arange(rows.size) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        out[rows, columns] = _hashed(values.filter(values.list.len() > 0).explode(), field.buckets)
        return out

    def _complete(self, frame: pl.DataFrame) -> None:
        for name in self.names:
            if name not in frame.columns:
                raise MissingColumn(f"there is no column '{name}'", fix=f"give all of {self.names}; values may be null", column=name)


def kind_of(column: pl.Series) -> Kind:
    """How a column is read when nobody says."""
    if isinstance(column.dtype, (pl.List, pl.Array)):
        return "categories"
    if column.dtype.is_float():
        return "number"
    return "text" if column.name in ("title", "text") else "category"


def says_something(column: pl.Series) -> bool:
    """Whether a column is worth reading when nobody names it: not empty, and not a name for every single row (an address, a code)."""
    present = column.drop_nulls()
    return present.len() > 0 and (kind_of(column) != "category" or present.len() < 20 or present.n_unique() < 0.9 * present.len())


def take(codes: Mapping[str, Any], rows: Any) -> dict[str, Any]:
    """The codes of some rows; arrays or tensors."""
    return {name: one[rows] for name, one in codes.items()}


def _checked(column: pl.Series, kind: Kind) -> pl.Series:
    if kind not in get_args(Kind):
        raise ConfigError(f"field '{column.name}' is declared as '{kind}'", fix=f"use one of {', '.join(get_args(Kind))}", column=column.name)
    is_list = isinstance(column.dtype, (pl.List, pl.Array))
    if is_list != (kind == "categories") and column.dtype != pl.Null:
        raise WrongType(f"holds {column.dtype}, which cannot be read as {kind}", fix="lists are 'categories', and only lists are", column=column.name)
    if kind == "number" and not (column.dtype.is_numeric() or column.dtype in (pl.Boolean, pl.Null)):
        raise WrongType(f"holds {column.dtype}, which cannot be read as numbers", fix="convert it, or read it as 'category'", column=column.name)
    return column


def _values(column: pl.Series, kind: Kind) -> pl.Series:
    """Strings, or lists of distinct strings without nulls."""
    if kind == "category":
        return column.cast(pl.String)
    if kind == "text":
        return column.cast(pl.String).str.to_lowercase().str.extract_all(r"[\p{L}\p{N}]+").list.unique(maintain_order=True)
    return column.cast(pl.List(pl.String)).list.drop_nulls().list.unique(maintain_order=True)


def _hashed(values: pl.Series, buckets: int) -> np.ndarray:
    """uint64 [n]: the keys of values; of words, their buckets from 1 on."""
    keys = hashing.keys(values)
    return np.where(keys == hashing.MISSING, keys, hashing.rows(keys, buckets).astype(np.uint64) + np.uint64(1)) if buckets else keys


def _numbers(column: pl.Series) -> np.ndarray:
    return column.cast(pl.Float64).fill_null(np.nan).to_numpy()


def _is_default(codes: np.ndarray, field: Field) -> np.ndarray:
    if field.kind == "number":
        return np.isnan(codes)
    return codes[:, 0] == DEFAULT if field.is_bag else codes == DEFAULT
