"""One table in a common format: CSV, TSV, Parquet, JSON lines or a DuckDB file, with a mapping of columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from sartor.data.loaders._format import Format, Loaded
from sartor.data.loaders._jsonl import json_lines
from sartor.data.loaders._source import Source
from sartor.data.loaders._text import first_line, table
from sartor.data.schema import FRAMES, SCHEMAS, FrameName
from sartor.errors import BadValue, ConfigError, EmptyData, FileProblem, MissingColumn, MissingExtra

ENDINGS = (".csv", ".tsv", ".parquet", ".jsonl", ".ndjson", ".duckdb", ".csv.gz", ".tsv.gz", ".jsonl.gz", ".ndjson.gz")

SYNONYMS: dict[str, tuple[str, ...]] = {
    "person": ("user", "user_id", "userid", "uid", "customer", "customer_id", "visitor", "visitorid", "visitor_id", "reviewerid", "person_id",
               "account_id"),
    "item": ("item_id", "itemid", "iid", "movie", "movieid", "movie_id", "product", "product_id", "productid", "asin", "parent_asin", "article_id",
             "sku", "song_id", "track_id", "book_id", "isbn", "business_id"),
    "time": ("timestamp", "ts", "datetime", "date", "unixreviewtime", "event_time", "created_at", "t_dat"),
    "value": ("rating", "score", "stars", "overall", "label", "book_rating", "playcount", "weight_value"),
    "kind": ("event", "event_type", "action", "behavior", "behaviour", "interaction"),
    "session": ("session_id", "sessionid", "user_session"),
    "title": ("name", "product_title", "prod_name", "movie_title"),
    "text": ("description", "detail_desc", "review", "reviewtext", "content"),
    "categories": ("genres", "tags", "category"),
    "source": ("src", "from", "u", "source_id", "v1"),
    "target": ("dst", "to", "v", "target_id", "v2"),
}  # fmt: skip
"""Names that other people give to our columns, in lower case."""


def _is_table(source: Source) -> bool:
    return len(source.files) == 1 and ending(next(iter(source.files.values()))) is not None


def ending(file: Path) -> str | None:
    """Which of the known endings a file name has."""
    return next((one for one in sorted(ENDINGS, key=len, reverse=True) if file.name.lower().endswith(one)), None)


def load_table(
    source: Source, *, columns: Mapping[str, str] | None = None, frame: FrameName = "events", encoding: str = "utf-8",
    separator: str | None = None, names: Sequence[str] | None = None, table_name: str | None = None, time_unit: str = "s",
    time_format: str | None = None,
) -> Loaded:  # fmt: skip
    """One frame from one file.

    Parameters
    ----------
    columns: our name -> the file's name, e.g. {"person": "customer", "item": "sku", "time": "bought_at"}; common names are found without.
    frame: which frame the file holds.
    encoding, separator: of delimited text.
    names: columns of delimited text without a header, in order (then any ending of the file name will do): ["person", "item", "value", "time"].
    table_name: in a DuckDB file; needed when it has several and they are not named after frames (then all of those are read).
    time_unit: of integer times: "s", "ms", "us" or "ns".
    time_format: of written times, as in strptime; common ISO forms are found without.
    """
    file = next(iter(source.files.values()))
    if frame not in FRAMES:
        raise ConfigError(f"'{frame}' is not a frame", fix=f"frames are {', '.join(FRAMES)}")
    if ending(file) == ".duckdb" and table_name is None and len(inside := _tables(file)) > 1:
        named = [one for one in FRAMES if one in inside]
        source.origin.update(dict.fromkeys(named, file))
        if named:
            return {one: shaped(_duckdb(file, one), one, file, columns if one == frame else None, time_unit, time_format) for one in named}
    source.origin[frame] = file
    raw = scan(file, encoding=encoding, separator=separator, names=names, table_name=table_name)
    return {frame: shaped(raw, frame, file, columns, time_unit, time_format)}


def scan(
    file: Path, *, encoding: str = "utf-8", separator: str | None = None, names: Sequence[str] | None = None, table_name: str | None = None
) -> pl.LazyFrame:
    """Any table as it is in the file."""
    match ending(file) or (".csv" if names else None):
        case ".csv" | ".csv.gz" | ".tsv" | ".tsv.gz":
            between = separator or ("\t" if ".tsv" in file.name.lower() else _separator(file))
            rows = table(file, separator=between, names=names, encodings=(encoding,))
            if rows.head(1).collect().is_empty():
                raise EmptyData("there is a header and nothing else", fix="download or write it again", file=file)
            return rows
        case ".parquet":
            try:
                frame = pl.scan_parquet(file)
                frame.collect_schema()
            except (pl.exceptions.PolarsError, OSError) as cause:
                raise FileProblem(f"this is not a whole Parquet file: {str(cause).splitlines()[0]}", fix="write it again", file=file) from cause
            return frame
        case ".duckdb":
            return _duckdb(file, table_name)
        case None:
            raise FileProblem(f"there is no reader for '{file.suffix}'", fix=f"known are {', '.join(ENDINGS)}", file=file)
        case _:
            return json_lines(file)


def _separator(file: Path) -> str:
    head = first_line(file)
    return max(",;\t|", key=head.count)


def _duckdb(file: Path, name: str | None) -> pl.LazyFrame:
    """A table of a DuckDB file, read in batches whenever it is needed, only the columns that are needed."""
    from polars.io.plugins import register_io_source

    duckdb = _module()
    tables = _tables(file)
    chosen = name if name in tables else tables[0] if len(tables) == 1 and name is None else None
    if chosen is None:
        raise ConfigError(f"the file holds the tables {tables}", fix="name one with the option table_name", file=file)
    try:
        with duckdb.connect(str(file), read_only=True) as base:
            origin = '"' + chosen.replace('"', '""') + '"'
            schema = _from_arrow(_batches(base.sql(f"select * from {origin} limit 0"), 1).read_all()).schema
    except duckdb.Error as cause:
        raise FileProblem(f"DuckDB cannot read it: {str(cause).splitlines()[0]}", fix="check the file", file=file) from cause

    def batches(columns: list[str] | None, predicate: pl.Expr | None, rows: int | None, size: int | None) -> Iterator[pl.DataFrame]:
        wanted = "*" if columns is None else ", ".join('"' + one.replace('"', '""') + '"' for one in columns)
        with duckdb.connect(str(file), read_only=True) as base:
            limit = "" if rows is None else f" limit {rows}"
            for batch in _batches(base.sql(f"select {wanted} from {origin}{limit}"), size or 100_000):
                frame = _from_arrow(batch)
                yield frame if predicate is None else frame.filter(predicate)

    return register_io_source(batches, schema=schema)


def _module() -> Any:
    try:
        import duckdb
    except ImportError as cause:
        raise MissingExtra("duckdb", "duckdb") from cause
    return duckdb


def _tables(file: Path) -> list[str]:
    duckdb = _module()
    try:
        with duckdb.connect(str(file), read_only=True) as base:
            return [row[0] for row in base.execute("select table_name from information_schema.tables order by 1").fetchall()]
    except duckdb.Error as cause:
        raise FileProblem(f"DuckDB cannot read it: {str(cause).splitlines()[0]}", fix="check the file", file=file) from cause


def _batches(relation: Any, size: int) -> Any:
    """An Arrow record batch reader; older versions of DuckDB have another name for it."""
    return relation.to_arrow_reader(size) if hasattr(relation, "to_arrow_reader") else relation.fetch_arrow_reader(size)


def _from_arrow(table_or_batch: Any) -> pl.DataFrame:
    frame = pl.from_arrow(table_or_batch)
    return frame if isinstance(frame, pl.DataFrame) else frame.to_frame()


def shaped(
    raw: pl.LazyFrame, frame: FrameName, file: Path, columns: Mapping[str, str] | None = None, time_unit: str = "s", time_format: str | None = None
) -> pl.LazyFrame:
    """Columns renamed to the schema's names, times to seconds, categories to lists."""
    schema = raw.collect_schema()
    names = _names(schema.names(), frame, file, columns or {})
    raw = raw.rename({theirs: ours for ours, theirs in names.items() if ours != theirs})
    schema = raw.collect_schema()
    if "time" in SCHEMAS[frame] and "time" in schema:
        if schema["time"] in (pl.String, pl.Null):
            raw = raw.with_columns(_written_time(raw, file, time_format))
        elif schema["time"].is_numeric():
            raw = raw.with_columns(seconds("time", time_unit, schema["time"]))
    if "categories" in SCHEMAS[frame] and schema.get("categories") == pl.String:
        raw = raw.with_columns(pl.col("categories").fill_null("").str.split("|").list.eval(pl.element().filter(pl.element() != "")))
    return raw


def _names(found: list[str], frame: FrameName, file: Path, columns: Mapping[str, str]) -> dict[str, str]:
    for ours, theirs in columns.items():
        if theirs not in found:
            raise MissingColumn(f"there is no column '{theirs}' (for {ours})", fix=f"it has {found}", file=file, column=theirs)
    names = dict(columns)
    for ours in SCHEMAS[frame]:
        if ours in names or ours in found:
            continue
        matches = [one for one in found if one.split(":")[0].lower() in SYNONYMS.get(ours, ()) and one not in names.values()]
        if matches:
            names[ours] = matches[0]
    return names


def seconds(column: str, unit: str, kind: pl.DataType) -> pl.Expr:
    """A numeric time of a unit in seconds; fractions are cut off, and what is not a number refused, where the population checks its types."""
    sizes = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
    if unit not in sizes:
        raise ConfigError(f"there is no time unit '{unit}'", fix=f"use one of {', '.join(sizes)}")
    cell = pl.col(column)
    return cell if unit == "s" else cell / sizes[unit] if kind.is_float() else cell.floordiv(sizes[unit])


def _written_time(raw: pl.LazyFrame, file: Path, form: str | None) -> pl.Expr:
    """Times written as text; raises `BadValue` with the row of the first that cannot be read."""
    try:
        parsed = (
            pl.col("time").str.to_datetime(form, strict=False, time_zone="UTC")
            if form is None
            else pl.col("time").str.to_datetime(form, strict=False)
        )
        bad = raw.with_row_index("_row", offset=1).filter(parsed.is_null() & pl.col("time").is_not_null()).select("_row", "time").head(1).collect()
    except pl.exceptions.PolarsError as cause:
        raise BadValue(
            f"the times cannot be read: {str(cause).splitlines()[0]}",
            fix="say how they are written with the option time_format, such as %d.%m.%Y",
            file=file,
            column="time",
        ) from cause
    if len(bad):
        fix = "correct it, or say how times are written with the option time_format, such as %d.%m.%Y"
        raise BadValue("the time cannot be read", fix=fix, file=file, row=bad["_row"][0], column="time", value=bad["time"][0])
    return parsed.dt.epoch("s").alias("time")


_OPTIONS = ("columns", "frame", "encoding", "separator", "names", "table_name", "time_unit", "time_format")

FORMATS = (Format("table", "one CSV, TSV, Parquet, JSON lines or DuckDB file", _is_table, load_table, _OPTIONS),)
