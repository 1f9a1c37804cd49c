"""Writing populations and splits to files that `read` reads back: Parquet, CSV, JSON lines, RecBole atomic files."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, get_args

import polars as pl

from sartor.data.population import Population
from sartor.data.schema import FrameName
from sartor.data.splits import Split
from sartor.errors import ConfigError, CorruptFile, FileProblem

Target = Literal["parquet", "csv", "jsonl", "recbole"]
TARGETS: tuple[Target, ...] = get_args(Target)
SPLIT_FILE = "split.json"


def write(population: Population, folder: str | Path, *, format: Target = "parquet", overwrite: bool = False) -> Path:
    """Write every frame of a population into a folder, streaming, whole or not at all.

    - parquet: events.parquet, items.parquet, ... with all types kept.
    - csv, jsonl: the same names; in CSV lists are joined with "|" and come back as lists for `categories`, as texts elsewhere.
    - recbole: name.inter, name.item, name.user and name.net with typed headers; frames and columns RecBole has no place for are left out.

    Raises `FileProblem` when the folder holds files already, unless overwrite=True.
    """
    if format not in TARGETS:
        raise ConfigError(f"there is no format '{format}' to write", fix=f"use one of {', '.join(TARGETS)}")
    folder = Path(folder)

    def fill(fresh: Path) -> None:
        for name, frame in population.frames.items():
            if format == "recbole":
                _atomic(frame, name, fresh, folder.name)
            else:
                _sink(frame, fresh / f"{name}.{format}", format)

    return _whole(folder, fill, overwrite)


def _whole(folder: Path, fill: Callable[[Path], None], overwrite: bool) -> Path:
    """Fill a new folder beside the wanted one, then put it in its place."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())) and not overwrite:
        raise FileProblem("this folder is not empty", fix="choose another, or say that it may be overwritten", file=folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        fill(fresh)
        fresh.chmod(0o755)
        if folder.is_dir():
            old = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.old."))
            os.replace(folder, old / folder.name)
            os.replace(fresh, folder)
            shutil.rmtree(old)
        else:
            os.replace(fresh, folder)
    finally:
        _remove(fresh)
    return folder


def _remove(folder: Path) -> None:
    # A writer that failed may still be at it for a moment on its own thread, and put a file into what is being removed.
    for _ in range(100):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(0.02)


def _sink(frame: pl.LazyFrame, file: Path, form: str) -> None:
    if form == "parquet":
        frame.sink_parquet(file)
    elif form == "jsonl":
        frame.sink_ndjson(file)
    else:
        _joined(frame, "|").sink_csv(file)


def _joined(frame: pl.LazyFrame, separator: str, replace: str | None = None) -> pl.LazyFrame:
    lists = [name for name, kind in frame.collect_schema().items() if isinstance(kind, pl.List)]
    element = pl.element().cast(pl.String)
    if replace is not None:
        element = element.str.replace_all(separator, replace, literal=True)
    return frame.with_columns(pl.col(name).list.eval(element).list.join(separator) for name in lists)


_RECBOLE: dict[FrameName, tuple[str, dict[str, str]]] = {
    "events": ("inter", {"person": "user_id", "item": "item_id", "time": "timestamp", "value": "rating"}),
    "items": ("item", {"item": "item_id", "categories": "class"}),
    "people": ("user", {"person": "user_id"}),
    "edges": ("net", {"source": "source_id", "target": "target_id"}),
}


def _atomic(frame: pl.LazyFrame, name: FrameName, folder: Path, title: str) -> None:
    if name not in _RECBOLE:
        return
    ending, names = _RECBOLE[name]
    columns: dict[str, pl.Expr] = {}
    schema = frame.collect_schema()
    for column, kind in schema.items():
        cell = pl.col(column)
        if isinstance(kind, pl.List):
            form = "float_seq" if kind.inner.is_float() else "token_seq"
        elif column in ("title", "text"):
            form = "token_seq"
        elif kind.is_float() or column == "time":
            form, cell = "float", cell.cast(pl.Float64)
        else:
            form = "token"
        if kind == pl.String:
            # Tabs and line ends would break the table: RecBole has no quotes.
            cell = cell.str.replace_all(r"[\t\r\n]+", " ")
        columns[f"{names.get(column, column)}:{form}"] = cell
    _joined(frame.select(**columns), " ", "_").sink_csv(folder / f"{title}.{ending}", separator="\t", quote_style="never")


def write_split(split: Split, folder: str | Path, *, overwrite: bool = False) -> Path:
    """Write the five parts of a split as Parquet folders that `read` reads, and split.json; `read_split` reads the whole."""

    def fill(fresh: Path) -> None:
        for name, part in split.parts.items():
            write(part, fresh / name)
        facts = {"split": split.name, "population": split.train.name.split(" [")[0], "events": split.counts()}
        (fresh / SPLIT_FILE).write_text(json.dumps(facts, indent=1) + "\n")

    return _whole(Path(folder), fill, overwrite)


def read_split(folder: str | Path) -> Split:
    """The reverse of `write_split`; raises `FileProblem` or `CorruptFile`."""
    from sartor.data.loaders import read

    folder = Path(folder)
    if not (folder / SPLIT_FILE).is_file():
        raise FileProblem("there is no split here", fix="give the folder that `sartor data split` wrote", file=folder)
    try:
        facts: dict[str, Any] = json.loads((folder / SPLIT_FILE).read_bytes())
        name, whole = str(facts["split"]), str(facts["population"])
    except (ValueError, KeyError, TypeError) as cause:
        raise CorruptFile("this is not a split file of sartor's", fix="split again", file=folder / SPLIT_FILE) from cause
    parts = {}
    for part in ("train", "validation", "test", "evidence", "validation_evidence"):
        parts[part] = read(folder / part, format="frames", check_values=False).replace(name=f"{whole} [{part}]")
    return Split(name, **parts)
