"""What a format is, and helpers that several formats share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from sartor.data.loaders._source import Source
from sartor.data.schema import FrameName

Loaded = dict[FrameName, pl.LazyFrame]
Options = Mapping[str, Any]


@dataclass(frozen=True)
class Format:
    """One layout of files that people download."""

    name: str
    title: str
    recognises: Callable[[Source], bool]
    """Looks at file names, and at most at first lines."""
    load: Callable[..., Loaded]
    """load(source, **options) -> frames."""
    options: tuple[str, ...] = ()
    """Names of the options `load` takes."""


def joined_texts(*columns: str) -> pl.Expr:
    """Several text columns as one, sentences apart, without empty ones."""
    return pl.concat_str([pl.col(column).fill_null("").str.strip_chars() for column in columns], separator=" ").str.strip_chars()


def split_genres(column: str, separator: str = "|") -> pl.Expr:
    """`Comedy|Drama` as a list; an empty list where there are none."""
    return (
        pl.col(column)
        .fill_null("")
        .str.split(separator)
        .list.eval(pl.element().filter((pl.element() != "") & (pl.element() != "(no genres listed)")))
        .alias("categories")
    )
