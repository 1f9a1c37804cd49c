"""The engine end to end on a generated world: what it answers, what it falls back to and says so, and whom nothing of another person reaches."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import sartor
from sartor import Evidence, Population
from sartor.data.world import World
from sartor.engine import Answer, Engine, training
from sartor.engine.batch import batch
from sartor.engine.ids import ItemIds
from sartor.errors import BadValue, ConfigError, UnknownId, WrongType
from sartor.method import Recommender
from sartor.profile.records import Record

KEY = bytes(range(32))


@cache
def world() -> Population:
    return World(people=120, items=150, seed=4, events_per_person=20).population()


@cache
def model() -> Recommender:
    return sartor.make("als", factors=8, iterations=4).fit(world(), progress=False)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """One whose states are made when the test says so."""
    with Engine(f"sqlite:///{tmp_path}/people.db", master_key=KEY, background=False) as engine:
        engine.install(model(), world())
        yield engine


def items(answer: Answer) -> list[Any]:
    return [pick.item for pick in answer.items]


def events(person: int) -> pl.DataFrame:
    return world().events.collect().filter(pl.col("person") == person)


# --- answers


def test_an_observed_person_gets_what_the_method_gives(engine: Engine) -> None:
    engine.observe("ana", events(7))
    assert engine.catch_up()
    answer = engine.recommend("ana", k=8)
    reference = model().recommend([model().adapt(world()[7])], 8)
    assert items(answer) == reference[0]
    assert [pick.score for pick in answer.items] == pytest.approx(reference.scores[0].tolist())
    assert (answer.fallback, answer.model, answer.state_version, answer.lag) == (None, model().fingerprint_, 1, 0)
    assert answer.note == f"{events(7).height} events, {events(7).height} known to the model"
    assert all(pick.title for pick in answer.items)


def test_every_fallback_is_named(engine: Engine) -> None:
    population = items(engine.recommend("nobody"))
    assert engine.recommend("nobody").fallback == "unknown person"
    engine.observe("new", ["no such thing"])
    engine.observe("fresh", [3, 5])
    engine.observe("silent", events(9))
    before = engine.recommend("fresh")
    assert before.fallback == "not adapted yet"
    assert not {3, 5} & set(items(before)), "what was seen a moment ago comes back"
    engine.catch_up()
    assert engine.recommend("new").fallback == "no evidence the model knows"
    assert items(engine.recommend("new")) == population
    assert engine.recommend("fresh").fallback is None
    engine.consent("silent", "recommend", False)
    silent = engine.recommend("silent")
    assert (silent.fallback, silent.state_version, items(silent)) == ("no consent", None, population)
    assert engine.recommend("fresh", personal=False).items == engine.recommend("nobody").items


def test_without_a_model_the_answer_says_so(tmp_path: Path) -> None:
    with Engine(f"sqlite:///{tmp_path}/people.db", master_key=KEY, background=False) as empty:
        empty.observe("ana", [1, 2])
        assert empty.catch_up()
        answer = empty.recommend("ana")
        assert (answer.items, answer.fallback) == ([], "no model")
        empty.install(model(), world())
        empty.catch_up()
        assert empty.recommend("ana").fallback is None


def test_consent_withdrawn_and_given_again_loses_nothing(engine: Engine) -> None:
    engine.observe("ana", events(7))
    engine.catch_up()
    before = engine.recommend("ana")
    engine.consent("ana", "recommend", False)
    engine.observe("ana", [100, 101])
    engine.catch_up()
    assert engine.recommend("ana").fallback == "no consent"
    assert engine.recommend("ana", exclude=None).items == engine.recommend("nobody", exclude=None).items
    engine.consent("ana", "recommend", True)
    assert items(engine.recommend("ana", exclude=[100, 101, *events(7)["item"]])) == items(before), "the state is there at once"
    engine.catch_up()
    assert engine.recommend("ana").note == f"{events(7).height + 2} events, {events(7).height + 2} known to the model"


def test_a_record_is_used_for_its_own_purposes_only(engine: Engine) -> None:
    engine.observe("ana", events(7), purposes=["search"])
    engine.catch_up()
    answer = engine.recommend("ana")
    assert answer.fallback == "no evidence the model knows"
    assert answer.items == engine.recommend("nobody").items
    engine.observe("ana", [{"item": 3, "purposes": ["recommend"]}])
    engine.catch_up()
    assert engine.recommend("ana").note.startswith("1 event, 1 known")


def test_duplicates_change_nothing(engine: Engine) -> None:
    rows = [{"item": 3, "id": "a"}, {"item": 5, "id": "b"}]
    assert engine.observe("ana", rows).accepted == 2
    again = engine.observe("ana", rows)
    assert (again.accepted, again.duplicates) == (0, 2)
    engine.catch_up()
    assert engine.recommend("ana").note.startswith("2 events")


def test_the_order_of_arrival_does_not_matter_where_times_are_given(engine: Engine) -> None:
    rows = events(7).select("item", "time").to_dicts()
    engine.observe("ana", rows)
    for row in reversed(rows):
        engine.observe("ben", [row])
    engine.catch_up()
    assert engine.recommend("ana").items == engine.recommend("ben").items
    own, other = (engine.store.state("default", one, "recommend") for one in ("ana", "ben"))
    assert own is not None
    assert other is not None
    assert own.state["items"].tolist() == other.state["items"].tolist()


def test_a_batch_gives_everybody_what_they_get_alone(engine: Engine) -> None:
    for person in range(20):
        engine.observe(person, events(person))
    engine.catch_up()
    people = [*range(20), "nobody", 3]
    together = engine.recommend_many(people, k=6)
    for person, answer in zip(people, together, strict=True):
        alone = engine.recommend(person, k=6)
        assert items(answer) == items(alone)
        assert (answer.person, answer.fallback, answer.state_version) == (str(person), alone.fallback, alone.state_version)


def test_similar_items_are_near_in_the_models_space(engine: Engine) -> None:
    vectors = model().item_vectors_  # type: ignore[attr-defined]
    own = vectors / ((vectors**2).sum(1, keepdims=True) ** 0.5 + 1e-12)
    order = (-own @ own[11]).argsort().tolist()
    assert items(engine.similar(11, k=5)) == [one for one in order if one != 11][:5]
    with pytest.raises(UnknownId):
        engine.similar("007")


def test_an_id_is_the_same_as_text_and_as_a_number_but_not_padded(engine: Engine) -> None:
    engine.observe(5, ["3", 4, "007", "x"])
    engine.catch_up()
    assert engine.recommend("5").note == "4 events, 2 known to the model"
    assert engine.recommend("05").fallback == "unknown person"
    assert items(engine.recommend(5, candidates=["7", 8, "09"])) in ([7, 8], [8, 7])
    texts = ItemIds(sartor.make("popularity").fit(Population.from_frames(events={"person": [1, 1], "item": ["7", "x"]}), progress=False).items_)
    assert [texts.number(one) for one in (7, "7", "07", "x", True, None)] == [0, 0, -1, 1, -1, -1]


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ([{"item": None}], BadValue),
        ([{"item": 1.5}], WrongType),
        ([{"item": 3, "value": float("nan")}], BadValue),
        ([{"item": 3, "weight": -1}], BadValue),
        ([{"item": 3, "weight": 1e308}], BadValue),
        ([{"item": 3, "time": 1e13}], BadValue),
        ([{"item": 3, "time": "yesterday"}], BadValue),
        ([], BadValue),
        ("3", WrongType),
        ([{"item": "\ud800"}], BadValue),
    ],
)
def test_bad_evidence_is_refused_whole(engine: Engine, given: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        engine.observe("ana", [{"item": 4}, *given] if isinstance(given, list) and given else given)
    assert engine.recommend("ana").fallback == "unknown person"


@pytest.mark.parametrize(
    "asked", [{"k": 0}, {"k": 10**6}, {"k": 2.5}, {"candidates": "3"}, {"exclude": "all"}, {"diversity": 2}, {"diversity": float("nan")}]
)
def test_impossible_requests_are_refused(engine: Engine, asked: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        engine.recommend("ana", **asked)


# --- a person's own


def test_correcting_restoring_and_forgetting(engine: Engine) -> None:
    engine.observe("ana", [{"item": item, "id": f"e{item}"} for item in (3, 5, 8)])
    engine.catch_up()
    first = engine.recommend("ana")
    engine.observe("ana", events(9))
    engine.catch_up()
    assert engine.recommend("ana").items != first.items
    assert engine.restore("ana", 1).restored_from == 1
    held = engine.recommend("ana", exclude=[3, 5, 8])
    assert held.items == first.items
    assert "is held" in held.note
    engine.release("ana")
    assert engine.correct("ana", ["e3", "nothing"]) == 1
    engine.catch_up()
    assert engine.recommend("ana").note.startswith(f"{2 + events(9).height} events")
    profile = engine.profile("ana")
    assert profile.records == 2 + events(9).height
    assert profile.lag == 0
    assert profile.state is not None
    assert not any(item == "3" for item, _, _ in profile.top_items if item not in map(str, events(9)["item"]))
    assert engine.forget("ana").removed
    assert engine.recommend("ana").fallback == "unknown person"
    with pytest.raises(UnknownId):
        engine.profile("ana")


def test_removing_the_last_event_leaves_nothing_of_it(engine: Engine) -> None:
    engine.observe("ana", [{"item": 3, "id": "e"}])
    engine.catch_up()
    engine.correct("ana", ["e"])
    engine.catch_up()
    answer = engine.recommend("ana")
    assert answer.fallback == "no evidence the model knows"
    assert answer.items == engine.recommend("nobody").items


def test_people_with_attributes_only_get_what_people_like_them_choose(engine: Engine) -> None:
    people = pl.DataFrame({"person": list(range(120)), "group": [person % 2 for person in range(120)]})
    liked = pl.DataFrame(
        {"person": [person for person in range(120) for _ in range(10)], "item": [person % 2 * 75 + at for person in range(120) for at in range(10)]}
    )
    engine.install(model(), Population({"events": liked.lazy(), "people": people.lazy()}, name="two groups"))
    engine.observe("odd", attributes={"group": 1})
    engine.observe("even", attributes={"group": "0"})
    engine.observe("other", attributes={"group": 9, "colour": ["red"]})
    engine.catch_up()
    for person, first in (("odd", 75), ("even", 0)):
        answer = engine.recommend(person, k=10)
        assert answer.fallback == "attributes only"
        assert answer.note == "no usable events; from group"
        assert set(items(answer)) == set(range(first, first + 10))
    assert engine.recommend("other").fallback == "no evidence the model knows"
    engine.consent("odd", "recommend", False)
    assert engine.recommend("odd").items == engine.recommend("nobody").items
    engine.observe("even", [3])
    engine.catch_up()
    assert engine.recommend("even").fallback is None
    # A model of attributes names whom it was fitted on, and does not outlive a population that says nothing of the kind.
    assert engine.store.models("default", "cold")[0].people == 120
    engine.observe(7, [3])
    engine.install(model(), Population({"events": liked.lazy(), "people": people.lazy()}, name="two groups"))
    assert engine.store.models("default", "cold")[0].fingerprint in [one.fingerprint for one in engine.forget(7).models]
    engine.install(model(), Population({"events": liked.lazy()}, name="no attributes"))
    assert engine.recommend("other").fallback == "no evidence the model knows"
    engine.observe("odder", attributes={"group": 1})
    engine.catch_up()
    assert engine.recommend("odder").fallback == "no evidence the model knows"


def test_tenants_do_not_meet(engine: Engine) -> None:
    engine.observe("ana", events(7))
    other = engine.for_tenant("other")
    assert other.recommend("ana").fallback == "no model"
    other.install(model())
    engine.catch_up()
    other.catch_up()
    assert other.recommend("ana").fallback == "unknown person"
    assert not any(pick.title for pick in other.recommend("ana").items), "the catalogue is the tenant's own"
    other.observe("ana", [3])
    other.catch_up()
    own = engine.recommend("ana")
    other.forget("ana")
    assert replace(engine.recommend("ana"), age=None, seconds=0) == replace(own, age=None, seconds=0)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["observe", "forget", "consent", "correct", "attributes", "restore"]), st.integers(0, 149)), min_size=1, max_size=8
    )
)
def test_what_happens_to_one_person_never_changes_anothers_answer(engine: Engine, steps: list[tuple[str, int]]) -> None:
    engine.observe("ben", [{"item": item, "id": f"ben{item}"} for item in (10, 20, 30, 40)])
    engine.catch_up()
    before = [replace(engine.recommend("ben", k=20), age=None, seconds=0), replace(engine.recommend("nobody", k=20), seconds=0)]
    for what, number in steps:
        if what == "observe":
            engine.observe("ana", [{"item": number, "id": f"e{number}"}, "ben"])
        elif what == "forget":
            engine.forget("ana")
        elif what == "consent":
            engine.consent("ana", "recommend", number % 2 == 0)
        elif what == "correct":
            engine.correct("ana", [f"e{number}", "ben10"])
        elif what == "attributes":
            engine.observe("ana", attributes={"group": number})
        elif engine.history("ana"):
            engine.restore("ana", engine.history("ana")[-1].version)
        engine.recommend_many(["ana", "ben"], k=5)
        engine.catch_up()
    assert [replace(engine.recommend("ben", k=20), age=None, seconds=0), replace(engine.recommend("nobody", k=20), seconds=0)] == before


@pytest.mark.parametrize("slug", ["ease", "item-knn", "knn-embed", "popularity"])
def test_serves_any_kind_of_method(tmp_path: Path, slug: str) -> None:
    small = {"knn-embed": {"base": model(), "clusters": 6, "neighbours": 5}}.get(slug, {})
    method = sartor.make(slug, **small).fit(world(), progress=False)
    with Engine(f"sqlite:///{tmp_path}/people.db", master_key=KEY, background=False) as engine:
        engine.install(method, world())
        engine.observe("ana", events(7))
        engine.observe("ben", events(8))
        engine.catch_up()
        own = method.recommend([method.adapt(world()[7])], 6)[0]
        assert items(engine.recommend("ana", k=6)) == own
        assert len(items(engine.recommend("ana", k=6, diversity=0.5))) == 6
        assert len(items(engine.similar(own[0], k=5))) == 5
        pool = list(range(0, 150, 3))
        narrowed = method.recommend([method.adapt(world()[7])], 6, candidates=pool)[0]
        assert items(engine.recommend("ana", k=6, candidates=pool)) == narrowed


def test_records_can_be_given_as_they_are(engine: Engine) -> None:
    receipt = engine.observe_many([Record("ana", content={"item": 3}, time=1e9), Record("ben", content={"item": 5})])
    assert receipt.accepted == 2
    engine.observe_many(pl.DataFrame({"person": ["ana", "cem"], "item": [5, 8], "shop": ["x", None]}))
    engine.catch_up()
    assert [one.fallback for one in engine.recommend_many(["ana", "ben", "cem"])] == [None] * 3
    same = model().adapt(Evidence.from_items([3, 5], times=[1_000_000_000, 1_700_000_000]))
    assert items(engine.recommend("ana")) == model().recommend([same], 10)[0]


def test_events_come_as_any_table(engine: Engine) -> None:
    table = pl.DataFrame({"item": [3, 5], "shop": ["x", "y"]})
    engine.observe("polars", table)
    engine.observe("arrow", table.to_arrow())
    engine.observe_many(table.with_columns(person=pl.lit("many")).to_arrow())
    for person in ("polars", "arrow", "many"):
        assert [(record.content["item"], record.content["context"]) for record in engine.store.evidence("default", person)] == [
            (3, {"shop": "x"}),
            (5, {"shop": "y"}),
        ]


def test_the_same_on_postgresql(postgresql_url: str, tmp_path: Path, engine: Engine) -> None:
    with Engine(postgresql_url, master_key=KEY, models=tmp_path / "models", background=False) as other:
        other.install(model(), world())
        for one in (engine, other):
            one.observe_many(world().events.collect().head(800))
            one.observe("forgotten", [3, 5])
            assert one.catch_up()
            one.consent("1", "recommend", False)
            one.forget("forgotten")
        people = [*range(20), "forgotten"]
        lists = [[(items(answer), answer.fallback, answer.note) for answer in one.recommend_many(people)] for one in (engine, other)]
        assert lists[0] == lists[1]
    with pytest.raises(ConfigError):
        Engine(postgresql_url, master_key=KEY)


def test_an_engine_over_somebody_elses_store_leaves_it_open(engine: Engine) -> None:
    second = Engine(store=engine.store)
    assert second.status().adapting.running
    second.close()
    assert not second.status().adapting.running
    assert engine.store.position("default")


def test_an_event_of_weight_0_teaches_nothing_and_its_item_does_not_come_back(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SARTOR_MASTER_KEY", b64encode(KEY).decode())
    for person in ("liked", "disliked"):
        engine.observe(person, [3, 8, 20])
    engine.catch_up()
    best = items(engine.recommend("liked", k=30))
    dislikes = [{"item": item, "kind": "dislike", "weight": 0} for item in best[:3]]
    engine.observe("disliked", dislikes)
    engine.observe("only dislikes", [{"item": items(engine.recommend("nobody", k=1))[0], "weight": 0}])
    assert items(engine.recommend("disliked", k=27)) == best[3:]  # before there is a new state, and after
    engine.catch_up()
    assert items(engine.recommend("disliked", k=27)) == best[3:]
    assert engine.recommend("disliked").note == "6 events, 3 known to the model"
    assert items(engine.recommend("only dislikes", k=9)) == items(engine.recommend("nobody", k=10))[1:]
    assert engine.recommend("only dislikes").fallback == "no evidence the model knows"
    assert items(engine.what_if("liked", add=dislikes, k=27).after) == best[3:]
    explained = engine.explain("disliked", best[3])
    assert explained.rank == 1
    assert not {reason.item for reason in explained.reasons} & set(best[:3])
    assert [item for item, _ in explained.items] == best[3:13]
    batch(engine.store.url, tmp_path / "lists", models=engine._models.folder, k=27, workers=1)
    lists = pl.read_parquet(tmp_path / "lists" / "part-*.parquet")
    assert lists.filter(pl.col("person") == "disliked").sort("rank")["item"].to_list() == best[3:]
    for person in ("disliked", "only dislikes"):
        engine.consent(person, "train", True)
    found = training.population(engine.store, "default").events.collect()
    assert found.sort("item")["item"].to_list() == [3, 8, 20]
