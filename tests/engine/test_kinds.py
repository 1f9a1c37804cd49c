"""Kinds of events have weights of their own: in states, in what is explained, and in fits they are what the same weights on each event would be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import sqlalchemy as sa

import sartor
from sartor.data.world import World
from sartor.engine import Engine, training
from sartor.errors import BadValue
from sartor.profile import kinds, migrations
from sartor.profile.store import ProfileStore

KEY = bytes(range(32))
WEIGHTS = {"purchase": 3.0, "view": 0.5, "dislike": 0.0}
SEEN = [(3, "purchase", None), (8, "view", None), (20, "dislike", None), (21, None, None), (9, "purchase", 2.0), (5, "view", 0.0), (7, "listen", 4.0)]
BY_HAND = [(3, 3.0), (8, 0.5), (20, 0.0), (21, 1.0), (9, 6.0), (5, 0.0), (7, 4.0)]


@pytest.fixture
def engine(tmp_path: Path):  # type: ignore[no-untyped-def]
    world = World(people=80, items=60, seed=4, events_per_person=15).population()
    with Engine(f"sqlite:///{tmp_path}/people.db", master_key=KEY, background=False) as engine:
        engine.install(sartor.make("als", factors=6, iterations=3).fit(world, progress=False), world)
        yield engine


def test_states_reasons_and_what_if_are_those_of_the_same_weights_on_each_event(engine: Engine) -> None:
    kinds.put(engine.store, "default", WEIGHTS)
    times = range(1_700_000_000, 1_700_000_000 + len(SEEN))
    engine.observe("kinds", [{"item": item, "kind": kind, "weight": own, "time": at} for (item, kind, own), at in zip(SEEN, times, strict=True)])
    engine.observe("hand", [{"item": item, "weight": weight, "time": at} for (item, weight), at in zip(BY_HAND, times, strict=True)])
    engine.catch_up()
    one, other = (engine.store.state("default", person, "recommend") for person in ("kinds", "hand"))
    assert one is not None
    assert other is not None
    np.testing.assert_array_equal(one.state["vector"], other.state["vector"])
    assert one.state.notes["passed"] == other.state.notes["passed"] == [5, 20]
    best = engine.recommend("kinds", k=3).items
    assert best == engine.recommend("hand", k=3).items
    a, b = (engine.explain(person, best[0].item) for person in ("kinds", "hand"))
    assert [(one.item, one.contribution) for one in a.reasons] == [(one.item, one.contribution) for one in b.reasons]
    added = engine.what_if("kinds", add=[{"item": 30, "kind": "purchase"}]).after.items
    assert added == engine.what_if("hand", add=[{"item": 30, "weight": 3.0}]).after.items
    assert 20 not in [item for item, _, _ in engine.profile("kinds").top_items]


def test_a_fit_reads_what_states_are_made_from(engine: Engine) -> None:
    engine.store.set_default_consent("default", ["train", "recommend"])
    kinds.put(engine.store, "default", WEIGHTS)
    engine.observe("kinds", [{"item": item, "kind": kind, "weight": own} for item, kind, own in SEEN])
    engine.observe("plain", [1, 2])
    found = training.population(engine.store, "default").events.collect().sort("item")
    own = found.filter(pl.col("person") == "kinds")
    assert dict(zip(own["item"], own["weight"], strict=True)) == {item: weight for item, weight in BY_HAND if weight}
    assert found.filter(pl.col("person") == "plain")["weight"].to_list() == [1.0, 1.0]


def test_rejections_count_nothing_by_default_and_a_change_reaches_everybody(engine: Engine) -> None:
    assert kinds.weights(engine.store, "default") == {"dislike": 0.0, "hide": 0.0, "return": 0.0}
    engine.observe("ana", [{"item": 3}, {"item": 8, "kind": "dislike"}])
    engine.observe("ben", [{"item": 3}])
    engine.catch_up()

    def vector(person: str) -> np.ndarray:
        stored = engine.store.state("default", person, "recommend")
        assert stored is not None
        return stored.state["vector"]

    np.testing.assert_array_equal(vector("ana"), vector("ben"))
    before = vector("ben")
    kinds.put(engine.store, "default", {"dislike": 1})
    assert engine.status().stale == 2
    engine.catch_up()
    assert not np.array_equal(vector("ana"), vector("ben"))
    np.testing.assert_array_equal(vector("ben"), before)
    kinds.put(engine.store, "default", {"dislike": 1.0})
    assert engine.status().stale == 0, "nothing has changed"
    assert kinds.weights(engine.store, "other") == dict(kinds.DEFAULT)
    kinds.put(engine.store, "default", {})
    assert kinds.own(engine.store, "default") == {}
    kinds.put(engine.store, "default", None)
    assert kinds.own(engine.store, "default") is None


@pytest.mark.parametrize(
    "given", [{"a": -1}, {"a": float("nan")}, {"a": 1e9}, {"": 1}, {"a\n": 1}, {"a": True}, {"a": "3"}, {f"k{n}": 1 for n in range(300)}]
)
def test_impossible_weights_are_refused(engine: Engine, given: dict[str, float]) -> None:
    with pytest.raises(BadValue):
        kinds.put(engine.store, "default", given)
    assert kinds.own(engine.store, "default") is None


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
def test_a_store_of_the_first_revision_is_brought_up_to_date(
    dialect: str, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{tmp_path}/old.db" if dialect == "sqlite" else str(request.getfixturevalue("postgresql_url"))
    monkeypatch.setenv("SARTOR_BLOBS", str(tmp_path / "blobs"))
    with ProfileStore.open(url, master_key=KEY) as store:
        store.set_default_consent("shop", ["train"])
        with store.db.engine.connect() as connection:
            connection.execute(sa.text("ALTER TABLE tenants DROP COLUMN kinds"))
            connection.execute(sa.text("UPDATE alembic_version SET version_num = '0001'"))
            connection.commit()
    with ProfileStore.open(url, master_key=KEY) as store:
        kinds.put(store, "shop", {"view": 2})
        assert kinds.weights(store, "shop") == {"view": 2.0}
        assert store.default_consent("shop") == {"train"}
        with store.db.engine.connect() as connection:
            assert migrations.revision(connection) == migrations.HEAD
