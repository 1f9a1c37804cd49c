"""From what a caller gives to records."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

from sartor.data.schema import LATEST_TIME
from sartor.engine.ids import item_id, person_id
from sartor.errors import BadValue, MissingColumn, WrongType

if TYPE_CHECKING:
    import polars as pl

    from sartor.data.schema import FrameName
    from sartor.profile.records import Record

_OWN = ("id", "person", "time", "kind", "purposes", "expires")
_EVENT = ("item", "value", "weight", "session")
LARGEST = 1e30
"""Of values and weights: methods read them in 32 bits, and square and add them."""


def event_records(person: Any, events: Any, *, purposes: Iterable[str] | None, source: str) -> Iterator[Record]:
    """Records of events given as item ids, dicts, or a table.

    A dict has `item`, and may have `id`, `time` (seconds since 1970 UTC or a datetime), `kind`, `value`, `weight`, `session`, `purposes`,
    `expires`; everything else is kept as context. Raises `BadValue`, `WrongType`, `MissingColumn` with the row.
    """
    who = person_id(person)
    rows = [events] if isinstance(events, Mapping) else _rows(events) if hasattr(events, "columns") else events
    if isinstance(rows, str | bytes) or not isinstance(rows, Iterable):
        raise WrongType(f"events is a {type(events).__name__}", fix="give a list of item ids or of dicts, or a data frame")
    for row, event in enumerate(rows, 1):
        yield _located(row, lambda event=event: event_record(who, event, purposes=purposes, source=source))


def _rows(table: Any) -> Iterator[dict[str, Any]]:
    """Rows of a polars, pandas or Arrow table."""
    import polars as pl

    try:
        if not hasattr(table, "iter_rows"):
            table = pl.from_pandas(table) if type(table).__module__.startswith("pandas") else pl.from_arrow(table)
        return cast("Iterator[dict[str, Any]]", table.iter_rows(named=True))
    except (TypeError, ValueError, AttributeError, pl.exceptions.PolarsError) as cause:
        raise WrongType(f"this {type(table).__name__} is not a table", fix="give a polars, pandas or Arrow table") from cause


def frame_records(frame: pl.DataFrame, *, source: str) -> Iterator[Record]:
    """Records of a table of events with the columns `person` and `item`, and those of `event_records`."""
    names = list(getattr(frame, "column_names", frame.columns))
    for name in ("person", "item"):
        if name not in names:
            raise MissingColumn(f"there is no column '{name}'", fix=f"events need person and item; there are {names}", column=name)
    for row, event in enumerate(_rows(frame), 1):
        yield _located(row, lambda event=event: event_record(person_id(event["person"]), event, purposes=None, source=source))


def event_record(who: str, event: Any, *, purposes: Iterable[str] | None, source: str) -> Record:
    """One event's record; raises `BadValue`, `WrongType`."""
    from sartor.profile.records import Record

    given: Mapping[str, Any] = event if isinstance(event, Mapping) else {"item": event}
    if given.get("item") is None:
        raise BadValue("the event has no item", fix="give {'item': ...}")
    content: dict[str, Any] = {"item": item_id(given["item"])}
    for name in ("value", "weight"):
        if given.get(name) is not None:
            content[name] = _number(name, given[name])
    if given.get("session") is not None:
        content["session"] = item_id(given["session"])
    rest = {str(name): value for name, value in given.items() if name not in (*_OWN, *_EVENT, "context") and value is not None}
    if rest or given.get("context"):
        content["context"] = {**rest, **(given.get("context") or {})}
    allowed = given.get("purposes", purposes)
    return Record(
        who, "events", str(given.get("id") or ""), time=seconds(given.get("time")), kind=None if given.get("kind") is None else str(given["kind"]),
        content=content, purposes=None if allowed is None else frozenset(allowed), source=source, expires=seconds(given.get("expires")),
    )  # fmt: skip


def other_record(who: str, frame: FrameName, given: Mapping[str, Any], *, purposes: Iterable[str] | None, source: str) -> Record:
    """A record of texts, images, preferences or attributes; raises `BadValue`."""
    from sartor.profile.records import Record

    about = frame == "people"
    content = {str(name): value for name, value in given.items() if about or name not in _OWN}
    when, kind = (None, None) if about else (given.get("time"), given.get("kind"))
    key = "" if about else str(given.get("id") or "")
    return Record(
        who, frame, key, time=seconds(when), kind=None if kind is None else str(kind), content=content,
        purposes=None if purposes is None else frozenset(purposes), source=source,
    )  # fmt: skip


def seconds(time: Any) -> float | None:
    """Seconds since 1970 UTC of a number, a datetime (without a zone: UTC) or an ISO 8601 text; raises `BadValue`, `WrongType`."""
    if time is None:
        return None
    if isinstance(time, str):
        try:
            time = datetime.fromisoformat(time)
        except ValueError as cause:
            raise BadValue("the time is not ISO 8601", fix="write 2026-05-01T12:00:00Z, or seconds since 1970 UTC") from cause
    if isinstance(time, datetime):
        time = (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
    found = _number("time", time)
    if not 0 <= found <= LATEST_TIME:
        raise BadValue(f"the time {found:g} is before 1970 or after 2100", fix="times are seconds since 1970 UTC; are these milliseconds?")
    return found


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or (not isinstance(value, int | float) and not hasattr(value, "__float__")):
        raise WrongType(f"the {name} is a {type(value).__name__}", fix="give a number")
    try:
        number = float(value)
    except OverflowError as cause:
        raise BadValue(f"the {name} is too large", fix="give a finite number") from cause
    if not math.isfinite(number) or (name != "time" and abs(number) > LARGEST) or (name == "weight" and number < 0):
        raise BadValue(f"the {name} is {number}", fix="give a finite number" + (", not below 0" if name == "weight" else ""))
    return number


def _located(row: int, make: Any) -> Record:
    try:
        return cast("Record", make())
    except (BadValue, WrongType) as wrong:
        raise type(wrong)(wrong.what, fix=wrong.fix, row=row, **wrong.where) from None
