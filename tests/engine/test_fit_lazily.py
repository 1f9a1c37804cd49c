"""Fits read the store's evidence from a nameless file, batch by batch, and hold out what training stops by."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from sartor.data import splits
from sartor.data.world import World
from sartor.engine import Engine, training, validation
from sartor.errors import EmptyData
from sartor.method import Method
from sartor.systems import make


@pytest.fixture(scope="module")
def frame() -> pl.DataFrame:
    found: pl.DataFrame = World(people=90, items=70, topics=8, seed=5).population().events.select("person", "item", "time").collect()
    return found


@pytest.fixture
def engine(tmp_path: Path, frame: pl.DataFrame) -> Iterator[Engine]:
    with Engine(f"sqlite:///{tmp_path}/people.db", background=False) as engine:
        engine.store.set_default_consent("default", ["recommend", "train"])
        engine.observe_many(frame.with_columns(kind=pl.lit("view")))
        engine.observe("late", [{"item": "a word", "value": 2.5, "weight": 3}, {"item": 7}])
        yield engine


def test_the_file_holds_what_the_store_gives_and_leaves_no_name(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sartor.profile.store.ProfileStore.scan", small_batches(engine.store.scan))
    whole = training.population(engine.store, "default")
    folder = tmp_path / "scratch"
    folder.mkdir()
    with training.lazily(engine.store, "default", folder) as found:
        assert os.path.exists("/proc/self/fd") is False or not list(folder.iterdir())
        assert_frame_equal(found.events.collect(), whole.events.collect())
        assert found.events.collect_schema().names() == ["person", "item", "time", "kind", "value", "weight"]
        late = found.events.filter(pl.col("person") == "late").collect()
        assert late["item"].to_list() == ["a word", "7"]
        assert (late["value"].to_list(), late["weight"].to_list()) == ([2.5, None], [3.0, 1.0])
        assert found.events.filter(pl.col("person") != "late").collect()["weight"].to_list() == [1.0] * (whole.events.collect().height - 2)
        method = make("ease").fit(found, progress=False)
    assert not list(folder.iterdir())
    assert method.fingerprint_ == make("ease").fit(whole, progress=False).fingerprint_
    with pytest.raises(EmptyData, match="no events that may be used"), training.lazily(engine.store, "nobody"):
        pass


def small_batches(scan: Any) -> Any:
    return lambda store, *args, **named: scan(*args, **{**named, "batch": 40})


def test_the_parts_are_those_of_the_published_rule(engine: Engine) -> None:
    population = training.population(engine.store, "default")
    mine = validation.split(population, 0.2, tenant="default")
    who = mine.test.events.select("person").unique().collect()["person"]
    marked = population.events.with_columns(split=pl.when(pl.col("person").is_in(who.implode())).then(pl.lit("test")).otherwise(pl.lit("train")))
    theirs = splits.make("published", population.replace(events=marked), validation=0.0, evidence=0.5)
    for name, part in theirs.parts.items():
        assert_frame_equal(mine.parts[name].events.collect(), part.events.collect(), check_row_order=name != "train")
    assert_frame_equal(mine.train.items.collect(), theirs.train.items.collect())


def test_methods_that_stop_early_are_judged_by_newest_events_that_they_were_not_fitted_on(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [training.stops_early(make(slug)) for slug in ("ease", "bpr", "sasrec", "two-tower", "knn-embed")] == [False, False, True, True, False]
    assert training.stops_early(make("knn-embed", base=make("two-tower")))
    population = training.population(engine.store, "default")
    parts = validation.split(population, 0.2, tenant="default", stops_early=True)
    plain = validation.split(population, 0.2, tenant="default")
    judges = parts.validation.events.collect()
    assert judges.height == judges["person"].n_unique() == plain.train.events.collect()["person"].n_unique() // 5
    before = parts.train.events.collect()
    assert_frame_equal(pl.concat([before, judges]), plain.train.events.collect(), check_row_order=False)
    last = before.group_by("person").agg(pl.col("time").max())
    assert judges.join(last, on="person").filter(pl.col("time") < pl.col("time_right")).is_empty()
    given: list[Any] = []
    real = Method.fit

    def fit(method: Any, population: Any, **how: Any) -> Any:
        given.append(how.get("validation"))
        return real(method, population, **how)

    monkeypatch.setattr(Method, "fit", fit)
    found = engine.fit("two-tower", {"epochs": 1, "patience": 1}, progress=False)
    assert found.report["stopped_by"] > 0
    assert given[0].events.collect().height == found.report["stopped_by"]
    assert engine.fit("ease", progress=False).report["stopped_by"] == 0
