"""Mistakes after the data is read: each ends in a named error or a stated behaviour. The table of bad files is in tests/data/test_bad_input.py."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sartor
from sartor.errors import ConfigError, CorruptFile, EmptyData, FileProblem, NotFitted, SartorError, StateMismatch, UnknownId


def population(seed: int = 0) -> sartor.Population:
    rng = np.random.default_rng(seed)
    return sartor.Population.from_frames(events={"person": rng.integers(0, 20, 200), "item": rng.integers(0, 12, 200)})


@pytest.fixture(scope="module")
def model() -> Any:
    return sartor.make("ease").fit(population(), progress=False)


def history(*items: Any) -> sartor.Evidence:
    return sartor.Evidence.from_items(items)


# what is wrong: (what is done with the model, error)
TABLE: dict[str, tuple[Callable[[Any], Any], type[SartorError]]] = {
    "no such method": (lambda model: sartor.make("eaze"), UnknownId),
    "no such setting": (lambda model: sartor.make("ease", regularisation=1), ConfigError),
    "not fitted": (lambda model: sartor.make("ease").recommend([None]), NotFitted),
    "k of nothing": (lambda model: model.recommend([None], k=0), ConfigError),
    "a negative k": (lambda model: model.recommend([None], k=-3), ConfigError),
    "an unknown candidate": (lambda model: model.recommend([None], candidates=[1, 99]), UnknownId),
    "no candidates": (lambda model: model.recommend([None], candidates=[]), EmptyData),
    "an unknown way to exclude": (lambda model: model.recommend([None], exclude="bought"), ConfigError),
    "too few exclusion lists": (lambda model: model.recommend([None, None], exclude=[[1]]), ConfigError),
    "too few candidate lists": (lambda model: model.recommend([None, None], candidates=[[1]]), ConfigError),
    "a state of another model": (
        lambda model: model.recommend([sartor.make("ease").fit(population(1), progress=False).adapt(history(1, 2))]), StateMismatch),
    "a state of another model, updated": (
        lambda model: model.adapt(history(3), sartor.make("ease").fit(population(1), progress=False).adapt(history(1, 2))), StateMismatch),
    "half a state": (lambda model: sartor.State.from_bytes(model.adapt(history(1, 2)).to_bytes()[:-5]), CorruptFile),
    "a state cut in its header": (lambda model: sartor.State.from_bytes(model.adapt(history(1, 2)).to_bytes()[:20]), CorruptFile),
    "no bytes at all": (lambda model: sartor.State.from_bytes(b""), CorruptFile),
    "bytes of something else": (lambda model: sartor.State.from_bytes(b"\x80\x04\x95 a pickle, say" * 10), CorruptFile),
    "a person who is not there": (lambda model: population()["nobody"], UnknownId),
    "a model that is not there": (lambda model: sartor.load("/nowhere/at/all"), FileProblem),
    "a population without events": (lambda model: sartor.make("ease").fit(sartor.Population.from_frames(items={"item": [1]})), EmptyData),
}  # fmt: skip


@pytest.mark.parametrize("what", TABLE)
def test_mistakes_end_in_a_named_error(what: str, model: Any) -> None:
    do, error = TABLE[what]
    with pytest.raises(error) as caught:
        do(model)
    assert caught.value.what


def test_more_items_than_there_are_gives_what_there_is(model: Any) -> None:
    state = model.adapt(history(1, 2))
    ranking = model.recommend([state, None], k=1_000)
    assert len(ranking[0]) == len(model.items_) - 2
    assert len(ranking[1]) == len(model.items_)
    assert not {1, 2} & set(ranking[0])


def test_unknown_items_in_evidence_are_left_out_and_counted(model: Any) -> None:
    state = model.adapt(history(1, 2, "never heard of", 99))
    assert state["items"].size == 2
    assert state.notes["unknown_items"] == 2
    same = model.recommend([state, model.adapt(history(1, 2))], k=5)
    assert same[0] == same[1]


def test_a_person_with_one_event_and_one_with_none_get_an_answer(model: Any) -> None:
    one, none = model.adapt(history(3)), model.adapt(history())
    ranking = model.recommend([one, none], k=5)
    assert [len(own) for own in ranking] == [5, 5]
    assert 3 not in ranking[0]


def test_people_with_one_event_can_be_fitted_on() -> None:
    events = {"person": list(range(30)), "item": [n % 5 for n in range(30)]}
    model = sartor.make("ease").fit(sartor.Population.from_frames(events=events), progress=False)
    assert np.isfinite(model.recommend([None], k=5).scores).all()


@pytest.mark.parametrize("damage", ["cut", "empty", "gone", "other"])
def test_a_damaged_model_file_is_refused_and_left_as_it_is(damage: str, model: Any, tmp_path: Path) -> None:
    folder = model.save(tmp_path / "model")
    tensors = next(folder.glob("*.safetensors"))
    whole = tensors.read_bytes()
    if damage == "gone":
        tensors.unlink()
    else:
        tensors.write_bytes({"cut": whole[:-100], "empty": b"", "other": b"hello" * 100}[damage])
    with pytest.raises((CorruptFile, FileProblem)):
        sartor.load(folder)
    assert (folder / "config.json").exists()


def test_saving_never_replaces_something_else(model: Any, tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear ...")
    with pytest.raises(FileProblem, match="something other"):
        model.save(tmp_path)
    assert (tmp_path / "letter.txt").read_text() == "dear ..."
