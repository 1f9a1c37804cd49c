"""`sartor search`: a query from the command line, for somebody and for everybody."""

from __future__ import annotations

from pathlib import Path

import pytest
from calls import Call
from typer.testing import CliRunner

from sartor.cli import app


@pytest.fixture(scope="module")
def model(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("models") / "search"
    words = ["fit", str(folder), "--method", "personal-search", "--set", "encoder=hashed:64", "--out", str(out)]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    return out


def test_a_person_finds_other_things_than_everybody(model: Path, call_json: Call) -> None:
    code, own = call_json("search", model, "quiet film", "--person", 7, "-k", 5, "--compare")
    _, everybody = call_json("search", model, "quiet film", "-k", 5)
    assert code == 0
    assert [one["item"] for one in own["population"]] == [one["item"] for one in everybody["items"]] != [one["item"] for one in own["items"]]
    assert [one["rank"] for one in own["items"]] == [1, 2, 3, 4, 5]
    assert own["examples"] > 0
    assert any(one["because"] for one in own["items"])
    assert all(reason["contribution"] > 0 for one in own["items"] for reason in one["because"])
    assert [one["population_rank"] for one in everybody["items"]] == [1, 2, 3, 4, 5]
    _, none = call_json("search", model, "quiet film", "--person", 7, "-k", 5, "--strength", 0)
    assert [one["item"] for one in none["items"]] == [one["item"] for one in everybody["items"]]


def test_a_state_and_a_history_ask_alike(model: Path, tmp_path: Path, call: Call, call_json: Call) -> None:
    code, _, _ = call("adapt", model, "--items", "3,4,5", "--out", tmp_path / "you.state")
    assert code == 0
    _, by_state = call_json("search", model, "lantern", "--state", tmp_path / "you.state")
    _, by_items = call_json("search", model, "lantern", "--items", "3,4,5")
    assert by_state["items"] == by_items["items"]
    _, unseen = call_json("search", model, "lantern", "--items", "3,4,5", "--unseen", "-k", 100)
    assert not {3, 4, 5} & {one["item"] for one in unseen["items"]}


def test_filters_tables_and_what_is_not_known(model: Path, folder: Path, call: Call, call_json: Call) -> None:
    import polars as pl

    prices = dict(pl.read_csv(folder / "items.csv").select("item", "price").iter_rows())
    _, cheap = call_json("search", model, "quiet film", "--filter", "price < 20", "-k", 50)
    assert cheap["items"]
    assert all(prices[one["item"]] < 20 for one in cheap["items"])
    _, lost = call_json("search", model, "xyzzy", "-k", 3)
    assert lost["note"].startswith("no word of the query")
    code, out, err = call("search", model, "xyzzy quiet", "--person", 7, "-k", 3)
    assert code == 0
    assert "for 7" in out
    assert "words are in no item" in err
    code, out, _ = call("search", model, "quiet film", "--person", 7, "--compare")
    assert code == 0
    assert "everybody" in out


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ([""], "ConfigError"),
        (["film", "--person", "nobody"], "UnknownId"),
        (["film", "--person", "999"], "UnknownId"),
        (["film", "--person", "7", "--items", "3"], "ConfigError"),
        (["film", "--strength", "2"], "ConfigError"),
        (["film", "--filter", "colour = 'red'"], "MissingColumn"),
        (["film", "-k", "0"], "UsageError"),
        (["film", "--state", "/nowhere.state"], "FileProblem"),
    ],
)
def test_mistakes_have_names(words: list[str], error: str, model: Path, call_json: Call) -> None:
    code, found = call_json("search", model, *words)
    assert (code, found["error"]) == (2, error), found


def test_a_recommender_says_that_it_does_not_search(folder: Path, tmp_path: Path, call: Call, call_json: Call) -> None:
    assert call("fit", folder, "--method", "popularity", "--out", tmp_path / "popular")[0] == 0
    code, found = call_json("search", tmp_path / "popular", "film")
    assert (code, found["error"]) == (2, "ConfigError")
    assert "personal-search" in found["fix"]
