"""Deciding through the engine: own states, consent, what is kept of it, and what goes when somebody goes."""

import json
import math
import zipfile

import numpy as np
import polars as pl
import pytest

from sartor import Engine
from sartor.data.population import Population
from sartor.data.world.allocation import Allocation
from sartor.decide.wireless_allocation import WirelessAllocation
from sartor.decide.zone_of_tolerance import ZoneOfTolerance
from sartor.errors import BadValue, ConfigError, Infeasible

PEOPLE = 6


@pytest.fixture(scope="module")
def model():
    population = Population.from_frames(events=Allocation(people=40, seed=8).ratings(25))
    return WirelessAllocation(response=ZoneOfTolerance(levels=80)).fit(population, progress=False)


@pytest.fixture
def engine(tmp_path, model):
    with Engine(f"sqlite:///{tmp_path / 'people.db'}", master_key=bytes(range(32)), background=False) as engine:
        for (person,), rows in Allocation(people=PEOPLE, seed=7).ratings(25).partition_by("person", as_dict=True).items():
            engine.observe(f"p{person}", rows.drop("person"))
        engine.install(model, verb="decide")
        yield engine


def test_own_states_decide_and_are_kept(engine, model, tmp_path):
    """The state is made of level and feedback; the log has its version, the price and the population's answer; keeping it makes nobody stale."""
    people = [f"p{number}" for number in range(PEOPLE)]
    answer = engine.decide([*people, "stranger"], budget=30.0)
    direct = model.adapt_all(Population.from_frames(events=Allocation(people=PEOPLE, seed=7).ratings(25)))
    same = model.decide({**{f"p{number}": state for number, state in direct.items()}, "stranger": None}, budget=30.0)
    for one in answer.people[:-1]:
        assert one.decision.action == pytest.approx(same[one.person].action, abs=2 * model.response.grid[1])
        assert (one.fallback, one.state_version, one.lag) == (None, 1, 0)
    assert answer.spent <= 30
    assert answer.price > 0
    assert answer.people[-1].fallback == "unknown person"
    assert answer.people[-1].id is None
    assert engine.status().people == PEOPLE
    assert engine.status().stale == 0
    first = answer.people[0]
    (kept,) = engine.decisions("p0")
    assert kept.id == first.id
    assert kept.about["action"] == first.decision.action
    assert (kept.about["state_version"], kept.about["price"], kept.about["model"]) == (1, answer.price, model.fingerprint_)
    assert kept.about["population"]["cost"] == first.decision.population.cost
    engine.decide(["p0"], budget=3.0, log=False)
    engine.decide({"p0": {"target": 0.5}}, budget=5.0)
    assert [one.about.get("target") for one in engine.decisions("p0")] == [0.5, None]
    # What was decided is no taste of hers, and nothing that a state has yet to see.
    assert [item for item, _, _ in engine.profile("p0").top_items] == ["video"]
    assert engine.profile("p0").kinds == {"event": 25, "decision": 2}
    # New feedback makes a new state; what was decided is no feedback.
    engine.observe("p0", [{"item": "video", "level": 9.0, "value": 0.1}])
    assert engine.decide(["p0"], budget=9.0).people[0].lag == 1
    engine.catch_up()
    after = engine.decide(["p0"], budget=9.0).people[0]
    assert (after.state_version, after.lag) == (2, 0)
    with zipfile.ZipFile(engine.export("p0", tmp_path / "p0.zip")) as archive:
        lines = [json.loads(line) for line in archive.read("evidence/events.jsonl").splitlines()]
    assert sum(line["kind"] == "decision" for line in lines) == 4


def test_consent_and_forgetting(engine):
    engine.decide(["p1"], budget=5.0)
    engine.consent("p1", "decide", False)
    refused = engine.decide(["p1", "p2"], budget=9.0)
    assert refused.people[0].fallback == "no consent"
    assert refused.people[0].decision.state_version is None
    assert len(engine.decisions("p1")) == 1
    engine.forget("p1")
    assert engine.decisions("p1") == []
    impersonal = engine.decide(["p2"], budget=9.0, personal=False)
    assert impersonal.people[0].decision.state_version is None
    assert len(engine.decisions("p2")) == 1


def test_without_a_budget_and_without_a_model(tmp_path, model):
    with Engine(f"sqlite:///{tmp_path / 'other.db'}", master_key=bytes(range(32)), background=False) as engine:
        nothing = engine.decide(["ana"], budget=1.0)
        assert nothing.people[0].decision is None
        assert nothing.people[0].fallback == "no model"
        engine.install(model.response, verb="decide")
        enough = engine.decide({"ana": {"target": 0.6}})
        assert enough.budget is None
        level = enough.people[0].decision.action
        assert model.response.satisfaction([None], np.array([level]))[0, 0] >= 0.6
        assert not math.isinf(enough.spent)


@pytest.mark.parametrize(
    ("event", "match"),
    [({"value": 1.4}, r"row 2, person p0.*1\.4.*from 0 to 1"), ({"value": -0.1}, "from 0 to 1"), ({"level": -2.0}, "level is -2")],
)
def test_feedback_outside_its_scale_is_not_kept(engine, event, match):
    """It would stop her state from being made; ratings of other things, without a level, are as they were."""
    before = engine.status().counts["records"]
    with pytest.raises(BadValue, match=match):
        engine.observe("p0", [{"item": "video", "level": 3.0, "value": 0.5}, {"item": "video", "level": 3.0, "value": 0.5, **event}])
    engine.observe("p0", [{"item": "film", "value": 4.0}])
    assert engine.catch_up()
    assert (engine.status().failing, engine.status().counts["records"]) == (0, before + 1)
    assert engine.decide(["p0"], budget=9.0).people[0].lag == 0


def test_context_that_is_no_number_is_not_kept(engine):
    """Once kept it would make every later state of hers fail."""
    ratings = Allocation(people=40, seed=8).ratings(10).with_columns(hour=pl.col("time") // 86_400 % 24)
    engine.install(ZoneOfTolerance(context=("hour",)).fit(Population.from_frames(events=ratings), progress=False), verb="decide")
    for hour in ("noon", math.nan):
        with pytest.raises(BadValue, match=r"hour|context"):
            engine.observe("new", [{"item": "video", "level": 3.0, "value": 0.5, "hour": hour}])
    engine.observe("new", [{"item": "video", "level": 3.0, "value": 0.5, "hour": 12}])
    assert engine.catch_up()
    assert engine.status().failing == 0
    assert engine.decide(["new"]).people[0].fallback is None


def test_what_cannot_be_decided(engine, model):
    with pytest.raises(Infeasible, match="least"):
        engine.decide({"p0": {"target": 0.9}, "p1": {"target": 0.9}}, budget=0.5)
    for people, budget, match in (([], 1.0, "0 people"), (["p0", "p0"], 1.0, "twice"), (["p0"], float("nan"), "nan"), ("p0", 1.0, "single text"),
                                  ({"p0": 3}, 1.0, "mapping"), ({"p0": {"targt": 0.5}}, 1.0, "targt"), (["p0"], True, "True")):  # fmt: skip
        with pytest.raises(ConfigError, match=match):
            engine.decide(people, budget=budget)
    with pytest.raises(ConfigError, match="install"):
        engine.fit(model, verb="decide")
    with pytest.raises(ConfigError, match="limit"):
        engine.decisions("p0", limit=0)
    with pytest.raises(ConfigError, match="does not recommend"):
        engine.install(model)
