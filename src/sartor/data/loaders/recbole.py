"""RecBole atomic files: name.inter, name.item, name.user, name.net, name.kg, tab-separated with typed headers (`user_id:token`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

from sartor.data.loaders._format import Format, Loaded
from sartor.data.loaders._source import Source
from sartor.data.loaders._text import first_line, table
from sartor.data.schema import FrameName
from sartor.errors import BadValue, EmptyData, MissingColumn

KINDS = ("token", "token_seq", "float", "float_seq")
NAMES: dict[str, dict[str, str]] = {
    "events": {"user_id": "person", "session_id": "person", "item_id": "item", "timestamp": "time", "rating": "value", "label": "value"},
    "items": {"item_id": "item", "movie_title": "title", "item_name": "title", "name": "title", "class": "categories", "genre": "categories",
              "categories": "categories", "category": "categories", "description": "text"},
    "people": {"user_id": "person"},
    "edges": {"source_id": "source", "target_id": "target", "head_id": "source", "tail_id": "target", "relation_id": "kind"},
}  # fmt: skip
ENDINGS: tuple[tuple[str, FrameName], ...] = (("item", "items"), ("user", "people"), ("net", "edges"), ("kg", "edges"))


def load(source: Source) -> Loaded:
    """Events from .inter (parts name.train.inter, name.valid.inter, name.test.inter become a column `split`), items, people, edges.

    Tokens that are all integers become integers; sequences become lists, except in titles.
    """
    found = source.matching("*.inter")
    parts = {part: file for part in ("train", "valid", "test") for file in found if file.name.endswith(f".{part}.inter")}
    frames: Loaded = {}
    if parts:
        frames["events"] = pl.concat(
            [_atomic(file, "events").with_columns(split=pl.lit(part)) for part, file in parts.items()], how="diagonal_relaxed"
        )
        source.origin["events"] = next(iter(parts.values()))
    else:
        frames["events"] = _atomic(found[0], "events")
        source.origin["events"] = found[0]
    for ending, name in ENDINGS:
        if (files := source.matching(f"*.{ending}")) and name not in frames:
            frames[name] = _atomic(files[0], name)
            source.origin[name] = files[0]
    return _one_kind_of_id(frames)


def _one_kind_of_id(frames: Loaded) -> Loaded:
    """Ids that are integers in one file and texts in another become texts in both."""
    for column in ("person", "item"):
        schemas = {name: schema for name, frame in frames.items() if column in (schema := frame.collect_schema())}
        if len({schema[column] for schema in schemas.values()}) > 1:
            for name in schemas:
                frames[name] = frames[name].with_columns(pl.col(column).cast(pl.String))
    return frames


def _atomic(file: Path, frame: FrameName) -> pl.LazyFrame:
    header = first_line(file).split("\t")
    if header == [""]:
        raise EmptyData("the file is empty", fix="write it again", file=file)
    typed = [cell.rsplit(":", 1) for cell in header]
    for number, cell in enumerate(typed, 1):
        if len(cell) != 2 or cell[1] not in KINDS:
            what = f"'{':'.join(cell)}' is not name:type"
            raise BadValue(what, fix=f"types are {', '.join(KINDS)}", file=file, row=0, column=number)
    names = NAMES[frame]
    for needed in ("person", "item") if frame == "events" else ():
        if not any(names.get(name) == needed for name, _ in typed):
            raise MissingColumn(f"there is no {'user_id' if needed == 'person' else 'item_id'}", fix=f"it has {header}", file=file, column=needed)
    types: dict[str, Any] = {":".join(cell): pl.Float64 if cell[1] == "float" else pl.String for cell in typed}
    rows = table(file, separator="\t", types=types, required=[], quote=None)
    out: dict[str, pl.Expr] = {}
    tokens: list[str] = []
    for name, kind in typed:
        ours = names.get(name, name)
        if ours in out:
            ours = name
        cell_ = pl.col(f"{name}:{kind}")
        if ours == "time":
            out[ours] = cell_.cast(pl.Float64).floor().cast(pl.Int64)
        elif ours == "value":
            out[ours] = cell_.cast(pl.Float32)
        elif kind == "token_seq" and ours != "title":
            out[ours] = cell_.fill_null("").str.split(" ").list.eval(pl.element().filter(pl.element() != ""))
        elif ours == "categories":
            out[ours] = pl.when(cell_.is_null()).then(pl.lit([], pl.List(pl.String))).otherwise(pl.concat_list(cell_))
        elif kind == "float_seq":
            out[ours] = cell_.fill_null("").str.split(" ").list.eval(pl.element().filter(pl.element() != "").cast(pl.Float32, strict=False))
        else:
            out[ours] = cell_
            if kind == "token":
                tokens.append(ours)
    shaped = rows.select(**out)
    if not tokens:
        return shaped
    counts = [pl.col(one).cast(pl.Int64, strict=False).is_null().sum() - pl.col(one).is_null().sum() for one in tokens]
    written = [pl.col(one).str.contains(r"^[+-]?0\d").any().alias(f"{one}_zero") for one in tokens]
    strange = shaped.select(*counts, *written).collect(engine="streaming").row(0)
    # A token such as 00123 is a code, not a number.
    integers = [one for number, one in enumerate(tokens) if not strange[number] and not strange[number + len(tokens)]]
    return shaped.with_columns(pl.col(integers).cast(pl.Int64)) if integers else shaped


FORMATS = (Format("recbole", "RecBole atomic files: .inter, .item, .user, .net, .kg", lambda s: bool(s.matching("*.inter")), load),)
