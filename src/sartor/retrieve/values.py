"""What filters may compute from attributes: arithmetic and a few functions, each of a known kind, none whose result can be long.

A filter comes from outside. Kinds are checked before anything runs, and only expressions that are made here run.
"""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Callable

import polars as pl

from sartor.errors import ConfigError, MissingColumn, WrongType
from sartor.retrieve.filters import Call, Column, Compared, Constant, Expression, Filter, Holds, Op

FUNCTIONS = (
    "abs", "array_contains", "array_length", "cast", "ceil", "char_length", "coalesce", "ends_with", "floor", "ifnull", "length", "lower", "nullif",
    "round", "starts_with", "try_cast", "upper",
)  # fmt: skip
"""Those whose result is never longer than what they are given."""
TYPES: dict[str, tuple[str, pl.DataType]] = {
    **dict.fromkeys(("int", "integer", "bigint"), ("number", pl.Int64())),
    **dict.fromkeys(("double", "float", "real"), ("number", pl.Float64())),
    **dict.fromkeys(("text", "varchar", "string"), ("text", pl.String())),
}
"""What `cast` knows; what cannot be read as one is unknown."""
MOST_JOKERS = 20
"""`%` and `_` of one pattern: they make matching slow."""

_Typed = tuple[str, pl.Expr]
"""Kind (text, number, bool, time, list, null) and expression."""


def kind_of(dtype: pl.DataType) -> str:
    """What a column of this type can be compared with; empty when with nothing."""
    if dtype in (pl.String, pl.Categorical, pl.Enum):
        return "text"
    if dtype == pl.Boolean:
        return "bool"
    if dtype.is_numeric():
        return "number"
    if dtype in (pl.Date, pl.Datetime):
        return "time"
    return "list" if isinstance(dtype, pl.List) else "null" if dtype == pl.Null else ""


class Values:
    """Computes over one table. `holds` says for which rows a condition inside an expression holds: bool with nulls where it is unknown."""

    def __init__(self, frame: pl.DataFrame, holds: Callable[[Filter], pl.Series]) -> None:
        self.frame, self._holds = frame, holds

    def test(self, where: Compared | Holds) -> pl.Series:
        """Bool [rows], null where unknown. Raises `MissingColumn`, `WrongType`, `ConfigError`."""
        kept = self._run(self._compared(where) if isinstance(where, Compared) else self._of(where.value, "bool", "a condition"))
        # Of constants alone there is one answer for all rows.
        return kept if kept.len() == self.frame.height else kept.new_from_index(0, self.frame.height)

    def _run(self, expression: pl.Expr) -> pl.Series:
        try:
            return self.frame.select(expression.alias("value"))["value"]
        except pl.exceptions.PolarsError as cause:
            raise ConfigError("the filter cannot be evaluated", fix="compare texts with texts and numbers with numbers") from cause

    def _of(self, node: Expression, kind: str, where: str) -> pl.Expr:
        """The expression of a node that must be of a kind."""
        found, expression = self._typed(node)
        if found not in (kind, "null"):
            raise WrongType(f"{_named(node)} is a {found or 'thing that no filter can compare'}", fix=f"{where} wants a {kind}")
        return expression.cast(pl.Boolean if kind == "bool" else pl.String if kind == "text" else pl.Float64) if found == "null" else expression

    def _compared(self, where: Compared) -> pl.Expr:
        kind, left = self._typed(where.left)
        if where.op == "is null":
            return left.is_null()
        if where.op == "in":
            if not isinstance(where.right, Constant):
                raise ConfigError("'in' wants constants", fix="write in ('a', 'b')")
            each = [self._match(where.left, kind, left, "==", Constant(value)) for value in where.right.value]
            return pl.any_horizontal(each)
        return self._match(where.left, kind, left, where.op, where.right)

    def _match(self, node: Expression, kind: str, left: pl.Expr, op: Op, other: Expression) -> pl.Expr:
        if kind == "time" and isinstance(other, Constant) and isinstance(other.value, str):
            other = _time(other.value)
        theirs, right = self._typed(other)
        if theirs == "time" and isinstance(node, Constant) and isinstance(node.value, str):
            kind, left = self._typed(_time(node.value))
        if kind != theirs and "null" not in (kind, theirs):
            raise WrongType(f"{_named(node)} is a {kind}, {_named(other)} is a {theirs}", fix="compare things of one kind")
        if kind in ("list", "") or (kind == "bool" and op != "=="):
            raise WrongType(f"{_named(node)} is a {kind or 'thing that no filter can compare'}", fix=f"it cannot be asked {op}")
        if kind == "number":
            left, right = _known(left), _known(right)
        comparisons = {"==": left.eq, "<": left.lt, "<=": left.le, ">": left.gt, ">=": left.ge}
        return comparisons[op](right)

    def _typed(self, node: Expression) -> _Typed:
        match node:
            case Filter():
                return "bool", pl.lit(self._holds(node))
            case Constant(value=None):
                return "null", pl.lit(None)
            case Constant(value=value):
                kind = (
                    "bool"
                    if isinstance(value, bool)
                    else "text"
                    if isinstance(value, str)
                    else "number"
                    if isinstance(value, int | float)
                    else "time"
                )
                return kind, pl.lit(_real(value) if kind == "number" else value)
            case Column(name=name):
                if name not in self.frame.columns:
                    raise MissingColumn(f"items have no attribute '{name}'", fix=f"they have {', '.join(self.frame.columns) or 'none'}", column=name)
                column, dtype = pl.col(name), self.frame.schema[name]
                kind = kind_of(dtype)
                if kind == "text":
                    return kind, column.cast(pl.String)
                if kind == "time":
                    return kind, column.cast(pl.Datetime("us"))
                return kind, column.fill_nan(None) if dtype.is_float() else column
            case Call():
                kind, expression = self._call(node.function, node.arguments)
                # Evaluated one by one: some of polars' functions name their argument twice, which doubles the work with every one around it.
                return kind, pl.lit(self._run(expression))
        raise WrongType(f"a {type(node).__name__} is no value of a filter", fix="use field(...) or parse(...)")

    def _call(self, name: str, given: tuple[Expression, ...]) -> _Typed:
        counts = {
            **dict.fromkeys(("abs", "ceil", "floor", "length", "char_length", "lower", "upper", "array_length"), (1, 1)), "round": (1, 2),
            "coalesce": (1, 100), "case": (3, 201),
        }  # fmt: skip
        least, most = counts.get(name, (2, 2))
        if not least <= len(given) <= most:
            raise ConfigError(
                f"{name} takes {least}{f' to {most}' if most > least else ''} values, not {len(given)}", fix="see the engine's documentation"
            )
        match name:
            case "+" | "-" | "*" | "/" | "%":
                left, right = (_known(self._of(one, "number", name)) for one in given)
                if name in "/%":
                    # Divided by nothing is unknown.
                    right = pl.when(right != 0).then(right)
                return "number", {"+": left.add, "-": left.sub, "*": left.mul, "/": left.truediv, "%": left.mod}[name](right).fill_nan(None)
            case "abs" | "ceil" | "floor":
                number = _known(self._of(given[0], "number", name))
                return "number", {"abs": number.abs, "ceil": number.ceil, "floor": number.floor}[name]()
            case "round":
                digits = given[1].value if len(given) > 1 and isinstance(given[1], Constant) else 0 if len(given) == 1 else None
                if isinstance(digits, bool) or not isinstance(digits, int) or not 0 <= digits <= 15:
                    raise ConfigError("round takes a number of digits from 0 to 15", fix="write round(price, 1)")
                return "number", _known(self._of(given[0], "number", name)).round(digits)
            case "length" | "char_length":
                return "number", self._of(given[0], "text", name).str.len_chars()
            case "lower" | "upper":
                text = self._of(given[0], "text", name)
                return "text", text.str.to_lowercase() if name == "lower" else text.str.to_uppercase()
            case "array_length":
                return "number", self._of(given[0], "list", name).list.len()
            case "like" | "ilike" | "starts_with" | "ends_with" | "contains":
                pattern = given[1].value if isinstance(given[1], Constant) else None
                if not isinstance(pattern, str):
                    raise WrongType(f"{name} wants a text in quotes", fix="write title like 'The %'")
                return "bool", _matching(name, self._of(given[0], "text", name), pattern)
            case "cast" | "try_cast":
                kind, dtype = TYPES[given[1].value]  # type: ignore[union-attr]
                theirs, value = self._typed(given[0])
                if theirs not in ("text", "number", "bool", "null"):
                    raise WrongType(f"{_named(given[0])} is a {theirs or 'thing'} and cannot be cast", fix="cast texts, numbers, true and false")
                if theirs == "text" and dtype == pl.Int64():
                    value = value.str.to_integer(strict=False)
                value = value.cast(dtype, strict=False)
                return kind, _known(value) if kind == "number" else value
            case "coalesce" | "ifnull":
                kind, values = self._same(name, given)
                return kind, pl.coalesce(values)
            case "nullif":
                kind, (left, right) = self._same(name, given)
                return kind, pl.when(left.ne_missing(right)).then(left)
            case "case":
                kind, values = self._same(name, [*given[1::2], given[-1]])
                out = values[-1]
                for condition, value in reversed(list(zip(given[:-1:2], values[:-1], strict=True))):
                    out = pl.when(self._of(condition, "bool", "when")).then(value).otherwise(out)
                return kind, out
        raise ConfigError(f"{name} cannot be used so", fix="array_contains takes an attribute that is a list, and a value")

    def _same(self, name: str, given: tuple[Expression, ...] | list[Expression]) -> tuple[str, list[pl.Expr]]:
        """Values that must all be of one kind."""
        typed = [self._typed(one) for one in given]
        kinds = {kind for kind, _ in typed} - {"null"}
        if len(kinds) > 1 or kinds & {"", "list"}:
            raise WrongType(f"the values of {name} are {', '.join(sorted(kinds))}", fix="give values of one kind")
        kind = kinds.pop() if kinds else "null"
        return kind, [_known(one) if kind == "number" else one for _, one in typed]


def _real(number: int | float) -> float:
    """Whole numbers may be of any size."""
    try:
        return float(number)
    except OverflowError:
        return math.inf if number > 0 else -math.inf


def _known(number: pl.Expr) -> pl.Expr:
    """As a real number, NaN as unknown."""
    return number.cast(pl.Float64).fill_nan(None)


def _matching(name: str, text: pl.Expr, pattern: str) -> pl.Expr:
    match name:
        case "starts_with":
            return text.str.starts_with(pattern)
        case "ends_with":
            return text.str.ends_with(pattern)
        case "contains":
            return text.str.contains(pattern, literal=True)
    if sum(pattern.count(one) for one in "%_") > MOST_JOKERS:
        raise ConfigError(f"the pattern has more than {MOST_JOKERS} of % and _", fix="ask for fewer parts, joined by and")
    if name == "ilike":
        text, pattern = text.str.to_lowercase(), pattern.lower()
    inner = pattern.strip("%")
    if not re.search("[%_]", inner):
        first, last = pattern.startswith("%"), pattern.endswith("%")
        if not pattern or not (first or last):
            return text == pattern
        if first and last:
            return text.str.contains(inner, literal=True)
        return text.str.ends_with(inner) if first else text.str.starts_with(inner)
    parts = "".join(".*" if one == "%" else "." if one == "_" else pl.escape_regex(one) for one in re.sub("%+", "%", pattern))
    return text.str.contains(f"(?s)^{parts}$")


def utc(value: object) -> datetime.datetime | None:
    """A date, a time, or one as ISO 8601 text, in UTC without a zone; None for anything else."""
    if isinstance(value, str):
        try:
            value = datetime.datetime.fromisoformat(value)
        except ValueError:
            return None
    if isinstance(value, datetime.datetime) and value.tzinfo is not None:
        try:
            return value.astimezone(datetime.UTC).replace(tzinfo=None)
        except OverflowError:  # in UTC it would be before the year 1, or after 9999
            return None
    if isinstance(value, datetime.datetime):
        return value
    return datetime.datetime(value.year, value.month, value.day) if isinstance(value, datetime.date) else None


def _time(text: str) -> Constant:
    found = utc(text)
    if found is None:
        raise WrongType(f"a time is compared with {text[:50]!r}", fix="give a date such as '2020-01-31'")
    return Constant(found)


def _named(node: Expression) -> str:
    match node:
        case Column():
            return f"attribute '{node.name}'"
        case Constant():
            return repr(node.value)[:50]
        case Call():
            return node.function
    return "a condition"
