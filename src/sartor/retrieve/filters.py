"""Conditions on items' attributes: an algebra in Python, a small text form for requests from outside, exact bitmaps from both.

    where = (field("year") >= 1990) & field("genre").is_in(["drama", "noir"]) & ~field("tags").contains("gore")
    where = parse("year >= 1990 and genre in ('drama', 'noir') and not tags contains 'gore'")

Unknown values (null, NaN) make a comparison unknown, as in SQL; what is unknown in the end is not allowed.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from sartor.errors import ConfigError

LONGEST, DEEPEST, MOST_TERMS = 2_000, 12, 100
"""Characters, nested brackets and comparisons of a text filter: it comes from outside."""

Value = str | int | float | bool | datetime.date | datetime.datetime
Op = Literal["==", "<", "<=", ">", ">=", "in", "contains"]


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
    """One comparison of an attribute with a value, or with several (`in`)."""

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

    def between(self, low: Value, high: Value) -> Filter:
        """From low to high, both included."""
        return And(self >= low, self <= high)


_TOKEN = re.compile(
    r"""\s*(?:(?P<number>-?(?:\d+\.\d*|\.\d+|\d+)(?:[eE][+-]?\d+)?(?!\w))|(?P<text>'(?:[^']|'')*')|"(?P<quoted>[^"]+)"|(?P<word>[^\W\d]\w*)"""
    r"""|(?P<sign>==|!=|<>|<=|>=|[=<>(),]))"""
)


def parse(text: str) -> Filter:
    """A filter from text: `=`, `==`, `!=`, `<>`, `<`, `<=`, `>`, `>=`, `in (...)`, `between ... and ...`, `contains`, `and`, `or`, `not`, brackets.

    Texts stand in '...' (a quote inside is doubled), numbers, true and false as they are, dates as '2020-01-31'; names of attributes as
    words or in "...".
    Nothing is evaluated but these comparisons. Raises `ConfigError` that says where it stopped.
    """
    if not isinstance(text, str) or not text.strip() or len(text) > LONGEST:
        raise ConfigError(f"the filter is empty, or longer than {LONGEST} characters", fix="write a condition such as year > 1990")
    parser = _Parser(text)
    found = parser.either(0)
    if parser.at < len(parser.tokens):
        parser.fail("the end, 'and' or 'or'")
    return found


class _Parser:
    def __init__(self, text: str) -> None:
        self.text, self.at, self.terms = text, 0, 0
        self.tokens: list[tuple[str, str, int]] = []
        place, end = 0, len(text.rstrip())
        while place < end:
            match = _TOKEN.match(text, place)
            if match is None or match.lastgroup is None:
                raise ConfigError(f"the filter is not understood from character {place + 1} on: {text[place : place + 20]!r}", fix=_HELP)
            self.tokens.append((match.lastgroup, match[match.lastgroup], match.start(match.lastgroup)))
            place = match.end()

    def fail(self, wanted: str) -> Any:
        here = f"at character {self.tokens[self.at][2] + 1}, {self.tokens[self.at][1][:20]!r}," if self.at < len(self.tokens) else "at its end"
        raise ConfigError(f"the filter is not understood: {here} {wanted} is expected", fix=_HELP, filter=self.text[:100])

    def take(self, *words: str) -> str | None:
        """The next token when it is one of these words or signs."""
        if self.at < len(self.tokens):
            kind, value, _ = self.tokens[self.at]
            if kind in ("word", "sign") and value.lower() in words:
                self.at += 1
                return value.lower()
        return None

    def need(self, sign: str) -> None:
        if not self.take(sign):
            self.fail(f"'{sign}'")

    def either(self, depth: int) -> Filter:
        found = self.both(depth)
        while self.take("or"):
            found = Or(found, self.both(depth))
        return found

    def both(self, depth: int) -> Filter:
        found = self.one(depth)
        while self.take("and"):
            found = And(found, self.one(depth))
        return found

    def one(self, depth: int) -> Filter:
        if depth > DEEPEST:
            raise ConfigError(f"brackets or 'not' in the filter are nested deeper than {DEEPEST}", fix="write it flatter")
        if self.take("not"):
            return Not(self.one(depth + 1))
        if self.take("("):
            found = self.either(depth + 1)
            self.need(")")
            return found
        return self.comparison()

    def comparison(self) -> Filter:
        self.terms += 1
        if self.terms > MOST_TERMS:
            raise ConfigError(f"the filter has more than {MOST_TERMS} comparisons", fix="name many values with in (...)")
        if self.at >= len(self.tokens) or self.tokens[self.at][0] not in ("word", "quoted"):
            self.fail("the name of an attribute")
        own = field(self.tokens[self.at][1])
        self.at += 1
        if self.take("not"):
            if not self.take("in"):
                self.fail("'in'")
            return Not(own.is_in(self.values()))
        match self.take("=", "==", "!=", "<>", "<", "<=", ">", ">=", "in", "contains", "between"):
            case "=" | "==":
                return own == self.value()
            case "!=" | "<>":
                return own != self.value()
            case "<":
                return own < self.value()
            case "<=":
                return own <= self.value()
            case ">":
                return own > self.value()
            case ">=":
                return own >= self.value()
            case "contains":
                return own.contains(self.value())
            case "in":
                return own.is_in(self.values())
            case "between":
                low = self.value()
                self.need("and")
                return own.between(low, self.value())
        return self.fail("a comparison")

    def values(self) -> list[Value]:
        self.need("(")
        out = [self.value()]
        while self.take(","):
            out.append(self.value())
        self.need(")")
        return out

    def value(self) -> Value:
        if self.at >= len(self.tokens):
            self.fail("a value")
        kind, text, _ = self.tokens[self.at]
        self.at += 1
        if kind == "number":
            return float(text) if re.search(r"[.eE]", text) else int(text)
        if kind == "text":
            return text[1:-1].replace("''", "'")
        if kind == "word" and text.lower() in ("true", "false"):
            return text.lower() == "true"
        self.at -= 1
        return self.fail("a value ('text' in quotes, a number, true or false)")


_HELP = "write for example: year >= 1990 and genre in ('drama', 'noir') and not tags contains 'gore'"
