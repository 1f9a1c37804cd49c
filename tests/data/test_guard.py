"""A method that peeks at held-out rows is caught, however it gets them; an honest one is not."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sartor.data import Population, Split, splits
from sartor.data.digest import Digest
from sartor.data.interactions import Interactions
from sartor.errors import LeakError
from sartor.evaluate import evaluate
from sartor.method import Run, learned
from sartor.recommend.ease import EASE


def population(*, timed: bool = True, seed: int = 0) -> Population:
    """People who do the same thing again now and then."""
    rng = np.random.default_rng(seed)
    events = {"person": rng.integers(0, 40, 800), "item": rng.integers(0, 25, 800)}
    if timed:
        events["time"] = rng.integers(0, 10_000, 800)
    return Population.from_frames(events=events)


@dataclass(kw_only=True, eq=False)
class Peeking(EASE):
    """Learns from a population it should not see."""

    secret_: Population | None = learned(None)

    def _learn(self, data: Interactions, population: Population, run: Run) -> None:
        assert self.secret_ is not None
        super()._learn(self.secret_.interactions(items=self.items_), population, run)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=30), st.data())
def test_a_digest_is_of_the_multiset_of_events_and_adds_up(rows: list[tuple[int, int]], data: st.DataObject) -> None:
    def digest(some: list[tuple[int, int]], kind: type = int) -> Digest:
        return Population.from_frames(events={"person": [kind(a) for a, _ in some], "item": [kind(b) for _, b in some]}).digest()

    whole, at = digest(rows), data.draw(st.integers(1, len(rows)))
    assert digest(data.draw(st.permutations(rows)), str) == whole
    assert digest(rows[:at]) + (digest(rows[at:]) if at < len(rows) else Digest()) == whole
    other = data.draw(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=30))
    assert (digest(other) == whole) == (sorted(other) == sorted(rows))


@pytest.mark.filterwarnings("ignore:lists of")
@pytest.mark.parametrize("kind", ["leave-last", "cold-person"])
def test_a_model_fitted_on_what_it_is_judged_by_is_found_out(kind: str, tmp_path: Path) -> None:
    whole = population()
    split = splits.make(kind, whole)
    honest = EASE().fit(split.train, validation=split.validation, progress=False)
    tuned = EASE().fit(joined(split.train, split.validation), progress=False)
    peeked = [EASE().fit(one, progress=False) for one in (whole, joined(split.train, split.test), split.test)]
    for model in (honest, tuned):
        assert not any("nobody can tell" in note for note in evaluate(model, split).notes)
    # A copy in another order, saved and loaded, as in another process.
    shuffled = EASE().fit(whole.replace(events=whole.events.collect().sample(fraction=1, shuffle=True, seed=3)), progress=False)
    for model in (*peeked, EASE.load(shuffled.save(tmp_path / "model"))):
        with pytest.raises(LeakError, match="fitted on the test events"):
            evaluate(model, split)
    evaluate(tuned, split)
    with pytest.raises(LeakError, match="validation events"):
        evaluate(tuned, split, on="validation")
    # Hidden inside another method.
    outer = EASE().fit(split.train, progress=False)
    outer.inner_ = peeked[0]  # type: ignore[attr-defined]
    with pytest.raises(LeakError):
        evaluate(outer, split)
    elsewhere = EASE().fit(population(seed=1), progress=False)
    assert any("nobody can tell" in note for note in evaluate(elsewhere, split).notes)


def test_parts_without_events_are_no_hindrance() -> None:
    split = next(splits.k_fold(population(), folds=4))
    assert split.validation.digest() == Digest()
    with pytest.raises(LeakError, match="fitted on the test events"):
        evaluate(EASE().fit(population(), progress=False), split, ks=(5,))


def joined(*parts: Population) -> Population:
    return parts[0].replace(events=pl.concat([part.events for part in parts]))


def peek(split: Split, secret: Population) -> None:
    method = Peeking()
    method.secret_ = secret
    with split.guard():
        method.fit(split.train)


@pytest.mark.parametrize("kind", [kind for kind in splits.KINDS if kind != "published"])
@pytest.mark.parametrize("timed", [True, False])
def test_a_peeking_fit_is_caught_and_an_honest_one_is_not(kind: str, timed: bool) -> None:
    whole = population(timed=timed)
    if kind == "global-time" and not timed:
        pytest.skip("needs times")
    split = splits.make(kind, whole)
    with split.guard():
        model = EASE().fit(split.train, validation=split.validation)
        model.adapt_all(split.evidence)
        model.adapt_all(split.validation_evidence)
    with pytest.raises(LeakError, match="held-out test rows"):
        peek(split, whole)
    with pytest.raises(LeakError):
        peek(split, split.test)
    # Outside the guard anybody may look.
    assert len(split.test.interactions()) > 0


def test_copies_and_other_forms_of_the_held_out_rows_are_caught() -> None:
    split = splits.make("random", population())
    test = split.test.events.collect()
    forms = {
        "one row among honest ones": pl.concat([split.train.events.collect(), test.head(1)]),
        "without times": pl.concat([split.train.events.collect(), test]).drop("time"),
        "ids as texts": pl.concat([split.train.events.collect(), test]).with_columns(pl.col("person", "item").cast(pl.String)),
        "in another order": pl.concat([test, split.train.events.collect()]).sample(fraction=1, shuffle=True, seed=1),
    }
    for form, frame in forms.items():
        leaking = Population.from_frames(events=frame, name=form)
        with split.guard(), pytest.raises(LeakError, match=form):
            leaking.interactions()
    honest = {
        "half of train": split.train.events.collect().sample(fraction=0.5, seed=1),
        "train and validation": pl.concat([split.train.events.collect(), split.validation.events.collect()]),
        "other people": test.with_columns(pl.col("person") + 1_000),
    }
    for frame in honest.values():
        with split.guard():
            assert len(Population.from_frames(events=frame).interactions())


def test_doing_the_same_again_is_no_leak() -> None:
    again = Population.from_frames(events={"person": [1, 1, 1, 2, 2, 2], "item": [5, 5, 5, 6, 7, 7]})
    split = splits.make("leave-last", again)
    with split.guard():
        assert len(split.train.interactions()) == 2
        assert len(split.evidence.interactions()) == 4
        with pytest.raises(LeakError):
            again.interactions()


def test_reviews_of_held_out_events_are_looked_at() -> None:
    events = pl.DataFrame({"person": [1, 1, 1, 2, 2, 2], "item": [1, 2, 3, 1, 2, 3], "time": range(6)})
    whole = Population.from_frames(events=events, texts=events.with_columns(text=pl.lit("fine"), time=pl.col("time") + 100))
    split = splits.make("leave-last", whole)
    with split.guard():
        assert split.train.texts.collect().height == 2
        with pytest.raises(LeakError, match="texts"):
            _ = split.train.replace(texts=whole.unguarded["texts"]).texts


def test_a_population_is_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from sartor.data.guard import LeakGuard

    looks: list[str] = []
    inspect = LeakGuard._inspect
    monkeypatch.setattr(LeakGuard, "_inspect", lambda self, population, name: (looks.append(name), inspect(self, population, name))[1])
    split = splits.make("leave-last", population())
    with split.guard():
        for _ in range(5):
            split.train.interactions()
            _ = split.train.items
    assert looks == ["events"]
