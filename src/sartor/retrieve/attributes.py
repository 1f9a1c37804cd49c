"""Items' attributes, indexed so that any filter becomes an exact bitmap quickly: sorted values of each column, inverted lists of list columns."""

from __future__ import annotations

import math
import threading
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from typing import Any

import numpy as np
import polars as pl

from sartor.errors import BadValue, ConfigError, DataError, MissingColumn, WrongType
from sartor.retrieve.bitmaps import Bitmap
from sartor.retrieve.filter_text import parse
from sartor.retrieve.filters import And, Call, Column, Compared, Constant, Filter, Holds, Not, Or, Term
from sartor.retrieve.values import Values, kind_of, utc

KEPT, KEPT_BYTES = 256, 2**26
"""Compiled filters that are remembered, an eighth of a byte per row each, and the memory that they share."""


class Attributes:
    """A table with one row per row of an index. Columns are indexed when a filter first names them."""

    def __init__(self, frame: pl.DataFrame) -> None:
        self.frame = frame
        self._columns: dict[str, _Column] = {}
        self._compiled: OrderedDict[str, Bitmap] = OrderedDict()
        self._lock = threading.Lock()

    def bitmap(self, where: Filter | str) -> Bitmap:
        """The rows for which a filter holds; raises `MissingColumn`, `WrongType`, `BadValue`, and `ConfigError` for a text that is none."""
        # By what is written: 1 and true are equal in Python, and not here.
        key = where if isinstance(where, str) else repr(where)
        with self._lock:
            known = self._compiled.get(key)
            if known is not None:
                self._compiled.move_to_end(key)
                return known
        known = self._both(parse(where) if isinstance(where, str) else where)[0]
        with self._lock:
            self._compiled[key] = known
            while len(self._compiled) > min(KEPT, max(1, KEPT_BYTES // max(1, known.words.nbytes))):
                self._compiled.popitem(last=False)
        return known

    def keeps(self, condition: str) -> np.ndarray:
        """Bool [rows]: `bitmap` of a text that came from outside, of which every mistake is a `ConfigError` with the text."""
        try:
            return self.bitmap(condition).mask()
        except DataError as wrong:
            raise ConfigError(f"the filter does not fit the items: {wrong.what}", fix=wrong.fix, filter=condition) from wrong

    def _both(self, where: Filter) -> tuple[Bitmap, Bitmap]:
        """For which rows it holds, and for which it does not; for the others it is unknown."""
        match where:
            case Term(op="is null"):
                return self._both(Compared(Column(where.name), "is null", Constant(None)))
            case Term(op="contains") if self._is_text(where.name):
                return self._both(Holds(Call("contains", (Column(where.name), Constant(where.value)))))
            case Term():
                column = self._column(where.name)
                yes = column.rows(where)
                return yes, column.known & ~yes
            case Not():
                yes, no = self._both(where.inner)
                return no, yes
            case And() | Or():
                (yes, no), (yes2, no2) = self._both(where.left), self._both(where.right)
                return (yes & yes2, no | no2) if isinstance(where, And) else (yes | yes2, no & no2)
            case Compared() | Holds():
                if not self.frame.width:
                    raise MissingColumn("items have no attributes", fix="give attributes when the index is built")
                kept = Values(self.frame, self._holds).test(where)
                return Bitmap.of(kept.fill_null(False).to_numpy()), Bitmap.of((~kept).fill_null(False).to_numpy())
        raise WrongType(f"a {type(where).__name__} is no filter", fix="use field(...) or parse(...)")

    def _is_text(self, name: str) -> bool:
        return name in self.frame.columns and kind_of(self.frame.schema[name]) == "text"

    def _holds(self, where: Filter) -> pl.Series:
        """A condition as a column: null where it is unknown."""
        yes, no = self._both(where)
        return pl.DataFrame({"yes": yes.mask(), "known": (yes | no).mask()}).select(pl.when("known").then("yes"))["yes"]

    def _column(self, name: str) -> _Column:
        if name not in self._columns:
            if name not in self.frame.columns:
                raise MissingColumn(f"items have no attribute '{name}'", fix=f"they have {', '.join(self.frame.columns) or 'none'}", column=name)
            self._columns[name] = _Column(self.frame[name])
        return self._columns[name]


class _Column:
    """One attribute: its values in order, and the row of each."""

    def __init__(self, column: pl.Series) -> None:
        self.name, self.type, self.size = column.name, column.dtype, column.len()
        if column.dtype in (pl.Categorical, pl.Enum):
            column = column.cast(pl.String)
        if column.dtype.is_float():
            column = column.fill_nan(None)
        self.known = Bitmap.of(column.is_not_null().to_numpy())
        self.list = isinstance(column.dtype, pl.List)
        rows = pl.Series("row", np.arange(self.size, dtype=np.int32))
        frame = pl.DataFrame({"value": column, "row": rows})
        if self.list:
            frame = frame.explode("value")
            if frame["value"].dtype in (pl.Categorical, pl.Enum):
                frame = frame.with_columns(pl.col("value").cast(pl.String))
        dtype = frame["value"].dtype
        self.kind = _kind(dtype)
        if not self.kind or (self.kind == "whole" and frame["value"].cast(pl.Int64, strict=False).null_count() > frame["value"].null_count()):
            raise WrongType(
                f"attribute '{self.name}' is of type {self.type}, which no filter can compare", fix="use texts, numbers, dates or lists of them",
                column=self.name,
            )  # fmt: skip
        if self.kind == "time":
            frame = frame.with_columns(pl.col("value").cast(pl.Datetime("us")).cast(pl.Int64))
        elif self.kind == "whole":
            frame = frame.with_columns(pl.col("value").cast(pl.Int64))
        elif self.kind == "number":
            frame = frame.with_columns(pl.col("value").cast(pl.Float64).fill_nan(None))
        frame = frame.drop_nulls("value").sort("value", maintain_order=True)
        self.sorted = frame["row"].to_numpy()
        runs = frame["value"].rle()
        unique, lengths = runs.struct.field("value"), runs.struct.field("len").to_numpy()
        self.starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        self.texts: dict[Any, int] = {}
        self.ordered: list[str] = []
        self.values = np.empty(0)
        if self.kind in ("text", "bool"):
            distinct = unique.to_list()
            self.texts = {value: at for at, value in enumerate(distinct)}
            self.ordered = distinct if self.kind == "text" else []
        else:
            self.values = unique.to_numpy()

    def rows(self, term: Term) -> Bitmap:
        if self.list != (term.op in ("contains", "has")):
            self._wrong(term, "a list is asked with 'contains'" if self.list else "'contains' is for lists and texts, array_contains for lists")
        if term.op == "in":
            places = [at for value in term.value for at in range(*self._range(Term(term.name, "==", value)))]
            return self._of(places)
        first, last = self._range(term)
        return Bitmap.of_rows(self.sorted[self.starts[first] : self.starts[last]], self.size)

    def _of(self, places: list[int]) -> Bitmap:
        rows = [self.sorted[self.starts[at] : self.starts[at + 1]] for at in places]
        return Bitmap.of_rows(np.concatenate(rows) if rows else np.empty(0, np.int32), self.size)

    def _range(self, term: Term) -> tuple[int, int]:
        """Which of the distinct values a comparison with one value means."""
        equal = term.op in ("==", "contains", "has")
        if self.kind in ("text", "bool"):
            if not equal and self.kind == "bool":
                self._wrong(term, "true and false have no order")
            if not isinstance(term.value, str if self.kind == "text" else bool | np.bool_):
                self._wrong(term, f"write '{term.value}' in quotes: this is a text" if self.kind == "text" else "a bool is compared with a bool")
            if equal:
                at = self.texts.get(term.value)
                return (0, 0) if at is None else (at, at + 1)
            first, last, end = bisect_left(self.ordered, term.value), bisect_right(self.ordered, term.value), len(self.ordered)
        else:
            low, high = self._bounds(term)
            first, last = int(np.searchsorted(self.values, low, "left")), int(np.searchsorted(self.values, high, "right"))
            if equal:
                return (first, last) if low == high else (0, 0)
            end = self.values.size
        return {"<": (0, first), "<=": (0, last), ">": (last, end), ">=": (first, end)}[term.op]

    def _bounds(self, term: Term) -> tuple[Any, Any]:
        """The nearest values of the column's own kind at or above, and at or below, the one that is compared with: the same when it is one itself."""
        value = term.value
        if self.kind == "time":
            value = self._time(term)
        elif isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.integer | np.floating):
            self._wrong(term, "a number is compared with a number")
        if isinstance(value, float | np.floating) and math.isnan(value):
            raise BadValue(f"attribute '{self.name}' is compared with NaN", fix="give a number", column=self.name)
        if self.kind == "number":
            try:
                return float(value), float(value)
            except OverflowError:
                return (math.inf, math.inf) if value > 0 else (-math.inf, -math.inf)
        limits = np.iinfo(np.int64)
        if value > limits.max or value < limits.min:
            # Beyond every value of the column, on one side.
            return (math.inf, math.inf) if value > 0 else (-math.inf, -math.inf)
        return np.int64(math.ceil(value)), np.int64(math.floor(value))

    def _time(self, term: Term) -> int:
        value = utc(term.value)
        if value is None:
            self._wrong(term, "a time is compared with a date such as '2020-01-31'")
        return int(pl.Series([value]).cast(pl.Datetime("us")).cast(pl.Int64)[0])

    def _wrong(self, term: Term, why: str) -> None:
        raise WrongType(
            f"attribute '{self.name}' is of type {self.type} and cannot be asked {term.op} {str(term.value)[:50]!r} ({type(term.value).__name__})",
            fix=why, column=self.name,
        )  # fmt: skip


def _kind(dtype: pl.DataType) -> str:
    if dtype == pl.String:
        return "text"
    if dtype == pl.Boolean:
        return "bool"
    if dtype.is_integer():
        return "whole"
    if dtype.is_float():
        return "number"
    return "time" if dtype in (pl.Date, pl.Datetime) else "text" if dtype == pl.Null else ""
