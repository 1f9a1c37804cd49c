"""Rows of an uploaded table as events or items: which column is what, whether a row can be taken, and an id for an event that has none."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from hashlib import blake2b
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ValidationError
from pydantic_core import to_json

from sartor.errors import ConfigError, MissingColumn
from sartor.serve.schemas import EventIn, ItemIn
from sartor.serve.tables import Format, Row

Into = Literal["events", "items"]

FIELDS: dict[Into, tuple[str, ...]] = {
    "events": ("person", "item", "id", "time", "kind", "value", "weight"),
    "items": ("item", "title", "text", "categories"),
}
"""What a column can be; those that must be there are `NEEDED`."""
NEEDED: dict[Into, tuple[str, ...]] = {"events": ("person", "item"), "items": ("item",)}
UNITS = {"s": 1.0, "ms": 1e3, "us": 1e6}

_WHOLE = re.compile(r"-?(0|[1-9]\d{0,17})")
_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d{1,2})?")


@dataclass(frozen=True)
class Plan:
    """What becomes of a file's columns."""

    into: Into
    format: Format
    columns: Mapping[str, str]
    """Our name of a field by the file's name of the column it is read from."""
    keep: tuple[str, ...] = ()
    """Other columns: context of events, attributes of items."""
    unit: Literal["s", "ms", "us"] = "s"
    """Of times that are numbers."""
    skip: bool = False
    """Leave rows out that cannot be taken, instead of taking none."""

    def check(self, found: list[str]) -> None:
        """Raise `MissingColumn` or `ConfigError` when the file's columns are not those of the plan."""
        if unknown := sorted(set(self.columns) - set(FIELDS[self.into])):
            raise ConfigError(f"{', '.join(unknown)[:100]} are no fields of {self.into}", fix=f"fields are {', '.join(FIELDS[self.into])}")
        for name in NEEDED[self.into]:
            if name not in self.columns:
                raise MissingColumn(f"no column is given for '{name}'", fix="say which column of the file it is", field=name)
        used = [*self.columns.values(), *self.keep]
        for name in used:
            if name not in found and self.format != "jsonl":
                raise MissingColumn("the file has no such column", fix=f"it has {', '.join(found)[:300]}", column=name[:100])
        if len(set(used)) < len(used):
            raise ConfigError("one column is used twice", fix="use each for one field")
        if taken := sorted(set(self.keep) & {*FIELDS["items"], "hidden"}) if self.into == "items" else []:
            raise ConfigError(f"'{taken[0]}' cannot be an attribute's name", fix="read the field from it, or leave the column out")

    def as_dict(self) -> dict[str, Any]:
        """For the job."""
        return asdict(self) | {"columns": dict(self.columns), "keep": list(self.keep)}


def guessed(found: list[str], into: Into) -> dict[str, str]:
    """Which columns look like which fields, by their names."""
    from sartor.data.loaders.tables import SYNONYMS

    out: dict[str, str] = {}
    for ours in FIELDS[into]:
        names = (ours, *SYNONYMS.get(ours, ()), *(("event_id", "eventid", "uuid") if ours == "id" else ()))
        match = next((name for wanted in names for name in found if name.lower() == wanted and name not in out.values()), None)
        if match is not None:
            out[ours] = match
    return out


@dataclass(frozen=True)
class Bad:
    """A row that cannot be taken: where and why, never what it holds."""

    row: int
    column: str | None
    problem: str

    def as_dict(self) -> dict[str, Any]:
        """For the job's result."""
        return asdict(self)


@dataclass
class _Kind(ABC):
    """Checks rows first and gives them in the form of the store then."""

    plan: Plan
    model: type[BaseModel] = EventIn
    _bad: set[int] = field(default_factory=set)
    _kinds: dict[str, str] = field(default_factory=dict)

    def check(self, number: int, row: Mapping[str, Any]) -> Bad | None:
        """What is wrong with a row, and None for a good one, which is counted in."""
        given, kept = self._fields(row)
        try:
            self.model.model_validate(self._whole(given, kept))
        except ValidationError as error:
            self._bad.add(number)
            first = error.errors(include_url=False, include_input=False, include_context=False)[0]
            name = str(first["loc"][0]) if first["loc"] else None
            why = "the cell is empty" if first["type"] == "missing" else str(first["msg"])
            return Bad(number, None if name is None else self.plan.columns.get(name, name), why)
        if self.plan.format == "csv":
            for name, text in kept.items():
                if (known := self._kinds.get(name)) != "text":
                    self._kinds[name] = _wider(known, _kind(text))
        self._good(given, kept)
        return None

    def checked(self) -> None:  # noqa: B027  most kinds need none
        """All rows were looked at."""

    def ready(self, rows: Iterator[Row]) -> Iterator[dict[str, Any]]:
        """Those that were good, for the store."""
        at = 0
        for number, row in rows:
            if number in self._bad:
                continue
            given, kept = self._fields(row)
            typed = {name: _as(self._kinds.get(name), cell) for name, cell in kept.items()}
            yield self._shaped(self.model.model_validate(self._whole(given, typed)), given, kept, at)
            at += 1

    def _fields(self, row: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        given = {ours: row[theirs] for ours, theirs in self.plan.columns.items() if theirs in row}
        return given, {name: row[name] for name in self.plan.keep if name in row}

    @abstractmethod
    def _whole(self, given: dict[str, Any], kept: dict[str, Any]) -> dict[str, Any]:
        """A row as the model takes it."""

    def _good(self, given: dict[str, Any], kept: dict[str, Any]) -> None:  # noqa: B027  most kinds need none
        """A good row, in the first pass."""

    @abstractmethod
    def _shaped(self, checked: BaseModel, given: dict[str, Any], kept: dict[str, Any], at: int) -> dict[str, Any]:
        """A checked row as the store takes it."""


@dataclass
class Events(_Kind):
    """Rows as events.

    One without an id gets one that says what it holds and the how manieth such row of the file it is, so that the same file, also grown,
    can be sent again, and somebody who did the same thing twice has done it twice.
    """

    _marks: array[int] = field(default_factory=lambda: array("Q"))
    _nth: np.ndarray | None = None

    def _whole(self, given: dict[str, Any], kept: dict[str, Any]) -> dict[str, Any]:
        return given | ({"time": self._time(given["time"])} if "time" in given else {}) | ({"context": kept} if kept else {})

    def _time(self, given: Any) -> Any:
        if isinstance(given, str) and _NUMBER.fullmatch(given.strip()):
            given = float(given)
        return given / UNITS[self.plan.unit] if isinstance(given, int | float) and not isinstance(given, bool) else given

    def _good(self, given: dict[str, Any], kept: dict[str, Any]) -> None:
        if "id" not in self.plan.columns:
            self._marks.append(int.from_bytes(_mark(given, kept)[:8], "little"))

    def checked(self) -> None:
        """Count which rows say the same."""
        marks = np.frombuffer(self._marks, np.uint64) if self._marks else np.empty(0, np.uint64)
        order = np.argsort(marks, kind="stable")
        first = np.ones(marks.size, bool)
        first[1:] = marks[order][1:] != marks[order][:-1]
        places = np.arange(marks.size)
        self._nth = np.empty(marks.size, np.int64)
        self._nth[order] = places - np.maximum.accumulate(np.where(first, places, 0)) if marks.size else places

    def _shaped(self, checked: BaseModel, given: dict[str, Any], kept: dict[str, Any], at: int) -> dict[str, Any]:
        assert isinstance(checked, EventIn)
        content = {"item": checked.item, "value": checked.value, "weight": checked.weight, "context": checked.context}
        own = checked.id
        if own is None and self._nth is not None and self._nth.size:
            own = f"row:{_mark(given, kept).hex()}:{self._nth[at]}"
        return {
            "person": checked.person, "id": own or "", "time": checked.time, "kind": checked.kind,
            "content": {name: value for name, value in content.items() if value is not None},
        }  # fmt: skip


@dataclass
class Items(_Kind):
    """Rows as items; the id is their own, so a file that comes again replaces what it said before."""

    model: type[BaseModel] = ItemIn

    def _whole(self, given: dict[str, Any], kept: dict[str, Any]) -> dict[str, Any]:
        found = given.get("categories")
        split = {"categories": [part.strip() for part in found.split("|") if part.strip()]} if isinstance(found, str) else {}
        return given | split | kept

    def _shaped(self, checked: BaseModel, given: dict[str, Any], kept: dict[str, Any], at: int) -> dict[str, Any]:
        return checked.model_dump(exclude_none=True)


def _mark(given: dict[str, Any], kept: dict[str, Any]) -> bytes:
    return blake2b(to_json([given, kept]), digest_size=16).digest()


def _kind(text: str) -> str:
    if _WHOLE.fullmatch(text):
        return "whole"
    if _NUMBER.fullmatch(text):
        return "number"
    return "truth" if text.lower() in ("true", "false") else "text"


def _wider(one: str | None, other: str) -> str:
    if one is None or one == other:
        return other
    return "number" if {one, other} == {"whole", "number"} else "text"


def _as(kind: str | None, cell: Any) -> Any:
    """A cell of CSV as what its whole column is: numbers, so that filters can compare them."""
    match kind:
        case "whole":
            return int(cell)
        case "number":
            return float(cell)
        case "truth":
            return cell.lower() == "true"
    return cell
