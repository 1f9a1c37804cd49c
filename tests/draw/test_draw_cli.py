"""`sartor draw`: a prior is trained, stopped, taken up and measured; mistakes are one sentence."""

import json
import sys

import pytest
from typer.testing import CliRunner

from sartor.cli import app

SMALL = ["--batch", "2", "--widths", "16,16", "--each", "2", "--json"]


def call(*args):
    done = CliRunner().invoke(app, ["draw", *map(str, args)])
    return done.exit_code, json.loads(done.stdout) if "--json" in args else done.stdout


def test_a_prior_is_trained_stopped_taken_up_and_measured(tmp_path, monkeypatch):
    import sartor.draw.parts.prior_training as training

    monkeypatch.setattr(training, "CHUNK", 1)
    monkeypatch.setattr(sys.modules["sartor.cli.draw"], "SNAPSHOT", 3)
    out, count, plain = tmp_path / "prior", [], training.Lesson.loss

    def stopped(self, batch):
        count.append(1)
        if len(count) == 3:
            raise KeyboardInterrupt
        return plain(self, batch)

    monkeypatch.setattr(training.Lesson, "loss", stopped)
    code, said = call("train-prior", "--out", out, "--steps", 4, *SMALL)
    assert (code, said["error"]) == (130, "Interrupted")
    assert "goes on from" in said["fix"]
    code, said = call("train-prior", "--out", out, "--steps", 5, *SMALL)
    assert (code, said["error"]) == (2, "ConfigError")
    done = CliRunner().invoke(app, ["draw", "train-prior", "--out", str(out), "--steps", "4", *SMALL])
    assert done.exit_code == 0
    assert "3 of 4 steps are in" in done.stderr
    made = json.loads(done.stdout)
    # Two steps were kept, two were left to do.
    assert len(count) == 3 + 2
    assert made["steps"] == 4
    assert set(made["following"]["one"]) == {"drawn", "chance", "ceiling"}
    assert not (tmp_path / "prior.checkpoint").exists()
    code, again = call("prior", out, "--each", 2, "--json")
    assert code == 0
    assert {**again["following"], "seconds_per_image": 0} == {**made["following"], "seconds_per_image": 0}


@pytest.mark.parametrize(
    ("args", "error"),
    [
        (["train-prior", "--steps", "1", "--minutes", "1"], "ConfigError"),
        (["train-prior", "--widths", "sixty"], "ConfigError"),
        (["train-prior", "--steps", "1", "--out", "{other}"], "FileProblem"),
        (["prior", "{other}"], "FileProblem"),
    ],
)
def test_mistakes_are_named(tmp_path, args, error):
    (tmp_path / "notes.txt").write_text("mine")
    code, said = call(*(one.format(other=tmp_path) for one in args), "--json")
    assert (code, said["error"]) == (2, error)
    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("args", [["train-prior"], ["prior", "nowhere"]])
def test_without_diffusers_the_extra_is_named(tmp_path, monkeypatch, args):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "diffusers", None)
    code, said = call(*args, "--json")
    assert (code, said["error"]) == (2, "MissingExtra")
    assert "sartor[draw]" in said["fix"]
    assert not list(tmp_path.iterdir())
