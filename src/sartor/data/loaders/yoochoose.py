"""Yoochoose: the raw clicks and buys of the RecSys Challenge 2015, and the prepared sessions with item categories (CGG)."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from sartor.data.loaders._format import Format, Loaded
from sartor.data.loaders._source import Source
from sartor.data.loaders._text import first_line, table
from sartor.errors import BadValue, ConfigError

PARTS = ("train", "valid", "test")


def _is_raw(source: Source) -> bool:
    return source.find("yoochoose-clicks.dat", "yoochoose-buys.dat") is not None


def load_raw(source: Source) -> Loaded:
    """Events of kind click and buy with time; a session is a person of its own, since nobody is known by name. Buys have price and quantity."""
    frames = []
    shared = {"person": pl.Int64, "_time": pl.String, "item": pl.Int64}
    for kind, more in (("click", {"category": pl.String}), ("buy", {"price": pl.Float64, "quantity": pl.Int64})):
        file = source.find(f"yoochoose-{kind}s.dat")
        if file is None:
            continue
        source.origin.setdefault("events", file)
        types = {**shared, **more}
        rows = table(file, separator=",", names=list(types), types=types, required=list(shared), quote=None)
        when = pl.col("_time").str.to_datetime("%Y-%m-%dT%H:%M:%S%.fZ", strict=False)
        bad = rows.with_row_index("_row", offset=1).filter(when.is_null()).head(1).collect(engine="streaming")
        if len(bad):
            raise BadValue("should be a time such as 2014-04-07T10:51:09.277Z", fix="correct the line", file=file, row=bad["_row"][0], column="time",
                           value=bad["_time"][0])  # fmt: skip
        events = rows.with_columns(when.dt.epoch("s").alias("time"), pl.lit(kind).alias("kind"), pl.col("person").alias("session")).drop("_time")
        frames.append(events)
    return {"events": pl.concat(frames, how="diagonal")}


def _session_files(source: Source) -> dict[str, Path]:
    found = {part: file for part in PARTS if (file := source.find(f"{part}.txt")) is not None}
    return {part: file for part, file in found.items() if first_line(file).split("\t") == ["sessionId", "categorys", "items"]}


def load_sessions(source: Source, *, overlap: str = "drop") -> Loaded:
    """Events in order of the clicks, without times, with the category of each click and a column `split`; a session is a person of its own.

    overlap: in the published files 5,000 of the 8,456 test sessions stand word for word in the train part as well. "drop" takes sessions of
        the validation and test parts out of train, "keep" leaves everything as published.
    """
    if overlap not in ("drop", "keep"):
        raise ConfigError(f"overlap is '{overlap}'", fix="use 'drop' or 'keep'")
    parts = []
    types = {"sessionId": pl.Int64, "categorys": pl.String, "items": pl.String}
    for part, file in _session_files(source).items():
        source.origin.setdefault("events", file)
        rows = table(file, separator="\t", types=types, required=list(types), quote=None).with_row_index("_row", offset=1)
        numbers = [pl.col(name).str.split(",").list.eval(pl.element().cast(pl.Int64, strict=False)).alias(name) for name in ("items", "categorys")]
        lists = rows.with_columns(numbers)
        wrong = (pl.col("items").list.len() != pl.col("categorys").list.len()) | pl.col("items").list.eval(pl.element().is_null()).list.any()
        bad = lists.filter(wrong).head(1).collect()
        if len(bad):
            raise BadValue("items and categories should be two lists of numbers of the same length", fix="correct or remove the line", file=file,
                           row=bad["_row"][0], session=bad["sessionId"][0])  # fmt: skip
        parts.append(
            lists.select(
                pl.col("sessionId").alias("person"), pl.col("items").alias("item"), pl.col("sessionId").alias("session"),
                pl.col("categorys").alias("category"), pl.lit(part).alias("split"), pl.lit("click").alias("kind"),
            ).explode("item", "category")
        )  # fmt: skip
    events = pl.concat(parts).collect()
    if overlap == "drop":
        held_out = events.filter(pl.col("split") != "train")["session"].unique()
        events = events.filter((pl.col("split") != "train") | ~pl.col("session").is_in(held_out.implode()))
    frames: Loaded = {"events": events.lazy()}
    if (linked := source.find("edges.txt")) is not None:
        pairs = table(linked, separator="\t", types={"itemId": pl.Int64, "category": pl.String}, required=["itemId", "category"], quote=None)
        frames["items"] = pairs.group_by(pl.col("itemId").alias("item"), maintain_order=True).agg(pl.col("category").alias("categories"))
        source.origin["items"] = linked
    return frames


FORMATS = (
    Format("yoochoose", "RecSys Challenge 2015: yoochoose-clicks.dat, yoochoose-buys.dat", _is_raw, load_raw),
    Format(
        "sessions",
        "train.txt, valid.txt, test.txt of sessionId, categorys, items (CGG)",
        lambda s: bool(_session_files(s)),
        load_sessions,
        ("overlap",),
    ),
)
