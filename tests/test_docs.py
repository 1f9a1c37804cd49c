"""What README and docs show runs: Python blocks, and every `$ sartor ...` line of console blocks; offline, in an empty folder."""

from __future__ import annotations

import re
import shlex
import sys
import types
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sartor.cli import app, tables
from sartor.data.world import World
from sartor.systems import SYSTEMS

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what the pages speak of: ratings.csv, and films with events and items."""
    population = World(people=60, items=200, topics=10, ratings=True, seed=3).population()
    events = population.events.select("person", "item", "time", "value").collect()
    events.rename({"person": "user_id", "item": "movie_id", "time": "timestamp", "value": "rating"}).write_csv(tmp_path / "ratings.csv")
    (tmp_path / "films").mkdir()
    for name in ("events", "items"):
        population.frame(name).collect().write_parquet(tmp_path / "films" / f"{name}.parquet")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SARTOR_CACHE", str(tmp_path / "cache"))
    return tmp_path


def blocks(page: Path, language: str) -> list[tuple[int, str]]:
    """Line number and text of every block."""
    text = page.read_text(encoding="utf-8")
    return [(text[: found.start()].count("\n") + 2, found[2]) for found in BLOCK.finditer(text) if found[1] == language]


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=lambda page: page.name)
def test_python_examples_run(page: Path, folder: Path) -> None:
    # A module of its own, so that classes defined in an example can be found again by name, as `sartor.load` does.
    module = types.ModuleType(f"example_{page.stem.replace('-', '_')}")
    sys.modules[module.__name__] = module
    try:
        for line, source in blocks(page, "python"):
            exec(compile("\n" * (line - 1) + source, str(page), "exec"), vars(module))
    finally:
        del sys.modules[module.__name__]


@pytest.mark.parametrize(
    "page", [page for page in PAGES if any("$ sartor " in one for _, one in blocks(page, "console"))], ids=lambda page: page.name
)
def test_console_examples_run(page: Path, folder: Path) -> None:
    for number, source in blocks(page, "console"):
        for line in source.splitlines():
            if line.startswith("$ sartor "):
                result = CliRunner().invoke(app, shlex.split(line)[2:])
                assert result.exit_code == 0, f"{page.name}, block in line {number}: {line}\n{result.output}"


def test_the_readme_example_is_short() -> None:
    (_, source), *_ = blocks(ROOT / "README.md", "python")
    lines = [line for line in source.splitlines() if line.strip() and not line.strip().startswith("#")]
    assert len(lines) <= 30


def test_commands_that_are_only_named_exist() -> None:
    names = {str(command.name) for command in app.registered_commands} | {str(group.name) for group in app.registered_groups}
    for page in PAGES:
        for found in re.findall(r"`sartor ([a-z]+)|^\$? ?sartor ([a-z]+)", page.read_text(encoding="utf-8"), re.MULTILINE):
            assert (found[0] or found[1]) in names, f"{page.name} names `sartor {found[0] or found[1]}`"


def test_tables_name_every_system_and_no_other() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    parts = {name: text.partition(f"<!-- table: {name} -->")[2].partition("<!-- /table -->")[0] for name in ("methods", "systems")}
    named = {name: re.findall(r"^\| `([a-z0-9-]+)` \|", part, re.MULTILINE) for name, part in parts.items()}
    assert named["methods"] == [one.slug for one in SYSTEMS.values() if not one.has_claim]
    assert named["systems"] == [one.slug for one in SYSTEMS.values() if one.has_claim]
    for system in SYSTEMS.values():
        if system.has_claim:
            assert system.title in parts["systems"]


def test_filling_tables_twice_changes_nothing() -> None:
    page = "before\n<!-- table: schemas -->\nstale words\n<!-- /table -->\nafter\n"
    once = tables.filled(page)
    assert "`events`" in once
    assert "stale words" not in once
    assert once.startswith("before\n")
    assert once.endswith("after\n")
    assert tables.filled(once) == once


def test_links_between_pages_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("name", ["methods", "schemas", "formats", "commands"])
def test_tables_made_from_code_are_current(name: str) -> None:
    expected = f"<!-- table: {name} -->\n{tables.TABLES[name]()}\n<!-- /table -->"
    pages = [page for page in PAGES if f"<!-- table: {name} -->" in page.read_text(encoding="utf-8")]
    assert pages
    for page in pages:
        assert expected in page.read_text(encoding="utf-8"), f"{page.name} is behind the code: run `make docs`"
