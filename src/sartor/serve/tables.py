"""Uploaded tables, row by row: CSV, JSON lines, Parquet.

They come from outside, so nothing is read in one piece: a line, a cell and a batch have a largest size, and a Parquet file's own figures are
looked at before anything of it is unpacked. Problems name the row and the column, never the value, which may be somebody's.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import IO, TYPE_CHECKING, Any, Literal

from pydantic_core import from_json

from sartor.errors import BadValue, EmptyData, EncodingProblem, TooLarge
from sartor.serve.arrow import check_lengths
from sartor.serve.problems import Refused

if TYPE_CHECKING:
    import pyarrow as pa

Format = Literal["csv", "jsonl", "parquet"]

LONGEST_LINE = 1_000_000
"""Bytes of one line of CSV or JSON lines."""
LONGEST_CELL = 100_000
MOST_COLUMNS = 500
MOST_ROWS = 10_000_000
_UNPACKED = 4 * 2**30
"""Bytes that a Parquet file may say it unpacks to."""
_BATCH = 1_000
_SEEN = 1_000
"""Rows of JSON lines whose fields are the columns of a preview."""

Row = tuple[int, dict[str, Any]]
"""The number of a row as a reader would count (a header is row 1), and its cells; empty cells of CSV are left out."""


@dataclass(frozen=True)
class Table:
    """An uploaded file, which can be gone through again and again."""

    file: IO[bytes]
    format: Format
    whole: bool = True
    """False: this is only the beginning of a file, so its last line may be cut off."""

    def columns(self) -> list[str]:
        """Names of the columns; of JSON lines those that the first rows have."""
        if self.format == "parquet":
            return list(self._parquet().schema_arrow.names)
        if self.format == "csv":
            return self._header()[0]
        return list(dict.fromkeys(name for _, row in islice(self.rows(), _SEEN) for name in row))

    def rows(self) -> Iterator[Row]:
        """All rows in order. Raises `SartorError` with the row at the first place from where on the file cannot be read."""
        return {"csv": self._csv, "jsonl": self._json, "parquet": self._batches}[self.format]()

    def place(self) -> int:
        """Bytes that were read of it so far; meaningful for CSV and JSON lines."""
        return self.file.tell()

    def rows_said(self) -> int:
        """How many rows a Parquet file says it has."""
        return int(self._parquet().metadata.num_rows)

    # --- delimited text

    def _header(self) -> tuple[list[str], str]:
        lines = self._lines()
        first = next(lines, None)
        if first is None:
            raise EmptyData("the file is empty", fix="choose another one")
        separator = max(",;\t|", key=first.count)
        try:
            names = [name.strip() for name in next(csv.reader([first], delimiter=separator, strict=True))]
        except csv.Error:
            raise BadValue("the header cannot be read", fix="the first line holds the names of the columns", row=1) from None
        if len(names) > MOST_COLUMNS:
            raise TooLarge(f"more than {MOST_COLUMNS} columns", fix="leave out those that are not needed", row=1)
        if "" in names or len(set(names)) < len(names):
            raise BadValue("two columns have the same name, or one has none", fix="the first line holds a name for every column", row=1)
        return names, separator

    def _csv(self) -> Iterator[Row]:
        names, separator = self._header()
        read = csv.reader(self._lines(), delimiter=separator, strict=True)
        number = 0
        while True:
            number += 1
            try:
                cells = next(read)
            except StopIteration:
                return
            except csv.Error:
                raise BadValue("the row cannot be read: is a quote not closed?", fix="write it again as CSV (RFC 4180)", row=number) from None
            if number == 1 or not cells:
                continue
            if len(cells) != len(names):
                fix = "every row has as many cells as the header; cells that hold the separator are quoted"
                raise BadValue(f"the row has {len(cells)} cells, the header {len(names)}", fix=fix, row=number)
            yield number, {name: cell for name, cell in zip(names, cells, strict=True) if cell != ""}

    def _lines(self) -> Iterator[str]:
        self.file.seek(0)
        number = 0
        while raw := self.file.readline(LONGEST_LINE + 1):
            number += 1
            if len(raw) > LONGEST_LINE:
                raise TooLarge(f"a line has more than {LONGEST_LINE} bytes", fix="is this a text file with one row per line?", row=number)
            if not self.whole and not raw.endswith(b"\n"):
                return
            try:
                text = raw.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as cause:
                raise EncodingProblem("this is not UTF-8", fix="save the file as UTF-8", row=number, byte=cause.start + 1) from None
            if "\0" in text:
                raise BadValue("a line holds a zero byte", fix="is this a text file?", row=number)
            yield text

    # --- JSON lines

    def _json(self) -> Iterator[Row]:
        for number, line in enumerate(self._lines(), 1):
            if not line.strip():
                continue
            try:
                row = from_json(line, allow_inf_nan=False)
            except ValueError:
                raise BadValue("the line is not JSON", fix="every line is one JSON object", row=number) from None
            if not isinstance(row, dict):
                raise BadValue("the line is not a JSON object", fix='write every row as {"person": ..., "item": ...}', row=number)
            if len(row) > MOST_COLUMNS:
                raise TooLarge(f"more than {MOST_COLUMNS} fields", fix="leave out those that are not needed", row=number)
            yield number, {name: value for name, value in row.items() if value is not None}

    # --- Parquet

    def _parquet(self) -> Any:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self.file.seek(0)
        try:
            file = pq.ParquetFile(self.file, memory_map=False)
            about = file.metadata
            sizes = [about.row_group(at).total_byte_size for at in range(about.num_row_groups)]
        except (pa.ArrowException, OSError, ValueError):
            raise BadValue("this is not a whole Parquet file", fix="write it again") from None
        if about.num_rows > MOST_ROWS or sum(sizes) > _UNPACKED or about.num_columns > MOST_COLUMNS:
            most = f"{MOST_ROWS:,} rows, {MOST_COLUMNS} columns and {_UNPACKED >> 30} GiB unpacked"
            raise TooLarge("the Parquet file holds too much", fix=f"import at most {most} at once")
        for column in file.schema_arrow:
            if not _taken(column.type):
                fix = "use text, numbers, booleans, times, or lists of text"
                raise BadValue("a column has a type that is not taken", fix=fix, column=column.name)
        return file

    def _batches(self) -> Iterator[Row]:
        import pyarrow as pa

        number = 0
        try:
            for batch in self._parquet().iter_batches(batch_size=_BATCH):
                batch.validate(full=True)
                for row in _unpacked(batch):
                    number += 1
                    yield number, row
        except Refused as long:
            raise TooLarge(str(long.detail), fix="shorten it", row=number + 1) from None
        except (pa.ArrowException, OSError):
            raise BadValue("the Parquet file cannot be read to its end", fix="write it again", row=number + 1) from None


def preview(table: Table, most: int) -> tuple[list[str], list[Row]]:
    """The columns, and the first rows."""
    return table.columns(), list(islice(table.rows(), most))


def _taken(kind: pa.DataType) -> bool:
    import pyarrow.types as kinds

    if kinds.is_dictionary(kind) or kinds.is_list(kind) or kinds.is_large_list(kind):
        kind = kind.value_type
        if kinds.is_list(kind) or kinds.is_large_list(kind):
            return False
    plain = (kinds.is_string, kinds.is_large_string, kinds.is_integer, kinds.is_floating, kinds.is_boolean, kinds.is_timestamp, kinds.is_date)
    return any(one(kind) for one in plain) or bool(kinds.is_null(kind))


def _unpacked(batch: pa.RecordBatch) -> Iterator[dict[str, Any]]:
    import pyarrow.types as kinds

    columns: list[Sequence[Any]] = []
    for column in batch.columns:
        inner = column.dictionary if kinds.is_dictionary(column.type) else column.flatten() if _listed(column.type) else column
        check_lengths(inner, LONGEST_CELL)
        values = column.to_pylist()
        if kinds.is_timestamp(column.type) or kinds.is_date(column.type):
            values = [None if moment is None else moment.isoformat() for moment in values]
        columns.append(values)
    names = batch.schema.names
    for cells in zip(*columns, strict=True):
        yield {name: cell for name, cell in zip(names, cells, strict=True) if cell is not None}


def _listed(kind: pa.DataType) -> bool:
    import pyarrow.types as kinds

    return bool(kinds.is_list(kind) or kinds.is_large_list(kind))
