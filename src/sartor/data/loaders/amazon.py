"""Amazon reviews as their publishers offer them: 2014, 2018 (reviewerID, asin) and 2023 (user_id, parent_asin), as JSON lines or ratings only.

Names of reviewers are never read.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import polars as pl

from sartor.data.loaders._format import Format, Loaded, joined_texts
from sartor.data.loaders._jsonl import json_lines, objects
from sartor.data.loaders._source import Source
from sartor.data.loaders._text import first_line, table
from sartor.errors import FileProblem

OLD = {
    "reviewerID": pl.String, "asin": pl.String, "overall": pl.Float32, "unixReviewTime": pl.Int64, "reviewText": pl.String, "summary": pl.String,
    "verified": pl.Boolean,
}  # fmt: skip
NEW = {
    "user_id": pl.String, "parent_asin": pl.String, "asin": pl.String, "rating": pl.Float32, "timestamp": pl.Int64, "text": pl.String,
    "title": pl.String, "verified_purchase": pl.Boolean, "helpful_vote": pl.Int64,
}  # fmt: skip

_ASIN = re.compile(r"[B0-9][0-9A-Z]{9}")


def _reviews(source: Source) -> Path | None:
    for file in (*source.matching("*.json*"), *source.matching("*.csv*")):
        line = first_line(file)
        if ('"asin"' in line and ('"reviewerID"' in line or '"user_id"' in line)) or line.startswith("user_id,parent_asin,rating,timestamp"):
            return file
        if file.name.lower().endswith((".csv", ".csv.gz")) and _ratings_order(line) is not None:
            return file
    return None


def _ratings_order(line: str) -> list[str] | None:
    """Column names of a ratings-only file of 2014 (user first) or 2018 (item first), which have no header."""
    cells = line.split(",")
    if len(cells) != 4 or not re.fullmatch(r"[1-5](\.0)?", cells[2]) or not cells[3].isdigit():
        return None
    first, second = bool(_ASIN.fullmatch(cells[0])), bool(_ASIN.fullmatch(cells[1]))
    if first == second:
        return None
    return ["item", "person", "value", "time"] if first else ["person", "item", "value", "time"]


def _metadata(source: Source) -> Path | None:
    return next(iter(source.matching("meta_*.json*")), None)


def load(source: Source) -> Loaded:
    """Events with rating and time (and whether the purchase was verified); texts are the reviews; items have title, description, brand,
    price, categories. In 2023 items are products (`parent_asin`), and the variant bought is kept as `variant`."""
    file = _reviews(source)
    if file is None:
        raise FileProblem(
            "there is no file of Amazon reviews", fix="it should have lines with reviewerID and asin, or user_id and parent_asin", file=source.path
        )
    frames: Loaded = {}
    line = first_line(file)
    if not line.startswith("{"):
        frames["events"] = _ratings_only(file, line)
    else:
        frames["events"], frames["texts"] = _old(file) if '"reviewerID"' in line else _new(file)
        source.origin["texts"] = file
    source.origin["events"] = file
    if (meta := _metadata(source)) is not None:
        frames["items"] = _items(meta)
        source.origin["items"] = meta
    return frames


def _ratings_only(file: Path, line: str) -> pl.LazyFrame:
    types = {"person": pl.String, "item": pl.String, "value": pl.Float32, "time": pl.Int64}
    names = _ratings_order(line)
    if names is not None:
        return table(file, separator=",", names=names, types=types, required=names, quote=None).select("person", "item", "value", "time")
    theirs = {"user_id": pl.String, "parent_asin": pl.String, "rating": pl.Float32, "timestamp": pl.Int64}
    rows = table(file, separator=",", types=theirs, required=list(theirs))
    return rows.select(
        pl.col("user_id").alias("person"), pl.col("parent_asin").alias("item"), pl.col("rating").alias("value"),
        pl.col("timestamp").floordiv(1000).alias("time"),
    )  # fmt: skip


def _old(file: Path) -> tuple[pl.LazyFrame, pl.LazyFrame]:
    rows = json_lines(file, OLD, required=["reviewerID", "asin"])
    who = (pl.col("reviewerID").alias("person"), pl.col("asin").alias("item"), pl.col("unixReviewTime").alias("time"))
    events = rows.select(*who, pl.col("overall").alias("value"), "verified")
    texts = rows.select(*who, joined_texts("summary", "reviewText").alias("text"), pl.lit("review").alias("kind"))
    return events, texts.filter(pl.col("text") != "")


def _new(file: Path) -> tuple[pl.LazyFrame, pl.LazyFrame]:
    rows = json_lines(file, NEW, required=["user_id"])
    item = pl.coalesce("parent_asin", "asin").alias("item")
    who = (pl.col("user_id").alias("person"), item, pl.col("timestamp").floordiv(1000).alias("time"))
    events = rows.select(*who, pl.col("rating").alias("value"), pl.col("asin").alias("variant"), pl.col("verified_purchase").alias("verified"))
    texts = rows.select(*who, joined_texts("title", "text").alias("text"), pl.lit("review").alias("kind"))
    return events, texts.filter(pl.col("text") != "")


def _items(file: Path) -> pl.LazyFrame:
    columns: dict[str, list[Any]] = {"item": [], "title": [], "text": [], "brand": [], "price": [], "categories": []}
    for row in objects(file):
        item = row.get("parent_asin") or row.get("asin")
        if not item:
            continue
        columns["item"].append(str(item))
        columns["title"].append(_word(row.get("title")))
        columns["text"].append(" ".join(_words(row.get("description"))) or None)
        columns["brand"].append(_word(row.get("brand") or row.get("store")))
        columns["price"].append(_price(row.get("price")))
        columns["categories"].append(list(dict.fromkeys(_words(row.get("categories") or row.get("category")))))
    types: dict[str, Any] = {
        "item": pl.String,
        "title": pl.String,
        "text": pl.String,
        "brand": pl.String,
        "price": pl.Float64,
        "categories": pl.List(pl.String),
    }
    return pl.DataFrame(columns, schema=types).unique("item", keep="first", maintain_order=True).lazy()


def _word(value: Any) -> str | None:
    text = " ".join(str(value).split()) if value is not None and not isinstance(value, list | dict) else ""
    return text or None


def _words(value: Any) -> list[str]:
    """Texts in a value that is a text, a list of texts or a list of lists of texts, depending on the year."""
    if isinstance(value, list):
        return [word for one in value for word in _words(one)]
    word = _word(value)
    return [word] if word else []


def _price(value: Any) -> float | None:
    """Dollars; None for ranges and leftovers of web pages."""
    if isinstance(value, int | float):
        return float(value)
    found = re.fullmatch(r"\$?\s*([\d,]+(?:\.\d+)?)", str(value or "").strip())
    return float(found[1].replace(",", "")) if found else None


FORMATS = (
    Format(
        "amazon",
        "Amazon reviews of 2014, 2018 and 2023: reviews and metadata as JSON lines, or ratings only",
        lambda s: _reviews(s) is not None,
        load,
    ),
)
