"""Conditions on items' attributes: an algebra in Python; `filter_text.parse` makes the same from text, `attributes.Attributes` exact bitmaps.

    where = (field("year") >= 1990) & field("genre").is_in(["drama", "noir"]) & ~field("tags").contains("gore")
    where = parse("year >= 1990 and genre in ('drama', 'noir') and not tags contains 'gore'")

Unknown values (null, NaN) make a comparison unknown, as in SQL; what is unknown in the end is not allowed.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from sartor.errors import ConfigError

Value = str | int | float | bool | datetime.date | datetime.datetime
Op = Literal["==", "<", "<=", ">", ">=", "in", "contains", "has", "is null"]


class Filter:
    """A condition. `&`, `|` and `~` combine them."""

    def __and__(self, other: Filter) -> Filter:
        return And(self, other)

    def __or__(self, other: Filter) -> Filter:
        return Or(self, other)

    def __invert__(self) -> Filter:
        return Not(self)

    def __bool__(self) -> bool:
        raise ConfigError("a filter is neither true nor false", fix="combine filters with &, | and ~, in brackets")


@dataclass(frozen=True)
class Term(Filter):
    """One comparison of an attribute with a value, or with several (`in`); `has` is `contains` of a list only."""

    name: str
    op: Op
    value: Any
    __bool__ = Filter.__bool__


@dataclass(frozen=True)
class And(Filter):
    """Both."""

    left: Filter
    right: Filter


@dataclass(frozen=True)
class Or(Filter):
    """Either."""

    left: Filter
    right: Filter


@dataclass(frozen=True)
class Not(Filter):
    """Not."""

    inner: Filter


# --- what is computed from attributes, of which a filter in text may make conditions too


@dataclass(frozen=True)
class Column:
    """The value of an attribute."""

    name: str


@dataclass(frozen=True)
class Constant:
    """The same value for every item; None is unknown."""

    value: Any


@dataclass(frozen=True)
class Call:
    """A function of values, one of those in `values.FUNCTIONS`."""

    function: str
    arguments: tuple[Expression, ...]


@dataclass(frozen=True)
class Compared(Filter):
    """One computed value compared with another, with several constants (`in`), or with nothing (`is null`)."""

    left: Expression
    op: Op
    right: Expression


@dataclass(frozen=True)
class Holds(Filter):
    """A value that is true or false by itself."""

    value: Expression


Expression = Filter | Column | Constant | Call


class field:
    """An attribute of items, to compare: `field("year") > 1990`."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, name: str) -> None:
        self.name = name

    def __eq__(self, value: object) -> Filter:  # type: ignore[override]
        return Term(self.name, "==", value)

    def __ne__(self, value: object) -> Filter:  # type: ignore[override]
        return Not(Term(self.name, "==", value))

    def __lt__(self, value: Value) -> Filter:
        return Term(self.name, "<", value)

    def __le__(self, value: Value) -> Filter:
        return Term(self.name, "<=", value)

    def __gt__(self, value: Value) -> Filter:
        return Term(self.name, ">", value)

    def __ge__(self, value: Value) -> Filter:
        return Term(self.name, ">=", value)

    def is_in(self, values: Iterable[Value]) -> Filter:
        """Equal to one of them."""
        return Term(self.name, "in", tuple(values))

    def contains(self, value: Value) -> Filter:
        """Of a list: has this element. Of a text: has this part."""
        return Term(self.name, "contains", value)

    def is_null(self) -> Filter:
        """Has no value."""
        return Term(self.name, "is null", None)

    def between(self, low: Value, high: Value) -> Filter:
        """From low to high, both included."""
        return And(self >= low, self <= high)
