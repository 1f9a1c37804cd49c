"""Filters: the algebra and the text form against polars, named errors, bitmaps and standing filters."""

from __future__ import annotations

import datetime
import operator
from contextlib import suppress
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sartor.errors import BadValue, ConfigError, CorruptFile, MissingColumn, StateMismatch, WrongType
from sartor.retrieve import attributes
from sartor.retrieve.attributes import Attributes
from sartor.retrieve.bitmaps import Bitmap, Standing
from sartor.retrieve.filter_text import parse
from sartor.retrieve.filters import Filter, field
from sartor.retrieve.index import ItemIndex

FRAME = pl.DataFrame(
    {
        "year": [1990, 2000, None, 2010, 1990, 1985, 2020],
        "price": [1.5, None, 2.0, float("nan"), 0.0, -3.25, 1e9],
        "genre": ["noir", "drama", "noir", None, "it's", "", "drama"],
        "tags": [["a", "b"], [], None, ["c"], ["a", None], ["bb"], ["b", "c"]],
        "new": [True, False, None, True, False, True, True],
        "day": [datetime.date(2020, 1, day) for day in range(1, 7)] + [None],
    }
)
COMPARISONS = {"==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}


def _quoted(value: Any) -> str:
    text = value.isoformat() if isinstance(value, datetime.date) else value
    return "'" + text.replace("'", "''") + "'" if isinstance(text, str) else str(text).lower() if isinstance(value, bool) else repr(value)


@st.composite
def terms(draw: st.DrawFn) -> tuple[Filter, str, pl.Expr]:
    """The same comparison three times: ours, as text, polars'."""
    name = draw(st.sampled_from(["year", "price", "genre", "tags", "new", "day"]))
    column = pl.col(name).fill_nan(None) if name == "price" else pl.col(name)
    values: dict[str, st.SearchStrategy[Any]] = {
        "year": st.sampled_from([1985, 1990, 1990.5, 2000, 2021, -5, 1e30]),
        "price": st.sampled_from([1.5, 2, 0, -3.25, 1e9, 0.1]),
        "genre": st.sampled_from(["noir", "drama", "it's", "", "opera"]),
        "tags": st.sampled_from(["a", "b", "c", "z"]),
        "new": st.booleans(),
        "day": st.dates(datetime.date(2019, 12, 30), datetime.date(2020, 1, 9)),
    }
    value = draw(values[name])
    if name == "tags":
        return field(name).contains(value), f"tags contains {_quoted(value)}", column.list.contains(value)
    ops = ["==", "!="] if name == "new" else list(COMPARISONS)
    if draw(st.integers(0, 7)) == 0:
        return field(name).is_null(), f"{name} is null", column.is_null()
    if name not in ("new", "day") and draw(st.booleans()):
        several = draw(st.lists(values[name], min_size=1, max_size=3))
        return field(name).is_in(several), f"{name} in ({', '.join(map(_quoted, several))})", pl.any_horizontal([column == one for one in several])
    op = draw(st.sampled_from(ops))
    return COMPARISONS[op](field(name), value), f'"{name}" {op} {_quoted(value)}', COMPARISONS[op](column, pl.lit(value))


def _combined(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    both = st.tuples(inner, inner)
    return st.one_of(
        both.map(lambda two: (two[0][0] & two[1][0], f"({two[0][1]} AND {two[1][1]})", two[0][2] & two[1][2])),
        both.map(lambda two: (two[0][0] | two[1][0], f"({two[0][1]} or {two[1][1]})", two[0][2] | two[1][2])),
        inner.map(lambda one: (~one[0], f"not ({one[1]})", ~one[2])),
    )


@settings(deadline=None, max_examples=150)
@given(st.recursive(terms(), _combined, max_leaves=5))
def test_filters_and_their_text_say_what_polars_says(case: tuple[Filter, str, pl.Expr]) -> None:
    ours, text, theirs = case
    expected = FRAME.select(theirs.fill_null(False).alias("kept"))["kept"].to_list()
    bits = Attributes(FRAME).bitmap(ours)
    assert bits.mask().tolist() == expected
    assert len(bits) == sum(expected)
    assert parse(text) == ours or Attributes(FRAME).bitmap(parse(text)).mask().tolist() == expected


def test_text_contains_and_true_is_not_one() -> None:
    attributes = Attributes(FRAME)
    assert attributes.bitmap(parse("genre contains 'r'")).rows().tolist() == [0, 1, 2, 6]
    assert attributes.bitmap(parse("year between 1990 and 2000 and genre not in ('drama')")).rows().tolist() == [0, 4]
    assert len(attributes.bitmap(field("year") == 1)) == 0
    with pytest.raises(WrongType):
        attributes.bitmap(field("year") == True)  # noqa: E712


COMPUTED = """
year + 10 * 2 > 2010 | (year - 1985) / 5 >= 1 and price * 2 < 5 | year % 4 = 0 | -year < -1990 | 2 < price | 1990 <= year | 1 = 1 or year > 3
genre like 'no%' | genre like '%oir' | genre like '%ra%' | genre like 'n_ir' | genre like 'd%m_' | genre not like '%r%' | genre like 'noir'
genre ilike 'NO%' | genre ilike '%R_M%' | genre like '%' | genre like '' | genre like '%.%' | genre like '%''%' | genre ilike 'D%M%A'
lower(genre) = 'noir' | upper(genre) in ('NOIR', 'IT''S') | length(genre) > 4 | char_length(genre) between 1 and 4
starts_with(genre, 'dr') | not ends_with(genre, 'ir') | array_length(tags) >= 2 | abs(price) > 2 | round(price, 0) = 2
floor(price) = 1 or ceil(price) = 2
coalesce(year, 2005) > 2000 | ifnull(genre, 'x') = 'x' | nullif(genre, 'noir') is null | year is null or genre is not null | new | not new
new is true | (year > 1990) = new | cast(year as varchar) like '19%' | cast(new as int) = 1
try_cast(genre as int) is null | year <> year
case when year > 1995 then price when year > 1985 then 7 else 0 end < 3 | case when (year > 1990) then coalesce(price, 0) < 3 end
price > year / 1000 - 2
genre > 'm' and genre <= 'noir' | year not between 1990 and 2000 | not (year > 1990 or price > 1) | true | false or new | year between price and 2000
"""


@pytest.mark.parametrize("text", [one.strip() for line in COMPUTED.strip().splitlines() for one in line.split(" | ")])
def test_computed_conditions_are_what_sql_says(text: str) -> None:
    """The reference is polars' own SQL, which is not for texts from outside."""
    frame = FRAME.with_columns(pl.col("price").fill_nan(None))
    expected = frame.with_columns(pl.sql_expr(text).fill_null(False).alias("kept"))["kept"].to_list()
    assert Attributes(FRAME).bitmap(parse(text)).mask().tolist() == expected


@pytest.mark.parametrize("pattern", ["%a%a%a%a%a%a%a%a%b", "a%" * 20, "_" * 20, "%(a+)+$%", "a\\%b[%", "%\n%"])
def test_patterns_are_matched_in_linear_time_and_mean_nothing_else(pattern: str) -> None:
    texts = ["a" * 50_000, "(a+)+$", "a\\x b[", "one\ntwo", "a" * 20]
    frame = pl.DataFrame({"text": texts})
    found = Attributes(frame).keeps("text like '" + pattern + "'").tolist()
    # The dynamic programme that defines LIKE, on the texts that are short.
    assert found[1:] == [_like(text, pattern) for text in texts[1:]]


def _like(text: str, pattern: str) -> bool:
    ends = {0}
    for one in pattern:
        reached = set(range(min(ends, default=len(text) + 1), len(text) + 1)) if one == "%" else {at + 1 for at in ends if text[at : at + 1] == one}
        ends = {at + 1 for at in ends if at < len(text)} if one == "_" else reached
    return len(text) in ends


def test_numbers_of_any_size_are_compared() -> None:
    attributes, huge = Attributes(FRAME), "1" + "0" * 400
    for text in (f"year + 0 < {huge}", f"year < {huge}", f"-{huge} < year * 1", f"coalesce(year) > -{huge}", "year + 1 < 1e999"):
        assert attributes.keeps(text).tolist() == [year is not None for year in FRAME["year"].to_list()], text


def test_unknown_is_neither_true_nor_false() -> None:
    attributes = Attributes(FRAME)
    assert attributes.keeps("new is not false").tolist() == [True, False, True, True, False, True, True]
    assert attributes.keeps("new is false or new is true").tolist() == [new is not None for new in FRAME["new"].to_list()]


def test_times_are_compared_with_dates_also_when_computed() -> None:
    attributes = Attributes(FRAME)
    assert attributes.bitmap(parse("coalesce(day, day) >= '2020-01-03'")).rows().tolist() == [2, 3, 4, 5]
    assert attributes.bitmap(parse("'2020-01-05' <= day")).rows().tolist() == [4, 5]
    with pytest.raises(ConfigError, match="does not fit the items"):
        attributes.keeps("coalesce(day, day) > 'soon'")


@settings(deadline=None, max_examples=300)
@given(st.lists(st.sampled_from(
    ["year", "genre", "tags", "new", "(", ")", "'x'", "3", "-", "+", "%", "not", "and", "or", "=", ">", "in", "like", "is", "null", "case", "when",
     "then", "end", "lower", "cast", "as", "int", ",", "between", "array_contains", "contains", "true", "day"]), max_size=14)
)  # fmt: skip
def test_any_text_is_answered_or_refused_by_name(words: list[str]) -> None:
    with suppress(ConfigError):
        assert Attributes(FRAME).keeps(" ".join(words)).shape == (FRAME.height,)


@pytest.mark.parametrize(
    ("text", "error", "says"),
    [
        ("jahr > 1990", MissingColumn, "jahr"),
        ("genre > 3", WrongType, "genre"),
        ("new > true", WrongType, "new"),
        ("year", WrongType, "year"),
        ("not genre", WrongType, "genre"),
        ("tags is true", WrongType, "tags"),
        ("tags in ('a')", WrongType, "tags"),
        ("array_contains(genre, 'n')", WrongType, "array_contains"),
        ("array_contains(tags, genre)", ConfigError, "array_contains"),
        ("lower(year) = 'a'", WrongType, "year"),
        ("lower(genre) > 3", WrongType, "lower"),
        ("year + genre > 3", WrongType, "genre"),
        ("genre like year", WrongType, "like"),
        ("genre like '" + "%a" * 21 + "'", ConfigError, "20"),
        ("coalesce(year, genre) = 1", WrongType, "coalesce"),
        ("case when year > 1 then 'a' else 3 end = 'a'", WrongType, "case"),
        ("case when year then 3 end > 1", WrongType, "year"),
        ("cast(genre as blob) = 'a'", ConfigError, "int"),
        ("round(price, year) > 1", ConfigError, "digits"),
        ("year = null", ConfigError, "null"),
        ("year in (1, null)", ConfigError, "null"),
        ("year > 1 -- and more", ConfigError, "character 9"),
        ("abs(" * 13 + "year" + ")" * 13 + " > 1", ConfigError, "nested"),
        ("year" + " + 1" * 101 + " > 0", ConfigError, "calculations"),
        (" and ".join(["new"] * 101), ConfigError, "comparisons"),
        ("sleep(9) > 1", ConfigError, "sleep"),
        ("year = 'old'", WrongType, "year"),
        ("year contains 19", WrongType, "year"),
        ("tags = 'a'", WrongType, "tags"),
        ("day > 'soon'", WrongType, "day"),
        ("day > '0001-01-01T00:00:00+05:00'", WrongType, "day"),
        ("genre = '\ud800'", ConfigError, "Unicode"),
        ("", ConfigError, "empty"),
        ("year > ", ConfigError, "at its end"),
        ("year > 1 genre = 'a'", ConfigError, "genre"),
        ("year > 1; drop table", ConfigError, "character 9"),
        ("(" * 40 + "year > 1" + ")" * 40, ConfigError, "nested"),
        (" or ".join(["year = 1"] * 101), ConfigError, "comparisons"),
        ("select * from read_csv('x')", ConfigError, "character 15"),
    ],
)
def test_what_is_wrong_with_a_filter_is_named(text: str, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        Attributes(FRAME).bitmap(parse(text))


def test_remembered_filters_share_a_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attributes, "KEPT_BYTES", 3 * 16)
    table = Attributes(pl.DataFrame({"n": np.arange(128)}))  # a filter takes 16 bytes
    found = {text: table.bitmap(text) for text in ("n < 1", "n < 2", "n < 3", "n < 4")}
    assert len(table._compiled) == 3
    assert table.bitmap("n < 4") is found["n < 4"]
    assert table.bitmap("n < 1") is not found["n < 1"]
    assert len(table.bitmap("n < 1")) == 1


def test_filters_are_not_combined_with_and_or() -> None:
    with pytest.raises(ConfigError, match="neither true"):
        _ = field("year") > 1 and field("year") < 2  # type: ignore[truthy-bool]


@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=200))
def test_bitmaps_are_sets_of_rows(two: list[tuple[bool, bool]]) -> None:
    a, b = np.array(two, bool).reshape(-1, 2).T
    left, right = Bitmap.of(a), Bitmap.of(b)
    for ours, theirs in ((left & right, a & b), (left | right, a | b), (~left, ~a)):
        assert ours.mask().tolist() == theirs.tolist()
        assert len(ours) == theirs.sum()
    again = Standing.from_bytes(Standing(left, "x", False).to_bytes())
    assert again.bitmap.mask().tolist() == a.tolist()


def test_standing_filters_hold_for_their_index_and_no_other() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(100, 8)).astype(np.float32)
    index = ItemIndex.make("exact").build(vectors, attributes=pl.DataFrame({"old": np.arange(100) < 50}))
    own = Standing.from_bytes(index.standing("old = false", blocked=[60, 70, "nobody"]).to_bytes())
    assert set(index.search(vectors[60], 100, allowed=own)[0]) == set(range(50, 100)) - {60, 70}
    closed = index.standing(blocked=[60], later=False)
    index.add(vectors[60:61] * 2, [1000], pl.DataFrame({"old": [False]}))
    assert index.search(vectors[60], 1, allowed=own)[0] == [1000]
    assert 1000 not in index.search(vectors[60], 200, allowed=closed)[0]
    with pytest.raises(StateMismatch):
        ItemIndex.make("exact").build(vectors).search(vectors[0], allowed=own)
    with pytest.raises(CorruptFile):
        Standing.from_bytes(own.to_bytes()[:-3])
    with pytest.raises(BadValue, match="corrupted"):
        Bitmap(np.array([1 << 40], np.uint64), 30)
