from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from calls import Call
from typer.testing import CliRunner

from sartor.cli import app
from sartor.data.world import World


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as a user would have it: events.csv and items.csv of a small generated shop, with names of their own."""
    folder = tmp_path_factory.mktemp("shop")
    population = World(people=80, items=100, topics=10, seed=5).population()
    events = population.events.select("person", "item", "time").collect()
    events.rename({"person": "customer", "item": "article", "time": "at"}).write_csv(folder / "orders.csv")
    events.write_csv(folder / "events.csv")
    population.items.select("item", "title", "price", "year").collect().write_csv(folder / "items.csv")
    (folder / "only-events").mkdir()
    events.write_csv(folder / "only-events" / "events.csv")
    return folder


@pytest.fixture
def call() -> Call:
    """Runs `sartor ...` and returns (exit code, standard output, standard error)."""

    def run(*words: object) -> tuple[int, str, str]:
        result = CliRunner().invoke(app, [str(word) for word in words])
        return result.exit_code, result.stdout, result.stderr

    return run


@pytest.fixture
def call_json(call: Call) -> Call:
    """Runs `sartor ... --json`, checks that standard output is exactly one JSON object, and returns (exit code, object)."""

    def run(*words: object) -> tuple[int, dict[str, Any]]:
        code, out, err = call(*words, "--json")
        assert out.count("\n") == 1, f"not one line: {out!r}; standard error: {err}"
        found = json.loads(out, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
        assert isinstance(found, dict)
        return code, found

    return run
