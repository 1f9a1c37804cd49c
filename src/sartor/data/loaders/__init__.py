"""Reading what people download: one format per file, found by looking at the files.

`read(path)` takes a folder, a zip or tar archive, or one file. Formats, in the order in which they are tried, are `formats()`.
"""

from __future__ import annotations

import importlib
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import polars as pl

from sartor.data.loaders._checks import check, without_duplicates
from sartor.data.loaders._format import Format, Loaded
from sartor.data.loaders._source import Source, cache_folder, open_source, unpack
from sartor.data.population import Population
from sartor.errors import ConfigError, FileProblem, SartorError, UnknownFormat

__all__ = ["Format", "Loaded", "Source", "cache_folder", "formats", "open_source", "read", "unpack"]

# The first format that recognises the files reads them: our own names first, then the more particular, and what fits any table last.
_MODULES = (
    "frames", "movielens", "lastfm", "recbole", "yoochoose", "drafts", "amazon_cases", "amazon", "graphs", "criteo", "avazu", "libfm",
    "sequences", "snap", "tables",
)  # fmt: skip


def formats() -> dict[str, Format]:
    """All formats by name, in the order in which they are tried."""
    modules = [importlib.import_module(f"sartor.data.loaders.{name}") for name in _MODULES]
    return {one.name: one for module in modules for one in module.FORMATS}


def read(
    path: str | Path, *, format: str | None = None, columns: Mapping[str, str] | None = None,
    duplicates: Literal["keep", "drop", "error"] = "keep", check_values: bool = True, **options: Any,
) -> Population:  # fmt: skip
    """Read a population from a folder, an archive or a file.

    Parameters
    ----------
    format: a name from `formats()`; found by itself when not given.
    columns: our column name -> the file's, for single tables: {"person": "customer_no", "item": "sku"}.
    duplicates: exact duplicate rows of events are kept (the same event can happen twice within a second), dropped (the first stays),
        or raise `DuplicateRows`. Without times, a repeated event cannot be told from a duplicate row: "drop" removes both.
    check_values: look for null ids, NaN values, negative and far-future times in one streaming pass now; `interactions()` looks anyway.
    **options: of the format, e.g. `split="u1"` for MovieLens 100K, `encoding="iso-8859-1"` for tables.

    Raises `FileProblem`, `UnknownFormat`, `EncodingProblem`, `MissingColumn`, `WrongType`, `BadValue`, `EmptyData`, `DuplicateRows`,
    `UnsafeArchive`, each with file, row and column where there is one.
    """
    source = open_source(path)
    known = formats()
    if format is not None and format not in known:
        raise ConfigError(f"there is no format '{format}'", fix=f"there are {', '.join(known)}")
    if duplicates not in ("keep", "drop", "error"):
        raise ConfigError(f"duplicates is '{duplicates}'", fix="use 'keep', 'drop' or 'error'")
    if columns is not None:
        options["columns"] = columns
    try:
        chosen = known[format] if format is not None else _recognised(source, known, options)
        if unknown := sorted(set(options) - set(chosen.options)):
            fix = f"it has {', '.join(chosen.options) or 'no options'}"
            raise ConfigError(f"the format {chosen.name} has no option {unknown}", fix=fix, file=path)
        frames = chosen.load(source, **options)
        if duplicates != "keep" and "events" in frames:
            frames["events"] = without_duplicates(frames["events"], duplicates, source.origin.get("events", source.path))
        population = _population(frames, source)
        if check_values:
            check(population, source)
    except (OSError, EOFError, zlib.error, pl.exceptions.PolarsError) as cause:
        if isinstance(cause, SartorError):
            raise
        # Whatever a library underneath says about a file becomes an error with a name and a place.
        what = f"cannot be read: {(str(cause) or type(cause).__name__).splitlines()[0]}"
        raise FileProblem(what, fix="check the file, and who may read it", file=path) from cause
    return population


def _recognised(source: Source, known: Mapping[str, Format], options: Mapping[str, Any]) -> Format:
    if {"columns", "names", "frame"} & set(options) and len(source.files) == 1:
        return known["table"]
    for one in known.values():
        if one.recognises(source):
            return one
    raise UnknownFormat(
        f"no format fits the files {', '.join(sorted(source.files)[:6])}", file=source.path,
        fix=f"name the format (one of {', '.join(known)}), or give one table and say which column is which",
    )  # fmt: skip


def _population(frames: Loaded, source: Source) -> Population:
    """With every frame checked under the name of its own file."""
    checked: dict[Any, pl.LazyFrame] = {}
    for name, frame in frames.items():
        checked |= Population({name: frame}, name=str(source.origin.get(name, source.path))).frames
    return Population(checked, name=source.name, folder=source.root)
