"""A twin of one process and a controller through it: agents that count right, equations found again, gradients that are the twin's, people apart."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch

import sartor
from sartor import Engine
from sartor.data.population import Evidence, Population
from sartor.data.world.ecosystem import PULSES, Ecosystem
from sartor.decide.parts import controller, twin
from sartor.decide.parts.equations import LotkaVolterra
from sartor.decide.parts.simulator import Stepped, rollout
from sartor.decide.twin_control import TwinControl
from sartor.errors import BadValue, ConfigError, Infeasible, MissingColumn, StateMismatch, TooLittleEvidence

TERMS = twin.PUBLISHED != 0
REMOVES = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
REFERENCE = np.array([24_263.0, 4_219.0, 1_625.0])
TRUTH = np.concatenate([twin.PUBLISHED[:, :1], twin.PUBLISHED[:, 1:] * REFERENCE], 1)
"""Of counts relative to the published fixed point."""


def _course(**changes):
    equations, target = LotkaVolterra(TERMS, REMOVES, REFERENCE), np.array([5_000.0, 900.0])
    given = {"reference": REFERENCE, "equations": equations, "target": target, "limit": 0.08, "horizon": 25, "burn_in": 5,
             "effort": 0.01, "learning_rate": 0.01, "starts": 4, "seed": 0}  # fmt: skip
    return controller.Course(**given | changes)


def _twin_run(parameters, rates, start):
    x, out = np.array(start), []
    for rate in rates:
        x = x * np.exp(twin.growth(parameters, x, rate, REMOVES))
        out.append(x)
    return np.array(out)


def test_agents_live_as_published():
    """The published means of all three, within 10 %; a sheep is eaten once; what is removed is gone; patients have rates of their own."""
    world = Ecosystem(runs=3, side=96, seed=3)
    world.run(150)
    np.testing.assert_allclose(world.run(250).mean((0, 1)), [24_185, 4_039, 1_903], rtol=0.1)
    world._sheep = world._sheep.only(np.arange(world._sheep.run.size) == 0)
    world._wolves = world._wolves.only(np.arange(world._wolves.run.size) < 2)
    world._wolves.run[:], world._wolves.place[:] = world._sheep.run[0], world._sheep.place[0]
    before = world._wolves.energy.copy()
    wolves, eaten = world._hunt(world._wolves)
    assert eaten.tolist() == [True]
    assert sorted(wolves.energy - before) == [0, 20]
    crowd = Ecosystem(runs=2, side=16, seed=1)
    crowd.step(np.array([[1.0, 0.0], [0.0, 1.0]]))
    assert (crowd.counts[:, 1:] == 0).tolist() == [[True, False], [False, True]]
    patients = Ecosystem.generated(6, patients=3, whose=5)
    assert len({*patients.gain_wolf}) == 3
    assert patients.gain_wolf[0] == patients.gain_wolf[1] == Ecosystem.generated(3, whose=5, seed=9).gain_wolf[0]
    with pytest.raises(ConfigError, match="probabilities"):
        crowd.step(np.full((2, 2), 1.5))


def test_equations_are_found_again():
    """From a run of the equations themselves, by 10-tick means; with little evidence the population holds; at rest nothing can be told apart."""
    x = _twin_run(TRUTH, PULSES, [1.2, 0.8, 0.9])
    found = twin.identify([(x, PULSES)], TERMS, REMOVES)
    np.testing.assert_allclose(found.mean[TERMS], TRUTH[TERMS], rtol=0.1)
    two = twin.identify([(x[:300], PULSES[:300]), (x[300:], PULSES[300:])], TERMS, REMOVES)
    np.testing.assert_allclose(two.mean[TERMS], TRUTH[TERMS], rtol=0.1)
    # As ridge regression with the centre and weights of a prior.
    sure = twin.Twin(1.5 * TRUTH, 1e-12 * np.tile(np.eye(4), (3, 1, 1)), found.noise)
    np.testing.assert_allclose(twin.identify([(x, PULSES)], TERMS, REMOVES, sure).mean[TERMS], 1.5 * TRUTH[TERMS], rtol=1e-3)
    back = twin.Twin.unpacked(found.packed(TERMS), TERMS)
    np.testing.assert_allclose(back.mean, found.mean, rtol=1e-6)
    np.testing.assert_allclose(back.covariance, found.covariance, rtol=1e-4, atol=1e-12)
    drawn = found.draws(4_000, np.random.default_rng(0))
    np.testing.assert_allclose(drawn.std(0), np.sqrt(np.diagonal(found.covariance, axis1=1, axis2=2)), rtol=0.1, atol=1e-8)
    rest = _twin_run(TRUTH, 0 * PULSES, np.ones(3))[-200:]
    with pytest.raises(TooLittleEvidence, match=r"condition number.*pulse"):
        twin.identify([(rest, 0 * PULSES[:200])], TERMS, REMOVES)
    with pytest.raises(TooLittleEvidence, match="99 ticks"):
        twin.identify([(x[:99], PULSES[:99])], TERMS, REMOVES)


def test_constant_rates_hold_the_target():
    """The twin stays where the closed form says; what cannot be held names the nearest that can."""
    target = np.array([5_000.0, 900.0])
    rates = twin.steady(twin.PUBLISHED, REMOVES, target, 0.08)
    grass = (0.209782 - 2.38108e-5 * 5_000) / 4.50613e-6
    np.testing.assert_allclose(twin.growth(twin.PUBLISHED, np.array([grass, *target]), rates, REMOVES), 0, atol=1e-12)
    with pytest.raises(Infeasible, match="nearest") as far:
        twin.steady(twin.PUBLISHED, REMOVES, np.array([2_000.0, 3_000.0]), 0.08)
    twin.steady(twin.PUBLISHED, REMOVES, np.array(far.value.where["nearest"]) * [1.0001, 0.9999], 0.08)


def test_training_is_the_twins_gradient_at_the_processs_states():
    """Through a simulator that is the twin itself it equals training on the twin; people do not touch each other; the cost falls."""
    course = _course()
    starts = 0.2 * torch.randn(course.starts, 3, generator=torch.Generator().manual_seed(0)).numpy().astype(np.float64)

    class Same:
        def __init__(self, step):
            self.counts = REFERENCE * np.exp(starts)

        def step(self, rates):
            x = self.counts / REFERENCE
            self.counts = self.counts * np.exp(twin.growth(TRUTH, x, rates, REMOVES))
            return self.counts

    first = controller.fresh(course)[None]
    assert first.size == 370
    alone = controller.trained(TRUTH[None], first, course, 6)
    np.testing.assert_allclose(controller.trained(TRUTH[None], first, course, 6, Same), alone, atol=1e-4)
    other = TRUTH * [[1.0], [1.2], [0.9]]
    both = controller.trained(np.stack([TRUTH, other]), np.tile(first, (2, 1)), course, 6)
    np.testing.assert_allclose(both[0], alone[0], atol=1e-5)
    assert not np.allclose(both[1], alone[0], atol=1e-3)

    def cost(weights):
        p, logs = torch.tensor(TRUTH[None, None], dtype=torch.float32), torch.tensor(starts[None], dtype=torch.float32)
        return float(controller._costs(p, torch.from_numpy(weights), logs, course, None))

    assert cost(controller.trained(TRUTH[None], first, course, 12)) < cost(alone) < cost(first)
    with pytest.raises(ConfigError, match="3 runs"):
        controller.trained(TRUTH[None], first, replace(course, starts=3), 1, lambda step: Stepped(lambda s, u, r: s, [REFERENCE] * 4, np.array))


def test_any_function_is_a_simulator():
    """Runs have random numbers of their own, and the policy sees what was seen last."""
    made = Stepped(lambda state, rates, rng: state * np.exp(0.1 * rng.normal() - rates[0]), [np.ones(1), np.ones(1)], lambda state: state, seed=1)
    seen, done = rollout(made, lambda counts: 0.1 * counts, 5)
    assert seen.shape == (5, 2, 1)
    assert not np.allclose(seen[:, 0], seen[:, 1])
    np.testing.assert_allclose(done[1:], 0.1 * seen[:-1])
    with pytest.raises(BadValue, match="not finite"):
        Stepped(lambda state, rates, rng: np.nan, [1.0], lambda state: [state]).step(np.zeros((1, 1)))


@pytest.fixture(scope="module")
def measured():
    """Runs of five generated patients; on a smaller torus wolves die out."""
    world = Ecosystem.generated(5, whose=11, seed=12)
    world.run(100)
    return world.measured(PULSES)


@pytest.fixture(scope="module")
def model(measured):
    few = {"horizon": 60, "burn_in": 20, "starts": 3, "fit_steps": 8, "adapt_steps": 6, "draws": 16}
    return TwinControl(**few).fit(Population.from_frames(events=measured.filter(pl.col("person") < 3)), progress=False)


def _own(frame, person=3):
    return Evidence({"events": frame.filter(pl.col("person") == person)}, person=person)


def test_people_have_twins_and_controllers_of_their_own(model, measured, tmp_path):
    people = Population.from_frames(events=measured.filter(pl.col("person") >= 3))
    states = model.adapt_all(people)
    alone = model.adapt(_own(measured))
    for name in ("parameters", "controller"):
        np.testing.assert_allclose(alone[name], states[3][name], rtol=1e-3, atol=1e-4)
    assert alone.nbytes == 1584
    assert not np.allclose(states[3]["controller"], states[4]["controller"], atol=1e-4)
    nobody = model.adapt(Evidence({}, person="new"))
    np.testing.assert_allclose(model.parameters(nobody), model.parameters(None), rtol=1e-5)
    counts = np.array([[24_000.0, 4_000.0, 1_900.0]] * 2)
    np.testing.assert_allclose(model.rates([nobody, None], counts)[0], model.rates([None], counts[:1])[0])
    assert (model.rates([states[3], states[4]], counts) < model.limit).all()
    longer = model.adapt(_own(measured.with_columns(time=pl.col("time") + 1_000)), alone)
    assert (longer.version, longer.examples) == (2, 1_200)
    assert np.trace(model.twin(longer).covariance[1]) < np.trace(model.twin(alone).covariance[1])
    informed = model.informed(
        {3: alone}, lambda step: Ecosystem.generated(2, patients=1, whose=12, seed=step, side=32), 2, starts=2
    )  # fmt: skip
    assert not np.allclose(informed[3]["controller"], alone["controller"], atol=1e-4)
    np.testing.assert_array_equal(informed[3]["parameters"], alone["parameters"])
    model.save(tmp_path / "model")
    again = sartor.load(tmp_path / "model")
    np.testing.assert_array_equal(again.rates([alone], counts[:1]), model.rates([alone], counts[:1]))


def test_decisions_say_what_they_expect(model, measured):
    """Rates by name, what they lead to by the person's own twin beside what the population's rates would, and what they are not."""
    states = model.adapt_all(Population.from_frames(events=measured.filter(pl.col("person") >= 3)))
    now = {"grass": 24_000.0, "sheep": 4_000.0, "wolves": 1_900.0}
    made = model.decide({**states, "new": None}, requests=dict.fromkeys([3, 4, "new"], now))
    assert made[3].action.keys() == {"remove_sheep", "remove_wolves"}
    assert made.spent == pytest.approx(sum(sum(one.action.values()) for one in made.values()))
    assert made[3].interval[0] <= made[3].expected <= made[3].interval[1]
    assert made["new"].population.action == made["new"].action
    assert made["new"].population.expected == pytest.approx(made["new"].expected)
    assert "not medical advice" in made[3].note
    courses = model.predict([states[3]], np.array([[*now.values()]]))
    assert courses.shape == (1, 16, 60, 3)
    assert model.distance(courses[:, :, 30:].mean(2)).mean() == pytest.approx(made[3].expected, rel=1e-3)
    with pytest.raises(Infeasible, match="the budget"):
        model.decide(states, budget=made.spent / 10, requests=dict.fromkeys(states, now))
    model.target = (9_000.0, 9_000.0)
    try:
        with pytest.raises(Infeasible, match=r"cannot be held.*nearest|no target"):
            model.constant(None)
    finally:
        model.target = (5_000.0, 900.0)


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"sheep": float("nan")}, BadValue, "tick 7.*sheep is nan"), ({"grass": -1.0}, BadValue, "tick 7.*grass"),
        ({"remove_wolves": 1.0}, BadValue, "tick 7.*remove_wolves"), ({"wolves": 0.0}, BadValue, "tick 7.*wolves died out"),
        ({"time": 6}, BadValue, "tick 6.*twice"),
    ],
)  # fmt: skip
def test_measurements_that_cannot_be_meant(model, measured, change, error, match):
    (name, value), own = *change.items(), measured.filter(pl.col("person") == 3)
    wrong = own.with_columns(pl.when(pl.col("time") == 7).then(pl.lit(value)).otherwise(pl.col(name)).alias(name))
    with pytest.raises(error, match=match):
        model.adapt(_own(wrong))
    if name != "time":
        with pytest.raises(error, match=name):
            model.check_event(wrong.row(7, named=True))
        model.check_event(own.row(7, named=True))


def test_what_cannot_be_done(model, measured):
    own = _own(measured)
    with pytest.raises(TooLittleEvidence, match="60 ticks"):
        model.adapt(_own(measured.filter(pl.col("time") < 60)))
    with pytest.raises(MissingColumn, match="wolves"):
        model.adapt(_own(measured.drop("wolves")))
    for request, error, match in (({}, ConfigError, "counts now"), ({"grass": 1e99, "sheep": 1.0, "wolves": 1.0}, BadValue, "grass is 1e"),
                                  ({"grass": 1.0, "sheep": 0.0, "wolves": 1.0}, BadValue, "died out"),
                                  ({"grass": float("inf"), "sheep": 1.0, "wolves": 1.0}, BadValue, "grass")):  # fmt: skip
        with pytest.raises(error, match=match):
            model.decide({"ana": None}, requests={"ana": request})
    for settings, match in (({"drivers": (("rain",), (), ())}, "drivers"), ({"removes": ("sheep", "sheep")}, "remove"), ({"starts": 0}, "starts"),
                            ({"target": (5_000.0,)}, "target"), ({"limit": 1.0}, "limit"), ({"burn_in": 300}, "burn_in")):  # fmt: skip
        with pytest.raises(ConfigError, match=match):
            TwinControl(**settings).fit(Population.from_frames(events=measured), progress=False)
    with pytest.raises(ConfigError, match="1 people"):
        TwinControl().fit(Population.from_frames(events=measured.filter(pl.col("person") == 0)), progress=False)
    with pytest.raises(Infeasible, match="nearest"):
        TwinControl(target=(2_000.0, 3_500.0)).fit(Population.from_frames(events=measured), progress=False)
    state = model.adapt(own)
    with pytest.raises(StateMismatch):
        model.rates([replace(state, fingerprint="another")], np.ones((1, 3)))


def test_through_an_engine(model, measured, tmp_path):
    """Ticks are kept as events, the state follows, decisions are logged; an impossible count is refused at the door."""
    now = {"grass": 24_000.0, "sheep": 4_000.0, "wolves": 1_900.0}
    with Engine(f"sqlite:///{tmp_path / 'people.db'}", master_key=bytes(range(32)), background=False) as engine:
        engine.install(model, verb="decide")
        own = measured.filter(pl.col("person") == 3).drop("person")
        engine.observe("ana", own)
        assert engine.catch_up()
        answer = engine.decide({"ana": now, "ben": now})
        direct = model.decide({"ana": model.adapt(_own(measured))}, requests={"ana": now})
        assert answer.people[0].decision.action == pytest.approx(direct["ana"].action, rel=1e-3)
        assert (answer.people[0].fallback, answer.people[1].fallback) == (None, "unknown person")
        assert engine.decisions("ana")[0].about["action"] == answer.people[0].decision.action
        with pytest.raises(BadValue, match="sheep"):
            engine.observe("ana", own.head(1).with_columns(sheep=pl.lit(-5.0)))
