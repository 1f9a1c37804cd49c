"""Ids and the numbers 0..n-1 that stand for them inside models: mapped once, in one place."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from sartor.errors import UnknownId, WrongType

Ids = pl.Series | np.ndarray | Sequence[Any]
FEW = 64
"""Texts up to which each is looked for on its own."""


class IdMap:
    """A fixed set of ids, each with a number.

    Ids are strings or integers, never both. Unknown ids become -1 (`numbers`) or raise (`number`): the caller chooses, nothing is silent.
    """

    def __init__(self, ids: Ids, *, name: str = "id") -> None:
        series = pl.Series(name, ids)
        if series.dtype.is_integer():
            series = series.cast(pl.Int64)
        elif series.dtype != pl.String:
            series = series.cast(pl.String)
        self.name = name
        self.ids: pl.Series = series
        """All ids, in the order of their numbers."""
        self._table: pl.DataFrame | None = None
        self._dense: np.ndarray | None = None
        self._order: np.ndarray | None = None
        self._array: np.ndarray | None = None

    @classmethod
    def of(cls, ids: pl.Series) -> IdMap:
        """The distinct ids of a column, sorted."""
        return cls(ids.unique().drop_nulls().sort(), name=ids.name)

    def __len__(self) -> int:
        return self.ids.len()

    def __repr__(self) -> str:
        return f"IdMap({len(self)} {self.name}s)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, IdMap) and self.ids.equals(other.ids, check_names=False)

    __hash__ = None  # type: ignore[assignment]

    @property
    def array(self) -> np.ndarray:
        """All ids as an array (int64, or object for strings), for fast indexing by number."""
        if self._array is None:
            self._array = self.ids.to_numpy() if self.ids.dtype == pl.Int64 else np.array(self.ids.to_list(), dtype=object)
        return self._array

    def coerce(self, ids: Ids) -> pl.Series:
        """The given ids in this map's type; null where there is no equal one (see `as_ids`)."""
        return as_ids(ids, self.ids.dtype, name=self.name)

    def numbers(self, ids: Ids) -> np.ndarray:
        """Int32 numbers of the given ids; -1 where unknown."""
        series = self.coerce(ids)
        if self.ids.dtype == pl.Int64 and self._is_dense():
            assert self._dense is not None
            wanted = series.fill_null(-1).to_numpy()
            inside = (wanted >= 0) & (wanted < self._dense.size)
            return np.where(inside, self._dense[np.where(inside, wanted, 0)], -1).astype(np.int32)
        if self.ids.dtype == pl.String and series.len() <= FEW < len(self) and not self.ids.null_count():
            return self._few(series.to_list())
        if self._table is None:
            self._table = pl.DataFrame({"id": self.ids, "number": np.arange(len(self), dtype=np.int32)})
        joined = pl.DataFrame({"id": series}).join(self._table, on="id", how="left", maintain_order="left")
        return joined["number"].fill_null(-1).to_numpy()

    def _few(self, wanted: list[str | None]) -> np.ndarray:
        """`numbers` of a few texts, by bisection: a join would go through all ids for them."""
        if self._order is None:
            # By code points, as Python compares.
            self._order = self.ids.arg_sort().to_numpy()
        array, order = self.array, self._order
        out = np.full(len(wanted), -1, np.int32)
        for at, one in enumerate(wanted):
            if one is not None:
                place = bisect_left(order, one, key=array.__getitem__)
                if place < order.size and array[order[place]] == one:
                    out[at] = order[place]
        return out

    def number(self, one: Any) -> int:
        """The number of one id; raises `UnknownId` when it is not known."""
        found = int(self.numbers([one])[0])
        if found < 0:
            raise UnknownId(f"unknown {self.name}", id=repr(one), fix=f"known are {len(self)}, such as {self.ids.head(3).to_list()}")
        return found

    def __contains__(self, one: object) -> bool:
        return int(self.numbers([one])[0]) >= 0

    def _is_dense(self) -> bool:
        """Whether a direct table from id to number is small enough; builds it once."""
        if self._dense is None:
            low, high = (int(self.ids.min() or 0), int(self.ids.max() or 0)) if len(self) else (0, 0)  # type: ignore[arg-type]
            if low < 0 or high > 8 * len(self) + 1024:
                self._dense = np.empty(0, np.int32)
            else:
                self._dense = np.full(high + 1, -1, np.int32)
                self._dense[self.ids.to_numpy()] = np.arange(len(self), dtype=np.int32)
        return self._dense.size > 0

    def to_arrays(self) -> dict[str, np.ndarray]:
        """As plain arrays, to be saved beside a model."""
        if self.ids.dtype == pl.Int64:
            return {"ids": self.ids.to_numpy()}
        encoded = [text.encode() for text in self.ids.to_list()]
        ends = np.cumsum([len(word) for word in encoded], dtype=np.int64) if encoded else np.empty(0, np.int64)
        return {"utf8": np.frombuffer(b"".join(encoded), np.uint8), "ends": ends}

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray], *, name: str = "id") -> IdMap:
        """The reverse of `to_arrays`."""
        if "ids" in arrays:
            return cls(arrays["ids"], name=name)
        whole, ends = arrays["utf8"].tobytes(), arrays["ends"].tolist()
        return cls([whole[start:end].decode() for start, end in zip([0, *ends], ends, strict=False)] or pl.Series([], dtype=pl.String), name=name)


def id_column(ids: Ids, *, name: str = "id") -> pl.Series:
    """Ids as a column: integers, or texts where they are of several types or beyond 64 bits. Raises `WrongType` for what can be no id."""
    if isinstance(ids, pl.Series):
        return ids.cast(pl.String) if ids.dtype in (pl.Categorical, pl.Enum) else ids
    if isinstance(ids, str) or not hasattr(ids, "__iter__"):
        raise WrongType(f"{ids!r} is not a list of ids", fix="give a list", column=name)
    ids = ids if hasattr(ids, "__len__") else list(ids)
    kinds = set(map(type, ids)) - {type(None)}
    if strange := [kind.__name__ for kind in kinds if not issubclass(kind, str | int | float | np.generic)]:
        raise WrongType(f"a value of type {strange[0]} is no id", fix="ids are texts or whole numbers", column=name)
    if len(kinds) > 1 or (int in kinds and any(one is not None and not -(2**63) <= one < 2**63 for one in ids)):
        return pl.Series(name, [None if one is None else str(one) for one in ids], dtype=pl.String)
    return pl.Series(name, ids)


def as_ids(ids: Ids, dtype: pl.DataType, *, name: str = "id") -> pl.Series:
    """Ids of any type as integers (Int64) or as texts (String); null where that would make another id of it.

    To integers: 7, 7.0 and "7" are 7; 7.9, true, "007", " 7" and numbers beyond 64 bits are no integer id. To texts: as they are written.
    """
    series = id_column(ids, name=name)
    if series.dtype == dtype:
        return series
    made = series.cast(dtype, strict=False)
    if dtype != pl.Int64 or series.dtype.is_integer():
        return made
    # There and back again must be the same; true is no number at all.
    back = made.cast(series.dtype) if series.dtype.is_float() or series.dtype == pl.String else pl.Series([None], dtype=series.dtype)
    return pl.select(pl.when(back == series).then(made)).to_series().rename(name)
