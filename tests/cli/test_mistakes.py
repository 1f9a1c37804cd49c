"""Mistakes end in one sentence (or one JSON object) and exit code 2; Ctrl-C leaves something to go on from."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
from calls import Call

from sartor import Evidence, load, make
from sartor._storage import from_bytes
from sartor.cli import _settings, app
from sartor.data import read
from sartor.errors import ConfigError


@pytest.fixture(scope="module")
def model(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("models") / "ease"
    make("ease").fit(read(folder), progress=False).save(out)
    return out


MISTAKES = [
    (["evaluate", "/nowhere/at/all.csv"], "FileProblem"),
    (["evaluate", "no-such-set"], "FileProblem"),
    (["evaluate", "{folder}", "--method", "eas"], "UnknownId"),
    (["evaluate", "{folder}", "--split", "by-magic"], "ConfigError"),
    (["evaluate", "{folder}", "--on", "train"], "ConfigError"),
    (["evaluate", "{folder}", "--method", "ease", "--set", "regularisation=5"], "ConfigError"),
    (["evaluate", "{folder}", "--method", "ease", "--set", "regularization=much"], "ConfigError"),
    (["evaluate", "{folder}", "--method", "ease", "--set", "regularization"], "ConfigError"),
    (["evaluate", "{folder}/orders.csv"], "MissingColumn"),
    (["evaluate", "{folder}", "--at-least", "4"], "EmptyData"),
    (["evaluate"], "UsageError"),
    (["evaluate", "{folder}", "-k", "ten"], "UsageError"),
    (["evalute", "{folder}"], "UsageError"),
    (["fit", "{folder}", "--column", "person"], "ConfigError"),
    (["fit", "{folder}", "--out", "{folder}"], "FileProblem"),
    (["recommend", "{folder}"], "FileProblem"),
    (["recommend", "{model}", "--person", "nobody", "--data", "{folder}"], "UnknownId"),
    (["recommend", "{model}", "--person", "7"], "FileProblem"),
    (["recommend", "{model}", "--items", "3", "--everyone"], "ConfigError"),
    (["recommend", "{model}", "--everyone"], "ConfigError"),
    (["recommend", "{model}", "--items", ","], "ConfigError"),
    (["recommend", "{model}", "--items", "3", "--data", "{folder}", "--filter", "colour = 'red'"], "ConfigError"),
    (["recommend", "{model}", "--items", "3", "--data", "{folder}", "--filter", "price < 0"], "ConfigError"),
    (["recommend", "{model}", "--items", "3", "--data", "{folder}", "--filter", "rpad(title, 9) = 'x'"], "ConfigError"),
    (["recommend", "{model}", "--items", "3", "--filter", "price < 5"], "ConfigError"),
    (["recommend", "{model}", "--state", "{truncated}"], "CorruptFile"),
    (["recommend", "{model}", "--state", "{foreign}"], "StateMismatch"),
    (["recommend", "{model}", "--state", "/nowhere.state"], "FileProblem"),
    (["adapt", "{model}", "{folder}"], "ConfigError"),
    (["check"], "ConfigError"),
    (["check", "no-such-claim"], "UnknownId"),
    (["cite", "eas"], "UnknownId"),
    (["demo", "--set", "factors=3"], "ConfigError"),
]


@pytest.mark.parametrize(("words", "error"), MISTAKES, ids=[f"{' '.join(words)}" for words, _ in MISTAKES])
def test_mistakes_have_names(words: list[str], error: str, folder: Path, model: Path, tmp_path: Path, call: Call, call_json: Call) -> None:
    state = load(model).adapt(Evidence.from_items([3, 4]))
    other = make("ease", regularization=1.0).fit(read(folder), progress=False).adapt(Evidence.from_items([3, 4]))
    (tmp_path / "truncated").write_bytes(state.to_bytes()[:100])
    (tmp_path / "foreign").write_bytes(other.to_bytes())
    places = {"folder": folder, "model": model, "truncated": tmp_path / "truncated", "foreign": tmp_path / "foreign"}
    filled = [word.format(**places) for word in words]
    code, found = call_json(*filled)
    assert (code, found["error"]) == (2, error), found
    assert found["what"]
    code, out, err = call(*filled)
    assert code == 2
    assert not out
    assert "Traceback" not in err
    if error != "UsageError":
        assert error in err
        assert found["what"].splitlines()[0][:40] in err


def test_near_misses_are_named(folder: Path, call: Call) -> None:
    assert "did you mean ease" in call("evaluate", folder, "--method", "eas")[2]
    assert "did you mean regularization?" in call("evaluate", folder, "--method", "ease", "--set", "regularisation=5")[2]


def test_debug_shows_the_whole_story(call: Call) -> None:
    from typer.testing import CliRunner

    result = CliRunner().invoke(app, ["evaluate", "/nowhere.csv", "--debug"])
    assert type(result.exception).__name__ == "FileProblem"


def test_defects_are_told_apart_from_mistakes(folder: Path, monkeypatch: pytest.MonkeyPatch, call_json: Call) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr("sartor.data.splits.make", broken)
    code, found = call_json("evaluate", folder)
    assert (code, found["error"]) == (1, "InternalError")
    assert "a defect" in found["what"]


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("64", int, 64), ("1e3", int, 1000), ("0.5", float, 0.5), ("3", float, 3.0), ("true", bool, True), ("off", bool, False),
        ("none", int | None, None), ("7", int | None, 7), ("abc", str | None, "abc"), ("1,2", tuple[int, ...], (1, 2)),
        ("(1, 2.5)", tuple[float, float], (1.0, 2.5)),
        ("a,b", list[str], ["a", "b"]), ("5", float | str, 5.0), ("auto", float | str, "auto"),
    ],
)  # fmt: skip
def test_settings_are_typed_by_the_field(text: str, kind: object, value: object) -> None:
    found = _settings.convert("x", text, kind)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(("text", "kind"), [("6.5", int), ("x", float), ("maybe", bool), ("inf", int)])
def test_settings_of_the_wrong_type(text: str, kind: object) -> None:
    with pytest.raises(ConfigError):
        _settings.convert("x", text, kind)


def _fit(folder: Path, out: Path, *more: str) -> list[str]:
    settings = [word for pair in ("epochs=80", "embedding_dim=8", "blocks=1", "max_length=10") for word in ("--set", pair)]
    return ["fit", str(folder), "--method", "sasrec", *settings, "--out", str(out), "--json", *more]


def test_ctrl_c_leaves_a_checkpoint_to_go_on_from(folder: Path, tmp_path: Path, call: Call, request: pytest.FixtureRequest) -> None:
    torch = pytest.importorskip("torch")
    # One thread: several wait for each other for minutes where something else has a processor.
    request.addfinalizer(partial(torch.set_num_threads, torch.get_num_threads()))
    torch.set_num_threads(1)
    out, checkpoint = tmp_path / "model", tmp_path / "model.checkpoint"
    words = _fit(folder, out)
    # As many threads as here: sums over other partitions round otherwise.
    as_here = {**os.environ, "OMP_NUM_THREADS": "1"}
    child = subprocess.Popen([sys.executable, "-m", "sartor.cli", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=as_here)
    deadline = time.monotonic() + 90
    while not (checkpoint / "progress.safetensors").exists() and child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    child.send_signal(signal.SIGINT)
    told, errors = child.communicate(timeout=60)
    assert child.returncode == 130, errors
    found = json.loads(told)
    assert found["error"] == "Interrupted"
    assert str(checkpoint) in found["fix"]
    _, facts = from_bytes((checkpoint / "progress.safetensors").read_bytes())
    assert 1 <= facts["epoch"] < 80
    assert not out.exists()

    # Another command must not take up this progress.
    code, other, _ = call(*_fit(folder, out), "--seed", "1")
    assert (code, json.loads(other)["error"]) == (2, "ConfigError")

    # The same command goes on, and ends where an uninterrupted run ends.
    code, resumed, _ = call(*words)
    assert code == 0, resumed
    assert json.loads(resumed)["resumed"] is True
    assert not checkpoint.exists()
    code, straight, _ = call(*_fit(folder, tmp_path / "straight"))
    assert json.loads(straight)["resumed"] is False
    assert json.loads(straight)["fingerprint"] == json.loads(resumed)["fingerprint"]


def test_a_failed_or_stopped_fit_leaves_nothing_behind(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call_json: Call) -> None:
    code, found = call_json("fit", folder, "--method", "ease", "--split", "by-magic", "--out", tmp_path / "model")
    assert (code, found["error"]) == (2, "ConfigError")
    assert not list(tmp_path.iterdir())

    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("sartor.recommend.ease.EASE._learn", stopped)
    code, found = call_json("fit", folder, "--method", "ease", "--out", tmp_path / "model")
    assert (code, found["error"]) == (130, "Interrupted")
    assert "starts again" in found["fix"]
    assert not list(tmp_path.iterdir())
