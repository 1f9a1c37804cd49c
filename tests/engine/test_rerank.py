"""The engine re-ranks what came from elsewhere: by the person's own state, as the method side does, and never beyond her consent."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
import polars as pl
import pytest

from sartor import Population
from sartor.engine import Engine
from sartor.errors import BadValue, ConfigError, WrongType
from sartor.recommend.personal_search import PersonalSearch
from sartor.represent.text import text_encoder
from sartor.retrieve.rerank import Reranker
from sartor.retrieve.text_taste import TextTaste
from sartor.systems import make

GROUPS = {"sea": ("harbour", "sailor", "wave", "island", "tide"), "city": ("street", "tram", "tower", "market", "neon")}


@cache
def world() -> Population:
    """People like things of the sea or things of the city, and what the things are called says which."""
    draw = np.random.default_rng(0)
    words = [GROUPS[group][number % 5] for group in GROUPS for number in range(20)]
    items = pl.DataFrame({"item": [f"i{number}" for number in range(40)], "title": [f"{word} story {n}" for n, word in enumerate(words)]})
    rows = [(f"p{person}", f"i{item}") for person in range(60) for item in draw.permutation(20)[:8] + 20 * (person % 2)]
    return Population.from_frames(events=pl.DataFrame(rows, schema=["person", "item"], orient="row"), items=items)


@cache
def models() -> tuple[Any, PersonalSearch]:
    # Nothing is held out, so the search's weights are the built-in ones, which re-ranking does not ask.
    with pytest.warns(UserWarning, match="held out"):
        search = PersonalSearch(teaching_people=20).fit(world(), progress=False)
    return make("ease", regularization=20.0).fit(world(), progress=False), search


@pytest.fixture
def engine(tmp_path: Any) -> Iterator[Engine]:
    with Engine(f"sqlite:///{tmp_path}/people.db", background=False, memory_encoder="hashed") as engine:
        engine.install(models()[0], world())
        engine.install(models()[1], world(), verb="search")
        engine.observe("ana", ["i21", "i24", "i28", "i33"])
        engine.observe("ben", ["i2", "i5", "i8"])
        assert engine.catch_up()
        yield engine


LIST = ["i1", "i30", "unknown", "i3", "i35", "i7", "i39"]


def test_a_list_in_her_order_is_the_method_sides(engine: Engine) -> None:
    own = engine.rerank("ana", LIST)
    state = engine.store.state("default", "ana", "recommend").state  # type: ignore[union-attr]
    reference = Reranker(models()[0]).rerank([LIST], [state])
    assert [one.item for one in own.items] == reference[0]
    assert [one.place for one in own.items] == reference.places[0].tolist()
    np.testing.assert_allclose([one.score for one in own.items], reference.scores[0], rtol=1e-5)
    assert (own.personal, own.fallback, own.model, own.lag) == (True, None, models()[0].fingerprint_, 0)
    known = [item for item in LIST if item != "unknown"]
    for person, group in (("ana", {"i30", "i35", "i39"}), ("ben", {"i1", "i3", "i7"})):
        assert engine.rerank(person, known, scores=[1.0] * len(known)).items[0].item in group
    assert [one.item for one in engine.rerank("ana", LIST, k=2).items] == [one.item for one in own.items[:2]]


def test_scores_order_the_list_first_and_places_are_those_that_were_given(engine: Engine) -> None:
    scores = [1.0, 5.0, 5.0, 9.0, 0.0, -3.0, 2.0]
    plain = engine.rerank(None, LIST, scores=scores)
    assert [one.item for one in plain.items] == ["i3", "i30", "unknown", "i39", "i1", "i35", "i7"]
    assert [one.place for one in plain.items] == [4, 2, 3, 7, 1, 5, 6]
    assert [one.score for one in plain.items] == sorted(scores, reverse=True)
    own = engine.rerank("ana", LIST, scores=scores)
    order = sorted(range(len(LIST)), key=lambda at: -scores[at])
    shuffled = engine.rerank("ana", [LIST[at] for at in order], scores=[scores[at] for at in order])
    assert [(one.item, one.score) for one in own.items] == [(one.item, one.score) for one in shuffled.items]
    assert [one.place for one in own.items] == [LIST.index(str(one.item)) + 1 for one in own.items]


def test_texts_of_no_catalogue_are_moved_by_what_she_took_that_reads_alike(engine: Engine) -> None:
    texts = ["A sailor on the wave", "Neon over the street", "Something else", "The tram to the market", "An island at high tide", ""]
    own, other = (engine.rerank(person, texts=texts, scores=[0.0] * len(texts)) for person in ("ana", "ben"))
    assert {one.text for one in own.items[:2]} == {texts[1], texts[3]}
    assert {one.text for one in other.items[:2]} == {texts[0], texts[4]}
    assert own.items[0].item is None
    assert own.model == models()[1].fingerprint_
    # By hand: the inner product with the mean of her things, less what all things share.
    search = models()[1]
    state = engine.store.state("default", "ana", "search").state  # type: ignore[union-attr]
    encoder, mean = text_encoder("hashed"), search.vectors_.mean(axis=0)
    profile = (search.vectors_[search.items_.numbers(["i21", "i24", "i28", "i33"])] - mean).mean(axis=0)
    expected = [0.0 if not text else float((encoder.encode([text])[0] - mean) @ profile) for text in texts]
    found = TextTaste(texts, encoder, search.vectors_, mean).score([state, None])
    np.testing.assert_allclose(found, [expected, [0.0] * len(texts)], atol=1e-5)


def test_without_her_consent_or_a_state_the_list_stays_and_says_why(engine: Engine) -> None:
    engine.consent("ana", "recommend", False)
    refused = engine.rerank("ana", LIST)
    assert [one.item for one in refused.items] == LIST
    assert (refused.personal, refused.fallback, refused.state_version) == (False, "no consent", None)
    assert engine.rerank("ana", texts=["neon street", "a wave"]).personal, "texts are of another purpose"
    for person, how, fallback in (
        ("nobody", {}, "unknown person"),
        (None, {}, None),
        ("ben", {"personal": False}, None),
        ("ben", {"strength": 0.0}, None),
    ):
        answer = engine.rerank(person, LIST, **how)
        assert ([one.item for one in answer.items], answer.fallback, answer.personal) == (LIST, fallback, False)
    assert engine.for_tenant("other").rerank("ben", LIST).fallback == "no model"
    engine.forget("ben")
    assert engine.rerank("ben", LIST).fallback == "unknown person"


@pytest.mark.parametrize(
    "how",
    [
        {}, {"items": ["a"], "texts": ["b"]}, {"items": []}, {"items": "abc"}, {"items": ["a", "a"]}, {"items": [7, "7"]}, {"texts": ["x" * 2001]},
        {"texts": [3]}, {"texts": ["\ud800"]}, {"items": ["a", "b"], "scores": [1.0]}, {"items": ["a"], "scores": [float("nan")]},
        {"items": ["a"], "scores": [1e300]}, {"items": ["a"], "k": 0}, {"items": ["a"], "k": True}, {"items": ["a"], "strength": 1.5},
        {"items": ["a"], "strength": float("nan")}, {"items": [str(number) for number in range(1001)]}, {"texts": ["x"] * 201},
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused_by_name(engine: Engine, how: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        engine.rerank("ana", **how)


def test_ids_are_checked_as_everywhere(engine: Engine) -> None:
    with pytest.raises(WrongType):
        engine.rerank("ana", [1.5])  # type: ignore[list-item]
    with pytest.raises(BadValue):
        engine.rerank("ana", [""])
