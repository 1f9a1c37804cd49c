"""Events as an Arrow IPC stream: columns person and item, and any of id, time, kind, value, weight, context, purposes.

A small stream can claim to be a huge table: by compressed buffers, by rows that are nothing but nulls or repetitions, by dictionaries. So
compression is refused by looking at the stream's own headers before anything is unpacked, only flat types are taken, and rows and the
length of ids are counted before they become objects.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import TypeAdapter
from pydantic_core import from_json

from sartor.serve.problems import Refused
from sartor.serve.schemas import EventIn

if TYPE_CHECKING:
    import pyarrow as pa

MEDIA_TYPE = "application/vnd.apache.arrow.stream"
COLUMNS = ("person", "item", "id", "time", "kind", "value", "weight", "context", "purposes")
_RECORD_BATCH, _DICTIONARY_BATCH = 3, 2
_LONGEST = 20_000
"""Bytes of one text in a dictionary or a column."""

_EVENTS = TypeAdapter(list[EventIn])


def read_events(body: bytes, *, most: int) -> list[EventIn]:
    """Checked events of a stream; raises `Refused` for one that is not a stream of events, or more than `most` rows."""
    import pyarrow as pa

    try:
        _refuse_compression(body)
        rows: list[dict[str, Any]] = []
        with pa.ipc.open_stream(body) as reader:
            _check_columns(reader.schema)
            for batch in reader:
                if len(rows) + batch.num_rows > most:
                    raise Refused(413, "too-large", f"more than {most} rows", fix="send several streams")
                batch.validate(full=True)
                rows += _rows(batch)
    except (pa.ArrowException, struct.error, OSError, ValueError, TypeError) as error:
        raise Refused(400, "malformed-arrow", f"the body is not an Arrow IPC stream of events ({type(error).__name__})", fix="see /docs") from None
    return _EVENTS.validate_python(rows)


def _check_columns(schema: pa.Schema) -> None:
    import pyarrow.types as kinds

    unknown = [name for name in schema.names if name not in COLUMNS]
    if unknown or len(set(schema.names)) != len(schema.names) or not {"person", "item"} <= set(schema.names):
        fix = f"person and item, and any of {', '.join(COLUMNS[2:])}"
        columns = ", ".join(unknown)[:100] or "missing or twice"
        raise Refused(422, "invalid-request", "the stream's columns are not those of events", fix=fix, columns=columns)
    for column in schema:
        kind = column.type.value_type if kinds.is_dictionary(column.type) else column.type
        listed = column.name == "purposes" and (kinds.is_list(kind) or kinds.is_large_list(kind))
        if listed:
            kind = kind.value_type
        if not (_is_text(kind) or kinds.is_integer(kind) or kinds.is_floating(kind) or kinds.is_timestamp(kind)):
            raise Refused(422, "invalid-request", f"column {column.name} has a type that is not taken", fix="use text, numbers and timestamps")


def _is_text(kind: pa.DataType) -> bool:
    import pyarrow.types as kinds

    return bool(kinds.is_string(kind) or kinds.is_large_string(kind) or kinds.is_string_view(kind))


def _rows(batch: pa.RecordBatch) -> list[dict[str, Any]]:
    import pyarrow.types as kinds

    columns: dict[str, list[Any]] = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        check_lengths(column.dictionary if kinds.is_dictionary(column.type) else column)
        values = column.to_pylist()
        if kinds.is_timestamp(column.type):
            values = [moment if moment is None else moment.isoformat() for moment in values]
        if name == "context":
            values = [text if text is None else from_json(text, allow_inf_nan=False) for text in values]
        columns[name] = values
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def check_lengths(column: pa.Array, most: int = _LONGEST) -> None:
    """Raise `Refused` when a text of a column has more than so many bytes: small files can unpack to very long ones."""
    import pyarrow.compute as pc
    import pyarrow.types as kinds

    if not _is_text(column.type) or not len(column):
        return
    if kinds.is_string_view(column.type):
        # A view is 16 bytes, of which the first 4 are the length; many views may show the same long text.
        views = np.frombuffer(column.buffers()[1], np.uint32).reshape(-1, 4)[column.offset : column.offset + len(column), 0]
        longest = int(views[column.is_valid().to_numpy(zero_copy_only=False)].max(initial=0))
    else:
        longest = pc.max(pc.binary_length(column)).as_py() or 0
    if longest > most:
        raise Refused(413, "too-large", f"a text has more than {most} bytes", fix="ids have at most 512 characters")


def _refuse_compression(body: bytes) -> None:
    """Walk through the stream's messages: 4 bytes of 0xFF, 4 of length, a flatbuffer `Message`, its body."""
    at = 0
    while at + 8 <= len(body):
        marker, length = struct.unpack_from("<Ii", body, at)
        if marker != 0xFFFFFFFF:
            raise struct.error("not a message")
        if length == 0:
            return
        if length < 0 or at + 8 + length > len(body):
            raise struct.error("a message is cut short")
        message = _Table(body, at + 8, at + 8 + length)
        kind, header = message.number(1, "B"), message.table(2)
        if kind == _DICTIONARY_BATCH and header is not None:
            header = header.table(1)
        if kind in (_RECORD_BATCH, _DICTIONARY_BATCH) and header is not None and header.table(3) is not None:
            raise Refused(415, "unsupported-media-type", "the stream is compressed", fix="write it without compression")
        size = message.number(3, "q")
        if size < 0:
            raise struct.error("a negative length")
        at += 8 + length + size


class _Table:
    """One table of a flatbuffer: a signed offset back to its vtable, which has the place of every field."""

    def __init__(self, body: bytes, start: int, end: int, at: int | None = None) -> None:
        self.body, self.start, self.end = body, start, end
        self.at = self._read("I", start) + start if at is None else at
        self.fields = self.at - self._read("i", self.at)

    def _read(self, kind: str, at: int) -> int:
        if not self.start <= at <= self.end - struct.calcsize("<" + kind):
            raise struct.error("a place outside of the message")
        return int(struct.unpack_from("<" + kind, self.body, at)[0])

    def _place(self, field: int) -> int:
        slot = 4 + 2 * field
        offset = self._read("H", self.fields + slot) if slot < self._read("H", self.fields) else 0
        return self.at + offset if offset else 0

    def number(self, field: int, kind: str) -> int:
        place = self._place(field)
        return self._read(kind, place) if place else 0

    def table(self, field: int) -> _Table | None:
        place = self._place(field)
        return _Table(self.body, self.start, self.end, place + self._read("I", place)) if place else None
