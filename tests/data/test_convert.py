"""What is written is read back the same; descriptions count right; the data commands."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from sartor.data import Population, read, splits
from sartor.data.convert import TARGETS, read_split, write, write_split
from sartor.data.describe import describe
from sartor.errors import ConfigError, FileProblem


def population() -> Population:
    rng = np.random.default_rng(0)
    events = {"person": rng.integers(1, 30, 300), "item": rng.integers(1, 20, 300), "time": 1_600_000_000 + rng.integers(0, 10**6, 300)}
    events["value"] = rng.integers(1, 6, 300).astype(np.float32)
    items = {
        "item": range(1, 20),
        "title": [f'Film {n}, the "{n}th"' for n in range(1, 20)],
        "categories": [["Sci-Fi", "Noir"][: n % 3] for n in range(1, 20)],
    }
    people = {"person": range(1, 30), "zip": [f"0{n:04d}" for n in range(1, 30)]}
    return Population.from_frames(name="films", events=events, items=items, people=people, edges={"source": [1, 2], "target": [2, 3]})


@pytest.mark.parametrize("target", TARGETS)
def test_what_is_written_is_read_back(tmp_path: Path, target: str) -> None:
    before = population()
    folder = write(before, tmp_path / "films", format=target)  # type: ignore[arg-type]
    after = read(folder)
    assert set(after.frames) == set(before.frames)
    for name in before.frames:
        ours, theirs = before.frames[name].collect(), after.frames[name].collect()
        assert theirs.select(ours.columns).cast(dict(ours.schema)).equals(ours), name  # type: ignore[arg-type]
    assert after.interactions().indices.tolist() == before.interactions().indices.tolist()


def test_a_folder_with_something_in_it_is_not_overwritten_unasked(tmp_path: Path) -> None:
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "dear.txt").write_text("...")
    with pytest.raises(FileProblem, match="not empty"):
        write(population(), tmp_path / "letters")
    assert (tmp_path / "letters" / "dear.txt").exists()
    write(population(), tmp_path / "letters", overwrite=True)
    assert not (tmp_path / "letters" / "dear.txt").exists()
    with pytest.raises(ConfigError):
        write(population(), tmp_path / "x", format="excel")  # type: ignore[arg-type]


def test_a_failed_write_leaves_what_was_there(tmp_path: Path) -> None:
    folder = write(population(), tmp_path / "films")
    broken = population().replace(items=pl.LazyFrame({"item": ["x"]}).select(pl.col("item").cast(pl.Int64)))
    with pytest.raises(pl.exceptions.PolarsError):
        write(broken, folder, overwrite=True)
    assert read(folder).interactions().shape == population().interactions().shape
    assert [file.name for file in tmp_path.iterdir()] == ["films"]


@pytest.mark.parametrize("kind", ["leave-last", "global-time", "cold-person"])
def test_a_split_is_read_back(tmp_path: Path, kind: str) -> None:
    before = splits.make(kind, population(), seed=1)
    after = read_split(write_split(before, tmp_path / "split"))
    assert after.name == kind
    for part in before.parts:
        assert after.parts[part].events.collect().equals(before.parts[part].events.collect())
    assert len(read(tmp_path / "split" / "train").interactions()) == before.counts()["train"]
    with pytest.raises(FileProblem, match="no split here"):
        read_split(tmp_path)


def test_describe_counts_right() -> None:
    events = {
        "person": [1, 1, 1, 2, 3, 3],
        "item": ["a", "b", "a", "a", "c", "c"],
        "time": [10, 20, 10, 30, 86_440, 40],
        "value": [1.0, 2.0, 1.0, 5.0, 3.0, None],
    }
    facts = describe(Population.from_frames(events=events, items={"item": ["a", "b"]}))
    assert (facts["events"], facts["people"], facts["items"]) == (6, 3, 3)
    assert facts["density"] == pytest.approx(4 / 9)  # pairs, not events: two are repeats
    assert facts["duplicate_rows"] == 1
    assert facts["repeated_pairs"] == 2
    assert facts["per_person"] == {"min": 1, "p25": 1.5, "median": 2.0, "p75": 2.5, "p99": 2.98, "mean": 2.0, "max": 3}
    assert facts["time"] == {"first": "1970-01-01T00:00:10+00:00", "last": "1970-01-02T00:00:40+00:00", "days": 1.0}
    assert facts["values"]["counts"] == {"1.0": 2, "2.0": 1, "3.0": 1, "5.0": 1, "None": 1}
    # Items a, b, c have 3, 1, 2 events: the mean absolute difference of all pairs, over twice the mean.
    assert facts["gini_items"] == pytest.approx(8 / 9 / (2 * 2))
    said = " ".join(facts["warnings"])
    for words in ("exact duplicates", "one event only", "no row in the items frame", "1 events have no value"):
        assert words in said
    json.dumps(facts)


def run(*words: str) -> dict[str, object]:
    from sartor.cli import app

    done = CliRunner().invoke(app, list(words))
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_the_data_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SARTOR_DATA", str(tmp_path))
    write(population(), tmp_path / "films")
    listed = run("data", "list", "--json")
    assert {"ml-100k", "gowalla"} <= {row["name"] for row in listed["datasets"]}  # type: ignore[attr-defined]
    assert run("data", "describe", "films", "--json")["events"] == 300
    made = run("data", "convert", "films", str(tmp_path / "atomic"), "--to", "recbole", "--json")
    assert "atomic.inter" in made["files"]  # type: ignore[operator]
    made = run("data", "split", "films", str(tmp_path / "split"), "--split", "random", "-o", "test=0.5", "--seed", "2", "--json")
    assert made["events"] == splits.make("random", population(), seed=2, test=0.5).counts()
    folds = run("data", "split", "films", str(tmp_path / "folds"), "--split", "k-fold", "-o", "folds=3", "--json")["folds"]
    assert sum(one["events"]["test"] for one in folds) == 300  # type: ignore[attr-defined]
    assert (tmp_path / "folds" / "fold-3-of-3" / "test" / "events.parquet").exists()
    assert read(tmp_path / "split" / "test").events.collect().height == made["events"]["test"]  # type: ignore[index]


def test_the_data_commands_print_tables(tmp_path: Path) -> None:
    from sartor.cli import app

    folder = write(population(), tmp_path / "films")
    for words in (["describe", str(folder)], ["list"], ["split", str(folder), str(tmp_path / "s")], ["convert", str(folder), str(tmp_path / "c")]):
        done = CliRunner().invoke(app, ["data", *words])
        assert done.exit_code == 0, done.output
        assert len(done.output.splitlines()) > 3


def test_the_data_commands_name_mistakes(tmp_path: Path) -> None:
    from sartor.cli import app

    (tmp_path / "x.csv").write_text("user,item\n1,2\n,3\n")
    done = CliRunner().invoke(app, ["data", "describe", str(tmp_path / "x.csv"), "--json"])
    assert done.exit_code == 2
    problem = json.loads(done.stdout)
    assert problem["error"] == "BadValue"
    assert problem["where"]["row"] == "2"
    assert problem["where"]["column"] == "person"
