"""Filters: one SQL condition over the columns of a frame, such as `year > 1990 AND array_contains(categories, 'Comedy')`.

Conditions come from outside. polars' SQL can read files, multiply a text to gigabytes and run expressions that take minutes, so a condition
is taken apart first and evaluated only when it holds nothing but comparisons, arithmetic and the few functions named here.
"""

from __future__ import annotations

import re
from itertools import pairwise

import numpy as np
import polars as pl

from sartor.errors import ConfigError

LONGEST = 2_000
"""Characters."""
MOST_OPERATORS = 100
"""A chain takes time that grows with its square."""
DEEPEST = 12
"""Brackets within brackets: some take the parser twice as long with every further pair."""

FUNCTIONS = (
    "abs", "array_contains", "array_length", "cast", "ceil", "char_length", "coalesce", "ends_with", "floor", "ifnull", "length", "lower", "nullif",
    "round", "starts_with", "try_cast", "upper",
)  # fmt: skip
"""Those whose result is never longer than what they are given."""

_OPERATORS = frozenset(["and", "or", "not", "is", "like", "ilike", "between", "case", "when", "+", "-", "*", "/", "%", "<", ">", "=", "!"])
_BEFORE_BRACKETS = frozenset([*FUNCTIONS, "and", "or", "not", "in", "like", "ilike", "between", "case", "when", "then", "else"])
# Queries could name files; regular expressions and joined texts take what time and memory their writer likes.
_REFUSED = frozenset(["select", "from", "table", "values", "with", "exists", "over", "regexp", "rlike", "similar", "|", "~", ";", "{", "}"])
_COMMENT = re.compile(r"--|/\*|\\|\$|`")
_WORD = re.compile(r"'[^']*'|\"[^\"]*\"|\w+|[^\w\s]")


def holds(condition: str, frame: pl.DataFrame) -> np.ndarray:
    """bool [rows]: where the condition holds; unknown is no.

    Raises `ConfigError` for a condition that is too long, is not understood, or is not one.
    """
    check(condition)
    fix = f"columns are {', '.join(frame.columns)}"
    try:
        kept = frame.select(pl.sql_expr(condition).alias("kept"))["kept"]
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as cause:
        what = (str(cause).splitlines() or ["it cannot be evaluated"])[0]
        raise ConfigError(f"the filter is not understood: {what[:200]}", fix=fix, filter=condition) from cause
    if kept.dtype != pl.Boolean or kept.len() not in (1, frame.height):
        raise ConfigError("the filter is not a condition on each item", fix=fix, filter=condition)
    mask = kept.fill_null(False).to_numpy()
    return np.ascontiguousarray(np.broadcast_to(mask, frame.height))


def check(condition: str) -> None:
    """Raise `ConfigError` for what is no plain condition over columns, or could take long or much to evaluate."""
    fix = "write a condition over the items' attributes, such as year > 1990"
    if not isinstance(condition, str) or not condition.strip() or len(condition) > LONGEST:
        raise ConfigError(f"the filter is empty, or longer than {LONGEST} characters", fix=fix)
    if found := _COMMENT.search(condition):
        raise ConfigError(f"the filter holds {found[0]}", fix="leave out comments, backslashes and dollar signs; use LIKE", filter=condition)
    words = [word if word[0] == '"' else word.lower() for word in _WORD.findall(condition) if word[0] != "'"]
    if refused := sorted(_REFUSED.intersection(words)):
        raise ConfigError(f"the filter holds {refused[0].upper()}", fix=fix, filter=condition)
    for before, word in pairwise(words):
        # A name in quotes is called like any other.
        if word == "(" and (before[0] == '"' or before[0].isalnum() or before[0] == "_") and before not in _BEFORE_BRACKETS:
            raise ConfigError(f"the filter calls {before[:50]}", fix=f"functions are {', '.join(FUNCTIONS)}", filter=condition)
    depth = deepest = 0
    for word in words:
        depth += (word in "([") - (word in ")]")
        deepest = max(deepest, depth)
    if deepest > DEEPEST or sum(word in _OPERATORS for word in words) > MOST_OPERATORS:
        what = f"the filter has more than {MOST_OPERATORS} operators, or brackets nested deeper than {DEEPEST}"
        raise ConfigError(what, fix="name many items with IN (...)", filter=condition[:100])
