"""Filters, business rules and diversity against what a plain loop over all scores gives."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import sartor
from sartor import Population
from sartor.data.world import World
from sartor.engine import Answer, Engine, Rules, catalogue
from sartor.errors import ConfigError, UnknownId
from sartor.method import Recommender
from sartor.retrieve.attributes import KEPT

KEY = bytes(range(32))
ITEMS = 150


@cache
def world() -> Population:
    return World(people=120, items=ITEMS, seed=4, events_per_person=20).population()


@cache
def model() -> Recommender:
    return sartor.make("als", factors=8, iterations=4).fit(world(), progress=False)


CATALOGUE = [
    {"item": item, "title": f"T{item}", "year": 1950 + item, "price": float(item % 7), "categories": [f"c{item % 5}", f"d{item % 3}"]}
    for item in range(ITEMS)
]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with Engine(f"sqlite:///{tmp_path_factory.mktemp('rules')}/people.db", master_key=KEY, background=False) as engine:
        engine.install(model())
        engine.store.put_items("default", CATALOGUE)
        engine.store.put_items("default", [{"item": "brand new", "title": "New"}])
        engine.observe("ana", world().events.collect().filter(pl.col("person") == 7))
        engine.catch_up()
        yield engine


def items(answer: Answer) -> list[Any]:
    return [pick.item for pick in answer.items]


def scores() -> dict[int, float]:
    """Of what ana may see, all of it."""
    state = model().adapt(world()[7])
    seen = set(world().events.collect().filter(pl.col("person") == 7)["item"])
    return {item: float(score) for item, score in enumerate(model().score([state])[0]) if item not in seen}  # type: ignore[attr-defined]


def ordered(worth: dict[int, float]) -> list[int]:
    return sorted(worth, key=lambda item: -worth[item])


@pytest.mark.parametrize(
    ("where", "keeps"),
    [
        ("year > 2050", lambda item: 1950 + item > 2050),
        ("year = 1990", lambda item: item == 40),
        ("array_contains(categories, 'c3')", lambda item: item % 5 == 3),
        ("title LIKE 'T1%' AND NOT price BETWEEN 2 AND 4", lambda item: str(item).startswith("1") and not 2 <= item % 7 <= 4),
        ("item IN (3, 5, 8, 13)", lambda item: item in (3, 5, 8, 13)),
        ("title = 'select'", lambda item: False),
        ("LOWER(title) LIKE 't1%' AND length(title) = 3 AND \"year\" IN (1960, 1965)", lambda item: item in (10, 15)),
        ("CASE WHEN (year > 1990) THEN coalesce(price, 0) < 3 END", lambda item: item > 40 and item % 7 < 3),
        ("title <> 'lpad(x) || ~' AND CAST(item AS int) < 5", lambda item: item < 5),
        ("true", lambda item: True),
    ],
)
def test_a_filter_keeps_what_a_loop_keeps(engine: Engine, where: str, keeps: Any) -> None:
    kept = {item: score for item, score in scores().items() if keeps(item)}
    assert items(engine.recommend("ana", k=12, where=where)) == ordered(kept)[:12]
    pool = list(range(0, ITEMS, 2))
    both = [item for item in ordered(kept) if item in pool]
    assert items(engine.recommend("ana", k=12, where=where, candidates=pool)) == both[:12]


@pytest.mark.parametrize(
    "where",
    [
        "",
        " ",
        "year",
        "AVG(year)",
        "yeer > 3",
        "year > 'x'",
        "year > 1; DROP TABLE people",
        "x" * 3000,
        "NOT " * 400 + "true",
        "NOT (" * 48 + "true" + ")" * 48,
        "item IN (SELECT item FROM read_csv('/etc/passwd'))",
        "item IN (FROM read_csv('/etc/passwd'))",
        "item IN (VALUES (1))",
        "EXISTS (TABLE x)",
        "year > 1 /* ' */ AND item IN (FROM x) /* ' */",
        "year > 1 -- ' \n AND item IN (FROM x) -- '",
        "read_csv('/etc/passwd')",
        "1=1 " + "OR 1=1 " * 250,
        "LPAD(title, 2000000000, 'x') = 'a'",
        "\"rpad\" (title, 2000000000, 'x') = 'a'",
        "REPLACE(REPLACE(title, '', title), '', title) = 'a'",
        "title || title = 'a'",
        "title ~ '((a{1,99}){1,99}){1,99}'",
        "REGEXP_LIKE(title, '(a+)+b')",
        "SUM(year) OVER () > 3",
        "CAST(title AS VARCHAR(9)) = 'a'",
    ],
)
def test_what_is_no_condition_is_refused_soon_and_by_name(engine: Engine, where: str) -> None:
    with pytest.raises(ConfigError):
        engine.recommend("ana", where=where)


def test_evaluated_filters_are_bounded_and_new_with_the_catalogue(engine: Engine, tmp_path: Path) -> None:
    loaded = engine._models.active("default")
    assert loaded is not None
    for year in range(KEPT + 20):
        engine.recommend("ana", k=1, where=f"year > {year}")
    shelf = engine._shelf(loaded)
    assert len(shelf.attributes._compiled) == KEPT
    best = items(engine.recommend("ana", where="price < 100"))
    # A catalogue that takes long to read (here: on a busy machine) follows a moment later.
    engine.store.put_items("default", [{**CATALOGUE[best[0]], "price": 1000.0}])
    assert soon(lambda: items(engine.recommend("ana", where="price < 100"))[:9] == best[1:])
    engine.store.put_items("default", [CATALOGUE[best[0]]])
    assert soon(lambda: items(engine.recommend("ana", where="price < 100")) == best)


def soon(holds: Callable[[], bool], seconds: float = 60.0) -> bool:
    """Whether something comes to hold in time."""
    until = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


def test_hidden_items_are_gone_at_once_everywhere(engine: Engine) -> None:
    best = items(engine.recommend("ana", k=5))
    engine.store.hide_items("default", best[:2])
    try:
        for answer in (
            engine.recommend("ana", k=20),
            engine.recommend("nobody", k=140),
            engine.similar(best[2], k=140),
            engine.recommend("ana", candidates=best),
        ):
            assert not set(best[:2]) & set(items(answer))
        pinned = engine.recommend("ana", rules=Rules(pinned=[best[0], best[3]]))
        assert items(pinned)[0] == best[3]
        assert best[0] not in items(pinned)
    finally:
        engine.store.hide_items("default", best[:2], hidden=False)
    assert items(engine.recommend("ana", k=5)) == best


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    k=st.integers(1, 30),
    boost=st.dictionaries(st.sampled_from(["year > 2000", "price < 3", "array_contains(categories, 'c1')"]), st.floats(-3, 3), max_size=3),
    buried=st.sampled_from([None, "price = 0", "true"]),
    most=st.sampled_from([None, 1, 3]),
    pinned=st.lists(st.integers(0, ITEMS - 1), max_size=3, unique=True),
    hidden=st.lists(st.integers(0, ITEMS - 1), max_size=5),
)
def test_rules_are_what_a_plain_loop_does(
    engine: Engine, k: int, boost: dict[str, float], buried: str | None, most: int | None, pinned: list[int], hidden: list[int]
) -> None:
    answer = items(engine.recommend("ana", k=k, rules=Rules(boosted=boost, buried=buried, max_per_category=most, pinned=pinned, hidden=hidden)))
    meets = {
        "year > 2000": lambda item: 1950 + item > 2000,
        "price < 3": lambda item: item % 7 < 3,
        "array_contains(categories, 'c1')": lambda item: item % 5 == 1,
        "price = 0": lambda item: item % 7 == 0,
        "true": lambda item: True,
    }
    first = [item for item in pinned if item not in hidden][:k]
    own = {item: score for item, score in scores().items() if item not in hidden and item not in pinned}
    spread = float(np.std(list(own.values())))
    worth = {item: score + sum(strength * spread * meets[condition](item) for condition, strength in boost.items()) for item, score in own.items()}
    if buried is not None:
        width = max(worth.values()) - min(worth.values()) + spread
        worth = {item: value - width * meets[buried](item) for item, value in worth.items()}
    expected, counts = list(first), {}
    for item in [item for item in pinned if item not in hidden] + ordered(worth):
        categories = (f"c{item % 5}", f"d{item % 3}")
        if item not in pinned:
            if len(expected) >= k or (most is not None and any(counts.get(one, 0) >= most for one in categories)):
                continue
            expected.append(item)
        for one in categories:
            counts[one] = counts.get(one, 0) + 1
    value = {**scores(), **worth}
    assert answer[: len(first)] == first
    assert len(answer) == len(expected)
    # Rounding may swap what is worth the same to the sixth digit.
    np.testing.assert_allclose([value[item] for item in answer[len(first) :]], [value[item] for item in expected[len(first) :]], rtol=1e-5, atol=1e-6)


def test_items_the_model_does_not_know_can_be_pinned_and_unknown_ones_cannot(engine: Engine) -> None:
    answer = engine.recommend("ana", k=3, rules=Rules(pinned=["brand new"]))
    assert (answer.items[0].item, answer.items[0].score, answer.items[0].title) == ("brand new", None, "New")
    assert items(answer)[1:] == items(engine.recommend("ana", k=2))
    with pytest.raises(UnknownId):
        engine.recommend("ana", rules=Rules(pinned=["no such item"]))
    for wrong in ({"pinned": "3"}, {"max_per_category": 0}, {"boosted": {"true": float("inf")}}):
        with pytest.raises(ConfigError):
            Rules(**wrong)  # type: ignore[arg-type]


def test_diversity_is_maximal_marginal_relevance(engine: Engine) -> None:
    plain = items(engine.recommend("ana", k=10))
    assert items(engine.recommend("ana", k=10, diversity=0)) == plain
    vectors = model().item_vectors_.astype(np.float64)  # type: ignore[attr-defined]
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    alike = np.clip(vectors @ vectors.T, 0, 1)
    own = scores()
    top = ordered(own)[:100]
    low, high = own[top[-1]], own[top[0]]
    expected: list[int] = []
    while len(expected) < 10:
        left = [item for item in top if item not in expected]
        expected.append(
            max(left, key=lambda item: 0.6 * (own[item] - low) / (high - low) - 0.4 * max([0.0, *(alike[item, one] for one in expected)]))
        )
    assert items(engine.recommend("ana", k=10, diversity=0.4)) == expected

    def likeness(found: list[int]) -> float:
        return float(np.mean([alike[a, b] for a in found for b in found if a < b]))

    assert likeness(items(engine.recommend("ana", k=10, diversity=0.9))) < likeness(expected) < likeness(plain)


def test_diversity_without_vectors_goes_by_who_chose_both_or_by_categories(tmp_path: Path) -> None:
    for slug in ("item-knn", "ease"):
        with Engine(f"sqlite:///{tmp_path}/{slug}.db", master_key=KEY, background=False) as engine:
            engine.install(sartor.make(slug).fit(world(), progress=False))
            engine.store.put_items("default", CATALOGUE)
            plain, varied = (items(engine.recommend("nobody", k=8, diversity=one)) for one in (0.0, 0.8))
            assert len(varied) == 8
            if slug == "ease":
                shared = [len({c for item in found for c in (f"c{item % 5}", f"d{item % 3}")}) for found in (plain, varied)]
                assert shared[1] >= shared[0]
            assert varied != plain


def test_a_large_catalogue_hides_at_once_and_its_other_attributes_follow(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if reading the catalogue took too long for a request to wait for it."""
    monkeypatch.setattr(catalogue, "WAITED_FOR", 0.0)
    best = items(engine.recommend("ana", k=3))
    engine.store.put_items("default", [{**CATALOGUE[best[1]], "title": "Renamed"}])
    engine.store.hide_items("default", best[:1])
    try:
        assert best[0] not in items(engine.recommend("ana", k=3))
        assert soon(lambda: engine.recommend("ana", k=3).items[0].title == "Renamed")
        assert best[0] not in items(engine.recommend("ana", k=3))
    finally:
        monkeypatch.undo()
        engine.store.hide_items("default", best[:1], hidden=False)
        engine.store.put_items("default", [CATALOGUE[best[1]]])
    assert soon(lambda: items(engine.recommend("ana", k=3)) == best)
