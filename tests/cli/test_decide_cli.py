"""`sartor decide`: from a file of ratings to what each person gets, and a log of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from calls import Call
from typer.testing import CliRunner

from sartor.cli import app
from sartor.data.world.allocation import Allocation
from sartor.data.world.ecosystem import PULSES, Ecosystem


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("decide")
    Allocation(people=12, seed=7).ratings(15).write_csv(place / "ratings.csv")
    words = ["fit", str(place / "ratings.csv"), "--method", "wireless-allocation", "--out", str(place / "model")]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    return place


def test_a_budget_is_shared(place: Path, call: Call, call_json: Call) -> None:
    wanted, log = place / "wanted.jsonl", place / "decisions.jsonl"
    wanted.write_text('{"person": 3, "target": 0.6, "efficiency": 2.0}\n\n{"person": "somebody new", "efficiency": 4}\n')
    code, result = call_json("decide", place / "model", "--budget", 40, "--requests", wanted, "--log", log)
    assert code == 0, result
    assert result["spent"] <= 40
    people = {one["person"]: one for one in result["people"]}
    assert len(people) == 13
    assert people[3]["expected"] >= 0.6
    assert "state_version" not in people["somebody new"]
    assert len(log.read_text().splitlines()) == 13
    code, shown, _ = call("decide", place / "model", "--budget", 10, "--person", 3, "--person", 4)
    assert code == 0
    assert "2 people" in shown
    # Who is not asked for gets nothing, and nobody with feedback of her own is taken for somebody new.
    code, result = call_json("decide", place / "model", "--person", 4, "--requests", wanted)
    assert code == 0, result
    assert [(one["person"], one["state_version"]) for one in result["people"]] == [(4, 1)]


def test_rates_have_names(tmp_path: Path, call: Call, call_json: Call) -> None:
    agents = Ecosystem.generated(3, whose=11, seed=12)
    agents.run(50)
    agents.measured(PULSES[150:450]).write_csv(tmp_path / "runs.csv")
    sizes = [f"{name}={value}" for name, value in (("fit_steps", 1), ("adapt_steps", 1), ("horizon", 10), ("burn_in", 2), ("draws", 4))]
    settings = [word for one in sizes for word in ("--set", one)]
    assert call("fit", tmp_path / "runs.csv", "--method", "twin-control", "--out", tmp_path / "model", *settings)[0] == 0
    wanted = tmp_path / "now.jsonl"
    wanted.write_text('{"person": 1, "grass": 24000, "sheep": 4000, "wolves": 1900}\n')
    code, shown, _ = call("decide", tmp_path / "model", "--person", 1, "--requests", wanted)
    assert code == 0
    assert "remove_sheep" in shown
    code, said = call_json("decide", tmp_path / "model", "--person", 1, "--person", 2, "--requests", wanted)
    assert code != 0
    assert "counts now" in said["fix"]


@pytest.mark.parametrize(
    ("line", "match"),
    [
        ("{", "no request"),
        ('{"target": 0.5}', "no request"),
        ('{"person": 3}\n{"person": "3"}', "twice"),
        ('{"person": 3, "target": 2}', "unreachable"),
    ],
)
def test_requests_that_cannot_be_meant(place: Path, call_json: Call, line: str, match: str) -> None:
    wanted = place / "wrong.jsonl"
    wanted.write_text(line)
    code, said = call_json("decide", place / "model", "--budget", 40, "--requests", wanted)
    assert code != 0
    assert match in said["what"]
