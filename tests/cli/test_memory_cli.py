"""`sartor memory`: one line of JSON for programs, words for people, named mistakes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from calls import Call

from sartor.engine import Engine


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    monkeypatch.setenv("SARTOR_MEMORY_ENCODER", "hashed")
    Engine(f"sqlite:///{tmp_path}/people.db", background=False).close()
    return "--db", f"{tmp_path}/people.db"


def test_a_memory_on_the_command_line(store: tuple[str, str], tmp_path: Path, call: Call, call_json: Call) -> None:
    code, told = call_json("memory", "add", "ana", "I live in Rome and I love tea. Maybe I like mud.", "--extract", *store)
    assert code == 0
    assert [one["text"] for one in told["added"]] == ["I live in Rome.", "I love tea.", "Maybe I like mud."]
    assert [one["text"] for one in told["waiting"]] == ["Maybe I like mud."]
    rome, tea, mud = (one["id"] for one in told["added"])
    assert [one["text"] for one in call_json("memory", "add", "ana", "I moved to Oslo.", *store)[1]["replaced"]] == ["I live in Rome."]
    found = call_json("memory", "recall", "ana", "tea?", "-k", 1, *store)[1]
    assert found["memories"][0]["memory"]["text"] == "I love tea."
    assert found["memories"][0]["score"] == pytest.approx(sum(found["memories"][0]["parts"].values()), abs=1e-5)
    assert call_json("memory", "edit", "ana", tea, "I hate tea.", *store)[1]["memories"][0]["polarity"] == -1
    assert call_json("memory", "confirm", "ana", mud, *store)[1]["memories"][0]["confirmed"]
    assert [one["version"] for one in call_json("memory", "history", "ana", rome, *store)[1]["memories"]] == [2, 1]
    assert len(call_json("memory", "list", "ana", "--history", *store)[1]["memories"]) == 4
    assert call_json("memory", "summarise", "ana", *store)[1]["memories"][0]["made_from"]

    out = tmp_path / "ana.json"
    assert call("memory", "export", "ana", "--out", out, *store)[0] == 0
    taken = call_json("memory", "import", "bob", out, *store)[1]
    assert {one["text"] for one in taken["added"]} >= {"I hate tea.", "I moved to Oslo."}
    assert not call_json("memory", "import", "bob", out, *store)[1]["added"]
    assert call_json("memory", "export", "bob", "--form", "chatgpt", *store)[1]["data"][0]["mapping"]
    assert call_json("memory", "forget", "ana", tea, *store)[1]["removed"] == 2
    code, text, _ = call("memory", "list", "ana", *store)
    assert code == 0
    assert "I moved to Oslo." in text.replace("\n", " ")
    assert "I hate tea." not in text


def test_mistakes_are_named(store: tuple[str, str], tmp_path: Path, call_json: Call) -> None:
    bad = tmp_path / "bad.json"
    bad.write_text(json.dumps([{"memory": "a"}, {"text": "b"}]))
    for words, error in (
        (("forget", "ana", "nothing"), "UnknownId"),
        (("recall", "ana", " "), "BadValue"),
        (("import", "ana", bad), "MissingColumn"),
        (("import", "ana", tmp_path / "gone.json"), "FileProblem"),
        (("export", "ana", "--form", "xml"), "UnknownFormat"),
        (("add", "ana", "I love tea.", "--confirm", "no"), "ConfigError"),
        (("list", "ana", "--kind", "order"), "ConfigError"),
    ):
        code, problem = call_json("memory", *words, *store)
        assert (code, problem["error"]) == (2, error), problem
        assert problem["fix"]
