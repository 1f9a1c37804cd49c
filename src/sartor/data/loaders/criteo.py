"""Criteo display advertising (Kaggle 2014 and the 1 TB logs): label, 13 numbers, 26 hashed categories, tab-separated, no header."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from sartor.data.loaders._format import Format, Loaded
from sartor.data.loaders._source import Source
from sartor.data.loaders._text import first_line, table
from sartor.errors import ConfigError, FileProblem

NUMBERS = tuple(f"i{n}" for n in range(1, 14))
CATEGORIES = tuple(f"c{n}" for n in range(1, 27))


def _rows(source: Source) -> Path | None:
    patterns = ("train*.txt", "day_*", "*.tsv", "*.txt", "*.txt.gz")
    return next((file for pattern in patterns for file in source.matching(pattern) if first_line(file).count("\t") in (38, 39) and _like(file)), None)


def _like(file: Path) -> bool:
    cells = first_line(file).split("\t")
    return (
        cells[0] in ("0", "1")
        and all(cell == "" or cell.lstrip("-").isdigit() for cell in cells[1:14])
        and all(len(cell) in (0, 8) for cell in cells[14:])
    )


def load(source: Source, *, person: str | None = None, item: str | None = None) -> Loaded:
    """Events in order of time: `value` is 1 for a click, `i1` ... `i13` are counts (some missing, some negative), `c1` ... `c26` hashed categories.

    Criteo tells neither who saw the advertisement nor which it was. Each row is therefore a person of its own (numbered from 1) and every
    item is the same ("ad"), unless columns are named that shall stand for them.

    person, item: names of columns, e.g. item="c3".
    """
    file = _rows(source)
    if file is None:
        raise FileProblem("there is no file of Criteo rows", fix="lines have 40 fields: label, 13 numbers, 26 categories", file=source.path)
    source.origin["events"] = file
    types = {"value": pl.Float32, **dict.fromkeys(NUMBERS, pl.Int64), **dict.fromkeys(CATEGORIES, pl.String)}
    for name in (person, item):
        if name is not None and name not in types:
            raise ConfigError(f"there is no column '{name}'", fix="columns are i1 to i13 and c1 to c26")
    rows = table(file, separator="\t", names=list(types), types=types, required=["value"], quote=None)
    who = pl.int_range(1, pl.len() + 1, dtype=pl.Int64) if person is None else pl.col(person).cast(pl.String).fill_null("unknown")
    what = pl.lit("ad") if item is None else pl.col(item).cast(pl.String).fill_null("unknown")
    return {"events": rows.select(who.alias("person"), what.alias("item"), *types)}


FORMATS = (
    Format("criteo", "Criteo display advertising: label, 13 numbers, 26 categories", lambda s: _rows(s) is not None, load, ("person", "item")),
)
