"""The writers' scales: an oracle gains all, a writer without a person gains nothing, and an interrupted run goes on."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sartor.data.population import Evidence, Population
from sartor.data.world import World
from sartor.data.world.persona import Personas, Requests
from sartor.data.world.persona.personas import STRANGERS
from sartor.errors import ConfigError, EmptyData, NotFitted
from sartor.evaluate.writing import evaluate_writer
from sartor.evaluate.writing_result import compare
from sartor.method import Run, State, Writer


@dataclass(kw_only=True, eq=False)
class Oracle(Writer):
    """Writes as the person of its state would; without one, as nobody in particular."""

    personas: Any = None
    careless: bool = False
    calls: int = 0
    stops_at: int = 10**9

    def _fit(self, population: Population, run: Run) -> None:
        pass

    def adapt(self, evidence: Evidence, state: State | None = None) -> State:
        return self.make_state({"person": np.array([evidence.person])}, before=state, examples=evidence.frames["texts"].height)

    def write(self, messages: Sequence[Mapping[str, str]], state: State | None = None) -> str:
        return self.write_all([messages], [state])[0]

    def write_all(self, conversations: Sequence[Sequence[Mapping[str, str]]], states: Sequence[State | None]) -> list[str]:
        self.calls += len(states)
        if self.calls > self.stops_at:
            raise KeyboardInterrupt
        asked = Requests.parse([messages[-1]["content"] for messages in conversations], np.zeros(len(states)))
        writers = [STRANGERS if state is None else int(state["person"][0]) for state in states]
        texts: list[str] = self.personas.replies_of(asked, np.array(writers), None).to_list()
        return texts


@pytest.fixture(scope="module")
def personas() -> Personas:
    return World(people=80, items=300, seed=2).personas(replies_each=5)


def fitted(personas: Personas, **settings: Any) -> Oracle:
    # Only its seal is needed: what it knows is the world itself.
    writer = Oracle(personas=personas, **settings)
    writer.fingerprint_ = "oracle"
    return writer


def test_an_oracle_shows_every_habit_and_only_of_its_own_person(personas: Personas) -> None:
    found = evaluate_writer(fitted(personas), personas, requests=4, chunk=6)
    assert found.people == personas.new_people.size
    for tier in ("always", "grouped", "act", "taste", "content"):
        assert found.tiers[tier]["own"] == 1, tier
    for tier in ("always", "grouped", "act", "noisy"):
        one = found.tiers[tier]
        assert one["gain"] == pytest.approx(one["own"] - one["none"])
        low, high = one["swap_gap_interval"]
        assert 0.2 < low <= one["swap_gap"] <= high, tier
    assert found.tiers["content"]["swap_gap"] == 0
    assert found.cost["state_bytes"] == 8
    assert found.table().height == len(personas.tiers) + 1
    assert compare([found, found]).height == 2
    facts = json.loads(found.to_json())
    assert facts["cost"]["prompt_tokens"] is None
    assert "per_person" not in facts


def test_a_writer_without_persons_gains_nothing(personas: Personas) -> None:
    class Plain(Oracle):
        def write(self, messages: Sequence[Mapping[str, str]], state: State | None = None) -> str:
            return Oracle.write_all(self, [messages], [None])[0]

        write_all = None  # type: ignore[assignment]  # as a writer that answers one at a time

        def prompt_tokens(self, conversations: Sequence[Any], states: Sequence[Any]) -> list[int]:
            return [len(messages[0]["content"].split()) + 10 * (state is not None) for messages, state in zip(conversations, states, strict=True)]

    writer = Plain(personas=personas)
    writer.fingerprint_ = "plain"
    found = evaluate_writer(writer, personas, people=10, requests=3)
    for one in found.tiers.values():
        assert one["gain"] == one["swap_gap"] == 0
    assert found.cost["prompt_tokens"] == pytest.approx(found.cost["prompt_tokens_without_state"] + 10)


def test_an_interrupted_run_goes_on(personas: Personas, tmp_path: Path) -> None:
    whole = evaluate_writer(fitted(personas), personas, people=9, requests=2, chunk=3)
    with pytest.raises(KeyboardInterrupt):
        evaluate_writer(fitted(personas, stops_at=30), personas, people=9, requests=2, chunk=3, checkpoint=tmp_path)
    rest = fitted(personas)
    resumed = evaluate_writer(rest, personas, people=9, requests=2, chunk=3, checkpoint=tmp_path)
    assert 0 < rest.calls < 3 * 2 * whole.people
    assert resumed.to_dict()["tiers"] == whole.to_dict()["tiers"]
    again = fitted(personas)
    assert evaluate_writer(again, personas, people=9, requests=2, chunk=3, checkpoint=tmp_path).to_dict()["tiers"] == whole.to_dict()["tiers"]
    assert again.calls == 0
    other = fitted(personas)
    evaluate_writer(other, personas, people=9, requests=3, chunk=3, checkpoint=tmp_path)
    assert other.calls == 3 * 3 * whole.people


def test_few_examples(personas: Personas) -> None:
    seen = []

    class Watching(Oracle):
        def adapt(self, evidence: Evidence, state: State | None = None) -> State:
            seen.append(evidence.frames["texts"])
            return super().adapt(evidence, state)

    writer = Watching(personas=personas)
    writer.fingerprint_ = "watching"
    evaluate_writer(writer, personas, people=3, requests=1, examples=2)
    history = personas.history(personas.new_people)
    for texts in seen:
        assert texts.height == 2
        assert set(texts["kind"]) == {"reply"}
        assert texts["time"].to_list() == sorted(history.time[history.person == texts["person"][0]])[-2:]


def test_bad_use(personas: Personas) -> None:
    with pytest.raises(NotFitted):
        evaluate_writer(Oracle(personas=personas), personas)
    with pytest.raises(EmptyData, match="nobody to swap"):
        evaluate_writer(fitted(personas), personas, people=[3])
    with pytest.raises(ConfigError, match="never-seen"):
        evaluate_writer(fitted(personas), personas, people=1000)
    with pytest.raises(ConfigError, match="requests"):
        evaluate_writer(fitted(personas), personas, requests=0)
