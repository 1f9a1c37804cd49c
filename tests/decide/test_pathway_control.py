"""A metabolic pathway of agents, its rate laws found again, and an inflow that is steered by one's own twin."""

import numpy as np
import polars as pl
import pytest
import torch

import sartor
from sartor.data.population import Evidence, Population
from sartor.data.world import pathway as world
from sartor.data.world.pathway import MOLECULES, PULSES, Pathway
from sartor.decide.parts import equations
from sartor.decide.parts.simulator import rollout
from sartor.decide.parts.twin import Twin
from sartor.decide.pathway_control import PathwayControl
from sartor.errors import BadValue, ConfigError, Infeasible, TooLittleEvidence

RESTS = np.array([1_247.8, 161.3, 178.7, 105.6, 306.5])
"""Where the published equations rest at an inflow of 1."""
LAWS = equations.Pathway(RESTS)
TRUTH = np.log(equations.PUBLISHED)[None]


def _own_run(parameters, rates, noise=0.002):
    x, out, rng = np.ones(5), [], np.random.default_rng(0)
    for rate in rates:
        for _ in range(25):
            x = x * np.exp(LAWS.change(parameters, x, rate) / 25)
        out.append(x * np.exp(noise * rng.normal(size=5)))
    return np.array(out)


def test_molecules_are_neither_made_nor_lost(monkeypatch):
    """Without outflow all that flowed in is there, free or held; enzymes stay as many; a molecule is held once."""
    monkeypatch.setattr(world, "OUTFLOW", 0.0)
    agents = Pathway(
        runs=2, side=25, enzymes=[[400.0] * 4, [100.0, 200.0, 300.0, 400.0]], start=(16_000.0, 3_200.0, 3_200.0, 3_200.0, 1_600.0), seed=1
    )
    before, enzymes = (agents.counts + agents.held).sum(1), np.bincount(agents._home)
    agents.step(np.array([[16.0], [0.0]]))
    agents.step(np.array([[0.0], [16.0]]))
    assert agents.held.sum() > 0
    np.testing.assert_allclose((agents.counts + agents.held).sum(1) - before, 25 * 16)
    np.testing.assert_array_equal(np.bincount(agents._home), enzymes)
    np.testing.assert_array_equal(Pathway(runs=1, side=25, start=(0,) * 5, seed=2).step(np.array([[0.0]])), np.zeros((1, 5)))
    with pytest.raises(ConfigError, match="inflow"):
        agents.step(np.array([[-1.0], [0.0]]))
    with pytest.raises(ConfigError, match="enzymes"):
        Pathway(runs=2, enzymes=[[1.0, 2.0]])


def test_agents_rest_where_the_published_equations_do():
    """1,500 ticks at an inflow of 1, of six runs: means of all five near the published fit's fixed point."""
    np.testing.assert_allclose(LAWS.change(TRUTH, np.ones(5), np.ones(1)), 0, atol=1e-4)
    # Enzymes begin empty and take some.
    agents = Pathway(runs=6, side=40, start=tuple(RESTS + np.array([18, 25, 8, 38, 4])), seed=3)
    seen, _ = rollout(agents, lambda counts: np.ones((6, 1)), 60)
    np.testing.assert_allclose(seen[20:].mean((0, 1)), RESTS, rtol=0.15)
    patients = Pathway.generated(6, patients=3, whose=5, side=25)
    assert len({*np.asarray(patients.enzymes)[:, 0]}) == 3


def test_rate_laws_are_found_again():
    """From a run of the equations with enzymes of one's own: what flows, and where it rests. Little evidence stays with the population."""
    own = TRUTH.copy()
    own[0, [0, 4, 7]] += np.log([1.5, 0.7, 1.2])
    own[0, [10, 12]] += np.log(0.6)
    x = _own_run(own, PULSES)
    prior = Twin(TRUTH, 0.16 * np.eye(17)[None], np.full(5, 0.01))
    found = LAWS.identify([(x, PULSES)], prior, 10)
    at = x[::20]
    wrong = [np.abs(LAWS.change(p, at, PULSES[::20]) - LAWS.change(own, at, PULSES[::20])).mean() for p in (TRUTH, found.mean)]
    assert wrong[1] < 0.2 * wrong[0]
    target = np.array([400.0])
    inflow = [LAWS.steady(LAWS.absolute(p), target, 5.0)[0] for p in (own, found.mean, TRUTH)]
    assert inflow[1] == pytest.approx(inflow[0], rel=0.05)
    assert abs(inflow[2] - inflow[0]) > 0.1
    # What a run says nothing of is as unsure as before.
    assert np.sqrt(found.covariance[0, 15, 15]) == pytest.approx(0.4, rel=0.05)
    back = Twin.unpacked(found.packed(LAWS.terms), LAWS.terms)
    np.testing.assert_allclose(back.mean, found.mean, rtol=1e-6)
    with pytest.raises(TooLittleEvidence, match="hardly changed"):
        LAWS.identify([(x, np.ones_like(PULSES))], prior, 10)
    with pytest.raises(TooLittleEvidence, match="60 steps"):
        LAWS.identify([(x[:60], PULSES[:60])], prior, 10)


def test_arrays_and_tensors_agree_and_rest_is_rest():
    x, rates = np.exp(0.3 * np.random.default_rng(1).normal(size=(4, 5))), np.full((4, 1), 1.3)
    parameters = TRUTH[None].repeat(4, 0)
    made = LAWS.change(*(torch.tensor(one, dtype=torch.float64) for one in (parameters, x, rates)))
    np.testing.assert_allclose(made.numpy(), LAWS.change(parameters, x, rates), rtol=1e-10)
    rates = LAWS.steady(equations.PUBLISHED[None], np.array([400.0]), 3.0)
    assert 1.0 < rates[0] < 3.0
    with pytest.raises(Infeasible, match="nearest") as far:
        LAWS.steady(equations.PUBLISHED[None], np.array([1_500.0]), 2.0)
    assert LAWS.steady(equations.PUBLISHED[None], 0.999 * np.array(far.value.where["nearest"]), 2.0)[0] <= 2.0


@pytest.fixture(scope="module")
def measured():
    return Pathway.generated(4, whose=11, seed=12, side=30).measured(PULSES[60:165])


@pytest.fixture(scope="module")
def model(measured):
    few = {"horizon": 40, "burn_in": 10, "starts": 2, "fit_steps": 6, "adapt_steps": 4, "draws": 8, "target": (300.0,)}
    return PathwayControl(**few).fit(Population.from_frames(events=measured.filter(pl.col("person") < 2)), progress=False)


def test_people_have_twins_controllers_and_decisions_of_their_own(model, measured, tmp_path):
    states = model.adapt_all(Population.from_frames(events=measured.filter(pl.col("person") >= 2)))
    assert states[2].nbytes == 4 * (17 + 153 + 5 + 385)
    assert not np.allclose(states[2]["parameters"], states[3]["parameters"], atol=1e-2)
    assert not np.allclose(states[2]["controller"], states[3]["controller"], atol=1e-4)
    now = dict(zip(MOLECULES, RESTS.tolist(), strict=True))
    made = model.decide({**states, "new": None}, requests=dict.fromkeys([2, 3, "new"], now))
    assert 0 < made[2].action["inflow"] < model.limit
    assert made[2].interval[0] <= made[2].expected <= made[2].interval[1]
    assert made["new"].population.action == made["new"].action
    assert "not medical advice" in made[2].note
    process = Pathway.generated(4, patients=2, whose=11, seed=5, side=20)
    informed = model.informed({2: states[2], 3: states[3]}, lambda step: process, 1, starts=2)
    np.testing.assert_array_equal(informed[2]["parameters"], states[2]["parameters"])
    model.save(tmp_path / "model")
    again = sartor.load(tmp_path / "model")
    np.testing.assert_array_equal(again.rates([states[2]], RESTS[None]), model.rates([states[2]], RESTS[None]))


def test_what_cannot_be_meant(model, measured):
    own = measured.filter(pl.col("person") == 2)
    for name, value, match in (("inflow", -0.5, "inflow"), ("T", 0.0, "T died out"), ("S", float("nan"), "S is nan")):
        wrong = own.with_columns(pl.when(pl.col("time") == 7).then(pl.lit(value)).otherwise(pl.col(name)).alias(name))
        with pytest.raises(BadValue, match=rf"tick 7.*{match}|{match}.*tick.*7"):
            model.adapt(Evidence({"events": wrong}, person=2))
    for settings, match in (({"steered": "X"}, "steered"), ({"ticks": 0}, "ticks"), ({"target": (1.0, 2.0)}, "target"), ({"limit": 0.0}, "limit")):
        with pytest.raises(ConfigError, match=match):
            PathwayControl(**settings).fit(Population.from_frames(events=measured), progress=False)
