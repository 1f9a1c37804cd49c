"""What each person needs: learned as the truth has it, pooled where little is known, and refused by name where feedback cannot be meant."""

import numpy as np
import polars as pl
import pytest
from scipy.optimize import minimize
from scipy.special import expit, log_ndtr

import sartor
from sartor.data.population import Evidence, Population
from sartor.data.world.allocation import Allocation
from sartor.decide.parts import response
from sartor.decide.zone_of_tolerance import ZoneOfTolerance
from sartor.errors import BadValue, ConfigError, Infeasible, MissingColumn, StateMismatch, UnknownId


@pytest.fixture(scope="module")
def world():
    return Allocation(people=40, seed=7)


@pytest.fixture(scope="module")
def model():
    return ZoneOfTolerance().fit(Population.from_frames(events=Allocation(people=40, seed=8).ratings(25)), progress=False)


def _own(frame, person=0):
    return Evidence({"events": frame.filter(pl.col("person") == person)}, person=person)


def test_needs_are_found(world, model):
    """From 25 noisy ratings: near the truth, better than the population's curve and than another's, with intervals that hold."""
    states = list(model.adapt_all(Population.from_frames(events=world.ratings(25))).values())
    believed = model.believed(states)
    off = believed.mean[:, 0] - world.middle
    assert np.sqrt((off**2).mean()) < 0.25
    assert 0.8 <= (np.abs(off) < 1.645 * np.sqrt(believed.covariance[:, 0, 0])).mean() <= 1
    levels = np.linspace(0.2, 10, 50)
    own, usual, other = (
        ((model.satisfaction(some, levels) - world.satisfaction(levels)) ** 2).mean() for some in (states, [None] * 40, states[::-1])
    )
    assert own < 0.3 * usual < usual < other
    assert states[0].nbytes == 28
    one = model.adapt(_own(world.ratings(25)))
    np.testing.assert_allclose(one["mean"], states[0]["mean"], atol=1e-4)


def test_the_posterior_is_the_mode(world, model):
    """Equal to a general minimiser on the same log posterior, with ratings at the edges of the scale counted as "at least" and "at most"."""
    rows = world.ratings(12).filter(pl.col("person") == 3)
    level, value = rows["level"].to_numpy(), rows["value"].to_numpy()
    sigma, prior = float(model.noise_[0]), model.prior
    precision = np.linalg.inv(prior.covariance)

    def negative(w):
        s = expit(np.exp(w[1]) * (level - w[0]))
        each = np.where(value >= 1, -log_ndtr((s - 1) / sigma), np.where(value <= 0, -log_ndtr(-s / sigma), ((value - s) / sigma) ** 2 / 2))
        return each.sum() + (w - prior.mean) @ precision @ (w - prior.mean) / 2

    assert ((value >= 1) | (value <= 0)).any()
    found = minimize(negative, prior.mean, method="Nelder-Mead", options={"xatol": 1e-8, "fatol": 1e-10})
    given = response.Feedback(np.ones((1, 12, 1)), level[None], value[None], np.ones((1, 12)), np.zeros((1, 12), np.int64))
    np.testing.assert_allclose(response.posterior(prior, given).mean[0], found.x, atol=1e-4)


def test_little_feedback_leans_on_the_others(world, model):
    """None is the population; one level says nothing of the slope; more feedback is surer; forgetting all leads back."""
    nobody = model.adapt(Evidence({}, person="new"))
    np.testing.assert_allclose(model.believed([nobody]).mean, model.believed([None]).mean, atol=1e-5)
    ratings = world.ratings(25)
    flat = model.adapt(_own(ratings.with_columns(level=pl.lit(3.0))))
    assert "not identifiable" in flat.notes["slope"]
    spread = [model.believed([model.adapt(_own(ratings.group_by("person", maintain_order=True).head(n)))]).covariance[0, 0, 0] for n in (1, 5, 25)]
    assert spread[0] > spread[1] > spread[2]
    own = model.believed([model.adapt(_own(ratings))])
    back = response.forgotten(model.prior, own, np.zeros(1))
    np.testing.assert_allclose(back.mean[0], model.mean_, atol=1e-9)
    np.testing.assert_allclose(response.forgotten(model.prior, own, np.ones(1)).mean, own.mean, atol=1e-9)


def test_drift_is_followed(world, model):
    """After everybody needs 1 Mbps more, 20 ratings halve the error; and an update counts as evidence together would, nearly."""
    later = Allocation(people=40, seed=7, shift=1.0).ratings(20, after=25)
    states = [model.adapt(_own(world.ratings(25), person)) for person in range(40)]
    fresh = [model.adapt(_own(later, person), states[person]) for person in range(40)]
    assert fresh[0].version == 2
    truth = world.middle + 1
    assert np.abs(model.believed(fresh).mean[:, 0] - truth).mean() < 0.5 * np.abs(model.believed(states).mean[:, 0] - truth).mean()


def test_situations_and_signals():
    """At home people need more; stops go with satisfaction and are learned from, a signal of noise is dropped."""
    rng = np.random.default_rng(3)
    n, each = 60, 30
    who = np.repeat(np.arange(n), each)
    home = rng.random(who.size) < 0.5
    middle = rng.normal(4, 0.8, n)[who] + 1.5 * home
    level = rng.uniform(0.2, 10, who.size)
    satisfied = 1 / (1 + np.exp(-1.2 * (level - middle)))
    kind = rng.choice(["rating", "stop", "noise"], who.size)
    value = np.where(kind == "rating", satisfied, np.where(kind == "stop", 0.9 - 0.7 * satisfied, rng.random(who.size)))
    value = np.clip(value + 0.05 * rng.normal(size=who.size), 0, 1)
    events = pl.DataFrame({"person": who, "item": "video", "level": level, "value": value, "kind": kind, "place": np.where(home, "home", "train")})
    model = ZoneOfTolerance(context=("place",)).fit(Population.from_frames(events=events), progress=False)
    at = {place: model.decide({"ana": None}, requests={"ana": {"place": place}})["ana"].action for place in ("home", "train")}
    assert at["home"] - at["train"] == pytest.approx(1.5, abs=0.5)
    assert np.isinf(model.noise_[model.signals_.index("noise")])
    stop = model.signals_.index("stop")
    assert model.noise_[stop] < 0.3
    assert model.gain_[stop] == pytest.approx(-0.7, abs=0.15)
    quiet = Evidence({"events": events.filter((pl.col("person") == 5) & (pl.col("kind") == "stop"))}, person=5)
    near, far = (abs(model.believed([one]).mean[0, 0] - model.mean_[0]) for one in (None, model.adapt(quiet)))
    assert far > near
    with pytest.raises(UnknownId, match="home, train"):
        model.decide({"ana": None}, requests={"ana": {"place": "moon"}})
    with pytest.raises(ConfigError, match="place, target"):
        model.decide({"ana": None}, requests={"ana": {"plaec": "home"}})


def test_decisions(world, model, tmp_path):
    """The lowest level that reaches the target, with what the population's would have been; the model survives the disk; probes are few and safe."""
    states = model.adapt_all(Population.from_frames(events=world.ratings(25)))
    made = model.decide(states, requests={3: {"target": 0.6}})
    step = model.grid[1]
    for person, decision in made.items():
        expected = model.satisfaction([states[person]], np.array([decision.action - step, decision.action]))[0]
        assert expected[0] < decision.target <= expected[1] or decision.binding == ("highest level",)
        assert decision.interval[0] <= decision.expected <= decision.interval[1]
        assert decision.population.expected == pytest.approx(model.satisfaction([states[person]], np.array([decision.population.action]))[0, 0])
    assert made[3].target == 0.6
    assert len({one.population.action for person, one in made.items() if person != 3}) == 1
    assert made.spent == pytest.approx(sum(one.cost for one in made.values()))
    with pytest.raises(Infeasible, match="share it"):
        model.decide(states, budget=made.spent / 2)
    model.save(tmp_path / "model")
    again = sartor.load(tmp_path / "model")
    assert again.decide(states, requests={3: {"target": 0.6}})[7] == made[7]
    assert "needs about" in again.in_words(states[0])
    probes = model.probes(states, made, share=0.05)
    assert len(probes) <= 2
    assert all(0 <= level < made[person].action for person, level in probes.items())


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"value": 1.4}, BadValue, r"row 3.*value.*1\.4"),
        ({"level": -2.0}, BadValue, r"row 3.*level"),
        ({"value": float("nan")}, BadValue, r"row 3.*value"),
        ({"level": float("inf")}, BadValue, r"row 3.*level"),
    ],
)
def test_feedback_that_cannot_be_meant(world, model, change, error, match):
    (name, value), rows = *change.items(), world.ratings(5).filter(pl.col("person") == 0)
    with pytest.raises(error, match=match):
        model.adapt(Evidence({"events": rows.with_row_index("n").with_columns(
            pl.when(pl.col("n") == 2).then(pl.lit(value)).otherwise(pl.col(name)).alias(name)).drop("n")}, person=0))  # fmt: skip


def test_bad_settings(world, model):
    ratings = world.ratings(5)
    with pytest.raises(MissingColumn, match="level"):
        ZoneOfTolerance().fit(Population.from_frames(events=ratings.drop("level")), progress=False)
    with pytest.raises(MissingColumn, match="weather"):
        ZoneOfTolerance(context=("weather",)).fit(Population.from_frames(events=ratings), progress=False)
    with pytest.raises(ConfigError, match="unreachable"):
        model.decide({"ana": None}, requests={"ana": {"target": 1.0}})
    cold = ratings.with_columns(outside=pl.lit(4.0))
    weather = ZoneOfTolerance(context=("outside",)).fit(Population.from_frames(events=cold), progress=False)
    for outside in (float("nan"), "warm"):
        with pytest.raises(BadValue, match="outside is"):
            weather.adapt(_own(cold.with_columns(outside=pl.lit(outside))))
        with pytest.raises(BadValue, match="outside is"):
            weather.check_event({"level": 3.0, "value": 0.5, "outside": outside})
    weather.check_event({"level": 3.0, "value": 0.5, "outside": None})
    # What would be read as a number is checked as one, and what is so large that its products are none is named.
    for wrong in ({"level": "-1", "value": 0.5}, {"level": 3.0, "value": "7"}, {"level": "nan", "value": 0.5}, {"level": 1e308, "value": 0.5},
                  {"level": 3.0, "value": 0.5, "outside": 1e308}):  # fmt: skip
        with pytest.raises(BadValue):
            weather.check_event(wrong)
        rows = [{"person": "ana", "item": "video", "time": 0, "outside": 0.0} | wrong]
        with pytest.raises(BadValue):
            weather.adapt(Evidence({"events": pl.DataFrame(rows)}))
    weather.check_event({"level": "much", "value": 0.5})
    with pytest.raises(BadValue, match="outside is nan"):
        ZoneOfTolerance(context=("outside",)).fit(Population.from_frames(events=cold.with_columns(outside=pl.lit(float("nan")))), progress=False)
    for states, budget, match in (({}, 1.0, "nobody"), ({"ana": None}, float("nan"), "nan"), ({"ana": None}, -1.0, "-1")):
        with pytest.raises(ConfigError, match=match):
            model.decide(states, budget=budget)
    with pytest.raises(ConfigError, match="no rating"):
        ZoneOfTolerance().fit(Population.from_frames(events=ratings.with_columns(kind=pl.lit("stop"))), progress=False)
    with pytest.raises(ConfigError, match="unit"):
        ZoneOfTolerance(unit="").fit(Population.from_frames(events=ratings), progress=False)
    other = ZoneOfTolerance().fit(Population.from_frames(events=ratings), progress=False)
    with pytest.raises(StateMismatch):
        other.decide({"ana": model.adapt(_own(ratings))})
    thumbs = ratings.with_columns(value=(2 * pl.col("value") - 1).round(0))
    assert ZoneOfTolerance(scale=(-1, 1)).fit(Population.from_frames(events=thumbs), progress=False).noise_[0] > 0
