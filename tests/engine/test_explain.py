"""Explanations and what-ifs say what really happens when the evidence is really changed."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from sartor.data.world import World
from sartor.engine import Engine
from sartor.engine.drift import drift, stability, staleness
from sartor.engine.explain import LISTED
from sartor.errors import EmptyData, UnknownId
from sartor.profile import retention
from sartor.systems import make

PERSON = "7"


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    population = World(people=100, items=90, topics=8, seed=5).population()
    with Engine(f"sqlite:///{tmp_path}/people.db", background=False) as engine:
        engine.store.set_default_consent("default", ["recommend", "train"])
        engine.observe_many(population.events.select("person", "item", "time").collect())
        engine.store.put_items("default", population.items.select("item", "title").collect().to_dicts())
        engine.fit("ease", {"regularization": 50.0}, progress=False)
        yield engine


def test_the_list_without_the_reasons_is_the_one_that_removing_them_gives(engine: Engine) -> None:
    item = engine.recommend(PERSON).items[0].item
    found = engine.explain(PERSON, item, top=3)
    assert [pick.item for pick in engine.recommend(PERSON, LISTED).items] == [one for one, _ in found.items]
    assert found.rank == 1
    assert found.verified
    json.dumps(dataclasses.asdict(found))  # plain data, whatever numpy gave
    assert [one.contribution for one in found.reasons] == sorted((one.contribution for one in found.reasons), reverse=True)
    assert found.without is not None
    engine.correct(PERSON, [record for one in found.reasons for record in one.ids])
    assert engine.catch_up()
    # What was removed may be recommended again; the explanation leaves it out.
    real = [pick for pick in engine.recommend(PERSON, 90).items if pick.item not in found.without.removed]
    assert [pick.item for pick in real[:LISTED]] == [one for one, _ in found.without.items]
    at = [pick.item for pick in real].index(item)
    assert at + 1 == found.without.rank
    assert real[at].score == pytest.approx(found.without.score, rel=1e-5)


def test_somebody_without_evidence_gets_everybodys_reasons_none(engine: Engine) -> None:
    item = engine.recommend("nobody").items[0].item
    found = engine.explain("nobody", item)
    assert (found.reasons, found.without, found.verified) == ([], None, False)
    assert found.rank == found.rank_population == 1
    with pytest.raises(UnknownId):
        engine.explain(PERSON, "no such item")


def test_what_if_is_what_would_be_and_stores_nothing(engine: Engine) -> None:
    records = engine.store.evidence("default", PERSON)
    new = engine.recommend(PERSON, 20).items[15].item
    position = engine.store.position("default")
    found = engine.what_if(PERSON, add=[new], remove=[records[0].id, records[1].id])
    assert engine.store.position("default") == position
    before = engine.recommend(PERSON)
    assert [pick.item for pick in found.before.items] == [pick.item for pick in before.items]
    engine.correct(PERSON, [records[0].id, records[1].id])
    engine.observe(PERSON, [new])
    assert engine.catch_up()
    after = engine.recommend(PERSON)
    assert [pick.item for pick in found.after.items] == [pick.item for pick in after.items]
    assert [pick.score for pick in found.after.items] == pytest.approx([pick.score for pick in after.items], rel=1e-5)
    places = {pick.item: place for place, pick in enumerate(after.items, 1)}
    assert all(one.after == places.get(one.item) for one in found.moved)
    with pytest.raises(UnknownId):
        engine.what_if(PERSON, remove=["not hers"])
    with pytest.raises(EmptyData):
        engine.what_if(PERSON)


def test_drift_sees_another_taste_and_not_the_same_one(engine: Engine) -> None:
    quiet = drift(engine, fresh=True)
    assert quiet is not None
    assert (quiet.value, quiet.alarm) == (None, False)
    same = World(people=100, items=90, topics=8, seed=5).population().events.select("person", "item").collect().sample(600, seed=1)
    engine.observe_many(same)
    alike = drift(engine, fresh=True)
    assert alike is not None
    assert alike.value is not None
    assert alike.value < 0.1
    assert not alike.alarm
    people = same["person"].unique().to_list()
    engine.observe_many(
        pl.DataFrame({"person": [one for one in people for _ in range(20)], "item": [str(88 + n % 2) for _ in people for n in range(20)]})
    )
    moved = drift(engine, fresh=True)
    assert moved is not None
    assert moved.alarm
    assert "stability index" in moved.note
    assert moved.list_change is not None
    assert moved.list_change > 0
    assert staleness(engine).people > 0
    assert stability(same["item"].to_numpy(), same["item"].to_numpy()) == pytest.approx(0)


def test_what_if_and_explanations_fade_old_evidence_as_states_do(tmp_path: Path) -> None:
    population = World(people=60, items=60, topics=6, seed=5).population()
    with Engine(f"sqlite:///{tmp_path}/people.db", background=False) as engine:
        engine.observe_many(population.events.select("person", "item", "time").collect())
        retention.set_rule(engine.store, "default", retention.Rule(frame="events", half_life=30 * 86_400.0))
        engine.install(make("als", factors=8, iterations=3).fit(population, progress=False))
        records = engine.store.evidence("default", PERSON)
        item = engine.recommend(PERSON).items[0].item
        found = engine.explain(PERSON, item)
        assert found.score == pytest.approx(engine.recommend(PERSON).items[0].score, rel=1e-5)
        # Without the newest ones, the others are nearer to what is then the newest.
        expected = engine.what_if(PERSON, remove=[record.id for record in records[-3:]])
        engine.correct(PERSON, [record.id for record in records[-3:]])
        assert engine.catch_up()
        assert [pick.score for pick in engine.recommend(PERSON).items] == pytest.approx([pick.score for pick in expected.after.items], rel=1e-5)
