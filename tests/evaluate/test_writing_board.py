"""Several writers in one table: what was measured is kept, pooled over seeds by people, and not measured again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sartor.data.population import Evidence, Population
from sartor.errors import ConfigError, CorruptFile
from sartor.evaluate.writing import evaluate_writer
from sartor.evaluate.writing_board import WritingBoard, WritingTask, costs, pooled
from sartor.method import Run, State, Writer

TASK = WritingTask(people=60, replies_each=4, evaluated=12, requests=3, examples=2)


@dataclass(kw_only=True, eq=False)
class Copyist(Writer):
    """Answers with the newest piece of the person, whatever is asked; without a state with nothing."""

    fits: Any = None

    population_frames = ("texts",)

    def _fit(self, population: Population, run: Run) -> None:
        self.fits.append(population.texts.collect()["person"].n_unique())

    def adapt(self, evidence: Evidence, state: State | None = None) -> State:
        last = evidence.frames["texts"]["text"].to_list()[-1]
        return self.make_state({"text": np.frombuffer(last.encode(), np.uint8).copy()}, before=state, examples=1)

    def write(self, messages: Sequence[Mapping[str, str]], state: State | None = None) -> str:
        return "" if state is None else state["text"].tobytes().decode()


def test_a_board_goes_on_where_it_was_and_pools_people(tmp_path: Path) -> None:
    fits: list[int] = []
    board = WritingBoard(tmp_path, TASK)
    measured = [board.run("copyist", lambda: Copyist(fits=fits), seed) for seed in (0, 1)]
    assert len(fits) == 2
    assert min(fits) > TASK.evaluated
    again = WritingBoard(tmp_path, TASK)
    # As text: some numbers are NaN, and none of these equals itself.
    assert repr([again.run("copyist", lambda: Copyist(fits=fits), seed) for seed in (0, 1)]) == repr(measured)
    assert len(fits) == 2
    # Another setting or another task is measured anew.
    again.run("copyist", lambda: Copyist(fits=fits), 0, {"other": 1})
    WritingBoard(tmp_path, WritingTask(people=60, replies_each=4, evaluated=10, requests=3, examples=2)).run("copyist", lambda: Copyist(fits=fits), 0)
    assert len(fits) == 4

    personas = TASK.personas(1)
    alone = evaluate_writer(
        Copyist(fits=[]).fit(personas.population(personas.fit_people)), personas, people=12, requests=3, examples=2, seed=1, resamples=200
    )
    one = {row["tier"]: row for row in pooled(measured[1:], resamples=200, seed=1).to_dicts()}
    for tier, figures in alone.tiers.items():
        assert one[tier]["gain"] == pytest.approx(figures["gain"], nan_ok=True)
        assert one[tier]["swap_gap"] == pytest.approx(figures["swap_gap"], nan_ok=True)
        assert (one[tier]["gain_low"], one[tier]["gain_high"]) == pytest.approx(figures["gain_interval"], nan_ok=True)
    both = {row["tier"]: row for row in pooled(measured).to_dicts()}
    assert (both["always"]["people"], both["always"]["seeds"]) == (24, 2)
    assert both["always"]["gain"] == pytest.approx(np.mean([pooled([each])["gain"][0] for each in measured]))
    assert both["always"]["swap_gap"] > 0.2
    spent = costs(measured).to_dicts()[0]
    assert spent["state_bytes"] > 0
    assert spent["adapt_cpu_seconds"] >= 0


def test_what_cannot_be_measured_says_so(tmp_path: Path) -> None:
    for wrong in ({"people": 40, "evaluated": 20}, {"examples": 0}, {"people": 4, "evaluated": 1}):
        with pytest.raises(ConfigError):
            WritingTask(**wrong)
    board = WritingBoard(tmp_path, TASK)
    board.run("copyist", lambda: Copyist(fits=[]), 0)
    (kept,) = tmp_path.glob("*.json")
    kept.write_text(kept.read_text()[:100])
    with pytest.raises(CorruptFile, match="delete it"):
        board.get("copyist", 0, {})
