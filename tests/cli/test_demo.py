"""The main job from end to end: a generated population, and a user's own files."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from calls import Call

from sartor import Evidence, make
from sartor.cli.demo import story
from sartor.cli.demo.people import labels, unlike
from sartor.data.world import World


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    from typer.testing import CliRunner

    from sartor.cli import app

    out = tmp_path_factory.mktemp("demo")
    words = ["demo", "--people", "150", "--items", "120", "-m", "ease", "-m", "popularity", "--set", "ease.regularization=50", "--seed", "3"]
    result = CliRunner().invoke(app, [*words, "--out", str(out), "--json"])
    assert result.exit_code == 0, result.output
    assert result.stdout.count("\n") == 1
    return json.loads(result.stdout), out


def test_one_object_with_metrics_scales_people_and_methods(told: tuple[dict[str, Any], Path]) -> None:
    found, out = told
    assert found["data"]["people"] == 150
    assert found["method"] == "ease"
    assert found["settings"]["regularization"] == 50.0
    assert found["gain_interval"][0] <= found["gain"] <= found["gain_interval"][1]
    assert found["swap_gap_interval"][0] <= found["swap_gap"] <= found["swap_gap_interval"][1]
    assert found["cost"]["state_bytes"] > 0
    assert list(found["methods"]) == ["ease", "popularity"]
    assert found["methods"]["popularity"]["gain"] == pytest.approx(0)
    new = found["new_people"]
    assert new["ratio"] == pytest.approx(new["unseen"] / new["seen"])
    assert found["ceiling"] > found["metrics"]["ndcg@10"], "nobody beats perfect knowledge of everybody's taste"
    assert len(found["people"]) == len({one["person"] for one in found["people"]}) == 3
    saved = json.loads((out / "demo.json").read_text())
    assert saved["metrics"] == found["metrics"]


def test_lists_hits_and_reasons_are_true(told: tuple[dict[str, Any], Path]) -> None:
    """Makes the three people's lists again, by hand, from the same split."""
    found, _ = told
    population = World(people=150, items=120, seed=3).population()
    split, unseen = story.keep_out(story.protocol(population, 3), 3)
    fitted = split.train.events.select("person").unique().collect()["person"]
    assert not set(unseen.to_list()) & set(fitted.to_list())
    model = make("ease", regularization=50.0, seed=3).fit(split.train, progress=False)
    for person in found["people"]:
        assert person["person"] in unseen.to_list()
        evidence, hidden = split.evidence[person["person"]], set(split.test[person["person"]].events["item"].to_list())
        seen = evidence.events["item"].to_list()
        own = model.recommend([model.adapt(evidence)], 10)[0]
        assert [entry["item"] for entry in person["own"]] == own
        assert [entry["hit"] for entry in person["own"]] == [item in hidden for item in own]
        assert not {entry["item"] for entry in person["population"]} & set(seen)
        explained = [entry for entry in person["own"] if entry["because"]]
        assert len(explained) >= 8
        for entry in explained[:3]:
            gone = {one["item"] for one in entry["because"]}
            assert gone <= set(seen)
            rest = model.adapt(Evidence.from_items([item for item in seen if item not in gone]))
            order = model.recommend([rest], 120, exclude=[seen])[0]
            assert order.index(entry["item"]) + 1 == entry["rank_without"]


def test_the_report_stands_alone(told: tuple[dict[str, Any], Path]) -> None:
    found, out = told
    page = (out / "report.html").read_text()
    assert page.count("<svg") == 5
    links = re.findall(r"(?:src|href)=\"([^\"]+)\"", page)
    assert all(link.startswith("#") for link in links), "nothing is fetched from anywhere"
    assert "<script" not in page
    assert "@import" not in page
    for person in found["people"]:
        assert person["name"] in page
    assert f"{found['gain']:+.3f}" in page
    assert "sartor demo --people 150 --items 120 --method ease --method popularity --set ease.regularization=50 --seed 3" in page
    assert "#0a0b0c" not in page, "all colours come from the page, light and dark"


def test_demo_on_ones_own_files(folder: Path, tmp_path: Path, call: Call) -> None:
    code, out, err = call("demo", "--data", folder, "-m", "als", "--set", "als.factors=8", "--out", tmp_path)
    assert code == 0, err
    assert "they get, and why" in out
    assert "swap gap" in out
    assert "because of" in out
    saved = json.loads((tmp_path / "demo.json").read_text())
    assert saved["ceiling"] is None
    assert all(person["own"][0]["title"] != str(person["own"][0]["item"]) for person in saved["people"])


def test_a_method_that_does_not_fit_the_data_is_left_out_and_named(folder: Path, tmp_path: Path, call_json: Call) -> None:
    """Matrix completion needs ratings, which these events do not have."""
    code, found = call_json("demo", "--data", folder, "-m", "ease", "-m", "matrix-completion-am", "--out", tmp_path)
    assert code == 0, found
    assert list(found["methods"]) == ["ease"]
    assert "rating" in found["skipped"]["matrix-completion-am"]
    assert "matrix-completion-am was left out" in (tmp_path / "report.html").read_text()
    code, found = call_json("demo", "--data", folder, "-m", "matrix-completion-am", "--out", tmp_path)
    assert (code, found["error"]) == (2, "BadValue")


def test_titles_with_markup_stay_text(tmp_path: Path, call: Call) -> None:
    population = World(people=60, items=60, topics=10, seed=1).population()
    population.events.collect().write_csv(tmp_path / "events.csv")
    items = population.items.select("item", "title").collect()
    items.with_columns(title="<b>[red]" + items["title"] + "</b>").write_csv(tmp_path / "items.csv")
    code, out, err = call("demo", "--data", tmp_path, "-m", "ease", "--out", tmp_path / "out")
    assert code == 0, err
    assert "[red]" in out
    page = (tmp_path / "out" / "report.html").read_text()
    assert "<b>[red]" not in page
    assert "&lt;b&gt;[red]" in page


def test_people_are_chosen_for_being_unlike() -> None:
    population = World(people=200, items=120, seed=2).population()
    split, unseen = story.keep_out(story.protocol(population, 0), 0)
    model = make("ease").fit(split.train, progress=False)
    chosen = unlike(model, split, unseen, 0)
    states = model.adapt_all(split.evidence.only(unseen))

    def likeness(people: list[Any]) -> float:
        scores = model.score([states[person] for person in people])
        return float(np.corrcoef(scores)[np.triu_indices(len(people), 1)].max())

    rng = np.random.default_rng(0)
    random = [likeness(rng.choice(list(states), 3, replace=False).tolist()) for _ in range(50)]
    assert likeness(chosen) < np.median(random)


def test_intervals_of_the_ratio_cover_the_truth() -> None:
    rng = np.random.default_rng(0)
    covered = []
    for seed in range(60):
        ratio, (low, high) = story.ratio_of_means(rng.random(80), rng.random(240), seed, resamples=400)
        assert low < ratio < high
        covered.append(low < 1 < high)
    assert np.mean(covered) >= 0.88
    assert np.isnan(story.ratio_of_means(np.ones(3), np.zeros(3), 0)[0])


def test_labels_fall_back_to_ids() -> None:
    population = World(people=20, items=60, topics=10, seed=1).population()
    assert labels(population.replace(items=None))(7) == ("7", "")
    assert labels(population)(7)[0] != "7"
