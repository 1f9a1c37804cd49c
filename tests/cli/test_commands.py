"""What people do: fit, adapt, recommend, evaluate, in a folder of their own CSV files."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from calls import Call

from sartor.cli import app
from sartor.method import State
from sartor.systems import SYSTEMS


def test_every_command_explains_itself(call: Call) -> None:
    code, out, _ = call("--help")
    assert code == 0
    names = [command.name for command in app.registered_commands] + [group.name for group in app.registered_groups]
    assert {"demo", "fit", "adapt", "recommend", "evaluate", "check", "systems", "cite", "bench", "data"} <= set(names)
    for name in names:
        assert name in out
        code, text, _ = call(name, "--help")
        assert code == 0
        assert "Usage: " in text
    assert call("--version")[1].startswith("sartor ")


def test_help_needs_nothing_heavy() -> None:
    heavy = {"torch", "scipy", "numba", "matplotlib", "jinja2", "sklearn", "transformers", "pyarrow"}
    program = f"import sys; import sartor.cli; print(sorted({heavy!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.fixture(scope="module")
def model(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from typer.testing import CliRunner

    out = tmp_path_factory.mktemp("models") / "ease"
    words = ["fit", str(folder), "--method", "ease", "--set", "regularization=50", "--out", str(out)]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    return out


def test_fit_keeps_settings_data_and_catalogue(model: Path, folder: Path) -> None:
    facts = json.loads((model / "fit.json").read_text())
    assert facts["method"] == "ease"
    assert Path(facts["data"]) == folder.resolve()
    assert json.loads((model / "config.json").read_text())["settings"]["regularization"] == 50.0
    assert pl.read_parquet(model / "items.parquet").height == 100
    assert not model.with_name("ease.checkpoint").exists()


def test_adapt_then_recommend_from_the_state(model: Path, folder: Path, tmp_path: Path, call_json: Call) -> None:
    code, made = call_json("adapt", model, folder, "--person", 7, "--out", tmp_path / "7.state")
    assert code == 0
    state = State.from_bytes((tmp_path / "7.state").read_bytes())
    assert state.examples == made["examples"] > 0
    code, by_state = call_json("recommend", model, "--state", tmp_path / "7.state", "-k", 5)
    code_person, by_person = call_json("recommend", model, "--person", 7, "-k", 5)
    assert (code, code_person) == (0, 0)
    lists = [one["recommendations"][0]["items"] for one in (by_state, by_person)]
    assert lists[0] == lists[1]
    assert len(lists[0]) == 5
    assert all(entry["title"] for entry in lists[0])
    assert not {entry["item"] for entry in lists[0]} & set(state["items"].tolist())


def test_update_of_a_state_counts_on(model: Path, tmp_path: Path, call_json: Call) -> None:
    _, first = call_json("adapt", model, "--items", "3,4", "--out", tmp_path / "a.state")
    _, second = call_json("adapt", model, "--items", "5", "--state", tmp_path / "a.state", "--out", tmp_path / "a.state")
    assert (first["version"], second["version"], second["examples"]) == (1, 2, 3)


def test_filter_keeps_only_what_the_condition_allows(model: Path, folder: Path, call_json: Call) -> None:
    prices = dict(pl.read_csv(folder / "items.csv").select("item", "price").iter_rows())
    middle = sorted(prices.values())[50]
    _, found = call_json("recommend", model, "--items", "3,4,5", "-k", 100, "--filter", f"price < {middle} AND item <> 3")
    items = [entry["item"] for entry in found["recommendations"][0]["items"]]
    assert items
    assert all(prices[item] < middle for item in items)


def test_reasons_are_of_the_persons_own_history(model: Path, call: Call, call_json: Call) -> None:
    _, found = call_json("recommend", model, "--items", "3,4,5", "-k", 5, "--why")
    because = [one for entry in found["recommendations"][0]["items"] for one in entry["because"]]
    assert because
    assert all(one["item"] in (3, 4, 5) and one["contribution"] > 0 and one["title"] for one in because)
    assert "because of" in call("recommend", model, "--items", "3,4,5", "--why")[1]


def test_everyone_to_a_file(model: Path, tmp_path: Path, call_json: Call) -> None:
    code, found = call_json("recommend", model, "--everyone", "-k", 3, "--out", tmp_path / "all.parquet")
    assert code == 0
    frame = pl.read_parquet(tmp_path / "all.parquet")
    assert frame["person"].n_unique() == found["people"] == 80
    assert frame.height == 240


def test_evaluate_reports_the_three_scales(folder: Path, tmp_path: Path, call_json: Call, call: Call) -> None:
    words = ("evaluate", folder, "--method", "ease", "--split", "user-time", "-k", 10, "--out", tmp_path)
    code, found = call_json(*words)
    assert code == 0
    assert 0 < found["metrics"]["ndcg@10"] <= 1
    assert found["gain"] == pytest.approx(found["metrics"]["ndcg@10"] - found["population_metrics"]["ndcg@10"])
    assert found["gain_interval"][0] <= found["gain"] <= found["gain_interval"][1]
    assert found["gain_over_popularity_interval"][0] <= found["gain_over_popularity"] <= found["gain_over_popularity_interval"][1]
    assert found["swap_gap_interval"][0] <= found["swap_gap"] <= found["swap_gap_interval"][1]
    assert found["cost"]["state_bytes"] > 0
    assert found["cost"]["adapt_seconds"] > 0
    assert json.loads((tmp_path / "evaluation.json").read_text())["gain"] == found["gain"]
    assert (tmp_path / "evaluation.svg").read_text().lstrip().startswith("<?xml")
    code, text, _ = call(*words)
    assert code == 0
    assert "swap gap" in text
    assert "ndcg" in text


def test_columns_of_ones_own_file(folder: Path, tmp_path: Path, call_json: Call) -> None:
    mapping = [word for pair in ("person=customer", "item=article", "time=at") for word in ("--column", pair)]
    code, found = call_json("fit", folder / "orders.csv", *mapping, "--method", "popularity", "--out", tmp_path / "model")
    assert code == 0, found
    code, found = call_json("recommend", tmp_path / "model", "--person", 7)
    assert code == 0
    assert len(found["recommendations"][0]["items"]) == 10


def test_systems_and_cite(call: Call, call_json: Call) -> None:
    _, found = call_json("systems")
    assert [one["slug"] for one in found["systems"]] == list(SYSTEMS)
    assert "sasrec" in call("systems")[1]
    _, cited = call_json("cite", "ease", "sasrec")
    assert cited["bibtex"]["ease"].startswith("@inproceedings{ease,")
    assert "Kang and McAuley" in call("cite", "sasrec")[1]


def test_check_runs_a_claim_and_tells_by_exit_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Call, call_json: Call) -> None:
    (tmp_path / "claims" / "recommend").mkdir(parents=True)
    source = (
        "from sartor.evaluate.claim import Claim, Outcome\n"
        "CLAIM = Claim('{slug}', 'finds 5% more', 'at least 2% more', ('world',), (1, 2, 3))\n"
        "def check(seeds, *, progress=True):\n"
        "    return Outcome({passed}, {{'recall': 0.3}}, {{'recall': 0.2}}, why_null='nobody is personalised here')\n"
    )
    for slug, passed in (("good", True), ("bad", False)):
        (tmp_path / "claims" / "recommend" / f"{slug}.py").write_text(source.format(slug=slug, passed=passed))
    monkeypatch.setenv("SARTOR_CLAIMS", str(tmp_path / "claims"))
    code, found = call_json("check", "good")
    assert (code, found["results"][0]["passed"]) == (0, True)
    code, text, _ = call("check", "--all")
    assert code == 1
    assert "failed" in text
    assert "at least 2% more" in text
    assert len((tmp_path / "claims" / "results.jsonl").read_text().splitlines()) == 3
    _, listed = call_json("check", "--list")
    assert {one["slug"]: one["last"]["passed"] for one in listed["checks"]} == {"good": True, "bad": False}
