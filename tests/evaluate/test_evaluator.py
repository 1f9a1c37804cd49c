"""The three scales: chunks change nothing, truth is never leaked, swaps are derangements, special cases are counted."""

import json

import numpy as np
import polars as pl
import pytest

from sartor.data import Population, splits
from sartor.errors import BadValue, ConfigError, EmptyData, NotFitted
from sartor.evaluate import Evaluation, evaluate, report, tuned
from sartor.evaluate.accumulate import Accumulator
from sartor.evaluate.arms import partners
from sartor.evaluate.metrics.ranking import Truth
from sartor.evaluate.plots import draw_gains
from sartor.method import Ranking, Recommender
from sartor.recommend.ease import EASE
from sartor.recommend.popularity import Popularity


def tasteful(people: int = 120, items: int = 60, groups: int = 3, seed: int = 0) -> Population:
    """People who take nearly only items of their own group."""
    rng = np.random.default_rng(seed)
    rows = []
    for person in range(people):
        own = np.flatnonzero(np.arange(items) % groups == person % groups)
        chosen = np.concatenate([rng.permutation(own)[:12], rng.permutation(items)[:3]])
        rows += [(person, int(item), time) for time, item in enumerate(dict.fromkeys(chosen.tolist()))]
    events = pl.DataFrame(rows, schema=["person", "item", "time"], orient="row")
    who = pl.DataFrame({"person": np.arange(people), "club": [f"c{person % groups}" for person in range(people)]})
    return Population.from_frames(events=events, people=who, name="tasteful")


@pytest.fixture(scope="module")
def split() -> splits.Split:
    return splits.make("random", tasteful(), seed=0)


@pytest.fixture(scope="module")
def ease(split: splits.Split) -> EASE:
    return EASE(regularization=5.0).fit(split.train, progress=False)


@pytest.fixture(scope="module")
def found(split: splits.Split, ease: EASE) -> Evaluation:
    return evaluate(ease, split)


def test_personalising_helps_where_tastes_differ(found: Evaluation) -> None:
    assert found.gain_interval[0] > 0.1
    assert found.swap_gap_interval[0] > 0.1
    assert found.value == pytest.approx(found.per_person["ndcg@10"].mean())
    assert found.gain == pytest.approx(found.metrics["ndcg@10"] - found.population_metrics["ndcg@10"])
    assert found.swap_gap == pytest.approx(found.metrics["ndcg@10"] - found.swapped_metrics["ndcg@10"])
    assert found.gain_over_popularity == pytest.approx(found.metrics["ndcg@10"] - found.popularity_metrics["ndcg@10"])
    assert found.gain_over_popularity_interval[0] > 0.1
    assert found.cost["state_bytes"] == 4 * found.per_person["events"].mean()
    assert found.cost["adapt_seconds"] is not None
    assert {"club = c0", "tail items", "head items"} <= set(found.slices)
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["gain"] == found.gain
    assert found.table().filter(pl.col("metric") == "ndcg", pl.col("k") == 10)["low"].item() < found.value


def test_popularity_is_the_same_yardstick_for_every_method(split: splits.Split, found: Evaluation) -> None:
    popular = evaluate(Popularity().fit(split.train, progress=False), split)
    assert (popular.gain_over_popularity, popular.gain_over_popularity_interval) == (0, (0, 0))
    assert dict(popular.popularity_metrics) == dict(found.popularity_metrics)
    assert popular.popularity_metrics["recall@10"] == popular.metrics["recall@10"]
    # The people of a slice are compared with popularity for the same people.
    rows = found.per_person.with_columns(club=pl.col("person") % 3).filter(pl.col("club") == 0)
    assert found.slices["club = c0"]["gain_over_popularity"] == pytest.approx((rows["ndcg@10"] - rows["popularity ndcg@10"]).mean())
    without = evaluate(Popularity().fit(split.train, progress=False), split, population_baseline=False)
    assert np.isnan(without.gain_over_popularity)
    assert without.to_dict()["gain_over_popularity"] is None


def test_a_state_that_only_remembers_has_no_gain_and_its_swap_gap_is_remarked(split: splits.Split, found: Evaluation) -> None:
    class Memory(Popularity):
        def _score(self, states, items):  # type: ignore[no-untyped-def]
            scores = super()._score(states, items).copy()
            for row, state in enumerate(states):
                if state is not None:
                    scores[row, state["items"]] += 1000
            return scores

    remembered = evaluate(Memory().fit(split.train, progress=False), split, swap="most-different")
    assert remembered.gain == remembered.gain_over_popularity == 0
    assert remembered.swap_gap_interval[0] > 0
    assert any("swap gap without a gain" in note for note in remembered.notes)
    assert not any("swap gap without a gain" in note for note in found.notes)


def test_people_for_whom_nothing_changes_are_not_drawn_as_gaining(split: splits.Split) -> None:
    from matplotlib.figure import Figure

    axes = Figure().subplots()
    draw_gains(axes, evaluate(Popularity().fit(split.train, progress=False), split))
    drawn = [bar for bar in axes.patches if bar.get_height() > 0]
    assert [bar.get_height() for bar in drawn] == [120]
    assert drawn[0].get_x() + drawn[0].get_width() / 2 == pytest.approx(0)


def test_swapping_inside_a_club_is_hardly_a_swap(split: splits.Split, ease: EASE) -> None:
    far = evaluate(ease, split, swap="most-different")
    assert far.swap_gap > evaluate(ease, split).swap_gap


def test_chunks_change_no_digit(split: splits.Split, ease: EASE, found: Evaluation) -> None:
    for chunk in (7, 1000):
        other = evaluate(ease, split, chunk=chunk)
        assert dict(other.metrics) == dict(found.metrics)
        assert (other.gain, other.swap_gap, other.swap_gap_interval) == (found.gain, found.swap_gap, found.swap_gap_interval)
        assert other.per_person.equals(found.per_person)


def test_accumulators_merge_in_any_order() -> None:
    rng = np.random.default_rng(0)
    values, shown = rng.random((30, 2)), rng.integers(-1, 9, (30, 4)).astype(np.int32)
    whole = Accumulator((1, 3), 9)
    whole.add(np.arange(30), {"own": {"m": values}}, shown)
    parts = []
    for rows in (np.arange(20, 30), np.arange(0, 5), np.arange(5, 20)):
        parts.append(Accumulator((1, 3), 9))
        parts[-1].add(rows, {"own": {"m": values[rows]}}, shown[rows])
    merged = parts[0].merge(parts[1]).merge(parts[2])
    np.testing.assert_array_equal(merged.values("own")["m"], whole.values("own")["m"])
    np.testing.assert_array_equal(merged.exposure, whole.exposure)
    with pytest.raises(ConfigError, match="measured twice"):
        merged.merge(parts[0]).values("own")
    with pytest.raises(ConfigError, match="different cut-offs"):
        merged.merge(Accumulator((1,), 9))


@pytest.mark.parametrize("how", ["random", "most-different"])
def test_nobody_is_swapped_with_oneself(how: str) -> None:
    rng = np.random.default_rng(0)
    evidence = Truth.from_pairs(np.repeat(np.arange(50), 4), rng.integers(0, 30, 200), 50)
    people = rng.permutation(50)[:41]
    partner = partners(people, evidence, 0, how)
    assert (partner[people] != people).all()
    assert np.isin(partner[people], people).all()
    if how == "random":
        assert np.unique(partner[people]).size == 41
    assert (partner[np.setdiff1d(np.arange(50), people)] == -1).all()
    assert (partners(people[:1], evidence, 0, how) == -1).all()


def test_evidence_is_never_shown_also_under_swap(split: splits.Split, ease: EASE) -> None:
    seen: list[set[int]] = []

    class Spy(EASE):
        def score(self, states, items=None):  # type: ignore[no-untyped-def]
            seen.extend(set(state["items"].tolist()) for state in states if state is not None)
            return super().score(states, items)

    spy = Spy(regularization=5.0).fit(split.train, progress=False)
    evaluate(spy, split)
    held = split.test.interactions(items=spy.items_)
    evidence = split.evidence.interactions(items=spy.items_, people=held.people)
    allowed = [set(evidence.history(row).tolist()) for row in range(len(held.people))]
    assert seen
    assert all(own in allowed for own in seen)


class Fixed(Recommender):
    """Gives everybody the same list, whatever is excluded: for testing what the evaluator notices."""

    answer: list[int]

    def _fit(self, population, run):  # type: ignore[no-untyped-def]
        self.items_ = population.interactions().items

    def adapt(self, evidence, state=None):  # type: ignore[no-untyped-def]
        return self.make_state({"n": np.array([len(evidence.events)])})

    def recommend(self, states, k=10, *, exclude="seen", candidates=None):  # type: ignore[no-untyped-def]
        numbers = np.array([self.items_.numbers(self.answer)[:k]] * len(states), np.int32)
        if exclude is not None:
            for row, own in enumerate(exclude):
                numbers[row] = np.where(np.isin(numbers[row], self.items_.numbers(own)), -1, numbers[row])
        return Ranking(numbers, np.where(numbers >= 0, -np.arange(numbers.shape[1], dtype=np.float32), -np.inf), self.items_)


def test_methods_with_lists_of_their_own(split: splits.Split) -> None:
    method = Fixed().fit(split.train)
    method.answer = list(range(10))
    with pytest.warns(UserWarning, match="fewer than k = 20"):
        result = evaluate(method, split)
    assert result.gain == 0
    assert result.swap_gap == 0
    assert any("lists hold" in note for note in result.notes)
    method.answer = [1, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    with pytest.raises(BadValue, match="repeat an item"):
        evaluate(method, split, ks=(5,))


def test_candidates_are_named_in_the_metric(split: splits.Split, ease: EASE, found: Evaluation) -> None:
    sampled = evaluate(ease, split, candidates=20)
    assert sampled.headline == "ndcg@10 (20 sampled)"
    assert sampled.value > found.value
    among = evaluate(ease, split, candidates=list(range(30)))
    assert "ndcg@10 (among 30 items)" in among.metrics
    with pytest.raises(EmptyData, match="candidate"):
        evaluate(ease, split, candidates="new")


def test_constant_scores_are_reported_as_ties() -> None:
    class Flat(EASE):
        def _score(self, states, items):  # type: ignore[no-untyped-def]
            return np.zeros((len(states), len(self.items_)), np.float32)

    split = splits.make("random", tasteful(people=300), seed=1)
    result = evaluate(Flat().fit(split.train, progress=False), split)
    assert result.tie_share == 1
    assert any("lottery" in note for note in result.notes)
    # A lottery over 60 items, of which some 13 are seen: precision is near the share of relevant items, not that of the first ids.
    assert result.metrics["precision@10"] == pytest.approx(3 / 48, abs=0.03)


def test_cold_people_and_people_without_evidence() -> None:
    split = splits.make("cold-person", tasteful(), seed=0, test=0.3)
    result = evaluate(EASE(regularization=5.0).fit(split.train, progress=False), split)
    assert result.gain_interval[0] > 0
    assert result.slices["new people"]["n"] == result.counts["people"]
    events = tasteful(20).events.collect()
    test = pl.concat([events.filter(pl.col("time") > 9), pl.DataFrame({"person": [999], "item": [1], "time": [99]})])
    bare = splits.Split("bare", *(Population.from_frames(events=frame) for frame in (*[events.filter(pl.col("time") <= 9)] * 2, test)),
                        *[Population.from_frames(events=events.filter(pl.col("time") <= 9))] * 2)  # fmt: skip
    result = evaluate(EASE(regularization=5.0).fit(bare.train, progress=False), bare)
    assert result.counts["people_without_evidence"] == 1
    stranger = result.per_person.filter(pl.col("person") == 999).row(0, named=True)
    assert stranger["ndcg@10"] == stranger["population ndcg@10"]
    assert np.isnan(stranger["swapped ndcg@10"])


def test_repeats_and_unknown_items_are_counted() -> None:
    events = tasteful(20).events.collect()
    old = events.filter(pl.col("time") <= 9)
    test = pl.concat(
        [old.filter(pl.col("time") == 0), events.filter(pl.col("time") > 10), pl.DataFrame({"person": [0], "item": [7777], "time": [99]})]
    )
    parts = [Population.from_frames(events=frame) for frame in (old, old, test, old, old)]
    split = splits.Split("odd", *parts)
    method = EASE(regularization=5.0).fit(split.train, progress=False)
    result = evaluate(method, split)
    assert result.counts["relevant_repeated"] == 20
    assert result.counts["relevant_unknown_to_method"] == 1
    assert evaluate(method, split, exclude=None).counts["relevant_repeated"] == 0


def test_mistakes_are_named(split: splits.Split, ease: EASE) -> None:
    with pytest.raises(NotFitted):
        evaluate(EASE(), split)
    with pytest.raises(ConfigError, match="headline"):
        evaluate(ease, split, headline="beauty@10")
    with pytest.raises(ConfigError, match="swap"):
        evaluate(ease, split, swap="twin")  # type: ignore[arg-type]
    with pytest.raises(EmptyData, match="nobody"):
        evaluate(ease, split, people=[-5])


def test_tuning_chooses_by_validation_and_remembers(split: splits.Split, tmp_path) -> None:  # type: ignore[no-untyped-def]
    grid = {"regularization": [0.001, 1e6, 5.0]}
    method, settings, table = tuned("ease", split, grid, cache=tmp_path)
    by_hand = [
        evaluate(EASE(regularization=value).fit(split.train, progress=False), split, on="validation").value for value in grid["regularization"]
    ]
    assert table["ndcg@10"].to_list() == by_hand
    assert settings == {"regularization": grid["regularization"][int(np.argmax(by_hand))]}
    again, same, _ = tuned("ease", split, grid, cache=tmp_path)
    assert same == settings
    assert again.fingerprint_ == method.fingerprint_
    assert len(list(tmp_path.rglob("*.json"))) == 1
    next(tmp_path.rglob("*.json")).write_text("{}")
    assert tuned("ease", split, grid, cache=tmp_path)[1] == settings


def test_report_has_all_families_and_finds_disagreement(split: splits.Split, tmp_path) -> None:  # type: ignore[no-untyped-def]
    result = report({"good": EASE(regularization=5.0), "flat": EASE(regularization=1e6), "odd": EASE(regularization=0.01)}, split)
    assert {"ranking", "candidate generation", "predictive", "business", "fairness", "scales"} <= set(result.table["family"])
    assert result.table.to_arrow().num_rows == result.table.height
    assert result.over == "models"
    comparison = result.comparisons().filter(pl.col("a") == "good", pl.col("b") == "flat").row(0, named=True)
    assert comparison["low"] <= comparison["difference"] <= comparison["high"]
    advice = result.advice("discovery")
    assert advice["values"]["novelty"].keys() == {"good", "flat", "odd"}
    assert "demographic_gap" in result.advice("fairness")["values"]
    json.dumps(result.to_dict(), allow_nan=False)
    for plot in (result.evaluations["good"].plot(tmp_path / "e.svg"), result.plot(tmp_path / "r.png")):
        assert plot.stat().st_size > 1000
