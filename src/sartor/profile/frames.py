"""Records as columns, for fitting."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sartor.profile.records import Record

if TYPE_CHECKING:
    import polars as pl

_EVENT = frozenset(["item", "value", "weight", "session"])


def frame_of(people: Sequence[tuple[str, list[Record]]], frame: str | None) -> pl.DataFrame:
    """Records of some people as one frame; what their content holds becomes columns."""
    import polars as pl

    rows = [record for _, records in people for record in records]
    columns: dict[str, pl.Series] = {
        "person": pl.Series([row.person for row in rows], dtype=pl.String),
        "position": pl.Series([row.position for row in rows], dtype=pl.Int64),
        "time": pl.Series([int(row.received or 0) if row.time is None else int(row.time) for row in rows], dtype=pl.Int64),
    }
    if any(row.kind is not None for row in rows):
        columns["kind"] = pl.Series([row.kind for row in rows], dtype=pl.String)
    if frame is not None:
        columns["frame"] = pl.Series([frame] * len(rows), dtype=pl.String)
    contents = [_flat(row) for row in rows]
    for name in sorted({name for content in contents for name in content} - set(columns)):
        columns[name] = _column([content.get(name) for content in contents])
    return pl.DataFrame(columns)


def _flat(record: Record) -> dict[str, Any]:
    """The content with its context's values beside the others; a context cannot pass for the event's own item, value or weight."""
    context = record.content.get("context")
    if not isinstance(context, dict):
        return dict(record.content)
    beside = {name: value for name, value in context.items() if name not in _EVENT}
    return {**beside, **{name: value for name, value in record.content.items() if name != "context"}}


def _column(values: list[Any]) -> pl.Series:
    import polars as pl

    kinds = {type(value) for value in values if value is not None}
    if kinds == {int}:
        return pl.Series(values, dtype=pl.Int64) if all(value is None or -(2**63) <= value < 2**63 for value in values) else _text(values)
    if kinds <= {int, float} and kinds:
        return pl.Series([None if value is None else float(value) for value in values], dtype=pl.Float64)
    if kinds == {bool}:
        return pl.Series(values, dtype=pl.Boolean)
    if kinds == {list} and all(isinstance(one, str) for value in values if value is not None for one in value):
        return pl.Series(values, dtype=pl.List(pl.String))
    return _text(values)


def _text(values: list[Any]) -> pl.Series:
    import polars as pl

    return pl.Series(
        [value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False) for value in values], dtype=pl.String
    )
