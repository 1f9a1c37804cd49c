"""libFM and libSVM files: `label feature:value feature:value ...`, one feature per field in the same order (Frappe, MovieLens-tag)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from sartor.data.loaders._format import Format, Loaded
from sartor.data.loaders._source import Source
from sartor.data.loaders._text import first_line, lines
from sartor.errors import BadValue, ConfigError

_LINE = re.compile(r"[-+]?\d+(\.\d+)?( \d+:[-+.\deE]+)+")
FRAPPE = ("person", "item", "daytime", "weekday", "isweekend", "homework", "cost", "weather", "country", "city")
PARTS = {"train": ("train",), "valid": ("valid", "validation", "val"), "test": ("test",)}


def _files(source: Source) -> dict[str, Path]:
    found = [one for pattern in ("*.libfm", "*.libsvm", "*.svm") for one in source.matching(pattern) if _LINE.fullmatch(first_line(one))]
    if len(found) == 1:
        return {"": found[0]}
    out: dict[str, Path] = {}
    for file in found:
        words = re.split(r"[._-]", file.name.lower())
        part = next((part for part, names in PARTS.items() if any(name in words for name in names)), None)
        if part is not None:
            out.setdefault(part, file)
    return {part: out[part] for part in PARTS if part in out}


def load(source: Source, *, fields: Sequence[str] | None = None) -> Loaded:
    """Events: `value` is the label (-1 becomes 0), the first field is the person, the second the item, the others context; features are numbers.

    Parts (name.train.libfm, ...) become a column `split`; where there is no train part, the validation part is called train.

    fields: names in the order of the file; Frappe's are known, others are called field_3, field_4, ...
    """
    files = _files(source)
    if "" not in files and "train" not in files and "valid" in files:
        files = {"train": files.pop("valid"), **files}
    first = next(iter(files.values()))
    source.origin["events"] = first
    count = len(first_line(first).split()) - 1
    if fields is None:
        known = FRAPPE if "frappe" in first.name.lower() and count == len(FRAPPE) else ("person", "item")
        fields = [*known, *[f"field_{number}" for number in range(len(known) + 1, count + 1)]]
    if len(fields) != count or not {"person", "item"} <= set(fields):
        raise ConfigError(f"{len(fields)} field names for {count} fields", fix="name every field; person and item must be among them", file=first)
    frames = [_part(file, fields).with_columns(split=pl.lit(part)) if part else _part(file, fields) for part, file in files.items()]
    events = pl.concat(frames).collect()
    if set(events["value"].unique().to_list()) == {-1.0, 1.0}:
        events = events.with_columns(pl.col("value").clip(0, 1))
    return {"events": events.lazy()}


def _part(file: Path, fields: Sequence[str]) -> pl.LazyFrame:
    rows = lines(file).with_row_index("_row", offset=1).with_columns(pl.col("line").str.split(" ").alias("_cells"))
    features = [
        pl.col("_cells").list.get(number, null_on_oob=True).str.extract(r"^(\d+):").cast(pl.Int64, strict=False).alias(name)
        for number, name in enumerate(fields, 1)
    ]
    label = pl.col("_cells").list.first().cast(pl.Float32, strict=False).alias("value")
    shaped = rows.select("_row", "line", pl.col("_cells").list.len().alias("_count"), label, *features).collect()
    bad = shaped.filter((pl.col("_count") != len(fields) + 1) | pl.any_horizontal(pl.col("value", *fields).is_null()))
    if len(bad):
        what = f"the line is not a label and {len(fields)} `feature:value` pairs"
        raise BadValue(what, fix="correct or remove it", file=file, row=bad["_row"][0], value=bad["line"][0][:60])
    rest = [name for name in fields if name not in ("person", "item")]
    return shaped.lazy().select("person", "item", "value", *rest)


FORMATS = (Format("libfm", "libFM and libSVM: label feature:value ... (Frappe)", lambda s: bool(_files(s)), load, ("fields",)),)
