"""Delimited text into lazy frames, with errors that name file, line and column.

Files up to `IN_MEMORY` bytes are parsed once and kept; larger ones are scanned every time, and checked in one streaming pass.
"""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import polars as pl

from sartor.errors import BadValue, EmptyData, EncodingProblem, FileProblem, WrongType

IN_MEMORY = 256 * 2**20
GUESSED_ROWS = 100_000
"""Of larger files; of smaller ones all rows are looked at to guess the types."""
PACKED = (".gz", ".bz2", ".zst", ".xz")
LATIN = ("utf-8", "iso-8859-1")
"""For old files with accents: MovieLens is in ISO-8859-1, but copies in UTF-8 go around. Latin text is almost never valid UTF-8."""

Types = Mapping[str, Any]


def table(
    path: Path, *, separator: str, names: Sequence[str] | None = None, types: Types | None = None, required: Sequence[str] = (),
    encodings: Sequence[str] = ("utf-8",), quote: str | None = '"', nulls: Sequence[str] = (), skip: int = 0,
    keep: Sequence[str] | None = None,
) -> pl.LazyFrame:  # fmt: skip
    """One delimited file.

    Parameters
    ----------
    names: column names when the file has no header; otherwise they come from it.
    types: polars types of columns; others are guessed.
    required: columns without empty cells.
    encodings: tried in order.
    quote: None when quotes are ordinary characters.
    nulls: words that stand for an empty cell.
    skip: lines before the table.
    keep: columns to read; all by default.
    """
    content = _utf8(path, encodings)
    small = isinstance(content, bytes) or content.stat().st_size <= IN_MEMORY
    scan: dict[str, Any] = {
        "separator": separator, "has_header": names is None, "quote_char": quote, "null_values": list(nulls) or None,
        "skip_rows": skip, "infer_schema_length": None if small else GUESSED_ROWS,
    }  # fmt: skip
    if names is not None:
        scan["new_columns"] = list(names)
    try:
        if names is not None and types is not None and set(names) <= set(types):
            scan |= {"schema": {name: types[name] for name in names}, "new_columns": None}
        elif types:
            scan["schema_overrides"] = dict(types)
        if "schema" not in scan:
            scan["schema_overrides"] = {**_codes(content, scan), **dict(types or {})}
        frame = pl.scan_csv(content, **scan)
        if keep is not None:
            frame = frame.select(keep)
        if small:
            frame = frame.collect().lazy()
        missing = [name for name in required if name in frame.collect_schema()]
        if missing:
            empty = frame.select(pl.col(missing).null_count()).collect(engine="auto" if small else "streaming").row(0)
            if any(empty):
                blank = pl.all_horizontal(pl.all().is_null())
                bad = frame.filter(~blank).select(pl.col(missing).null_count()).collect(engine="auto" if small else "streaming").row(0)
                if any(bad):
                    raise diagnosed(path, "a required cell is empty", separator, names, types, required, encodings, quote, skip, nulls)
                frame = frame.filter(~blank)
    except pl.exceptions.NoDataError as cause:
        raise EmptyData("the file is empty", fix="download or write it again", file=path) from cause
    except (pl.exceptions.PolarsError, OSError) as cause:
        raise diagnosed(path, str(cause), separator, names, types, required, encodings, quote, skip, nulls) from cause
    return frame


def _codes(content: Path | bytes, scan: Mapping[str, Any]) -> dict[str, Any]:
    """Columns that look like integers but have leading zeros somewhere: codes, whose zeros must not be lost."""
    given = scan.get("schema_overrides", {})
    whole = [name for name, kind in pl.scan_csv(content, **scan).collect_schema().items() if kind.is_integer() and name not in given]
    if not whole:
        return {}
    texts = pl.scan_csv(content, **{**scan, "infer_schema_length": 0, "schema_overrides": None})
    found = texts.select(pl.col(whole).str.contains(r"^[+-]?0\d").any()).collect(engine="streaming").row(0, named=True)
    return {name: pl.String for name, zeros in found.items() if zeros}


def lines(path: Path, *, encodings: Sequence[str] = ("utf-8",)) -> pl.LazyFrame:
    """One column `line`, without the empty lines."""
    content = _utf8(path, encodings)
    scan: dict[str, Any] = {"separator": "\x1f", "has_header": False, "quote_char": None, "schema": {"line": pl.String}}
    try:
        small = isinstance(content, bytes) or content.stat().st_size <= IN_MEMORY
        frame = pl.read_csv(content, **scan).lazy() if small else pl.scan_csv(content, **scan)
    except pl.exceptions.NoDataError as cause:
        raise EmptyData("the file is empty", fix="download or write it again", file=path) from cause
    except pl.exceptions.PolarsError as cause:
        raise FileProblem(f"cannot be read as lines of text: {cause}", file=path) from cause
    return frame.with_columns(pl.col("line").str.strip_chars()).filter(pl.col("line").str.len_bytes() > 0)


def first_line(path: Path) -> str:
    """The first line that is not empty; an empty text when there is none or it is not text."""
    try:
        with _open(path) as file:
            for _ in range(100):
                raw = file.readline(1_000_000)
                text = raw.decode("utf-8-sig", errors="replace").strip()
                if text or not raw:
                    return text
    except (EOFError, zlib.error, gzip.BadGzipFile):
        # Damaged: the loader that is asked to read it says so.
        return ""
    return ""


def _open(path: Path) -> IO[bytes]:
    return gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")  # type: ignore[return-value]


def _utf8(path: Path, encodings: Sequence[str]) -> Path | bytes:
    """The path itself when the file is UTF-8 (or large, or packed), otherwise its text as UTF-8 bytes."""
    if path.stat().st_size == 0:
        raise EmptyData("the file is empty", fix="download or write it again", file=path)
    with path.open("rb") as file:
        start = file.read(2)
    if start in (b"\xff\xfe", b"\xfe\xff") and not any(one.lower().replace("-", "").startswith("utf16") for one in encodings):
        raise EncodingProblem("this is UTF-16", fix="save it as UTF-8; a single table is also read with the option encoding=utf-16", file=path)
    # UTF-8 alone is checked by the parser.
    if tuple(encodings) == ("utf-8",) or path.suffix in PACKED or path.stat().st_size > IN_MEMORY:
        return path
    raw = path.read_bytes()
    for encoding in encodings:
        try:
            text = raw.decode(encoding)
        except (UnicodeDecodeError, UnicodeError):
            continue
        except LookupError as cause:
            raise EncodingProblem(f"there is no encoding '{encoding}'", fix='use a name such as "utf-8" or "iso-8859-1"', file=path) from cause
        return path if encoding == "utf-8" else text.encode()
    raise _encoding_problem(path, raw, encodings)


def _encoding_problem(path: Path, raw: bytes, encodings: Sequence[str]) -> EncodingProblem:
    try:
        raw.decode(encodings[0])
    except UnicodeDecodeError as cause:
        line, start = raw.count(b"\n", 0, cause.start) + 1, raw.rfind(b"\n", 0, cause.start) + 1
        return EncodingProblem(
            f"not {' or '.join(encodings)}: the byte 0x{raw[cause.start]:02x} does not belong there",
            fix="save it as UTF-8; a single table is also read with the option encoding=iso-8859-1 (or what it is in)",
            file=path, line=line, column=cause.start - start + 1,
        )  # fmt: skip
    return EncodingProblem(f"not {' or '.join(encodings)}", file=path)


def diagnosed(
    path: Path, cause: str, separator: str, names: Sequence[str] | None, types: Types | None, required: Sequence[str],
    encodings: Sequence[str], quote: str | None, skip: int = 0, nulls: Sequence[str] = (),
) -> Exception:  # fmt: skip
    """The error for the first bad line, found by going through the file slowly."""
    encoding = encodings[-1]
    try:
        with _open(path) as file:
            text = (raw.decode(encoding) for raw in file)
            for _ in range(skip):
                next(text, "")
            quoting: dict[str, Any] = {"quoting": csv.QUOTE_NONE} if quote is None else {"quotechar": quote}
            reader = csv.reader(text, delimiter=separator, **quoting)
            header = list(names) if names is not None else next(reader, [])
            for row, cells in enumerate(reader, 1):
                found = _bad_cell(cells, header, types or {}, required, nulls)
                if found is not None:
                    kind, what, column = found
                    value = None if column is None else cells[header.index(column)][:60] or None
                    return kind(what, fix="correct or remove the line", file=path, row=row, line=reader.line_num + skip, column=column, value=value)
    except UnicodeDecodeError:
        with _open(path) as file:
            return _encoding_problem(path, file.read(), encodings)
    except (csv.Error, OSError, EOFError, zlib.error) as problem:
        return FileProblem(f"cannot be read: {problem}", fix="download or write it again", file=path)
    return FileProblem(f"cannot be read as a table: {cause.splitlines()[0]}", fix="check the separator, the quotes and the types", file=path)


def _bad_cell(
    cells: list[str], header: list[str], types: Types, required: Sequence[str], nulls: Sequence[str]
) -> tuple[type[BadValue] | type[WrongType], str, str | None] | None:
    if not cells:
        return None
    if len(cells) > len(header) or (len(cells) < len(header) and required):
        return BadValue, f"the line has {len(cells)} fields, not {len(header)}", None
    for column, cell in zip(header, cells, strict=False):
        if cell == "" or cell in nulls:
            if column in required:
                return BadValue, "the cell is empty", column
            continue
        kind = types.get(column)
        if kind is None or kind == pl.String:
            continue
        try:
            if kind.is_integer():
                if not -(2**63) <= int(cell) < 2**63:
                    return WrongType, "the number is too large", column
            elif kind.is_float():
                float(cell)
        except ValueError:
            return WrongType, f"should be {'an integer' if kind.is_integer() else 'a number'}", column
    return None
