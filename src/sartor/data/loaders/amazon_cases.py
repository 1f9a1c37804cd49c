"""Amazon prepared as next-item cases with item texts and semantic ids (MiniOneRec): valid/*.csv, test/*.csv, index/*.json."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from sartor.data.loaders._format import Format, Loaded
from sartor.data.loaders._json import json_object
from sartor.data.loaders._source import Source
from sartor.data.loaders._text import first_line, table
from sartor.errors import BadValue

TYPES = {"user_id": pl.String, "history_item_id": pl.String, "item_id": pl.Int64}


def _parts(source: Source) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for name, file in source.files.items():
        part = {"train": "train", "valid": "valid", "test": "test"}.get(name.split("/")[-2] if "/" in name else "")
        if part and name.endswith(".csv") and first_line(file).startswith("user_id,history_item_title,"):
            found[part] = file
    return {part: found[part] for part in ("train", "valid", "test") if part in found}


def load(source: Source) -> Loaded:
    """Events without times, with a column `split`; items with title, text, brand, categories and a semantic `code`.

    A case is a history of at most ten items and the item that follows. A person's events are the history of the first case (`train`),
    followed by the items of that case and all later ones (`train`, `valid`, `test`).
    """
    parts = _parts(source)
    cases = []
    for part, file in parts.items():
        rows = table(file, separator=",", types=TYPES, required=list(TYPES)).select(list(TYPES)).with_row_index("_row", offset=1).collect()
        ids = pl.col("history_item_id").str.strip_chars("[] ").str.split(",").list.eval(pl.element().str.strip_chars().cast(pl.Int64, strict=False))
        rows = rows.with_columns(ids.alias("_history"), split=pl.lit(part))
        bad = rows.filter(pl.col("_history").list.eval(pl.element().is_null()).list.any())
        if len(bad):
            row = bad.row(0, named=True)
            raise BadValue("should be a list of item numbers", fix="correct or remove the line", file=file, row=row["_row"],
                           column="history_item_id", value=row["history_item_id"][:60])  # fmt: skip
        cases.append(rows)
        source.origin.setdefault("events", file)
    whole = pl.concat(cases).with_row_index("_order")
    before = (
        whole.unique("user_id", keep="first", maintain_order=True)
        .select(
            "_order", pl.lit(0).alias("_step"), pl.col("user_id").alias("person"), pl.col("_history").alias("item"), pl.lit("train").alias("split")
        )
        .explode("item")
    )  # fmt: skip
    targets = whole.select("_order", pl.lit(1).alias("_step"), pl.col("user_id").alias("person"), pl.col("item_id").alias("item"), "split")
    events = pl.concat([before, targets]).sort("_order", "_step", maintain_order=True).select("person", "item", "split")
    frames: Loaded = {"events": events.lazy()}
    if found := source.matching("*.item.json"):
        described = json_object(found[0])
        facts = list(described.values())
        items = pl.DataFrame(
            {
                "item": [int(one) for one in described],
                "title": [one.get("title") or None for one in facts],
                "text": [str(one.get("description") or "").strip("[]'\" ") or None for one in facts],
                "brand": [one.get("brand") or None for one in facts],
                "categories": [[word.strip() for word in str(one.get("categories") or "").split(",") if word.strip()] for one in facts],
            },
            schema={"item": pl.Int64, "title": pl.String, "text": pl.String, "brand": pl.String, "categories": pl.List(pl.String)},
        )
        if codes := source.matching("*.index.json"):
            pairs = json_object(codes[0])
            semantic = pl.DataFrame({"item": [int(one) for one in pairs], "code": pl.Series(list(pairs.values()), dtype=pl.List(pl.String))})
            items = items.join(semantic, on="item", how="left", maintain_order="left")
        frames["items"] = items.lazy()
        source.origin["items"] = found[0]
    return frames


FORMATS = (Format("amazon-cases", "next-item cases with item texts and semantic ids (MiniOneRec)", lambda s: len(_parts(s)) > 1, load),)
