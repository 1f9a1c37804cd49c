"""Whether frames are what the schema says: names and types on the way in, values when they are read."""

from __future__ import annotations

from typing import Any

import polars as pl

from sartor.data.schema import LATEST_TIME, SCHEMAS, Column, FrameName
from sartor.errors import BadValue, MissingColumn, WrongType


def checked(frame: pl.LazyFrame, name: FrameName, source: str) -> pl.LazyFrame:
    """Column names and types as the schema wants them; lossless conversions only."""
    schema = frame.collect_schema()
    casts: list[pl.Expr] = []
    for column, spec in SCHEMAS[name].items():
        if column not in schema:
            if spec.required:
                fix = f"{name} need {[c for c, s in SCHEMAS[name].items() if s.required]}; this has {schema.names()}. Rename it, or map it"
                raise MissingColumn(f"there is no column '{column}' ({spec.meaning})", fix=fix, file=source, frame=name, column=column)
            continue
        wanted = _wanted(spec, schema[column])
        if wanted is None:
            raise _wrong_type(frame, column, spec, schema[column], name, source)
        if wanted != schema[column]:
            if spec.kind == "id" and schema[column] in _WIDE:
                _check_width(frame, column, name, source)
            casts.append(_as_seconds(column, schema[column]) if spec.kind == "time" else pl.col(column).cast(wanted))
    return frame.with_columns(casts) if casts else frame


def _wrong_type(frame: pl.LazyFrame, column: str, spec: Column, found: pl.DataType, name: str, source: str) -> WrongType:
    """The error; where texts stand for numbers, with the first row that is none."""
    where: dict[str, Any] = {"file": source, "frame": name, "column": column}
    what, fix = f"holds {found}, but must be {_WORDS[spec.kind]}", "convert the column"
    if spec.kind == "number" and found == pl.String:
        number = pl.col(column).str.strip_chars().cast(pl.Float64, strict=False)
        bad = (number.is_null() | number.is_nan()) & pl.col(column).is_not_null()
        first = _first(frame, column, bad)
        if first is not None:
            what, fix = "should be a number", "correct the cell; leave it empty where there is no value"
            where |= {"row": first[0], "value": first[1][:60]}
    return WrongType(what, fix=fix, **where)


def _check_width(frame: pl.LazyFrame, column: str, name: str, source: str) -> None:
    first = _first(frame, column, ~pl.col(column).is_between(-(2**63), 2**63 - 1))
    if first is not None:
        fix = "make them text: cast the column to String, or in a text file write a letter before each"
        raise WrongType("the id is beyond 64 bits", fix=fix, file=source, frame=name, row=first[0], column=column, value=first[1])


def _first(frame: pl.LazyFrame, column: str, where: pl.Expr) -> tuple[int, Any] | None:
    """Row number (from 1) and value of the first row that fulfils a condition."""
    found = frame.select(column).with_row_index("_row", offset=1).filter(where).head(1).collect(engine="streaming")
    return found.row(0) if len(found) else None


_WIDE = (pl.UInt64, pl.Int128, pl.UInt128)
"""Integer types that reach beyond Int64."""
_WORDS = {
    "id": "a string or an integer",
    "time": "seconds since 1970 UTC or a date",
    "number": "a number",
    "text": "text",
    "texts": "a list of texts",
}


def _wanted(spec: Column, found: pl.DataType) -> pl.DataType | None:
    """The type a column is to have, given the type it has; None when there is no lossless way."""
    integer, textual = found.is_integer() or found == pl.Boolean, found in (pl.String, pl.Categorical, pl.Enum, pl.Null)
    match spec.kind:
        case "id":
            return pl.Int64() if found.is_integer() else pl.String() if textual else None
        case "time":
            return pl.Int64() if integer or found.is_temporal() or found.is_float() else None
        case "number":
            return found if found.is_float() else pl.Float32() if found.is_numeric() or found in (pl.Boolean, pl.Null) else None
        case "text":
            return pl.String() if textual or integer else None
        case "texts":
            return found if found == pl.List(pl.String) else None


def _as_seconds(column: str, found: pl.DataType) -> pl.Expr:
    cell = pl.col(column)
    if found.is_temporal():
        return cell.cast(pl.Datetime("us")).dt.epoch("s")
    if found.is_float():
        # What is not a number becomes a time that `check_values` refuses; a cast alone would fail without saying where.
        return pl.when(cell.is_finite() | cell.is_null()).then(cell.floor().cast(pl.Int64, strict=False)).otherwise(-1).alias(column)
    # What does not fit becomes a time that `check_values` refuses.
    return cell.clip(-1, LATEST_TIME + 1).cast(pl.Int64) if found in _WIDE else cell.cast(pl.Int64)


def check_values(frame: pl.DataFrame, name: FrameName, source: str) -> None:
    """Raise `BadValue` with the first offending row when a column holds an impossible value."""
    for column, spec in SCHEMAS[name].items():
        if column not in frame.columns:
            continue
        series = frame[column]
        if spec.kind == "id" and spec.required and series.null_count():
            _bad(frame, series.is_null(), name, column, source, "the id is missing", "drop the row or fill in the id")
        elif spec.kind == "number" and series.dtype.is_float() and (series.is_nan() | series.is_infinite()).any():
            bad = (series.is_nan() | series.is_infinite()).fill_null(False)
            _bad(frame, bad, name, column, source, "the value is not a finite number", "drop the row, or leave the value empty")
        elif spec.kind == "time" and series.len() - series.null_count():
            if (series.min() or 0) < 0:  # type: ignore[operator]
                bad = (series < 0).fill_null(False)
                _bad(frame, bad, name, column, source, "the time is negative or not a number", "times are seconds since 1970 UTC")
            if (series.max() or 0) > LATEST_TIME:  # type: ignore[operator]
                bad = (series > LATEST_TIME).fill_null(False)
                _bad(frame, bad, name, column, source, "the time is after 2100", "times are seconds since 1970 UTC; are these milliseconds?")


def _bad(frame: pl.DataFrame, where: pl.Series, name: str, column: str, source: str, what: str, fix: str) -> None:
    row = int(where.arg_max() or 0)
    raise BadValue(what, fix=fix, file=source, frame=name, row=row + 1, column=column, value=frame[column][row], rows=int(where.sum()))
