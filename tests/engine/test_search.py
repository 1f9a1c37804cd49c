"""The engine searches: what a person did moves what she finds, and nobody else's; consent, catalogue and filters hold; models are measured."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from sartor import Population
from sartor.data.world import World
from sartor.engine import Engine, SearchAnswer
from sartor.engine.warming import warm
from sartor.errors import BadValue, ConfigError, ModelRefused, UnknownId, WrongType
from sartor.method import load
from sartor.recommend.live_search import over
from sartor.recommend.personal_search import PersonalSearch
from sartor.systems import make

KEY = bytes(range(32))
QUERY = "Films"


@cache
def world() -> Population:
    return World(people=100, items=120, seed=104).population()


@cache
def model() -> PersonalSearch:
    return PersonalSearch(teaching_people=100).fit(world(), progress=False)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    with Engine(f"sqlite:///{tmp_path}/people.db", master_key=KEY, background=False) as engine:
        engine.install(model(), world(), verb="search")
        yield engine


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """For what changes nothing."""
    with Engine(f"sqlite:///{tmp_path_factory.mktemp('search')}/people.db", master_key=KEY, background=False) as engine:
        engine.install(model(), world(), verb="search")
        yield engine


def events(person: int) -> list[dict[str, Any]]:
    own = world().events.collect().filter(pl.col("person") == person).sort("time")
    return [{"item": row["item"], "time": row["time"], "id": f"e{number}"} for number, row in enumerate(own.iter_rows(named=True))]


def items(answer: SearchAnswer) -> list[Any]:
    return [one.item for one in answer.items]


def soon(holds: Callable[[], bool], seconds: float = 60.0) -> bool:
    """A catalogue that takes long to read (here: on a busy machine) follows a moment later."""
    until = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True


def test_observing_changes_what_is_found_and_forgetting_undoes_it(engine: Engine) -> None:
    before = engine.search("ana", QUERY)
    assert (before.personal, before.fallback) == (False, "unknown person")
    assert [one.population_rank for one in before.items] == list(range(1, 11))
    engine.observe("ana", events(7))
    assert engine.search("ana", QUERY).fallback == "not adapted yet"
    assert engine.catch_up()
    own = engine.search("ana", QUERY)
    assert own.personal
    assert own.fallback is None
    assert (own.state_version, own.lag) == (1, 0)
    assert items(own) != items(before)
    everybody = items(engine.search(None, QUERY, k=1_000))
    assert [everybody.index(one.item) + 1 for one in own.items] == [one.population_rank for one in own.items]
    assert items(engine.search("ana", QUERY, strength=0)) == items(engine.search("ana", QUERY, personal=False)) == items(before)
    half = engine.search("ana", QUERY, strength=0.5)
    direct = model().search([QUERY], [model().adapt(world()[7])], strength=0.5)
    assert items(half) == direct[0]
    engine.forget("ana")
    gone = engine.search("ana", QUERY)
    assert (items(gone), gone.fallback, gone.personal) == (items(before), "unknown person", False)


def test_reasons_are_her_own_events_and_nothing_of_another_person_is_in_an_answer(engine: Engine) -> None:
    people = {"ana": 7, "ben": 3, "eva": 11}
    alone: dict[str, SearchAnswer] = {}
    for name, person in people.items():
        engine.observe(name, events(person))
        assert engine.catch_up()
        alone[name] = engine.search(name, QUERY)
    for _ in range(2):
        for name, person in people.items():
            answer = engine.search(name, QUERY)
            own = {one["item"] for one in events(person)}
            assert answer.items == alone[name].items
            assert answer.person == name
            reasons = [reason for one in answer.items for reason in one.reasons]
            assert reasons
            assert {reason.item for reason in reasons} <= own
            assert all(0 < reason.share <= 1 and reason.contribution > 0 for reason in reasons)
            assert all(sum(reason.share for reason in one.reasons) <= 1 + 1e-9 for one in answer.items)
    first = alone["ana"].items[0]
    reason = first.reasons[0]
    engine.correct("ana", [one["id"] for one in events(7) if one["item"] == reason.item])
    assert engine.catch_up()
    score = next(one.score for one in engine.search("ana", QUERY, k=300).items if one.item == first.item)
    assert score == pytest.approx(first.score - reason.contribution, rel=1e-4)
    engine.forget("ben")
    assert engine.search("eva", QUERY).items == alone["eva"].items
    assert not any(one.reasons for one in engine.search("ana", QUERY, explain=False).items)


def test_without_consent_to_search_the_order_is_everybodys_and_says_so(engine: Engine) -> None:
    engine.install(model(), verb="recommend")
    engine.observe("ana", events(7))
    assert engine.catch_up()
    own, listed = engine.search("ana", QUERY), engine.recommend("ana")
    engine.consent("ana", "search", False)
    for _ in range(2):
        answer = engine.search("ana", QUERY)
        assert (answer.fallback, answer.personal, answer.state_version) == ("no consent", False, None)
        assert "does not allow" in answer.note
        assert answer.items == engine.search(None, QUERY).items
        assert engine.recommend("ana").items == listed.items
        assert engine.catch_up()
    engine.consent("ana", "recommend", False)
    engine.consent("ana", "search", True)
    assert engine.catch_up()
    assert engine.search("ana", QUERY).items == own.items
    assert engine.recommend("ana").fallback == "no consent"


def test_an_event_for_one_purpose_moves_only_that(engine: Engine) -> None:
    engine.install(model(), verb="recommend")
    engine.observe("ana", events(7), purposes=["recommend"])
    assert engine.catch_up()
    assert engine.recommend("ana").fallback is None
    assert engine.search("ana", QUERY).fallback == "no evidence the model knows"
    assert engine.search("ana", QUERY).items == engine.search(None, QUERY).items


def test_new_and_renamed_items_are_found_without_a_fit_and_hidden_and_deleted_ones_never(engine: Engine) -> None:
    engine.observe("ana", events(7))
    assert engine.catch_up()
    own = engine.search("ana", QUERY)
    engine.store.put_items("default", [{"item": 5000, "title": "The Zanzibar express", "year": 1999}, {"item": 3, "title": "Zanzibar at night"}])
    assert soon(lambda: {5000, 3} == set(items(engine.search("ana", "zanzibar"))[:2]))
    assert engine.search("ana", "zanzibar", where="year = 1999").items[0].title == "The Zanzibar express"
    # An item that was renamed keeps what people's states say of it.
    assert engine.search("ana", "zanzibar", where="item = 3").items[0].reasons
    best = items(own)[:3]
    engine.store.hide_items("default", [5000, best[0]])
    engine.store.delete_items("default", [best[1]])
    for answer in (engine.search("ana", QUERY, k=300), engine.search("ana", "zanzibar", k=300), engine.search(None, QUERY, k=300)):
        assert not {5000, best[0], best[1]} & set(items(answer))
    assert items(engine.search("ana", QUERY))[0] == best[2]
    assert engine.search("ana", "zanzibar", where="item = 5000").items == []


def test_a_search_over_a_changed_catalogue_is_one_that_was_built_of_it(tmp_path: Path) -> None:
    catalogue = world().items.collect()
    assert over(model(), catalogue) is model()
    changed = catalogue.with_columns(title=pl.when(pl.col("item") % 7 == 0).then(pl.lit("Zanzibar ") + pl.col("title")).otherwise("title"))
    added = catalogue.head(4).with_columns(item=pl.lit(9000) + pl.col("item"), title=pl.lit("A Zanzibar of one's own"))
    live = over(load(model().save(tmp_path / "model")), pl.concat([changed, added]))
    fresh = copy.copy(model())
    fresh.items_, fresh.popularity_, fresh.taste = live.items_, live.popularity_, live.taste
    fresh._index(pl.concat([changed, added]))
    states = [None, model().adapt(world()[7])]
    for query in ("zanzibar", "one zanzibar teapot", QUERY):
        ours, theirs = (one.search([query] * 2, states, k=40) for one in (live, fresh))
        assert [list(row) for row in ours] == [list(row) for row in theirs]
        assert ours.population_ranks.tolist() == theirs.population_ranks.tolist()
    assert "zanzibar" not in " ".join(one or "" for one in model().items_.ids.cast(pl.String).to_list())
    assert over(model(), pl.DataFrame({"item": ["x", "99999"], "title": ["Zanzibar", "!!!"]})) is model()


def test_an_item_that_loses_its_text_is_found_no_more_and_changes_add_up() -> None:
    catalogue = world().items.collect()
    before = model().search([QUERY], [None], k=120)[0]
    emptied = catalogue.filter(pl.col("item") == before[0]).with_columns([pl.lit(None, catalogue.schema[name]).alias(name) for name in
                                                                         ("title", "categories", "text") if name in catalogue.columns])  # fmt: skip
    live = over(model(), emptied)
    assert live.search([QUERY], [None], k=120)[0] == before[1:]
    assert model().search([QUERY], [None], k=120)[0] == before
    # What is said later is added to what was said before; numbers of items stay.
    added = over(live, pl.DataFrame({"item": [9001, 9002], "title": ["Zanzibar", "Zanzibar"]}))
    again = over(added, pl.DataFrame({"item": [9003, 9001, before[0]], "title": ["Zanzibar", "", "Zanzibar"]}))
    found = again.search(["zanzibar"], [None], k=120)[0]
    assert set(found[:3]) == {9002, 9003, before[0]}
    assert 9001 not in found
    assert again.items_.numbers([9001, 9002, 9003]).tolist() == [120, 121, 122]
    assert over(again, pl.DataFrame({"item": [9001], "title": ["..."]})) is again
    state = model().adapt(world()[7])
    assert again.search([QUERY], [state])[0]
    assert over(again, catalogue).search([QUERY], [None], k=120)[0][:3] == before[:3]


def test_filters_and_words_that_leave_nothing_are_answers_not_errors(shared: Engine) -> None:
    assert all(one.attributes["year"] > 2000 for one in shared.search(None, QUERY, where="year > 2000", attributes=True).items if one.attributes)
    empty = shared.search(None, QUERY, where="year > 9999")
    assert (empty.items, empty.note) == ([], "everybody's order, as asked; the filter leaves no item")
    assert "no word of the query" in shared.search(None, "qqqqq").note


def test_a_warm_process_has_opened_the_index(tmp_path: Path) -> None:
    with Engine(f"sqlite:///{tmp_path}/people.db", master_key=KEY, background=False) as first:
        assert not warm(first)
        first.install(model(), verb="search")
    with Engine(f"sqlite:///{tmp_path}/people.db", master_key=KEY, background=False) as engine:
        assert warm(engine)
        engine._searching.shelves._read = None  # type: ignore[method-assign,assignment]
        assert engine.search("ana", QUERY).items


@pytest.mark.parametrize(
    ("error", "call"),
    [
        (ConfigError, {"query": ""}),
        (ConfigError, {"query": "  \n"}),
        (ConfigError, {"query": None}),
        (ConfigError, {"query": "x" * 1001}),
        (ConfigError, {"query": "a\ud800b"}),
        (ConfigError, {"k": 0}),
        (ConfigError, {"k": 1001}),
        (ConfigError, {"k": True}),
        (ConfigError, {"strength": 1.5}),
        (ConfigError, {"strength": float("nan")}),
        (ConfigError, {"strength": True}),
        (ConfigError, {"strength": "much"}),
        (ConfigError, {"where": "yeer > 3"}),
        (ConfigError, {"where": "year > 1; DROP TABLE people"}),
        (WrongType, {"person": 1.5}),
        (BadValue, {"person": ""}),
    ],
)
def test_bad_input_is_named(shared: Engine, error: type[Exception], call: dict[str, Any]) -> None:
    with pytest.raises(error):
        shared.search(**{"person": "ana", "query": QUERY, **call})


def test_without_a_model_nothing_is_found_and_a_recommender_does_not_search(tmp_path: Path) -> None:
    with Engine(f"sqlite:///{tmp_path}/people.db", master_key=KEY, background=False) as engine:
        assert engine.search("ana", QUERY).fallback == "no model"
        for call in (
            lambda: engine.install(make("popularity").fit(world(), progress=False), verb="search"),
            lambda: engine.fit("ease", verb="search"),
            lambda: engine.fit("ease", verb="draw"),
        ):
            with pytest.raises(ConfigError):
                call()
        assert engine.models() == []


def test_a_search_is_fitted_measured_on_queries_and_refused_when_it_is_worse(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine.store.set_default_consent("default", ["recommend", "search", "train"])
    engine.observe_many(world().events.collect().select("person", "item", "time"))
    before = engine.models()[0].fingerprint
    found = engine.fit("personal-search", {"teaching_people": 50}, verb="search", progress=False)
    report = found.report
    assert found.accepted
    assert found.activated
    assert report["compared_with"] is None or report["compared_with"]["people"] == report["people"]
    assert report["queries"] >= report["people"] >= 10
    assert report["gain"]["mean"] > 0
    assert engine.status().models["search"] == found.fingerprint
    assert engine.status().models["recommend"] is None
    person = str(world().events.collect()["person"][0])
    assert engine.search(person, QUERY).personal
    with monkeypatch.context() as patch:
        # As if it had learned the wrong way round.
        learn = PersonalSearch._learn
        patch.setattr(PersonalSearch, "_learn", lambda self, *given: (learn(self, *given), setattr(self, "taste_weight_", -20.0))[0])
        refused = engine.fit(PersonalSearch(seed=1, teaching_people=50), verb="search", progress=False)
    assert refused.refused
    assert engine.status().models["search"] == found.fingerprint
    with pytest.raises(ModelRefused):
        engine.switch(refused.fingerprint, verb="search")
    with pytest.raises(UnknownId):
        engine.switch(found.fingerprint)
    assert engine.switch(before, verb="search").status == "active"


def test_states_of_one_verb_do_not_wait_for_anothers(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both models are served from one queue: a failure of one keeps the mark, and what could be made is there."""
    other = make("popularity").fit(world(), progress=False)
    engine.install(other, verb="recommend")
    monkeypatch.setattr(type(other), "adapt", lambda *_: 1 / 0)
    engine.observe("ana", events(7))
    assert engine.catch_up()
    assert engine.search("ana", QUERY).fallback is None
    assert engine.recommend("ana").fallback == "not adapted yet"
    assert engine.status().failing == 1
    monkeypatch.undo()
    engine.observe("ana", [{"item": 5, "id": "more"}])
    # It is tried again after a second.
    assert soon(lambda: engine.catch_up() and engine.recommend("ana").fallback is None)
    assert engine.status().stale == 0
