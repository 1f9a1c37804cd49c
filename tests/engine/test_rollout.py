"""From evidence to a model that serves: who is in training, what is measured, what is refused, and what a crash leaves behind."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sartor.data.world import World
from sartor.engine import Engine, preparing, rollout, training, validation
from sartor.engine.jobs import run_job
from sartor.errors import CorruptFile, EmptyData, ModelRefused, StoreProblem, UnknownId
from sartor.evaluate import evaluate
from sartor.profile.records import Record
from sartor.systems import make

EASE = {"regularization": 50.0}


@pytest.fixture(scope="module")
def events() -> pl.DataFrame:
    frame: pl.DataFrame = World(people=120, items=90, topics=8, seed=5).population().events.select("person", "item", "time").collect()
    return frame


@pytest.fixture
def engine(tmp_path: Path, events: pl.DataFrame) -> Iterator[Engine]:
    with Engine(f"sqlite:///{tmp_path}/people.db", background=False) as engine:
        engine.store.set_default_consent("default", ["recommend", "train"])
        engine.observe_many(events)
        yield engine


class Watch:
    """Raises at the first report that starts with some word."""

    def __init__(self, word: str, error: BaseException) -> None:
        self.word, self.error, self.seen = word, error, []

    def report(self, share: float, message: str) -> None:
        self.seen.append((share, message))
        if message.startswith(self.word):
            raise self.error


def test_only_who_consents_is_fitted_on_and_whom_it_is_measured_on_is_not(engine: Engine, events: pl.DataFrame) -> None:
    people = [str(one) for one in events["person"].unique(maintain_order=True).to_list()]
    for person in people[:20]:
        engine.consent(person, "train", False)
    found = engine.fit("ease", EASE, progress=False)
    members = set(engine.store.members("default", found.fingerprint))
    held_out = set(people[20:]) - members
    assert members.isdisjoint(people[:20])
    assert len(held_out) == found.report["people"] >= validation.LEAST_PEOPLE
    assert found.activated
    assert found.card.people == len(members)
    # People who do not consent to training are still served.
    assert engine.recommend(people[0]).fallback is None


def test_the_numbers_are_those_of_an_evaluation_by_hand(engine: Engine) -> None:
    first = engine.fit("ease", {"regularization": 5000.0}, progress=False)
    second = engine.fit("ease", EASE, progress=False)
    parts = validation.split(training.population(engine.store, "default"), 0.1, tenant="default")
    one, two = (evaluate(make("ease", regularization=value).fit(parts.train, progress=False), parts) for value in (5000.0, 50.0))
    assert first.report["gain"]["mean"] == pytest.approx(one.gain)
    assert second.report["swap_gap"]["mean"] == pytest.approx(two.swap_gap)
    own = two.per_person["ndcg@10"].to_numpy()
    assert second.report["hurt"] == pytest.approx((own < two.per_person["population ndcg@10"].to_numpy()).mean()) or second.report["hurt"] is None
    assert second.report["compared_with"]["fingerprint"] == first.fingerprint
    assert second.report["compared_with"]["difference"] == pytest.approx((own - one.per_person["ndcg@10"].to_numpy()).mean())


def test_refuses_what_does_not_personalise_and_what_is_worse(engine: Engine) -> None:
    good = engine.fit("ease", EASE, progress=False)
    flat = engine.fit("popularity", progress=False)
    bad = engine.fit("als", {"factors": 2, "iterations": 5}, progress=False)
    assert good.refused is None
    assert "fit nobody better" in str(flat.refused)
    assert "below the active model" in str(bad.refused)
    assert bad.report["compared_with"]["difference"] < 0 < bad.report["gain"]["mean"]
    assert [card.status for card in engine.models() if card.fingerprint in (flat.fingerprint, bad.fingerprint)] == ["refused", "refused"]
    with pytest.raises(ModelRefused):
        engine.switch(bad.fingerprint)
    assert engine.recommend("1").model == good.fingerprint
    assert engine.switch(bad.fingerprint, force=True).status == "active"
    assert engine.recommend("1").model == bad.fingerprint
    # And back again: a retired model is no refused one.
    assert engine.switch(good.fingerprint).status == "active"
    with pytest.raises(UnknownId):
        engine.switch("nothing")


def test_a_switch_is_noticed_at_once_by_others_and_finds_everybodys_states_made(engine: Engine, events: pl.DataFrame, tmp_path: Path) -> None:
    people = [str(one) for one in events["person"].unique().to_list()]
    first = engine.fit("ease", EASE, progress=False)
    with Engine(f"sqlite:///{tmp_path}/people.db", background=False) as other:
        assert {answer.model for answer in other.recommend_many(people)} == {first.fingerprint}
        second = engine.fit("ease", {"regularization": 60.0}, progress=False)
        assert second.activated
        answers = other.recommend_many(people)
    assert {answer.model for answer in answers} == {second.fingerprint}
    assert {answer.fallback for answer in answers} == {None}


def test_a_damaged_model_never_serves(engine: Engine) -> None:
    good = engine.fit("ease", EASE, progress=False)
    waiting = engine.fit("ease", {"regularization": 60.0}, activate=False, progress=False)
    assert waiting.accepted
    assert not waiting.activated
    tensors = engine._models.path(waiting.fingerprint) / "tensors.safetensors"
    content = bytearray(tensors.read_bytes())
    content[-5] ^= 1
    tensors.write_bytes(content)
    with pytest.raises(CorruptFile):
        engine.switch(waiting.fingerprint)
    assert engine.recommend("1").model == good.fingerprint


def test_an_interrupted_fit_goes_on_with_the_same_evidence_and_a_cancelled_one_leaves_nothing(engine: Engine) -> None:
    position = engine.store.position("default")
    with pytest.raises(KeyboardInterrupt):
        engine.fit("als", {"factors": 8, "iterations": 4}, progress=False, watch=Watch("fitting: ALS", KeyboardInterrupt()))
    assert engine.models() == []
    engine.observe("new", ["1", "2"])
    assert engine.fit("als", {"factors": 8, "iterations": 4}, progress=False).card.position == position
    assert engine.fit("als", {"factors": 8, "iterations": 5}, progress=False).card.position > position
    watch = Watch("measuring", rollout.Cancelled("enough"))
    with pytest.raises(rollout.Cancelled):
        engine.fit("als", {"factors": 8, "iterations": 6}, progress=False, watch=watch)
    assert [share for share, _ in watch.seen] == sorted(share for share, _ in watch.seen)
    work = training.Work.of_tenant(engine._models.folder, "default")
    assert list(work.iterdir()) == []


def test_forgetting_removes_unfinished_work(engine: Engine) -> None:
    with pytest.raises(KeyboardInterrupt):
        engine.fit("als", {"factors": 8, "iterations": 4}, progress=False, watch=Watch("fitting: ALS", KeyboardInterrupt()))
    work = training.Work.of_tenant(engine._models.folder, "default")
    assert any(work.rglob("*"))
    engine.forget("1")
    assert not work.exists()
    assert engine.fit("als", {"factors": 8, "iterations": 4}, progress=False).accepted


def test_too_few_people_are_named(tmp_path: Path) -> None:
    with Engine(f"sqlite:///{tmp_path}/few.db", background=False) as engine:
        with pytest.raises(EmptyData, match="train"):
            engine.fit("ease")
        engine.store.set_default_consent("default", ["recommend", "train"])
        engine.observe("ana", ["1", "2"])
        with pytest.raises(EmptyData, match="held out"):
            engine.fit("ease")


def test_jobs_end_as_what_became_of_them(engine: Engine) -> None:
    def job(kind: str, **args: Any) -> Any:
        engine.store.put_job("default", kind, args)
        claimed = engine.store.claim_job(worker="w")
        assert claimed is not None
        return claimed

    done = run_job(engine, job("fit", method="ease", settings=EASE, seed=1), worker="w")
    assert done is not None
    assert (done.status, done.result["accepted"]) == ("done", True)
    assert any(line.startswith("fitting") for line in done.log)
    failed = run_job(engine, job("fit", method="no-such"), worker="w")
    assert (failed.status, "no-such" in str(failed.error)) == ("failed", True)
    stopped = job("fit", method="ease")
    engine.store.cancel_job("default", stopped.id)
    assert run_job(engine, stopped, worker="w").status == "cancelled"
    assert run_job(engine, done, worker="another") is None


@given(st.lists(st.floats(-1, 1), max_size=60))
def test_no_bin_shows_fewer_than_five_people(values: list[float]) -> None:
    found = validation.histogram(np.array(values))
    if len(values) < validation.FLOOR:
        assert found is None
        return
    assert found is not None
    assert sum(found["counts"]) == len(values)
    assert all(count == 0 or count >= validation.FLOOR for count in found["counts"])
    assert len(found["edges"]) == len(found["counts"]) + 1
    assert found["edges"] == sorted(set(found["edges"]))


@given(st.sets(st.integers(0, 10**6), max_size=300), st.floats(0.01, 0.5), st.floats(0.01, 0.5))
def test_the_same_people_are_always_held_out(people: set[int], one: float, two: float) -> None:
    ids = sorted(people)
    small, large = (validation.held_out(ids, share, tenant="t") for share in sorted((one, two)))
    assert not (small & ~large).any()
    assert np.array_equal(small, validation.held_out([str(person) for person in ids], min(one, two), tenant="t"))


def test_folders_go_when_nothing_refers_to_them_any_more(engine: Engine) -> None:
    found = [engine.fit("ease", {"regularization": 50.0 + step}, progress=False) for step in range(4)]
    assert all(one.activated for one in found), [one.sentence for one in found]
    folders = [engine._models.path(one.fingerprint) for one in found]
    for folder in folders:
        os.utime(folder, (0, 0))
    # The oldest has lost its states; the two before the active one could serve again.
    assert engine._models.sweep() == [found[0].fingerprint]
    assert [folder.exists() for folder in folders] == [False, True, True, True]
    # With it goes what the store noted of it, which would grow with every fit.
    assert found[0].fingerprint not in [card.fingerprint for card in engine.models()]
    assert [bool(engine.store.members("default", one.fingerprint)) for one in found] == [False, True, True, True]
    assert engine.switch(found[1].fingerprint).status == "active"


def test_a_model_whose_preparation_was_killed_is_a_candidate_again(engine: Engine) -> None:
    good = engine.fit("ease", EASE, progress=False)
    left = engine.fit("ease", {"regularization": 60.0}, activate=False, progress=False)
    # As kill -9 leaves it in the middle of making states.
    engine._models.note("default", "recommend", dataclasses.replace(left.card, status="preparing", switched=time.time()))
    assert [one.fingerprint for one in engine._models.preparing("default")] == [left.fingerprint]
    assert engine.recommend("1").model == good.fingerprint
    engine.observe("1", ["1"])
    assert engine.catch_up()
    assert engine.store.state("default", "1", "recommend", model=left.fingerprint) is not None
    third = engine.fit("ease", {"regularization": 70.0}, progress=False)
    assert third.activated
    assert {one.fingerprint: one.status for one in engine.models()}[left.fingerprint] == "candidate"


def test_what_was_removed_under_another_model_does_not_serve_again_with_the_old_one(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    first = engine.fit("ease", EASE, progress=False)
    engine.observe("ana", [{"item": item, "id": item} for item in ("1", "2", "3")])
    engine.observe("ben", [{"item": item, "id": item} for item in ("1", "2", "3")])
    assert engine.catch_up()
    second = engine.fit("ease", {"regularization": 60.0}, progress=False)
    assert second.activated
    engine.correct("ana", ["1", "2", "3"])
    assert engine.catch_up()
    everybody = preparing.everybody

    def meanwhile(*given: Any) -> Any:
        """Ben takes back too, after his state was made, and a worker that does not know of the switch yet makes the serving one."""
        done = everybody(*given)
        engine.correct("ben", ["1", "2", "3"])
        with monkeypatch.context() as patch:
            patch.setattr(engine._models, "preparing", lambda *_: [])
            assert engine.catch_up()
        return done

    monkeypatch.setattr(preparing, "everybody", meanwhile)
    engine.switch(first.fingerprint)
    assert engine.recommend("ana").fallback == "no evidence the model knows"
    assert engine.recommend("ana").items == engine.recommend("nobody").items
    assert engine.catch_up()
    assert engine.recommend("ben").items == engine.recommend("nobody").items


def test_what_is_no_number_stops_nobodys_fit_and_context_is_no_weight(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Records that did not come through `observe`: archives, other programs."""
    scan = engine.store.scan
    monkeypatch.setattr(engine.store, "scan", lambda *given, **how: scan(*given, **how, batch=10))
    odd: tuple[dict[str, Any], ...] = (
        {"value": "five"},
        {"value": 5},
        {"value": 4.5, "weight": 2},
        {"weight": "much"},
        {"value": None},
        {"context": {"weight": 1000, "value": 9}},
    )
    engine.observe_many([Record(f"odd {number}", id="1", time=1e9, content={"item": "1", **extra}) for number, extra in enumerate(odd)])
    found = training.population(engine.store, "default").events.filter(pl.col("person").str.starts_with("odd")).sort("person").collect()
    assert found["value"].to_list() == [None, 5.0, 4.5, None, None, None]
    assert found["weight"].fill_null(1.0).to_list() == [1.0, 1.0, 2.0, 1.0, 1.0, 1.0]
    assert engine.fit("ease", EASE, progress=False).accepted


def test_a_model_tells_how_many_were_forgotten_while_it_was_fitted(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    learn = rollout._learn

    def meanwhile(model: Any, parts: Any, *given: Any) -> float:
        took = learn(model, parts, *given)
        engine.forget(training.people(parts.train)[0])
        return took

    monkeypatch.setattr(rollout, "_learn", meanwhile)
    found = engine.fit("ease", EASE, progress=False)
    assert found.report["forgotten_meanwhile"] == 1
    assert "fit again" in engine.models()[0].report["note"]


def test_a_fit_outlives_a_store_that_is_away_and_a_defect_is_logged_without_what_it_quotes(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def job() -> Any:
        engine.store.put_job("default", "fit", {"method": "ease", "settings": EASE})
        return engine.store.claim_job(worker="w")

    tell, times = engine.store.job_progress, []

    def away(*given: Any, **how: Any) -> bool:
        times.append(1)
        if len(times) % 2:
            raise StoreProblem("the database cannot be reached")
        return tell(*given, **how)

    monkeypatch.setattr(engine.store, "job_progress", away)
    done = run_job(engine, job(), worker="w")
    assert done is not None
    assert done.status == "done"
    assert len(times) > 3

    def defect(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError("ana bought a secret")

    monkeypatch.setattr(rollout, "fit", defect)
    failed = run_job(engine, job(), worker="w")
    assert failed is not None
    assert (failed.status, failed.error) == ("failed", "sartor failed: ZeroDivisionError")
    assert "ZeroDivisionError" in caplog.text
    assert "secret" not in caplog.text.replace('raise ZeroDivisionError("ana bought a secret")', "")
