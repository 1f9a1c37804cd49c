"""Personal search: everybody's order without a person, hers with one, for exact reasons, and by weights that were learned."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import sartor
from sartor import Evidence, Population
from sartor.data import splits
from sartor.data.splits import Split
from sartor.data.world import World
from sartor.errors import ConfigError, EmptyData, LeakError, MissingColumn, NotFitted, SartorError, StateMismatch, UnknownId
from sartor.evaluate.search import evaluate_search
from sartor.recommend.personal_search import PersonalSearch
from sartor.retrieve.queries import Queries


@cache
def split() -> Split:
    return splits.make("user-time", World(people=250, items=240, topics=12, interests=(1, 3), seed=7).population(), seed=7)


@cache
def model() -> PersonalSearch:
    return PersonalSearch(taste=sartor.make("ease", regularization=50.0)).fit(split().train, validation=split().validation, progress=False)


def history(person: int) -> list[Any]:
    return split().train[person].events["item"].to_list()


def test_without_a_person_it_is_everybodys_order() -> None:
    method, queries = model(), ["quiet films", "silver lantern"]
    state, nobody = method.adapt(split().train[3]), method.adapt(Evidence.from_items(["no such thing"]))
    everybody = method.search(queries, [None, None], 8)
    assert everybody.population_ranks.tolist() == [[1, 2, 3, 4, 5, 6, 7, 8]] * 2
    for same in (method.search(queries, [state, state], 8, strength=0), method.search(queries, [nobody, nobody], 8)):
        assert list(same) == list(everybody)
        np.testing.assert_array_equal(same.scores, everybody.scores)
    own = method.search(queries, [state, None], 8)
    assert own[1] == everybody[1]
    assert own[0] != everybody[0]
    # Where an item stood in everybody's order is where a longer answer to nobody has it.
    whole = method.search(queries[:1], [None], len(method.items_))[0]
    assert [whole.index(item) + 1 for item in own[0]] == own.population_ranks[0].tolist()
    half = method.search(queries[:1], [state], 8, strength=0.5)
    assert half[0] != own[0] or half.scores[0, 0] != own.scores[0, 0]


def test_it_is_worth_it_and_only_to_whom_it_belongs() -> None:
    for kind in ("categories", "words"):
        found = evaluate_search(model(), split(), kind, seed=1)  # type: ignore[arg-type]
        assert found.gain_interval[0] > 0, found
        assert found.swap_gap_interval[0] > 0, found
        assert found.metrics["population"][found.headline] > found.metrics["words"][found.headline]
    assert found.cost["state_bytes"] == pytest.approx(4 * np.mean([len(history(person)) for person in found.per_query["person"]]), rel=0.35)
    assert found.table()["metric"].to_list() == [f"{name}@{k}" for name in ("recall", "hit_rate", "mrr", "ndcg") for k in (5, 10, 20)]
    assert found.to_dict()["gain"] == found.gain


@pytest.mark.parametrize("taste", ["ease", "als", "text-profile"])
def test_reasons_are_what_happens_without_the_thing(taste: str) -> None:
    settings: dict[str, Any] = {"als": {"factors": 8, "iterations": 3}, "ease": {"regularization": 50.0}}.get(taste, {"encoder": "hashed:64"})
    method = PersonalSearch(taste=sartor.make(taste, **settings), encoder="hashed:64").fit(
        split().train, validation=split().validation, progress=False
    )
    own = history(5)
    state = method.adapt(Evidence.from_items(own))
    found = method.search(["films"], [state], 6)
    for item, score, reasons in zip(found[0], found.scores[0], method.reasons(state, found[0], 2), strict=True):
        for reason in reasons:
            assert reason.contribution > 0
            rest = method.adapt(Evidence.from_items([one for one in own if one != reason.item]))
            without = method.search(["films"], [rest], len(method.items_))
            assert score - without.scores[0][without[0].index(item)] == pytest.approx(reason.contribution, rel=1e-3, abs=1e-4)
    assert any(method.reasons(state, found[0]))
    (alone,) = method.reasons(single := method.adapt(Evidence.from_items(own[:1])), found[0][:1], strength=0.5)
    more, none = (method.search(["films"], [one], len(method.items_), strength=0.5) for one in (single, None))
    gained = more.scores[0][more[0].index(found[0][0])] - none.scores[0][none[0].index(found[0][0])]
    assert (alone[0].contribution if alone else 0) == pytest.approx(max(0, gained), abs=1e-4)
    assert method.reasons(None, found[0]) == method.reasons(state, found[0], strength=0) == [[]] * 6


def test_filters_candidates_and_what_was_seen() -> None:
    method = model()
    state = method.adapt(split().train[3])
    prices = dict(split().train.items.select("item", "price").collect().iter_rows())
    cheap = method.search(["films"], [state], 30, where="price < 20")[0]
    assert cheap
    assert all(prices[item] < 20 for item in cheap)
    pool = method.items_.ids.to_list()[:40]
    assert set(method.search(["films"], [state], 30, candidates=pool)[0]) <= set(pool)
    seen = set(history(3))
    assert seen & set(method.search(["films"], [state], 240)[0])
    assert not seen & set(method.search(["films"], [state], 240, exclude="seen")[0])
    assert not {7} & set(method.search(["films"], [None], 240, exclude=[[7]])[0])
    few = method.search(["films"], [state], 5, candidates=pool[:2])
    assert few.indices.shape == (1, 5)
    assert (few.indices[0, 2:] == -1).all()
    assert (few.population_ranks[0, 2:] == 0).all()
    assert method.search(["films"], [None], 10**6)[0]


def test_what_is_not_known_is_said() -> None:
    words = model().search(["films", "films xyzzy", "xyzzy", "?!"], [None] * 4, 3)
    assert words.notes[0] == ""
    assert words.notes[1] == "1 of 2 words are in no item"
    assert words.notes[2].startswith("no word of the query is in any item; these are")
    assert words[3] == []
    assert words.notes[3] == "no word of the query is in any item"
    assert words.to_frame(["a", "b", "c", "d"])["population_rank"].min() == 1


def test_it_comes_back_from_disk(tmp_path: Path) -> None:
    again = sartor.load(model().save(tmp_path / "model"))
    state = model().adapt(split().train[3])
    one, two = (method.search(["quiet films"], [state], 9, where="year > 1990") for method in (model(), again))
    np.testing.assert_array_equal(one.indices, two.indices)
    np.testing.assert_array_equal(one.scores, two.scores)
    assert again.taught_by_ == model().taught_by_ > 100


def test_weights_are_learned_without_validation_too_and_never_from_nothing() -> None:
    train = split().train
    own = PersonalSearch(taste=sartor.make("ease", regularization=50.0), encoder="hashed:64", teaching_people=80).fit(train, progress=False)
    assert own.taught_by_ > 50
    assert own.taste_weight_ > 0
    first = train.events.collect().unique("person", keep="first", maintain_order=True)
    with pytest.warns(UserWarning, match="nothing is held out"):
        single = PersonalSearch(encoder="hashed:64").fit(train.replace(events=first), progress=False)
    assert single.taught_by_ == 0
    items = single.items_.ids.to_list()
    assert single.search(["films"], [single.adapt(Evidence.from_items(items[:4]))], 5)[0] != []
    # Nothing was learned, so people's own lifts set the scale of the taste: it moves what is found as much as a word does.
    with pytest.warns(UserWarning, match="nothing is held out"):
        told = PersonalSearch(taste=sartor.make("text-profile", encoder="hashed:64"), encoder="hashed:64").fit(
            train.replace(events=first), progress=False
        )
    lifts = told.taste_weight_ * (told.score(list(told.adapt_all(train.replace(events=first)).values())) - told.score([None]))
    assert 0.7 < lifts.std() < 1.5


def test_a_search_log_teaches_first() -> None:
    train, held = split().train, split().validation.events.collect()
    texts = held.select("person", "item").with_columns(text=pl.lit("films"), kind=pl.lit("query"))
    log = Queries.logged(texts, model().items_)
    assert set(log.texts) == {"films"}
    assert int(log.indptr[-1]) == held.select("person", "item").unique().height
    kept = log.among(held.head(50).pipe(lambda some: Population.from_frames(events=some)).interactions(items=model().items_))
    assert 0 < len(kept) <= 50
    taught = PersonalSearch(encoder="hashed:64", teaching_people=0).fit(train, validation=split().validation.replace(texts=texts), progress=False)
    assert taught.taught_by_ == len(log)
    with pytest.raises(EmptyData):
        Queries.logged(texts.drop("kind"), model().items_)


def test_mistakes_have_names() -> None:
    method = model()
    state = method.adapt(split().train[3])
    other = PersonalSearch(encoder="hashed:64").fit(split().train, validation=split().validation, progress=False)
    bare = split().train.replace(items=split().train.items.select("item", "price"))
    cases: list[tuple[type[Exception], Any]] = [
        (NotFitted, lambda: PersonalSearch().search(["films"], [None])),
        (ConfigError, lambda: method.search([""], [None])),
        (ConfigError, lambda: method.search("films", [None])),  # type: ignore[arg-type]
        (ConfigError, lambda: method.search(["films"], [])),
        (ConfigError, lambda: method.search(["films"], [None], 0)),
        (ConfigError, lambda: method.search(["films"], [state], strength=1.5)),
        (ConfigError, lambda: method.search(["films"], [state], strength=float("nan"))),
        (ConfigError, lambda: method.search(["films"], [None], candidates="films")),
        (UnknownId, lambda: method.search(["films"], [None], candidates=["films"])),
        (SartorError, lambda: method.search(["films"], [None], where="flavour = 'sweet'")),
        (StateMismatch, lambda: other.search(["films"], [state])),
        (UnknownId, lambda: method.reasons(state, ["no such thing"])),
        (ConfigError, lambda: method.reasons(state, [1], 0)),
        (MissingColumn, lambda: PersonalSearch().fit(bare, progress=False)),
        (EmptyData, lambda: PersonalSearch().fit(split().train.replace(items=None), progress=False)),
        (ConfigError, lambda: PersonalSearch(taste=sartor.make("sesa")).fit(split().train, progress=False)),
        (ConfigError, lambda: PersonalSearch(pool=0).fit(split().train, progress=False)),
        (ConfigError, lambda: evaluate_search(sartor.make("popularity").fit(split().train, progress=False), split())),
        (ConfigError, lambda: evaluate_search(method, split(), headline="ndcg")),
        (ConfigError, lambda: evaluate_search(method, split(), "prices")),  # type: ignore[arg-type]
        (LeakError, lambda: evaluate_search(PersonalSearch(encoder="hashed:64", teaching_people=9).fit(everything(), progress=False), split())),
    ]
    for error, call in cases:
        with pytest.raises(error):
            call()


def everything() -> Population:
    return World(people=250, items=240, topics=12, interests=(1, 3), seed=7).population()
