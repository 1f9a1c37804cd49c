"""What the demo does, without any display: split, keep people out, fit, adapt, measure, and three people's lists with reasons."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from sartor.cli.demo.people import Person, introduce, unlike
from sartor.errors import EmptyData, SartorError

if TYPE_CHECKING:
    from sartor.cli.demo.generated import Generated
    from sartor.data.population import Population
    from sartor.data.splits import Split
    from sartor.evaluate import Evaluation

UNSEEN_SHARE = 0.25
"""Of the people; they are kept out of fitting altogether."""

MOST_JUDGED = 20_000
"""People that are measured, drawn at random where there are more."""

Say = Callable[[str], None]
Interval = tuple[float, float]


@dataclass(frozen=True, eq=False)
class Judged:
    """One method, fitted and measured."""

    slug: str
    title: str
    model: Any
    fit_seconds: float
    evaluation: Evaluation
    seen: float
    """Headline metric of people the model was fitted on."""
    unseen: float
    """The same of people kept out of fitting."""
    ratio: float
    ratio_interval: Interval

    @property
    def gains(self) -> np.ndarray:
        """float64 [people]: each person's own gain in the headline metric."""
        frame, name = self.evaluation.per_person, self.evaluation.headline
        return (frame[name] - frame[f"population {name}"]).to_numpy()

    @property
    def settings(self) -> dict[str, Any]:
        """Hyperparameters by name."""
        return {f.name: value for f in dataclasses.fields(self.model) if f.init and _simple(value := getattr(self.model, f.name))}

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        new = {"seen": self.seen, "unseen": self.unseen, "ratio": self.ratio, "ratio_interval": self.ratio_interval}
        return {**self.evaluation.to_dict(), "method": self.slug, "settings": self.settings, "fit_seconds": self.fit_seconds, "new_people": new}


@dataclass(eq=False)
class Story:
    """All that is shown."""

    population: Population
    facts: dict[str, Any]
    split: Split
    seed: int
    unseen_people: int
    judged: list[Judged]
    people: list[Person]
    skipped: dict[str, str] = field(default_factory=dict)
    ceiling: float | None = None
    """What perfect knowledge of everybody's taste would reach; only a generated population can tell."""
    seconds: float = 0.0

    @property
    def chosen(self) -> Judged:
        """The method that serves the three people: the first that was asked for."""
        return self.judged[0]

    def to_dict(self) -> dict[str, Any]:
        """One object; the chosen method's metrics, gain, swap gap and cost stand at the top."""
        top = self.chosen.to_dict()
        people = [dataclasses.asdict(person) for person in self.people]
        methods = {one.slug: one.to_dict() for one in self.judged}
        return {
            "data": self.facts,
            "unseen_people": self.unseen_people,
            **top,
            "people": people,
            "methods": methods,
            "skipped": self.skipped,
            "ceiling": self.ceiling,
            "seconds": self.seconds,
        }


def tell(
    population: Population,
    models: dict[str, Any],
    *,
    seed: int = 0,
    say: Say = lambda _: None,
    progress: bool = True,
    truth: Generated | None = None,
) -> Story:
    """Do all of it.

    Parameters
    ----------
    population: who did what.
    models: unfitted methods by slug; the first serves the three people.
    say: called with one line per step.
    truth: of a generated population; shown beside what methods found, never seen by them.
    """
    started = time.perf_counter()
    facts = describe(population)
    say(f"{facts['name']}: {facts['people']:,} people, {facts['items']:,} items, {facts['events']:,} events")
    split = protocol(population, seed)
    split, unseen = keep_out(split, seed)
    say(f"split '{split.name}'; {unseen.len():,} people are kept out of fitting altogether")
    judged, skipped = [], {}
    for slug, model in models.items():
        try:
            judged.append(judge(slug, model, split, unseen, seed, progress))
        except (SartorError, MemoryError) as problem:
            # What does not fit this data (no ratings, no attributes, no memory) must not keep the others from being shown.
            if len(models) == 1:
                raise
            skipped[slug] = str(problem) or "not enough memory"
            say(f"{slug} is left out: {skipped[slug]}")
            continue
        say(_line(judged[-1]))
    if not judged:
        raise EmptyData("no method could be fitted", fix="; ".join(f"{slug}: {why}" for slug, why in skipped.items()))
    chosen = judged[0]
    ceiling = truth.ceiling(split, chosen.evaluation.headline) if truth is not None else None
    people = [introduce(chosen.model, split, population, person, truth) for person in unlike(chosen.model, split, unseen, seed)]
    return Story(population, facts, split, seed, unseen.len(), judged, people, skipped, ceiling, time.perf_counter() - started)


def describe(population: Population) -> dict[str, Any]:
    """How much data there is."""
    counts = population.events.group_by("person").len().collect()["len"]
    items = population.events.select(pl.col("item").n_unique()).collect().item()
    events = int(counts.sum())
    median = float(counts.median() or 0)
    timed = "time" in population.events.collect_schema()
    return {"name": population.name, "timed": timed, "people": counts.len(), "items": int(items), "events": events, "median_events": median}


def protocol(population: Population, seed: int) -> Split:
    """The published split where the data has one; else the last part of each person's events (of its rows, where there are no times)."""
    from sartor.data import splits

    published = "split" in population.events.collect_schema()
    return splits.make("published" if published else "user-time", population, seed=seed)


def keep_out(split: Split, seed: int) -> tuple[Split, pl.Series]:
    """The same split with some people's training events taken out of what `fit` may see; and who they are."""
    everyone = split.test.events.select("person").unique().collect()["person"].sort()
    drawn = np.random.default_rng([seed, 2]).permutation(everyone.len())[: max(3, round(everyone.len() * UNSEEN_SHARE))]
    unseen = everyone.gather(np.sort(drawn))
    fitted = split.train.events.select("person").unique().collect()["person"]
    rest = fitted.filter(~fitted.is_in(unseen.implode()))
    if not rest.len():
        raise EmptyData("there are too few people to keep some out of fitting", fix="give data of at least 10 people", split=split.name)
    validation = split.validation
    return dataclasses.replace(split, train=split.train.only(rest), validation=validation.only(rest)), unseen


def judge(slug: str, model: Any, split: Split, unseen: pl.Series, seed: int, progress: bool) -> Judged:
    """Fit without the kept-out people, and measure on everybody."""
    from sartor.evaluate import evaluate
    from sartor.systems import find

    start = time.perf_counter()
    with split.guard():
        validation = split.validation if split.validation.events.head(1).collect().height else None
        model.fit(split.train, validation=validation, progress=progress)
    seconds = time.perf_counter() - start
    evaluation = evaluate(model, split, seed=seed, people=MOST_JUDGED, progress=progress)
    frame = evaluation.per_person
    new = frame["person"].is_in(unseen.implode())
    value = frame[evaluation.headline]
    seen, not_seen = value.filter(~new).to_numpy(), value.filter(new).to_numpy()
    ratio, interval = ratio_of_means(not_seen, seen, seed)
    title = type(model).__name__ if slug not in ("popularity",) else find(slug).title
    return Judged(slug, title, model, seconds, evaluation, _mean(seen), _mean(not_seen), ratio, interval)


def ratio_of_means(above: np.ndarray, below: np.ndarray, seed: int, resamples: int = 2000) -> tuple[float, Interval]:
    """mean(above) / mean(below) of two groups of people, with a 95% bootstrap interval that resamples both."""
    if not above.size or not below.size or not below.mean():
        return float("nan"), (float("nan"), float("nan"))
    rng = np.random.default_rng([seed, 3])

    def means(values: np.ndarray) -> np.ndarray:
        return np.array([values[rng.integers(0, values.size, values.size)].mean() for _ in range(resamples)])

    ratios = means(above) / np.maximum(means(below), 1e-12)
    low, high = np.quantile(ratios, [0.025, 0.975])
    return float(above.mean() / below.mean()), (float(low), float(high))


def _line(one: Judged) -> str:
    from sartor.cli._face import duration, interval

    found = one.evaluation
    gain, swap = interval(found.gain, found.gain_interval, sign=True), interval(found.swap_gap, found.swap_gap_interval, sign=True)
    fitted = f"fitted in {duration(one.fit_seconds)}"
    return f"{one.slug}: {found.headline} {found.value:.3f}, gain {gain}, swap gap {swap}, new people {one.ratio:.2f}; {fitted}"


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if values.size else float("nan")


def _simple(value: Any) -> bool:
    return value is None or isinstance(value, (str, int, float, bool, tuple, list))
