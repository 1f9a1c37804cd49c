"""`sartor draw table`: methods side by side on held-out subjects, beside both controls; what was measured is measured once."""

import json
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from sartor.cli import app
from sartor.data.world.shapes import VOCABULARY
from sartor.draw.alignit import AlignIT
from sartor.draw.break_a_scene import BreakAScene
from sartor.draw.dreambooth import DreamBooth
from sartor.draw.parts.prior import Prior
from sartor.errors import ConfigError, CorruptFile
from sartor.evaluate.drawing_board import CONTROLS, DrawingBoard, DrawingTask, budgeted, front


def call(*args):
    done = CliRunner().invoke(app, ["draw", "table", *map(str, args), "--json"])
    return done.exit_code, json.loads(done.stdout)


@pytest.fixture(scope="module")
def prior(tmp_path_factory):
    return Prior.small(VOCABULARY, widths=(16, 16), text_width=16).save(tmp_path_factory.mktemp("prior") / "small")


def test_methods_stand_beside_the_controls_and_are_measured_once(prior, tmp_path):
    words = ["-m", "textual-inversion", "-m", "break-a-scene", "-m", "ip-adapter", "--others", 4, "--once", 3]
    words += ["--seed", 100, "--prompts", 2, "--pairs", 1, "--steps", 2, "--prior", prior]
    words += ["--set", "break-a-scene.class_images=2", "--set", "break-a-scene.sampling_steps=2"]
    words += ["--board", tmp_path / "board", "--out", tmp_path / "out"]
    code, found = call(*words)
    assert code == 0, found
    rows = {row["method"]: row for row in found["methods"]}
    assert [*rows] == ["paste the reference", "population", "textual-inversion", "break-a-scene", "ip-adapter"]
    # Pasting shows the very subject; nobody's state gains nothing; a word is 16 numbers of 4 bytes.
    assert rows["paste the reference"]["subject"] > 0.9
    assert (rows["population"]["gain"], rows["population"]["steps"], rows["textual-inversion"]["bytes"]) == (0, 0, 64)
    assert all(rows[name]["steps"] == 2 and rows[name]["unmixed"] is not None for name in ("textual-inversion", "break-a-scene"))
    # What learns from others does it once: nothing is optimised for a new thing.
    assert rows["ip-adapter"]["steps"] == rows["textual-inversion"]["once_seconds"] == 0 < rows["ip-adapter"]["once_seconds"]
    one = rows["textual-inversion"]
    assert one["gain"] == pytest.approx(one["subject"] - rows["population"]["subject"])
    made = {path: path.stat().st_mtime_ns for path in (tmp_path / "board").iterdir()}
    assert len(made) == 10
    assert call(*words)[1] == found
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "board").iterdir()} == made
    assert (tmp_path / "out" / "drawings.md").read_text().count("\n| ") == 6
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"drawings.md", "drawings.json", "pareto.svg", "pareto.png", "sheet-100.png"}
    kept = next(path for path in made if path.name.startswith("population") and path.suffix == ".json")
    kept.write_text("{")
    with pytest.raises(CorruptFile, match="measured again"):
        DrawingBoard(tmp_path / "board", Prior.load(prior), DrawingTask(prompts=2, pairs=1, steps=2, others=4, once=3)).get(
            "population", 100, {"own": []}
        )


def test_the_budget_is_the_same_however_many_phases_there_are():
    booth, scene, repaired = DreamBooth(), BreakAScene(), AlignIT()
    assert [budgeted(one, 101) for one in (booth, scene, repaired)] == [101] * 3
    # Two things of one picture share the steps of both.
    assert (booth.steps, scene.word_steps + scene.steps, repaired.base.steps) == (101, 202, 101)


def test_prompts_are_half_edits_and_the_front_is_what_nothing_beats():
    chosen = DrawingTask(prompts=7).chosen()
    assert (len(chosen.texts), int(np.sum(chosen.edits)), len({*chosen.texts})) == (7, 3, 7)
    points = {"a": (0.1, 0.9), "b": (0.5, 0.5), "c": (0.4, 0.4), "d": (0.9, 0.1), CONTROLS[0]: (1.0, 1.0)}
    assert front([{"method": name, "prompt": x, "subject": y} for name, (x, y) in points.items()]) == ["a", "b", "d"]
    with pytest.raises(ConfigError, match="subjects is 1"):
        replace(DrawingTask(), subjects=1)


def test_mistakes_are_named_before_anything_is_measured(prior, tmp_path):
    for words, error in (
        (("-m", "nobody"), "UnknownId"), (("-m", "ppd"), "ConfigError"), (("--set", "steps=1"), "ConfigError"),
        (("-m", "perfusion", "--set", "core.rank=1"), "ConfigError"), (("-m", "perfusion", "--prompts", 1), "ConfigError"),
    ):  # fmt: skip
        code, found = call(*words, "--prior", prior, "--board", tmp_path / "board")
        assert (code, found["error"]) == (2, error), words
    assert not (tmp_path / "board").exists()
