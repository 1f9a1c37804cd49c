"""Mistakes after the data is read: each ends in a named error or a stated behaviour. The table of bad files is in tests/data/test_bad_input.py."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sartor
import sartor.data.splits
import sartor.evaluate
from sartor import _storage
from sartor.errors import (
    BadValue,
    ConfigError,
    CorruptFile,
    EmptyData,
    FileProblem,
    NotFitted,
    SartorError,
    StateMismatch,
    UnknownId,
    WrongType,
)  # fmt: skip


def population(seed: int = 0) -> sartor.Population:
    rng = np.random.default_rng(seed)
    return sartor.Population.from_frames(events={"person": rng.integers(0, 20, 200), "item": rng.integers(0, 12, 200)})


@pytest.fixture(scope="module")
def model() -> Any:
    return sartor.make("ease").fit(population(), progress=False)


def history(*items: Any) -> sartor.Evidence:
    return sartor.Evidence.from_items(items)


def _split() -> Any:
    return sartor.data.splits.make("leave-last", population())


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
    "an exclusion list of ids, not of lists": (lambda model: model.recommend([None], exclude=["ab"]), ConfigError),
    "candidates that are one text": (lambda model: model.recommend([None], candidates="ab"), ConfigError),
    "k that is no whole number": (lambda model: model.recommend([None], k=2.5), ConfigError),
    "a state where a list of states should be": (lambda model: model.recommend(model.adapt(history(1)), k=2), ConfigError),
    "states by name": (lambda model: model.recommend({"ana": None}, k=2), ConfigError),
    "a negative seed": (lambda model: sartor.make("als", seed=-1).fit(population(), progress=False), ConfigError),
    "a seed too large": (lambda model: sartor.make("bpr", seed=10**30).fit(population(), progress=False), ConfigError),
    "a split with a negative seed": (lambda model: sartor.data.splits.make("random", population(), seed=-1), ConfigError),
    "a text for a number of factors": (lambda model: sartor.make("als", factors="a").fit(population(), progress=False), ConfigError),
    "half an epoch": (lambda model: sartor.make("bpr", epochs=2.5).fit(population(), progress=False), ConfigError),
    "True for a whole number": (lambda model: sartor.make("als", iterations=True).fit(population(), progress=False), ConfigError),
    "a number for a switch": (lambda model: sartor.make("two-tower", correct_popularity=1).fit(population(), progress=False), ConfigError),
    "a text for a list": (lambda model: sartor.make("two-tower", hidden="64").fit(population(), progress=False), ConfigError),
    "a list of fractions": (lambda model: sartor.make("two-tower", hidden=[64, 0.5]).fit(population(), progress=False), ConfigError),
    "a loss that there is not": (lambda model: sartor.make("sasrec", loss="mse").fit(population(), progress=False), ConfigError),
    "a text for a model inside": (lambda model: sartor.make("knn-embed", base="als").fit(population(), progress=False), ConfigError),
    "a seed that is no number": (lambda model: sartor.make("ease", seed="0").fit(population(), progress=False), ConfigError),
    "endless regularization": (lambda model: sartor.make("als", regularization=float("inf")).fit(population(), progress=False), ConfigError),
    "a list as an item": (lambda model: history([1, 2]), WrongType),
    "an object as an item": (lambda model: model.recommend([None], candidates=[object()]), WrongType),
    "one text where a list of items should be": (lambda model: sartor.Evidence.from_items("abc"), WrongType),
    "a missing id in evidence": (lambda model: model.adapt(history(None, 1)), BadValue),
    "more values than items": (lambda model: sartor.Evidence.from_items([1], values=[1, 2]), ConfigError),
    "ids beyond any integer type": (lambda model: sartor.Population.from_frames(events={"person": [2**200], "item": [1]}), WrongType),
    "columns of unequal length": (lambda model: sartor.Population.from_frames(events={"person": [1, 2], "item": [1]}), WrongType),
    "a list for a table": (lambda model: sartor.Population.from_frames(events=[1, 2]), WrongType),
    "evaluate with an unknown way to exclude": (lambda model: sartor.evaluate.evaluate(model, _split(), exclude="Seen"), ConfigError),
    "evaluate on fewer than no people": (lambda model: sartor.evaluate.evaluate(model, _split(), people=-5), ConfigError),
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


def forged(model: Any, items: np.ndarray, **facts: Any) -> sartor.State:
    """The bytes of a state whose content was changed by hand."""
    arrays, meta = _storage.from_bytes(model.adapt(history(1, 2)).to_bytes())
    return sartor.State.from_bytes(_storage.to_bytes({**arrays, "items": items}, {**meta, **facts}))


@pytest.mark.parametrize("items", [[10**8], [-5], [[1, 2]], [0.5]], ids=["too large", "negative", "a matrix", "fractions"])
def test_items_that_cannot_be_are_refused_before_compiled_loops_see_them(items: list[Any], model: Any) -> None:
    kind = np.float32 if items == [0.5] else np.int32
    with pytest.raises(CorruptFile, match="catalogue"):
        model.recommend([forged(model, np.array(items, kind))], k=3)


def test_facts_of_a_state_are_checked_and_unknown_ones_left_out(model: Any) -> None:
    good = np.array([1], np.int32)
    assert forged(model, good, since_version_9="x").examples == 2
    with pytest.raises(CorruptFile, match="version"):
        forged(model, good, version="x")


@pytest.mark.parametrize(
    "change",
    [
        {"settings": {"nothing": 1}},
        {"settings": {"regularization": "much"}},
        {"settings": {"seed": -1}},
        {"plain": {"unheard_of_": 1}},
        {"kinds": {"unheard_of_": "array"}},
        {"since_version_9": 1},
        {"plain": {"recommend": "x"}},
        {"plain": {"__class__": "x"}},
        {"class": "sartor.method:Recommender"},
        {"class": None},
    ],
    ids=lambda change: str(*change.items()),
)
def test_a_config_somebody_changed_ends_in_a_named_error(change: dict[str, Any], model: Any, tmp_path: Path) -> None:
    config = model.save(tmp_path / "model") / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), **change}))
    with pytest.raises(CorruptFile):
        sartor.load(tmp_path / "model")


@pytest.mark.parametrize("other", [7.9, True, "007", "+7", " 7", "7.0", 2**63 + 7, 2**64 + 7, 2**200, -7])
def test_what_only_looks_like_an_id_is_unknown(other: Any, model: Any) -> None:
    assert model.adapt(history(other)).notes["unknown_items"] == 1
    assert model.adapt(history(other, 7)).notes["unknown_items"] == 1
    with pytest.raises(UnknownId):
        population()[other]
    assert not sartor.Population.from_frames(events=population().events).only([other]).events.collect().height


@pytest.mark.parametrize("same", [7, 7.0, "7"])
def test_an_id_is_found_however_it_is_written(same: Any, model: Any) -> None:
    assert model.adapt(history(same))["items"].size == 1
    assert population()[same].person == same
    assert population().only([same]).events.collect()["person"].unique().to_list() == [7]


def test_codes_with_leading_zeros_stay_apart() -> None:
    model = sartor.make("popularity").fit(
        sartor.Population.from_frames(events={"person": ["a", "a", "b"], "item": ["7", "007", "8"]}), progress=False
    )
    assert [model.adapt(history(one))["items"].tolist() for one in ("7", "007", 7)] == [[1], [0], [1]]


def test_numpys_numbers_are_numbers() -> None:
    model = sartor.make("als", factors=np.int64(4), iterations=np.int32(1), regularization=np.float32(0.1), alpha=1, seed=np.uint8(3))
    assert model.fit(population(), progress=False).item_vectors_.shape[1] == 4


def test_what_a_method_learns_must_be_declared_to_be_saved(tmp_path: Path) -> None:
    model = sartor.make("ease").fit(population(), progress=False)
    model.extra_ = np.arange(3)
    with pytest.raises(ConfigError, match="extra_"):
        model.save(tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_a_model_is_not_saved_over_a_file(model: Any, tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear ...")
    with pytest.raises(FileProblem, match="a file"):
        model.save(tmp_path / "letter.txt")


@pytest.mark.parametrize("method", ["bpr", "lightgcn", "nbpo"])
def test_validation_that_says_nothing_is_left_out(method: str) -> None:
    parts = sartor.data.splits.make("cold-person", population())  # whose validation people are not in train
    model = sartor.make(method, epochs=1).fit(parts.train, validation=parts.validation, progress=False)
    assert len(model.recommend([None], k=3)[0]) == 3


def tiny(
    item_of: Callable[[int], int] = lambda item: item, kinds: str = "aabbccdd", validation: int = 0
) -> tuple[sartor.Population, sartor.Population]:
    """Six people in a ring, and what they are validated by."""
    items = {"item": list(range(8)), "kind": list(kinds), "size": [1, 2, 3, 4] * 2}
    events = {"person": list(range(6)) * 3, "item": [item_of((person + step) % 6) for step in range(3) for person in range(6)]}
    held_out = {"person": list(range(6)), "item": [(person + 3 + validation) % 6 for person in range(6)]}
    return sartor.Population.from_frames(events=events, items=items), sartor.Population.from_frames(events=held_out, items=items)


ITERATIVE = ["als", "bpr", "lightgcn", "pld", "graphhash", "sasrec", "gru4rec", "two-tower", "ssl-item", "m2trec", "nbpo", "unified-embedding"]


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("method", ITERATIVE)
def test_a_checkpoint_of_other_data_of_the_same_size_is_refused(method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fit(train: sartor.Population, validation: sartor.Population) -> None:
        sartor.make(method, **rounds).fit(train, validation=validation, progress=False, checkpoint=tmp_path)

    rounds = {"iterations": 2} if method == "als" else {"epochs": 2}
    monkeypatch.setattr(Path, "unlink", lambda self, missing_ok=False: None)  # as if it had been stopped before the end
    fit(*tiny())
    fit(*tiny())
    for other in (tiny(lambda item: (5 - item) % 6), tiny(kinds="abcdabcd"), tiny(validation=1)):
        with pytest.raises(ConfigError, match="checkpoint"):
            fit(*other)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("method", ["lightgcn", "nbpo", "two-tower", "m2trec", "unified-embedding"])
def test_fitting_leaves_the_random_numbers_of_torch_alone(method: str) -> None:
    import torch

    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    sartor.make(method, epochs=1).fit(tiny()[0], progress=False)
    assert torch.equal(torch.rand(3), expected)
