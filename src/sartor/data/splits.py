"""Splits of a population into what may be learned from and what is held out to judge by.

Every split keeps the catalogue: all items of the population have numbers in every part, also those without an event in `train`. Texts about a
held-out event (its review) are held out with it. The same seed and the same data give the same split.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from sartor.data._split_rules import EVIDENCE, RULES, TEST, TRAIN, VALIDATION, VALIDATION_EVIDENCE, fold_parts
from sartor.data.population import Population
from sartor.errors import ConfigError, EmptyData

IN_MEMORY_ROWS = 20_000_000
"""Splits that are a rule about one row stay lazy above this many events; the others hold all events in memory."""


@dataclass(frozen=True, eq=False)
class Split:
    """Five populations with the same items and people and different events."""

    name: str
    train: Population
    """What `fit` may see."""
    validation: Population
    """Held-out events for tuning; may be empty of events."""
    test: Population
    """Held-out events to judge by."""
    evidence: Population
    """What `adapt` may see of the people in `test`: their train and validation events; for cold people the first part of their own history."""
    validation_evidence: Population
    """The same for `validation`."""

    def __repr__(self) -> str:
        return f"Split({self.name} of {self.train.name})"

    @property
    def parts(self) -> dict[str, Population]:
        """The five populations by name."""
        return {name: getattr(self, name) for name in ("train", "validation", "test", "evidence", "validation_evidence")}

    def counts(self) -> dict[str, int]:
        """Events in each part."""
        return {name: int(part.frames["events"].select(pl.len()).collect(engine="streaming").item()) for name, part in self.parts.items()}

    def guard(self) -> AbstractContextManager[None]:
        """Inside `with split.guard():` reading any population that holds test rows raises `LeakError`."""
        from sartor.data.guard import LeakGuard
        from sartor.data.population import guarded

        return guarded(LeakGuard.of(self))


KINDS = tuple(RULES)


def make(name: str, population: Population, *, seed: int = 0, **options: Any) -> Split:
    """Split a population by a named rule. Shares are of events (or people, or items) between 0 and 1.

    - `leave-last` (test=1, validation=1): the last events of each person are held out, those before them for validation.
    - `random` (test=0.2, validation=0.1): a random share of each person's events.
    - `user-time` (test=0.2, validation=0.1): the last share of each person's events.
    - `global-time` (test=0.1, validation=0.1, or test_from, validation_from in seconds or as "2018-03-01"): everything from one moment on.
      People who come only after it have no evidence.
    - `cold-item` (test=0.1, validation=0.1): all events of a random share of items.
    - `cold-person` (test=0.1, validation=0.1, evidence=0.5): a random share of people is held out entirely; the first part of the history of each is
      their evidence, the rest is to be foretold.
    - `published` (validation=0.1, evidence=0.5): by the events' column `split` (train, valid, test); where it has no validation part, a random
      share of each person's train events becomes one. Where nobody in the test part occurs in train (sessions), the first part of
      each one's events is evidence, as for cold people.

    People with few events: in `leave-last`, `random` and `user-time` one event of each person stays in train; a person with one event has
    no test event, a person with two has no validation event; a share above 0 of two or more events is at least one event. People with one
    event are never chosen as cold people. Without times, the order of the rows is the order in time.

    Raises `ConfigError` on an unknown rule or option, `MissingColumn` when the rule needs a column, `EmptyData` when nothing is left to
    learn from or to test on.
    """
    if name not in RULES:
        raise ConfigError(f"there is no split '{name}'", fix=f"there are {', '.join(RULES)}")
    rule = RULES[name]
    if unknown := sorted(set(options) - set(rule.options)):
        raise ConfigError(f"the split '{name}' has no option {unknown}", fix=f"it has {', '.join(rule.options)}")
    settings = {**rule.options, **options}
    for key, value in settings.items():
        if key in ("test", "validation", "evidence"):
            _check_size(key, value, whole=name == "leave-last")
    _check_seed(seed)
    return _split(name, population, rule.part(population, np.random.default_rng(seed), settings))


def k_fold(population: Population, folds: int = 5, seed: int = 0) -> Iterator[Split]:
    """Each person's events dealt at random to `folds` folds of equal size; every fold is the test part once. There is no validation part.

    People with one event stay in train in every fold.
    """
    if folds < 2:
        raise ConfigError(f"folds is {folds}", fix="use at least 2")
    _check_seed(seed)
    dealt = fold_parts(population, folds, np.random.default_rng(seed))
    for fold in range(folds):
        yield _split(f"fold-{fold + 1}-of-{folds}", population, np.where(dealt == fold, TEST, TRAIN).astype(np.uint8))


def _check_seed(seed: int) -> None:
    if not isinstance(seed, int | np.integer) or seed < 0:
        raise ConfigError(f"seed is {seed!r}", fix="use a whole number of at least 0")


def _check_size(name: str, value: Any, *, whole: bool) -> None:
    if whole:
        if not isinstance(value, int) or value < (1 if name == "test" else 0):
            raise ConfigError(f"{name} is {value!r}", fix="in leave-last it is a number of events per person, such as 1")
    elif not isinstance(value, int | float) or not 0 <= value < 1 or (value == 0 and name != "validation"):
        raise ConfigError(f"{name} is {value!r}", fix="it is a share between 0 and 1, such as 0.2")


def _split(name: str, population: Population, part: np.ndarray | pl.Expr) -> Split:
    whole = with_catalogue(population)
    events = whole.frames["events"]
    if isinstance(part, np.ndarray):
        events = events.collect().with_columns(pl.Series("_part", part)).lazy()
    else:
        events = events.with_columns(part.cast(pl.UInt8).alias("_part"))
        if int(events.select(pl.len()).collect(engine="streaming").item()) <= IN_MEMORY_ROWS:
            events = events.collect().lazy()
    sizes = dict(events.group_by("_part").agg(pl.len()).collect(engine="streaming").iter_rows())
    for code, word in ((TRAIN, "learn from"), (TEST, "test on")):
        if not sizes.get(code):
            raise EmptyData(f"the split '{name}' of '{population.name}' leaves nothing to {word}", fix="use another split or other shares")

    def rows(*codes: int) -> pl.LazyFrame:
        return events.filter(pl.col("_part").is_in(codes)).drop("_part", *(["split"] if name == "published" else []))

    def of_people_in(frame: pl.LazyFrame, held_out: pl.LazyFrame) -> pl.LazyFrame:
        # A set of ids and a filter stream in bounded memory, which a join does not.
        wanted = held_out.select(pl.col("person").unique()).collect(engine="streaming")["person"]
        return frame.filter(pl.col("person").is_in(wanted.implode()))

    parts = {"train": rows(TRAIN), "validation": rows(VALIDATION), "test": rows(TEST)}
    # Cold people have evidence of their own; for the others it is what they did in the other parts.
    parts["evidence"] = rows(EVIDENCE) if sizes.get(EVIDENCE) else of_people_in(rows(TRAIN, VALIDATION), parts["test"])
    parts["validation_evidence"] = rows(VALIDATION_EVIDENCE) if sizes.get(VALIDATION_EVIDENCE) else of_people_in(parts["train"], parts["validation"])
    if sum(sizes.values()) <= IN_MEMORY_ROWS:
        parts = {key: frame.collect().lazy() for key, frame in parts.items()}
    return of_parts(name, whole, parts)


def of_parts(name: str, whole: Population, parts: dict[str, pl.LazyFrame]) -> Split:
    """A split from the events of its five parts; `whole` has a row for every item (`with_catalogue`)."""
    made = {key: whole.replace(name=f"{whole.name} [{key}]", events=frame, **_texts(whole, parts, key)) for key, frame in parts.items()}
    return Split(name, **made)


def with_catalogue(population: Population) -> Population:
    """With an `items` frame that has a row for every item with events."""
    seen = population.events.select(pl.col("item").unique()).collect(engine="streaming").sort("item")
    if "items" not in population:
        return population.replace(items=seen)
    items = population.items
    missing = seen.join(items.select(pl.col("item").cast(seen.schema["item"])).collect(), on="item", how="anti", maintain_order="left")
    return population.replace(items=pl.concat([items, missing.lazy()], how="diagonal")) if len(missing) else population


def _texts(whole: Population, parts: dict[str, pl.LazyFrame], key: str) -> dict[str, pl.LazyFrame]:
    """Texts that a part may hold: those about its own events, and those about no held-out event of anybody.

    Validation and test keep the texts of their own events only.
    """
    texts = whole.frames.get("texts")
    if texts is None:
        return {}
    columns = set(texts.collect_schema())
    if not {"person", "item"} <= columns:
        return {}

    def pairs(*names: str) -> pl.LazyFrame:
        return pl.concat([parts[name].select("person", "item") for name in names]).unique()

    if key in ("validation", "test"):
        return {"texts": texts.join(pairs(key), on=["person", "item"], how="semi", maintain_order="left")}
    hidden = {
        "train": ("validation", "test", "evidence", "validation_evidence"),
        "evidence": ("test",),
        "validation_evidence": ("validation", "test"),
    }[key]
    about = texts.join(
        pairs(*hidden).join(pairs(key), on=["person", "item"], how="anti"),
        on=["person", "item"],
        how="anti",
        nulls_equal=False,
        maintain_order="left",
    )
    return {"texts": about}
