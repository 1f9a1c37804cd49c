"""Avazu click-through (Kaggle 2014): a CSV with id, click, hour, C1, banner_pos, site_id, ..., device_id, device_ip, ..., C14 to C21."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from sartor.data.loaders._format import Format, Loaded
from sartor.data.loaders._source import Source
from sartor.data.loaders._text import first_line, table
from sartor.errors import BadValue, FileProblem

NO_DEVICE = "a99f214a"
"""The hash that stands for "device id unknown"."""


def _rows(source: Source) -> Path | None:
    found = (file for pattern in ("*.csv", "*.csv.gz", "train", "train.gz") for file in source.matching(pattern))
    return next((file for file in found if first_line(file).startswith("id,click,hour,")), None)


def load(source: Source) -> Loaded:
    """Events with time (hours in UTC) and all columns as context; `value` is 1 for a click.

    The person is the device; where the device is unknown, address and model together. The item is C14, the most particular of the columns
    that describe the advertisement (their meaning is not published).
    """
    file = _rows(source)
    if file is None:
        raise FileProblem("there is no Avazu CSV", fix="its header begins with id,click,hour", file=source.path)
    source.origin["events"] = file
    columns = first_line(file).split(",")
    types = dict.fromkeys(columns, pl.String) | {"click": pl.Float32}
    rows = table(file, separator=",", types=types, required=["click", "hour", "device_id", "device_ip", "device_model", "C14"])
    when = pl.concat_str(pl.lit("20"), pl.col("hour"), pl.lit("00")).str.to_datetime("%Y%m%d%H%M", strict=False)
    bad = rows.with_row_index("_row", offset=1).filter(when.is_null()).select("_row", "hour").head(1).collect(engine="streaming")
    if len(bad):
        raise BadValue(
            "should be an hour such as 14102100", fix="correct the line", file=file, row=bad["_row"][0], column="hour", value=bad["hour"][0]
        )
    person = pl.when(pl.col("device_id") == NO_DEVICE).then(pl.concat_str("device_ip", "device_model", separator="-")).otherwise(pl.col("device_id"))
    context = [name for name in columns if name not in ("id", "click", "hour", "C14")]
    return {
        "events": rows.select(
            person.alias("person"), pl.col("C14").cast(pl.Int64).alias("item"), when.dt.epoch("s").alias("time"), pl.col("click").alias("value"),
            *context,
        )
    }  # fmt: skip


FORMATS = (Format("avazu", "Avazu click-through: id, click, hour, ...", lambda s: _rows(s) is not None, load),)
