"""Everybody in shards: the same numbers in this process, in others and on a Ray cluster; stopped runs go on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from sartor.data.world import World
from sartor.engine import Engine, als_shards
from sartor.engine.batch import Done, Shard, Worker, batch
from sartor.errors import ConfigError, FileProblem, NotFitted
from sartor.recommend.als import ALS

SHARD = 30
WITHOUT = "7"
"""Somebody who does not allow recommending."""
HIDDEN = 1


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A store of 100 people with a model."""
    url = f"sqlite:///{tmp_path_factory.mktemp('store')}/people.db"
    population = World(people=100, items=90, topics=8, seed=5).population()
    with Engine(url, background=False) as engine:
        engine.store.set_default_consent("default", ["recommend", "train"])
        engine.observe_many(population.events.select("person", "item", "time").collect())
        engine.observe("stranger", ["an item nobody knows"])
        engine.consent(WITHOUT, "recommend", False)
        engine.install(ALS(factors=16, iterations=5).fit(population, progress=False))
        engine.store.put_items("default", population.items.select("item", "title").collect().to_dicts())
        assert engine.store.hide_items("default", [HIDDEN]) == 1
    return url


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("part-*")}


def same_lists(one: Path, other: Path) -> None:
    """The same people, items and order; scores to within what another process's choice of BLAS kernel may change in their last bit."""
    assert files(one).keys() == files(other).keys()
    assert_frame_equal(*(pl.read_parquet(folder / "part-*.parquet").sort("person", "rank") for folder in (one, other)), rel_tol=1e-5)


@pytest.fixture(scope="module")
def lists(url: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lists")
    found = batch(url, folder, workers=1, shard_people=SHARD)
    assert (found.people, found.skipped, found.failed, found.shards) == (100, 1, 0, 3)
    return folder


def test_everybody_gets_the_list_that_the_engine_would_give(url: str, lists: Path) -> None:
    frame = pl.read_parquet(lists / "part-*.parquet").sort("person", "rank")
    people = frame["person"].unique(maintain_order=True).to_list()
    assert WITHOUT not in people
    assert not frame.filter(pl.col("person") == "stranger")["personal"].any()
    with Engine(url, background=False) as engine:
        for answer in engine.recommend_many(people, 10):
            own = frame.filter(pl.col("person") == answer.person)
            assert own["item"].to_list() == [pick.item for pick in answer.items]
            assert own["score"].to_list() == pytest.approx([pick.score for pick in answer.items], rel=1e-5)
    assert HIDDEN not in frame["item"].to_list()


def test_a_stopped_run_goes_on_with_what_is_missing(url: str, lists: Path, tmp_path: Path) -> None:
    out = tmp_path / "lists"
    batch(url, out, workers=1, shard_people=SHARD)
    whole = files(out)
    assert whole == files(lists)
    gone = sorted(whole)[1]
    (out / gone).unlink()
    (out / ".part-half").write_bytes(b"half a file")
    note = json.loads((out / "batch.json").read_bytes())
    (out / "batch.json").write_text(json.dumps({**note, "status": "running"}))
    again = batch(url, out, workers=1, shard_people=SHARD)
    assert (again.resumed, again.people) == (2, 100)
    assert files(out) == whole
    assert not list(out.glob(".part-*"))
    # A finished run is not gone on with: evidence may have changed.
    assert batch(url, out, workers=1, shard_people=SHARD).resumed == 0


@pytest.fixture
def own(url: str, tmp_path: Path) -> str:
    """The same store, to be changed."""
    source = Path(url.removeprefix("sqlite:///"))
    shutil.copytree(source.parent, tmp_path / "own")
    return f"sqlite:///{tmp_path}/own/{source.name}"


def stop(out: Path, *gone: str) -> None:
    """As if the run had been stopped before these files were made."""
    note = json.loads((out / "batch.json").read_bytes())
    (out / "batch.json").write_text(json.dumps({**note, "status": "running"}))
    for name in gone:
        (out / name).unlink()


def people_in(out: Path) -> set[str]:
    return set(pl.read_parquet(out / "part-*.parquet")["person"])


def shard_of(person: str, out: Path) -> str:
    (name,) = [path.name for path in out.glob("part-*") if person in set(pl.read_parquet(path)["person"])]
    return name


def test_a_resumed_run_trusts_no_list_of_somebody_who_took_something_back(own: str, tmp_path: Path) -> None:
    out = tmp_path / "lists"
    batch(own, out, workers=1, shard_people=SHARD)
    before = files(out)
    with Engine(own, background=False) as engine:
        hers = engine.store.evidence("default", "3")
        engine.consent("12", "recommend", False)
        engine.correct("21", [engine.store.evidence("default", "21")[-1].id])
        engine.forget("3")
        engine.observe("3", [hers[0].content["item"]])  # known again, with other evidence
    touched = {shard_of(person, out) for person in ("12", "21", "3")}
    stop(out)
    again = batch(own, out, workers=1, shard_people=SHARD)
    assert again.resumed == 3 - len(touched)
    assert people_in(out) == {str(person) for person in range(100)} - {WITHOUT, "12"} | {"stranger"}
    untouched = before.keys() - touched
    assert {name: files(out)[name] for name in untouched} == {name: before[name] for name in untouched}
    fresh = tmp_path / "fresh"
    batch(own, fresh, workers=1, shard_people=SHARD)
    assert files(out) == files(fresh), "not what a run from the start gives"


def test_a_resumed_run_does_everything_again_when_a_default_was_withdrawn(own: str, tmp_path: Path) -> None:
    out = tmp_path / "lists"
    batch(own, out, workers=1, shard_people=SHARD)
    with Engine(own, background=False) as engine:
        engine.store.set_default_consent("default", ["train"])
        engine.consent("5", "recommend", True)
    stop(out)
    assert batch(own, out, workers=1, shard_people=SHARD).resumed == 0
    assert people_in(out) == {"5"}


def test_who_takes_something_back_during_the_run_is_not_in_its_lists(own: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, seen = tmp_path / "lists", []
    real = Worker.__call__

    def work(worker: Worker, shard: Shard) -> Done:
        found = real(worker, shard)
        if not seen:
            with Engine(own, background=False) as engine:
                first, second = shard.people[0], shard.people[1]
                engine.forget(first)
                engine.consent(second, "recommend", False)
            seen.extend([first, second])
        return found

    monkeypatch.setattr(Worker, "__call__", work)
    found = batch(own, out, workers=1, shard_people=SHARD)
    assert people_in(out).isdisjoint(seen)
    assert (found.shards, found.people, found.skipped) == (3, len(people_in(out)), 2)
    assert len(list(out.glob("part-*"))) == 3


def test_a_receipt_names_the_runs_whose_files_may_hold_her(own: str, tmp_path: Path) -> None:
    with Engine(own, background=False) as engine:
        others = engine.forget("5").batches  # of this store, by whichever tests came before
        for name in ("one", "two", "one"):
            batch(own, tmp_path / name, workers=1)
        engine.observe("late", [1])
        receipt = engine.forget("4")
        assert [folder for folder in receipt.batches if folder not in others] == [str(tmp_path / "one"), str(tmp_path / "two")]
        assert "batch" in receipt.note
        assert receipt.as_dict()["batches"] == list(receipt.batches)
        assert engine.forget("late").batches == (), "she came after all of them"


def test_states_can_be_kept_for_serving(url: str, tmp_path: Path) -> None:
    with Engine(url, background=False) as engine:
        before = engine.store.state("default", "3", "recommend")
        batch(url, tmp_path / "lists", workers=1, keep_states=True)
        after = engine.store.state("default", "3", "recommend")
    assert before is not None
    assert after is not None
    assert after.version == before.version + 1
    assert all(np.array_equal(after.state[name], array) for name, array in before.state.arrays.items())


def test_mistakes_are_named(url: str, tmp_path: Path) -> None:
    with pytest.raises(NotFitted):
        batch(url, tmp_path / "lists", tenant="empty")
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(FileProblem):
        batch(url, tmp_path)
    with pytest.raises(ConfigError):
        batch(url, tmp_path / "lists", runner="spark")
    with pytest.raises(ConfigError):
        als_shards.fit(ALS(solver="exact"), World(people=20, items=30).population(), 2)


def test_als_in_shards_finds_the_same_numbers() -> None:
    population = World(people=150, items=90, topics=8, seed=5).population()
    settings = {"factors": 16, "iterations": 6, "alpha": 5.0}
    whole = ALS(**settings).fit(population, progress=False)
    for shards in (1, 4):
        parts = als_shards.fit(ALS(**settings), population, shards)
        for name in ("item_vectors_", "population_vector_", "gram_"):
            np.testing.assert_allclose(getattr(parts, name), getattr(whole, name), rtol=1e-3, atol=1e-4)
        # Things that are worth the same but for the last bits may change places.
        (found,), (expected,) = (method.recommend([None], 10).indices for method in (parts, whole))
        worth = whole.score([None])[0]
        np.testing.assert_allclose(worth[found], worth[expected], rtol=1e-3, atol=1e-4)


def test_a_ray_cluster_of_two_processes_finds_the_same_lists(url: str, lists: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'sartor[ray]'")
    from sartor.engine import ray_batch

    with ray_batch.cluster(2):
        found = batch(url, tmp_path / "lists", runner="ray", workers=2, shard_people=SHARD)
        assert (found.people, found.workers) == (100, 2)
        population = World(people=150, items=90, topics=8, seed=5).population()
        here, there = (als_shards.fit(ALS(factors=8, iterations=3), population, 2, spread) for spread in (als_shards.Local, ray_batch.Actors))
    same_lists(tmp_path / "lists", lists)
    np.testing.assert_allclose(here.item_vectors_, there.item_vectors_, rtol=1e-4, atol=1e-5)


def test_postgresql_gives_the_same_bits(url: str, lists: Path, postgresql_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SARTOR_MASTER_KEY", f"{url.removeprefix('sqlite:///')}.key")
    models = tmp_path / "models"
    with Engine(url, background=False) as old, Engine(postgresql_url, models=models, background=False) as new:
        loaded = old._models.active("default")
        assert loaded is not None
        new.observe_many([record for person in old.store.changed("default", 0) for record in old.store.evidence("default", person)])
        new.consent(WITHOUT, "recommend", False)
        new.store.put_items("default", old.store.items("default").drop("hidden").to_dicts())
        new.store.hide_items("default", [HIDDEN])
        new.install(loaded.method)
    batch(postgresql_url, tmp_path / "lists", models=models, workers=1, shard_people=SHARD)
    assert files(tmp_path / "lists") == files(lists)
