"""Text files of lines `person item item ...`: one file in order of time, or train.txt and test.txt with optional maps of ids.

The layout of SASRec's, S3-Rec's and P5's files (one file; 5-core Amazon), of LightGCN's (train.txt, test.txt, user_list.txt, item_list.txt)
and of CoLaKG's copy of MovieLens 1M (train.txt, test.txt, user_map.txt, item_map.txt beside movies.dat and users.dat).
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from sartor.data.loaders._format import Format, Loaded
from sartor.data.loaders._json import json_object
from sartor.data.loaders._source import Source
from sartor.data.loaders._text import first_line, lines
from sartor.data.loaders.movielens import movies_and_people
from sartor.errors import BadValue, FileProblem

PARTS = {"train": "train.txt", "valid": "valid.txt", "test": "test.txt"}


def _looks_like(file: Path | None) -> bool:
    if file is None:
        return False
    words = first_line(file).split()
    return len(words) >= 2 and all(word.lstrip("-").isdigit() for word in words)


def _is_parts(source: Source) -> bool:
    return _looks_like(source.find("train.txt")) and _looks_like(source.find("test.txt"))


def _is_one(source: Source) -> bool:
    return _the_one(source) is not None


def _the_one(source: Source) -> Path | None:
    found = [file for file in source.matching("*.txt") if _looks_like(file) and len(first_line(file).split()) > 2]
    return found[0] if len(found) == 1 else None


def histories(file: Path) -> pl.LazyFrame:
    """Person and item, one row per event, in the order of the file; raises `BadValue` where a cell is not an integer."""
    cells = (
        lines(file).with_row_index("_row", offset=1).with_columns(pl.col("line").str.split(" ").list.eval(pl.element().filter(pl.element() != "")))
    )
    numbers = cells.with_columns(pl.col("line").list.eval(pl.element().cast(pl.Int64, strict=False)).alias("_numbers"))
    bad = numbers.filter(pl.col("_numbers").list.eval(pl.element().is_null()).list.any()).head(1).collect()
    if len(bad):
        column, word = next((n, one) for n, one in enumerate(bad["line"][0], 1) if bad["_numbers"][0][n - 1] is None)
        raise BadValue("should be an integer id", fix="correct or remove the line", file=file, row=bad["_row"][0], column=column, value=word)
    return (
        numbers.select(pl.col("_numbers").list.first().alias("person"), pl.col("_numbers").list.slice(1).alias("item"))
        .filter(pl.col("item").list.len() > 0)
        .explode("item")
    )  # fmt: skip


def load_parts(source: Source) -> Loaded:
    """Events with a column `split` (train, valid, test), ids mapped back to the originals where the maps are there; no times."""
    source.origin["events"] = source.need("train.txt")
    found = {part: file for part, name in PARTS.items() if (file := source.find(name)) is not None}
    events = pl.concat([histories(file).with_columns(split=pl.lit(part)) for part, file in found.items()])
    frames = movies_and_people(source)
    for column, names in (("person", ("user_map.txt", "user_list.txt")), ("item", ("item_map.txt", "item_list.txt"))):
        file = source.find(*names)
        if file is None:
            continue
        mapping = _map(file)
        whole = events.join(mapping, left_on=column, right_on="_new", how="left", maintain_order="left")
        unknown = whole.filter(pl.col("_original").is_null()).head(1).collect()
        if len(unknown):
            raise BadValue(f"the {column} has no line in {file.name}", file=source.origin["events"], column=column, value=unknown[column][0])
        events = whole.with_columns(pl.col("_original").alias(column)).drop("_original")
    frames["events"] = events.select("person", "item", "split").collect().lazy()
    described = source.find("llm_response_item.json")
    if described is not None and "items" in frames:
        words = json_object(described)
        texts = pl.LazyFrame({"item": [int(one) for one in words], "text": list(words.values())}, schema={"item": pl.Int64, "text": pl.String})
        frames["items"] = frames["items"].join(texts, on="item", how="left", maintain_order="left")
    return frames


def _map(file: Path) -> pl.LazyFrame:
    """`original new` pairs, with or without a header line; originals stay texts when they are not all integers."""
    rows = lines(file).select(pl.col("line").str.split(" ").alias("_cells")).collect()
    if not rows["_cells"][0][1].isdigit():
        rows = rows.slice(1)
    pairs = rows.select(
        pl.col("_cells").list.get(0).alias("_original"), pl.col("_cells").list.get(1, null_on_oob=True).cast(pl.Int64, strict=False).alias("_new")
    )
    if pairs["_new"].null_count():
        row = int(pairs["_new"].is_null().arg_max() or 0)
        raise BadValue("a line should be `original new`", file=file, row=row + 1, value=pairs["_original"][row])
    integers = pairs["_original"].cast(pl.Int64, strict=False)
    return (pairs if integers.null_count() else pairs.with_columns(integers)).lazy()


def load_one(source: Source) -> Loaded:
    """Events in order of time, without times. Attributes, id maps and semantic ids of the Amazon sets become item fields.

    Items: `attributes` (list of numbers, `*_item2attributes.json`), `asin` (`datamaps.json`), `code` (list of texts, `*.index.json`).
    People: `reviewer` (`datamaps.json`).
    """
    file = _the_one(source)
    if file is None:
        raise FileProblem("there is not exactly one text file of `person item item ...` lines", fix="give the file itself", file=source.path)
    source.origin["events"] = file
    frames: Loaded = {"events": histories(file).collect().lazy()}
    fields: list[pl.DataFrame] = []
    if found := source.matching("*item2attributes.json"):
        pairs = json_object(found[0])
        attributes = pl.Series("attributes", list(pairs.values()), dtype=pl.List(pl.Int64))
        fields.append(pl.DataFrame({"item": [int(one) for one in pairs], "attributes": attributes}))
    if (maps := source.find("datamaps.json")) is not None:
        content = json_object(maps)
        if "item2id" in content:
            fields.append(pl.DataFrame({"item": [int(n) for n in content["item2id"].values()], "asin": list(content["item2id"])}))
        if "user2id" in content:
            people = pl.DataFrame({"person": [int(n) for n in content["user2id"].values()], "reviewer": list(content["user2id"])})
            frames["people"] = people.lazy()
    if found := source.matching("*.index.json"):
        codes = json_object(found[0])
        # Items count from 0 there, and from 1 in the text file.
        first = frames["events"].select(pl.col("item").min()).collect().item()
        shifted = [int(one) + first for one in codes]
        fields.append(pl.DataFrame({"item": shifted, "code": pl.Series(list(codes.values()), dtype=pl.List(pl.String))}))
    if fields:
        items = frames["events"].select(pl.col("item").unique().sort()).collect()
        for one in fields:
            items = items.join(one, on="item", how="left", maintain_order="left")
        frames["items"] = items.lazy()
    return frames


FORMATS = (
    Format("sequence-parts", "train.txt and test.txt of `person item item ...` lines (LightGCN, CoLaKG)", _is_parts, load_parts),
    Format("sequences", "one text file of `person item item ...` lines in order of time (SASRec, S3-Rec, P5)", _is_one, load_one),
)
