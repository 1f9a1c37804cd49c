"""`sartor writers`: one table of methods that write, and what is said of mistakes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from calls import Call

SMALL = ("--people", 40, "--evaluated", 4, "--requests", 2, "--examples", 2, "--seed", 100)


def test_methods_stand_side_by_side_and_are_measured_once(tmp_path: Path, call_json: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SARTOR_CACHE", str(tmp_path / "cache"))
    words = ("writers", "-m", "population-lm", "-m", "in-context", *SMALL, "--board", tmp_path / "board", "--out", tmp_path / "out")
    words += ("--set", "population-lm.tokens=2000", "--set", "population-lm.dim=16", "--set", "in-context.use=1")
    code, found = call_json(*words)
    assert code == 0
    assert [one["method"] for one in found["costs"]] == ["population-lm", "in-context"]
    always = {row["method"]: row for row in found["tiers"] if row["tier"] == "always"}
    # Who has no state gains nothing by it.
    assert (always["population-lm"]["gain"], always["population-lm"]["swap_gap"], always["population-lm"]["people"]) == (0, 0, 4)
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "board").iterdir()}
    assert len(kept) == 2
    assert call_json(*words)[1] == found
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "board").iterdir()} == kept
    assert (tmp_path / "out" / "writers.md").read_text().count("\n| ") == 3
    assert "<td" in (tmp_path / "out" / "writers.html").read_text()
    assert json.loads((tmp_path / "out" / "writers.json").read_text())["seeds"] == [100]


def test_mistakes_are_named(tmp_path: Path, call_json: Call) -> None:
    for words, error in (
        (("-m", "nobody"), "UnknownId"), (("-m", "in-context", "--set", "in-context.uses=1"), "ConfigError"), (("--set", "use=1"), "ConfigError"),
        (("-m", "in-context", "--people", 10), "ConfigError"), (("-m", "in-context", "--set", "pplug.steps=1"), "ConfigError"),
        (("-m", "als"), "ConfigError"),
    ):  # fmt: skip
        code, found = call_json("writers", *words, "--board", tmp_path / "board")
        assert (code, found["error"]) == (2, error), words
    assert not (tmp_path / "board").exists()
