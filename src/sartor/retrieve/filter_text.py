"""Filters as text: SQL's conditions over the items' attributes, read by a parser of our own.

    year > 1990 AND array_contains(categories, 'Comedy') AND NOT lower(title) LIKE '%part ii%'

Text comes from outside: its length, nesting and operators are bounded, and nothing can be said but what this grammar knows.
"""

from __future__ import annotations

import re
from typing import Any, NoReturn

from sartor.errors import ConfigError
from sartor.retrieve.filters import And, Call, Column, Compared, Constant, Expression, Filter, Holds, Not, Op, Or, Term
from sartor.retrieve.values import FUNCTIONS, TYPES

LONGEST, DEEPEST, MOST_TERMS = 2_000, 12, 100
"""Characters, nested brackets, and comparisons and calculations of a filter."""

_TOKEN = re.compile(
    r"""\s*(?:(?P<number>(?:\d+\.\d*|\.\d+|\d+)(?:[eE][+-]?\d+)?(?!\w))|(?P<text>'(?:[^']|'')*')|"(?P<quoted>[^"]+)"|(?P<word>[^\W\d]\w*)"""
    r"""|(?P<sign>==|!=|<>|<=|>=|-(?!-)|[=<>(),+*/%]))"""
)
_WORDS = frozenset(["and", "or", "not", "in", "like", "ilike", "between", "is", "null", "true", "false", "case", "when", "then", "else", "end", "as"])
_COMPARISONS: dict[str, Op] = {"=": "==", "==": "==", "<": "<", "<=": "<=", ">": ">", ">=": ">="}
_FLIPPED: dict[Op, Op] = {"==": "==", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
_HELP = "write for example: year >= 1990 and genre in ('drama', 'noir') and not tags contains 'gore'"


def parse(text: str) -> Filter:
    """A filter from text.

    Comparisons: `=`, `==`, `!=`, `<>`, `<`, `<=`, `>`, `>=`, `[not] in (...)`, `[not] between ... and ...`, `[not] like` and `ilike` (`%` any
    text, `_` one character), `contains` (of a list: has the element; of a text: has the part), `is [not] null`, an attribute that is true or
    false by itself. They are combined by `and`, `or`, `not` and brackets. What is compared may be computed: `+ - * / %`,
    `case when ... then ... else ... end`, `cast(... as int)` and `values.FUNCTIONS`. Words may be upper or lower case.

    Texts stand in '...' (a quote inside is doubled), numbers, true, false and null as they are, dates as '2020-01-31'; names of attributes as
    words or in "...". Raises `ConfigError` that says where it stopped.
    """
    if not isinstance(text, str) or not text.strip() or len(text) > LONGEST:
        raise ConfigError(f"the filter is empty, or longer than {LONGEST} characters", fix="write a condition such as year > 1990")
    if re.search("[\ud800-\udfff]", text):
        raise ConfigError("the filter is not valid Unicode", fix="give text without lone surrogates")
    parser = _Parser(text)
    found = parser.condition()
    if parser.at < len(parser.tokens):
        parser.fail("the end, 'and' or 'or'")
    return found


class _Parser:
    def __init__(self, text: str) -> None:
        self.text, self.at, self.terms, self.depth = text, 0, 0, 0
        self.tokens: list[tuple[str, str, int]] = []
        place, end = 0, len(text.rstrip())
        while place < end:
            match = _TOKEN.match(text, place)
            if match is None or match.lastgroup is None:
                raise ConfigError(f"the filter is not understood from character {place + 1} on: {text[place : place + 20]!r}", fix=_HELP)
            self.tokens.append((match.lastgroup, match[match.lastgroup], match.start(match.lastgroup)))
            place = match.end()

    # --- tokens

    def fail(self, wanted: str) -> NoReturn:
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

    def need(self, word: str) -> None:
        if not self.take(word):
            self.fail(f"'{word}'")

    def count(self) -> None:
        self.terms += 1
        if self.terms > MOST_TERMS:
            raise ConfigError(f"the filter has more than {MOST_TERMS} comparisons and calculations", fix="name many values with in (...)")

    def deeper(self) -> None:
        self.depth += 1
        if self.depth > DEEPEST:
            raise ConfigError(f"brackets or 'not' in the filter are nested deeper than {DEEPEST}", fix="write it flatter")

    # --- conditions

    def condition(self) -> Filter:
        return self.as_filter(self.either())

    def as_filter(self, found: Expression) -> Filter:
        if isinstance(found, Filter):
            return found
        self.count()
        return Holds(found)

    def either(self) -> Expression:
        found = self.both()
        while self.take("or"):
            found = Or(self.as_filter(found), self.as_filter(self.both()))
        return found

    def both(self) -> Expression:
        found = self.negated()
        while self.take("and"):
            found = And(self.as_filter(found), self.as_filter(self.negated()))
        return found

    def negated(self) -> Expression:
        if not self.take("not"):
            return self.comparison()
        self.deeper()
        found = Not(self.as_filter(self.negated()))
        self.depth -= 1
        return found

    def comparison(self) -> Expression:
        left = self.sum()
        negate = self.take("not") is not None
        word = self.take("in", "like", "ilike", "between") if negate else self.take(
            "in", "like", "ilike", "between", "is", "contains", "!=", "<>", *_COMPARISONS
        )  # fmt: skip
        if word is None:
            if negate:
                self.fail("'in', 'like' or 'between'")
            return left
        self.count()
        match word:
            case "in":
                found = compared(left, "in", Constant(tuple(self.constants())))
            case "like" | "ilike" | "contains":
                found = self.text_test(word, left, self.sum())
            case "between":
                low = self.sum()
                self.need("and")
                found = And(compared(left, ">=", low), compared(left, "<=", self.sum()))
            case "is":
                negate = self.take("not") is not None
                truth = self.take("null", "true", "false")
                if truth is None:
                    self.fail("'null', 'true' or 'false'")
                if truth == "null":
                    found = compared(left, "is null", Constant(None))
                else:
                    # What is unknown is neither.
                    found = Holds(Call("coalesce", (compared(left, "==", Constant(truth == "true")), Constant(False))))
            case "!=" | "<>":
                found = Not(self.against(left, "==", self.sum()))
            case _:
                found = self.against(left, _COMPARISONS[word], self.sum())
        return Not(found) if negate else found

    def against(self, left: Expression, op: Op, right: Expression) -> Filter:
        if Constant(None) in (left, right):
            raise ConfigError("nothing is equal to null, or more, or less", fix="write is null, or is not null", filter=self.text[:100])
        return compared(left, op, right)

    def text_test(self, word: str, left: Expression, right: Expression) -> Filter:
        if word == "contains" and isinstance(left, Column) and isinstance(right, Constant):
            return Term(left.name, "contains", right.value)
        return Holds(Call(word, (left, right)))

    # --- values

    def sum(self) -> Expression:
        found = self.product()
        while sign := self.take("+", "-"):
            self.count()
            found = Call(sign, (found, self.product()))
        return found

    def product(self) -> Expression:
        found = self.unary()
        while sign := self.take("*", "/", "%"):
            self.count()
            found = Call(sign, (found, self.unary()))
        return found

    def unary(self) -> Expression:
        if not self.take("-"):
            return self.primary()
        self.deeper()
        found = self.unary()
        self.depth -= 1
        if isinstance(found, Constant) and isinstance(found.value, int | float) and not isinstance(found.value, bool):
            return Constant(-found.value)
        self.count()
        return Call("-", (Constant(0), found))

    def primary(self) -> Expression:
        if self.take("("):
            self.deeper()
            found = self.either()
            self.depth -= 1
            self.need(")")
            return found
        if self.at >= len(self.tokens):
            self.fail("an attribute or a value")
        kind, text, _ = self.tokens[self.at]
        word = text.lower()
        if kind == "word" and word in ("null", "true", "false"):
            self.at += 1
            return Constant({"null": None, "true": True, "false": False}[word])
        if kind == "word" and word == "case":
            return self.case()
        if kind == "quoted" or (kind == "word" and word not in _WORDS):
            self.at += 1
            return self.call(word) if kind == "word" and self.take("(") else Column(text)
        return Constant(self.constant())

    def call(self, name: str) -> Expression:
        """A function's value; its opening bracket is taken."""
        if name not in FUNCTIONS:
            raise ConfigError(f"the filter calls {name[:50]}", fix=f"functions are {', '.join(FUNCTIONS)}", filter=self.text[:100])
        self.count()
        self.deeper()
        given = [self.either()]
        if name in ("cast", "try_cast"):
            self.need("as")
            given.append(Constant(self.take(*TYPES) or self.fail(f"one of {', '.join(TYPES)}")))
        while self.take(","):
            given.append(self.either())
        self.need(")")
        self.depth -= 1
        if name == "array_contains" and len(given) == 2 and isinstance(given[0], Column) and isinstance(given[1], Constant):
            return Term(given[0].name, "has", given[1].value)
        return Call(name, tuple(given))

    def case(self) -> Expression:
        self.need("case")
        self.count()
        self.deeper()
        given: list[Expression] = []
        while self.take("when"):
            self.count()
            given.append(self.condition())
            self.need("then")
            given.append(self.either())
        if not given:
            self.fail("'when'")
        given.append(self.either() if self.take("else") else Constant(None))
        self.need("end")
        self.depth -= 1
        return Call("case", tuple(given))

    def constants(self) -> list[Any]:
        self.need("(")
        out = [self.constant()]
        while self.take(","):
            out.append(self.constant())
        self.need(")")
        return out

    def constant(self) -> Any:
        negative = self.take("-") is not None
        if self.at >= len(self.tokens):
            self.fail("a value")
        kind, text, _ = self.tokens[self.at]
        self.at += 1
        if kind == "number":
            number = float(text) if re.search(r"[.eE]", text) else int(text)
            return -number if negative else number
        if kind == "text" and not negative:
            return text[1:-1].replace("''", "'")
        if kind == "word" and text.lower() in ("true", "false") and not negative:
            return text.lower() == "true"
        self.at -= 1
        return self.fail("a value ('text' in quotes, a number, true or false)")


def compared(left: Expression, op: Op, right: Expression) -> Filter:
    """The comparison in the form that is answered fastest: an attribute with constants goes by its index."""
    if isinstance(left, Column) and isinstance(right, Constant):
        return Term(left.name, op, right.value)
    if isinstance(left, Constant) and isinstance(right, Column) and op in _FLIPPED:
        return Term(right.name, _FLIPPED[op], left.value)
    return Compared(left, op, right)
