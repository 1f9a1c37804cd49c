"""The contract: states, fitted methods, saving, and what must never happen."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import sartor
from sartor import Evidence, Population, State
from sartor.errors import ConfigError, CorruptFile, FileProblem, NotFitted, StateMismatch, UnknownId
from sartor.method import Run, learned


@pytest.fixture(scope="module")
def people() -> Population:
    rng = np.random.default_rng(3)
    taste = rng.integers(0, 4, 80)
    person = np.repeat(np.arange(80), 12)
    item = np.where(rng.random(960) < 0.8, taste[person] * 15 + rng.integers(0, 15, 960), rng.integers(0, 60, 960))
    return Population.from_frames(events={"person": person, "item": [f"i{n:02d}" for n in item], "time": np.arange(960)})


@pytest.fixture(scope="module")
def ease(people: Population) -> sartor.Recommender:
    return sartor.make("ease", regularization=20.0).fit(people)


arrays = st.dictionaries(
    st.text("abcdef", min_size=1, max_size=6),
    hnp.arrays(st.sampled_from([np.float32, np.int32, np.int64, np.uint8]), hnp.array_shapes(min_dims=0, max_dims=2, max_side=5)),
    max_size=4,
)


@given(arrays, st.integers(0, 1000), st.text(max_size=10))
@settings(max_examples=50, deadline=None)
def test_a_state_survives_bytes(own: dict[str, np.ndarray], examples: int, note: str) -> None:
    state = State(own, "EASE", "f" * 32, 3, examples, notes={"note": note})
    again = State.from_bytes(state.to_bytes())
    assert {k: (v.shape, v.tobytes()) for k, v in again.arrays.items()} == {k: (v.shape, v.tobytes()) for k, v in own.items()}
    assert (again.method, again.fingerprint, again.version, again.examples, again.updated) == ("EASE", "f" * 32, 3, examples, state.updated)
    assert again.notes == {"note": note}
    assert again.nbytes == sum(a.nbytes for a in own.values())


@given(st.integers(0, 400))
@settings(max_examples=40, deadline=None)
def test_a_truncated_state_is_refused(cut: int) -> None:
    whole = State({"vector": np.arange(40, dtype=np.float32)}, "ALS", "0" * 32).to_bytes()
    with pytest.raises(CorruptFile):
        State.from_bytes(whole[: min(cut, len(whole) - 1)])


def test_a_state_is_immutable(ease: sartor.Recommender) -> None:
    state = ease.adapt(Evidence.from_items(["i01", "i02"]))
    with pytest.raises(ValueError, match="read-only"):
        state["items"][0] = 5


def test_an_update_sees_what_one_adapt_would_see(ease: sartor.Recommender) -> None:
    first = ease.adapt(Evidence.from_items(["i01", "i02"]))
    both = ease.adapt(Evidence.from_items(["i16"]), first)
    at_once = ease.adapt(Evidence.from_items(["i01", "i02", "i16"]))
    assert (both.version, both.examples) == (2, 3)
    assert (first.version, first["items"].size) == (1, 2)
    np.testing.assert_array_equal(both["items"], at_once["items"])
    assert ease.recommend([both], 10)[0] == ease.recommend([at_once], 10)[0]


def test_unknown_items_are_counted_not_hidden(ease: sartor.Recommender) -> None:
    assert ease.adapt(Evidence.from_items(["i01", "never seen"])).notes == {"unknown_items": 1}


def test_nobody_reaches_another_persons_answer(ease: sartor.Recommender, people: Population) -> None:
    """An answer depends on the own state alone: whoever else is in the batch changes nothing."""
    states = list(ease.adapt_all(people).values())
    together = ease.recommend(states, 5)
    for row in (0, 17, 79):
        alone = ease.recommend([states[row]], 5)
        assert alone[0] == together[row]
        assert not set(together[row]) & set(ease.items_.array[states[row]["items"]])


def test_adapting_all_is_adapting_each(ease: sartor.Recommender, people: Population) -> None:
    states = ease.adapt_all(people)
    for person in (0, 40):
        np.testing.assert_array_equal(states[person]["items"], ease.adapt(people[person])["items"])


def test_saving_and_loading_gives_the_same_model(ease: sartor.Recommender, people: Population, tmp_path) -> None:
    folder = ease.save(tmp_path / "model")
    again = sartor.load(folder)
    assert again.fingerprint_ == ease.fingerprint_
    state = ease.adapt(people[5])
    assert again.recommend([state, None], 10).scores.tolist() == ease.recommend([state, None], 10).scores.tolist()
    ease.save(folder)  # replacing a model is allowed ...
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "letter.txt").write_text("mine")
    with pytest.raises(FileProblem):  # ... replacing anything else is not
        ease.save(tmp_path / "other")


def test_a_damaged_model_is_refused(ease: sartor.Recommender, tmp_path) -> None:
    folder = ease.save(tmp_path / "model")
    tensors = folder / "tensors.safetensors"
    whole = tensors.read_bytes()
    tensors.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CorruptFile):
        sartor.load(folder)
    tensors.write_bytes(whole)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "class": "os:system"}))
    with pytest.raises(CorruptFile, match="not a known method"):
        sartor.load(folder)
    (folder / "config.json").write_text(json.dumps({**config, "fingerprint": "0"}))
    with pytest.raises(CorruptFile, match="different models"):
        sartor.load(folder)
    with pytest.raises(FileProblem):
        sartor.load(tmp_path / "nowhere")


def test_a_state_of_another_model_is_refused(ease: sartor.Recommender, people: Population) -> None:
    other = sartor.make("ease", regularization=21.0).fit(people)
    with pytest.raises(StateMismatch, match="adapt the person again"):
        other.recommend([ease.adapt(people[1])], 3)


def test_what_a_user_may_get_wrong(ease: sartor.Recommender) -> None:
    with pytest.raises(NotFitted):
        sartor.make("ease").recommend([None])
    with pytest.raises(UnknownId, match="did you mean"):
        sartor.make("easy")
    with pytest.raises(ConfigError, match="regularization"):
        sartor.make("ease", lamda=3)
    with pytest.raises(ConfigError):
        ease.recommend([None], 0)
    with pytest.raises(UnknownId):
        ease.recommend([None], 3, candidates=["nonsense"])
    with pytest.raises(ConfigError, match="one list per state"):
        ease.recommend([None], 3, exclude=[["i01"], ["i02"]])


def test_asking_for_more_than_there_is(ease: sartor.Recommender) -> None:
    state = ease.adapt(Evidence.from_items(["i01", "i02"]))
    assert len(ease.recommend([state], 1000)[0]) == 58
    few = ease.recommend([state, None], 5, candidates=[["i01", "i02", "i03"], ["i01", "i05"]])
    assert few[0] == ["i03"]
    assert sorted(few[1]) == ["i01", "i05"]


def test_forgetting_is_leaving_out(ease: sartor.Recommender, people: Population) -> None:
    """A person's state is all there is of them: others' answers come out the same whether or not it was ever made."""
    before = ease.recommend([ease.adapt(people[1])], 5)[0]
    ease.adapt(people[2])
    assert ease.recommend([ease.adapt(people[1])], 5)[0] == before


@dataclass(kw_only=True, eq=False)
class _Constant(sartor.Method):
    """A method of a user's own, outside the package."""

    level: float = 1.0
    mean_: float = learned()

    def _fit(self, population: Population, run: Run) -> None:
        self.mean_ = self.level

    def adapt(self, evidence: Evidence, state: State | None = None) -> State:
        return self.make_state({"level": np.float32([self.mean_])}, before=state, examples=1)


def test_a_users_own_method_needs_only_the_contract(people: Population, tmp_path) -> None:
    method = _Constant(level=2.5).fit(people)
    assert len(method.adapt_all(people)) == 80
    again = sartor.load(method.save(tmp_path / "own"))
    assert again.mean_ == 2.5


def test_importing_is_quick_and_light() -> None:
    code = "import sys, sartor; print(sorted({'torch', 'numba', 'scipy', 'matplotlib', 'sklearn', 'typer'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
