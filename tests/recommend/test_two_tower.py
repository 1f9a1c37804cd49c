"""Retrieval from fields and histories."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

import sartor.method
from sartor.data import Evidence, Population
from sartor.data.splits import make
from sartor.data.world import World
from sartor.errors import ConfigError, DuplicateRows, MissingColumn, StateMismatch
from sartor.evaluate import evaluate
from sartor.recommend.two_tower import TwoTower

FIELDS = {"kind": "category", "subcategory": "category", "brand": "category", "tags": "categories", "price": "number", "title": "text"}


@pytest.fixture(scope="module")
def population() -> Population:
    return World.preset("shop", people=150, items=200, topics=8, events_per_person=30, seed=5, reviews=0.0, preferences=0).population()


@pytest.fixture(scope="module")
def fitted(population: Population) -> TwoTower:
    return TwoTower(epochs=6, batch_size=128, item_fields=FIELDS, person_fields={"name": "text"}).fit(population, progress=False)


def test_it_finds_what_people_want_next(population: Population) -> None:
    split = make("leave-last", population)
    method = TwoTower(epochs=15, batch_size=128, item_fields=FIELDS).fit(split.train, validation=split.validation, progress=False)
    found = evaluate(method, split, headline="ndcg@20")
    assert found.gain_interval[0] > 0
    assert found.swap_gap_interval[0] > 0


def test_the_same_seed_gives_the_same_model(population: Population) -> None:
    first, second, other = (TwoTower(epochs=1, item_fields=FIELDS, seed=seed).fit(population, progress=False) for seed in (0, 0, 1))
    assert first.fingerprint_ == second.fingerprint_ != other.fingerprint_


def test_vectors_lie_on_the_sphere_and_new_people_get_one(fitted: TwoTower) -> None:
    state = fitted.adapt(Evidence.from_items([3, 9, 27]))
    np.testing.assert_allclose(np.linalg.norm(fitted.item_vectors_, axis=1), 1, rtol=1e-5)
    assert np.linalg.norm(state["vector"]) == pytest.approx(1, rel=1e-5)
    ranking = fitted.recommend([state, None], 5)
    assert not {3, 9, 27} & set(ranking[0])
    assert ranking[0] != ranking[1]


def test_batches_change_nobody(fitted: TwoTower, population: Population) -> None:
    together = fitted.adapt_all(population)
    for person in (0, 7):
        np.testing.assert_allclose(fitted.adapt(population[person])["vector"], together[person]["vector"], atol=1e-6)


def test_an_update_equals_starting_over_and_keeps_the_person_fields(fitted: TwoTower, population: Population) -> None:
    whole = population[3]
    half = Evidence({"events": whole.events.head(4), "people": whole.frames["people"]})
    rest = Evidence({"events": whole.events.slice(4)})
    state = fitted.adapt(rest, fitted.adapt(half))
    np.testing.assert_allclose(state["vector"], fitted.adapt(whole)["vector"], atol=1e-6)
    assert state.version == 2
    bare = fitted.adapt(Evidence({"events": whole.events}))
    assert not np.allclose(bare["vector"], state["vector"], atol=1e-4)  # the name is a field


def test_saving(fitted: TwoTower, tmp_path) -> None:
    again = sartor.method.load(fitted.save(tmp_path / "model"))
    state = fitted.adapt(Evidence.from_items([3, 9, 27]))
    np.testing.assert_array_equal(again.score([state, None]), fitted.score([state, None]))
    np.testing.assert_array_equal(again.adapt(Evidence.from_items([3, 9, 27]))["vector"], state["vector"])
    with pytest.raises(StateMismatch):
        TwoTower(epochs=1, item_fields=FIELDS).fit(Population(few_frames()), progress=False).score([state])


def few_frames() -> dict[str, pl.DataFrame]:
    items = pl.DataFrame({"item": [1, 2, 3], "kind": ["a", "b", "a"], "subcategory": ["x"] * 3, "brand": ["q", "r", "q"], "tags": [["t"]] * 3,
                          "price": [1.0, 2.0, 3.0], "title": ["one", "two", "three"]})  # fmt: skip
    return {"events": pl.DataFrame({"person": [1, 1, 2], "item": [1, 2, 3]}), "items": items}


def test_new_items_are_scored_by_their_columns(population: Population, tmp_path) -> None:
    method = TwoTower(epochs=3, batch_size=128, item_fields=FIELDS).fit(population, progress=False)
    state = method.adapt(population[0])
    before = method.score([state])
    known = population.items.collect().head(2)
    method.add_items(known.with_columns(item=pl.Series([9001, 9002])).drop("tags"))
    after = method.score([state])
    np.testing.assert_array_equal(after[:, :-2], before)
    assert np.isfinite(after[:, -2:]).all()
    assert method.items_.number(9002) == after.shape[1] - 1
    assert sartor.method.load(method.save(tmp_path / "more")).score([state]).shape == after.shape
    with pytest.raises(DuplicateRows, match="9001"):
        method.add_items(known.with_columns(item=pl.Series([9001, 9003])))


def test_without_an_items_frame_only_ids_are_read() -> None:
    events = pl.DataFrame({"person": ["a", "a", "b", "b"], "item": ["x", "y", "y", "z"]})
    method = TwoTower(epochs=1).fit(Population.from_frames(events=events), progress=False)
    assert method.item_codec.names == ["item"]
    assert set(method.recommend([None], 3, exclude=None)[0]) == {"x", "y", "z"}


def test_a_wrong_field_is_named(population: Population) -> None:
    with pytest.raises(MissingColumn, match="'colr'"):
        TwoTower(item_fields={"colr": "category"}).fit(population, progress=False)


@pytest.mark.parametrize("setting", [{"temperature": 0.0}, {"history": 0}, {"hide_ids": 1.0}, {"batch_size": 0}])
def test_settings_out_of_range_are_named(population: Population, setting: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=f"{next(iter(setting))} is"):
        TwoTower(**setting).fit(population, progress=False)


def test_nobody_is_a_batch_too(fitted: TwoTower, population: Population) -> None:
    assert fitted.adapt_all(population.only([-1])) == {}
