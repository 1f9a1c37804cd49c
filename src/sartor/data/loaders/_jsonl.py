"""JSON lines into lazy frames, with errors that name file, line and field."""

from __future__ import annotations

import ast
import json
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from sartor.data.loaders._text import IN_MEMORY, Types, _open
from sartor.errors import BadValue, EmptyData, EncodingProblem, FileProblem, WrongType


def json_lines(path: Path, types: Types | None = None, required: Sequence[str] = ()) -> pl.LazyFrame:
    """One object per line. With `types` only those fields are read; without, all, with guessed types."""
    if path.stat().st_size == 0:
        raise EmptyData("the file is empty", fix="download or write it again", file=path)
    try:
        scan: dict[str, Any] = {"infer_schema_length": 10_000} if types is None else {"schema": dict(types)}
        frame = pl.scan_ndjson(path, **scan)
        small = path.stat().st_size <= IN_MEMORY // (8 if path.suffix == ".gz" else 1)
        if small:
            frame = frame.collect().lazy()
        if required:
            empty = frame.select(pl.col(list(required)).null_count()).collect(engine="auto" if small else "streaming").row(0)
            if any(empty):
                raise diagnosed(path, "a required field is missing", types or {}, required)
    except pl.exceptions.NoDataError as cause:
        raise EmptyData("the file is empty", fix="download or write it again", file=path) from cause
    except (pl.exceptions.PolarsError, OSError) as cause:
        raise diagnosed(path, str(cause), types or {}, required) from cause
    return frame


def diagnosed(path: Path, cause: str, types: Types, required: Sequence[str]) -> Exception:
    """The error for the first bad line, found by going through the file slowly."""
    try:
        with _open(path) as file:
            for number, raw in enumerate(file, 1):
                if not raw.strip():
                    continue
                try:
                    line = json.loads(raw)
                except UnicodeDecodeError as problem:
                    return EncodingProblem("not UTF-8", fix="save it as UTF-8", file=path, line=number, column=problem.start + 1)
                except ValueError as problem:
                    return BadValue(f"the line is not JSON: {problem}", fix="correct or remove it", file=path, line=number)
                if not isinstance(line, dict):
                    return BadValue("the line is not a JSON object", fix="correct or remove it", file=path, line=number)
                for field in required:
                    if line.get(field) is None:
                        return BadValue("the field is missing", fix="correct or remove the line", file=path, line=number, column=field)
                for field, kind in types.items():
                    if kind.is_numeric() and isinstance(line.get(field), str | list | dict):
                        return WrongType(
                            "should be a number", fix="correct or remove the line", file=path, line=number, column=field, value=line[field]
                        )
    except (OSError, EOFError, zlib.error) as problem:
        return FileProblem(f"cannot be read: {problem}", fix="download it again", file=path)
    return FileProblem(f"cannot be read as JSON lines: {cause.splitlines()[0]}", file=path)


def objects(path: Path) -> Iterator[dict[str, Any]]:
    """Every line as a dict, for metadata, whose fields change their type from line to line.

    Also reads lines that are Python literals with single quotes, as the Amazon metadata of 2014 has them.
    """
    with _open(path) as file:
        for number, raw in enumerate(file, 1):
            text = raw.decode("utf-8", errors="replace").strip()
            if not text:
                continue
            try:
                line = json.loads(text)
            except ValueError:
                try:
                    line = ast.literal_eval(text)
                except (ValueError, SyntaxError, MemoryError, RecursionError) as cause:
                    raise BadValue("the line is neither JSON nor a Python literal", fix="correct or remove it", file=path, line=number) from cause
            if not isinstance(line, dict):
                raise BadValue("the line is not an object", fix="correct or remove it", file=path, line=number)
            yield line
