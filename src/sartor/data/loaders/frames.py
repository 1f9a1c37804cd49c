"""A folder of files named after frames: events.parquet, items.csv, people.jsonl, ...; sartor's own layout."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from sartor.data.loaders._format import Format, Loaded
from sartor.data.loaders._source import Source
from sartor.data.loaders.tables import ENDINGS, scan, shaped
from sartor.data.schema import FRAMES, FrameName
from sartor.errors import EmptyData


def _is_frames(source: Source) -> bool:
    return bool(_frame_files(source))


def _frame_files(source: Source) -> dict[FrameName, Path]:
    found: dict[FrameName, Path] = {}
    for name in FRAMES:
        for one in ENDINGS:
            if (file := source.files.get(name + one)) is not None:
                found.setdefault(name, file)
        if name not in found and any(_is_part(name, one) for one in source.files):
            found[name] = source.root / name
    return found


def _is_part(name: FrameName, file: str) -> bool:
    """Whether a file is one part of a frame: events/part-00017.parquet."""
    return file.startswith(f"{name}/") and file.count("/") == 1 and file.endswith(".parquet")


def load_frames(source: Source, *, encoding: str = "utf-8", time_unit: str = "s") -> Loaded:
    """A folder of files named after frames: events.parquet, items.csv, ...; what `sartor data convert` and `World.write` write.

    A frame may also be a folder of Parquet parts (events/part-00000.parquet, ...), in the order of their names.
    """
    frames: Loaded = {}
    for name, file in _frame_files(source).items():
        source.origin[name] = file
        parts = [source.files[one] for one in sorted(source.files) if _is_part(name, one)] if file.is_dir() else [file]
        try:
            raw = pl.concat([scan(part, encoding=encoding, table_name=name) for part in parts])
        except EmptyData:
            if name == "events":
                raise
            continue
        frames[name] = shaped(raw, name, file, None, time_unit)
    return frames


FORMATS = (
    Format(
        "frames", "a folder of events.parquet, items.csv, ... as `sartor data convert` writes it", _is_frames, load_frames, ("encoding", "time_unit")
    ),
)
