"""What every split promises, on any small population: nothing lost, nothing twice, no future in train, everybody keeps something."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sartor.data import Population, Split, splits
from sartor.errors import BadValue, ConfigError, EmptyData, MissingColumn

PARTS = ("train", "validation", "test")


@st.composite
def populations(draw: st.DrawFn, timed: bool | None = None) -> Population:
    """Up to 8 people, some with one event, some repeating themselves, with or without times, in any order of rows."""
    lengths = draw(st.lists(st.integers(1, 9), min_size=3, max_size=8))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    people = rng.permutation(np.repeat(np.arange(len(lengths)), lengths))
    items = rng.integers(0, 6, people.size)
    columns: dict[str, Any] = {"person": [f"p{n}" for n in people], "item": items, "row": np.arange(people.size)}
    if draw(st.booleans()) if timed is None else timed:
        columns["time"] = rng.integers(0, 30, people.size)
    return Population.from_frames(events=columns)


def ids(split: Split, *parts: str) -> list[int]:
    return [row for part in parts for row in getattr(split, part).events.collect()["row"].to_list()]


def made(kind: str, population: Population, seed: int = 0) -> Split | None:
    """The split, or None where the population is too small for it: that must be said, not done badly."""
    try:
        return splits.make(kind, population, seed=seed)
    except EmptyData:
        return None


KINDS = [kind for kind in splits.KINDS if kind not in ("published", "global-time")]


@pytest.mark.parametrize("kind", [*KINDS, "global-time"])
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_parts_are_disjoint_and_complete(kind: str, data: st.DataObject) -> None:
    population = data.draw(populations(timed=True if kind == "global-time" else None))
    split = made(kind, population)
    if split is None:
        return
    own = ids(split, *PARTS, *(("evidence", "validation_evidence") if kind == "cold-person" else ()))
    assert sorted(own) == population.events.collect()["row"].to_list()
    # Evidence never holds what it is judged by, and the people of test are the only ones in it.
    assert not set(ids(split, "evidence")) & set(ids(split, "test"))
    assert not set(ids(split, "validation_evidence")) & set(ids(split, "validation", "test"))
    people = {part: set(frame.events.collect()["person"].to_list()) for part, frame in split.parts.items()}
    assert people["evidence"] <= people["test"]
    assert people["validation_evidence"] <= people["validation"]
    # The order of the rows is the order in time where there are no times: it must survive.
    for part in split.parts:
        assert ids(split, part) == sorted(ids(split, part))


@pytest.mark.parametrize("kind", [*KINDS, "global-time"])
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_the_same_seed_gives_the_same_split(kind: str, data: st.DataObject) -> None:
    population = data.draw(populations(timed=True))
    first, second = made(kind, population, seed=3), made(kind, population, seed=3)
    assert (first is None) == (second is None)
    if first is not None and second is not None:
        assert all(ids(first, part) == ids(second, part) for part in first.parts)


@pytest.mark.parametrize("kind", ["leave-last", "random", "user-time"])
@settings(max_examples=40, deadline=None)
@given(population=populations())
def test_everybody_keeps_an_event_in_train(kind: str, population: Population) -> None:
    split = made(kind, population)
    if split is None:
        return
    lengths = dict(population.events.group_by("person").agg(pl.len()).collect().iter_rows())
    counts = {part: dict(getattr(split, part).events.group_by("person").agg(pl.len()).collect().iter_rows()) for part in PARTS}
    for person, length in lengths.items():
        assert counts["train"][person] >= 1
        assert counts["test"].get(person, 0) >= (1 if length > 1 else 0)
        assert counts["validation"].get(person, 0) >= (1 if length > 2 else 0)
        if length == 1:
            assert person not in counts["test"]
        if length == 2:
            assert person not in counts["validation"]
        if kind == "leave-last":
            assert counts["test"].get(person, 0) == (1 if length > 1 else 0)


@pytest.mark.parametrize("kind", ["leave-last", "user-time", "cold-person"])
@settings(max_examples=40, deadline=None)
@given(population=populations())
def test_no_future_of_a_person_before_its_past(kind: str, population: Population) -> None:
    split = made(kind, population)
    if split is None:
        return
    when = pl.col("time") if "time" in population.events.collect_schema() else pl.col("row")
    earlier = (
        pl.concat([split.evidence.events, *([split.train.events] if kind != "cold-person" else [])]).group_by("person").agg(when.max().alias("last"))
    )
    later = split.test.events.group_by("person").agg(when.min().alias("first"))
    joined = earlier.join(later, on="person").collect()
    assert (joined["last"] <= joined["first"]).all()


@settings(max_examples=40, deadline=None)
@given(population=populations(timed=True))
def test_global_time_cuts_at_two_moments(population: Population) -> None:
    split = made("global-time", population)
    if split is None:
        return
    latest = [getattr(split, part).events.select(pl.col("time").max()).collect().item() for part in ("train", "validation")]
    earliest = [getattr(split, part).events.select(pl.col("time").min()).collect().item() for part in ("validation", "test")]
    assert latest[0] < earliest[1]
    for before, after in zip(latest, earliest, strict=True):
        assert before is None or after is None or before < after


def test_global_time_from_a_date() -> None:
    days = 86_400 * np.arange(10) + 1_519_862_400
    population = Population.from_frames(events={"person": [1] * 10, "item": range(10), "time": days, "row": range(10)})
    split = splits.make("global-time", population, validation_from="2018-03-04", test_from="2018-03-08")
    assert (ids(split, "train"), ids(split, "validation"), ids(split, "test")) == ([0, 1, 2], [3, 4, 5, 6], [7, 8, 9])
    same = splits.make("global-time", population, validation_from=int(days[3]), test_from=int(days[7]))
    assert ids(same, "test") == ids(split, "test")


@settings(max_examples=40, deadline=None)
@given(population=populations())
def test_cold_items_and_cold_people_are_really_cold(population: Population) -> None:
    for kind, column in (("cold-item", "item"), ("cold-person", "person")):
        split = made(kind, population)
        if split is None:
            continue
        seen = {part: set(getattr(split, part).events.collect()[column].to_list()) for part in PARTS}
        assert not seen["train"] & seen["test"]
        assert not seen["train"] & seen["validation"]
        assert not seen["validation"] & seen["test"]
        # Cold items keep their number.
        assert len(split.train.interactions().items) == population.events.select(pl.col("item").n_unique()).collect().item()


@settings(max_examples=40, deadline=None)
@given(population=populations(), folds=st.integers(2, 5))
def test_k_fold_tests_every_event_once(population: Population, folds: int) -> None:
    lengths = dict(population.events.group_by("person").agg(pl.len()).collect().iter_rows())
    try:
        made = list(splits.k_fold(population, folds=folds, seed=1))
    except EmptyData:
        return
    tested = [row for split in made for row in ids(split, "test")]
    events = population.events.collect()
    expected = [row for row, person in zip(events["row"], events["person"], strict=True) if lengths[person] > 1]
    assert sorted(tested) == expected
    for split in made:
        assert sorted(ids(split, "train", "test")) == events["row"].to_list()
        assert ids(split, "validation") == []


def test_published_split_and_its_missing_validation_part() -> None:
    rng = np.random.default_rng(0)
    events = {"person": np.repeat(np.arange(20), 10), "item": rng.integers(0, 30, 200), "row": np.arange(200), "split": ["train"] * 8 + ["test"] * 2}
    events["split"] = events["split"] * 20
    split = splits.make("published", Population.from_frames(events=events))
    assert split.counts() == {"train": 140, "validation": 20, "test": 40, "evidence": 160, "validation_evidence": 140}
    assert "split" not in split.train.events.collect_schema()
    assert ids(split, "test") == [row for row in range(200) if row % 10 > 7]
    events["split"] = ["Train", "train", "val", "dev", "validation", "valid", "test", "TEST", "train", "train"] * 20
    assert splits.make("published", Population.from_frames(events=events)).counts()["validation"] == 80
    events["split"] = ["train", "maybe"] * 100
    with pytest.raises(BadValue, match="maybe"):
        splits.make("published", Population.from_frames(events=events))


def test_published_sessions_get_evidence_of_their_own() -> None:
    events = {"person": np.repeat(np.arange(10), 4), "item": np.arange(40) % 7, "row": np.arange(40), "split": ["train"] * 32 + ["test"] * 8}
    split = splits.make("published", Population.from_frames(events=events), validation=0)
    assert ids(split, "evidence") == [32, 33, 36, 37]
    assert ids(split, "test") == [34, 35, 38, 39]


def test_reviews_of_held_out_events_are_held_out_with_them() -> None:
    events = {"person": ["a", "a", "a", "b", "b", "b"], "item": [1, 2, 3, 1, 2, 3]}
    texts = {**events, "text": [f"{person} on {item}" for person, item in zip(events["person"], events["item"], strict=True)]}
    described = {"person": [None], "item": [3], "text": ["a description"]}
    population = Population.from_frames(
        events=events, texts=pl.concat([pl.DataFrame(texts), pl.DataFrame(described, schema_overrides={"person": pl.String})])
    )
    split = splits.make("leave-last", population)
    words = {part: frame.texts.collect()["text"].to_list() for part, frame in split.parts.items()}
    assert words["train"] == ["a on 1", "b on 1", "a description"]
    assert words["validation"] == ["a on 2", "b on 2"]
    assert words["test"] == ["a on 3", "b on 3"]
    assert words["evidence"] == ["a on 1", "a on 2", "b on 1", "b on 2", "a description"]


def test_splits_keep_items_people_and_add_what_the_catalogue_lacks() -> None:
    events = {"person": [1, 1, 1, 2, 2, 2], "item": [10, 11, 12, 10, 11, 13]}
    population = Population.from_frames(
        events=events, items={"item": [12, 14], "title": ["t", "never seen"]}, people={"person": [1, 2], "age": [3, 4]}
    )
    split = splits.make("leave-last", population)
    assert split.train.interactions().items.ids.to_list() == [10, 11, 12, 13, 14]
    assert split.test.people.collect()["age"].to_list() == [3, 4]
    assert split.train.items.collect().filter(pl.col("item") == 14)["title"].to_list() == ["never seen"]


@pytest.mark.parametrize(
    ("kind", "options", "error"),
    [
        ("leave-first", {}, ConfigError),
        ("random", {"tset": 0.1}, ConfigError),
        ("random", {"test": 1.2}, ConfigError),
        ("leave-last", {"test": 0.2}, ConfigError),
        ("global-time", {}, MissingColumn),
        ("published", {}, MissingColumn),
        ("global-time", {"test_from": "soon"}, MissingColumn),
    ],
)
def test_mistakes_have_names(kind: str, options: dict[str, Any], error: type[Exception]) -> None:
    population = Population.from_frames(events={"person": [1, 1, 2, 2], "item": [1, 2, 1, 2]})
    with pytest.raises(error):
        splits.make(kind, population, **options)


def test_a_split_with_nothing_to_test_is_refused() -> None:
    single = Population.from_frames(events={"person": [1, 2, 3], "item": [1, 2, 3]})
    for kind in ("leave-last", "random", "user-time", "cold-person"):
        with pytest.raises(EmptyData):
            splits.make(kind, single)
