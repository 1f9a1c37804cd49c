"""Values are looked at once, in one streaming pass, so that errors come while reading and name the file."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from sartor.data.loaders._source import Source
from sartor.data.population import Population
from sartor.data.schema import LATEST_TIME, SCHEMAS, FrameName
from sartor.errors import BadValue, DuplicateRows, EmptyData, FileProblem


def check(population: Population, source: Source) -> None:
    """Raise `BadValue` for the first impossible value, `EmptyData` when a frame of events has no row."""
    for name, frame in population.frames.items():
        file = source.origin.get(name, source.path)
        faults = _faults(frame, name)
        counts = [pl.len().alias("_rows"), *[fault.sum().alias(str(number)) for number, (fault, *_) in enumerate(faults)]]
        try:
            found = frame.select(counts).collect(engine="streaming").row(0)
        except (pl.exceptions.PolarsError, OSError) as cause:
            raise FileProblem(f"cannot be read: {str(cause).splitlines()[0]}", fix="check the file", file=file, frame=name) from cause
        if name == "events" and found[0] == 0:
            raise EmptyData("there are no events", fix="download or write it again", file=file)
        for number, (fault, column, what, fix) in enumerate(faults):
            if found[number + 1]:
                first = frame.select(column).with_row_index("_row", offset=1).filter(fault).head(1).collect()
                raise BadValue(what, fix=fix, file=file, row=first["_row"][0], column=column, value=first[column][0], rows=found[number + 1])


def _faults(frame: pl.LazyFrame, name: FrameName) -> list[tuple[pl.Expr, str, str, str]]:
    """What can be wrong with each column: (true where it is, column, what, fix)."""
    schema = frame.collect_schema()
    faults = []
    for column, spec in SCHEMAS[name].items():
        if column not in schema:
            continue
        cell = pl.col(column)
        if spec.kind == "id" and spec.required:
            faults.append((cell.is_null(), column, "the id is missing", "drop the row or fill in the id"))
            if schema[column] == pl.String:
                faults.append((cell.str.len_bytes() == 0, column, "the id is empty", "drop the row or fill in the id"))
        elif spec.kind == "number" and schema[column].is_float():
            faults.append((cell.is_nan() | cell.is_infinite(), column, "the value is not a finite number", "drop the row, or leave the value empty"))
        elif spec.kind == "time":
            faults.append((cell < 0, column, "the time is negative or not a number", "times are seconds since 1970 UTC"))
            hint = 'times are seconds since 1970 UTC; are these milliseconds? (time_unit="ms")'
            faults.append((cell > LATEST_TIME, column, "the time is after 2100", hint))
    return faults


def without_duplicates(events: pl.LazyFrame, duplicates: str, file: Path) -> pl.LazyFrame:
    """Drop exact duplicate rows, the first stays; or raise `DuplicateRows` with the first repeated row."""
    if duplicates == "drop":
        return events.unique(keep="first", maintain_order=True)
    repeated = events.with_row_index("_row", offset=1).filter(~pl.struct(pl.exclude("_row")).is_first_distinct()).collect()
    if len(repeated):
        row = repeated.row(0, named=True)
        raise DuplicateRows(
            f"{len(repeated)} rows occur more than once", fix="remove them, or read with duplicates: drop or keep", file=file, row=row["_row"],
            person=row.get("person"), item=row.get("item"),
        )  # fmt: skip
    return events
