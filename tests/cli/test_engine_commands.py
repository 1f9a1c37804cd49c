"""Commands on a store of people: serve, profile, keys, batch."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import zipfile
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from calls import Call
from typer.testing import CliRunner

from sartor.cli import app


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store that a demo leaves."""
    out = tmp_path_factory.mktemp("demo")
    result = CliRunner().invoke(app, ["demo", "--people", "60", "--items", "60", "-m", "ease", "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert f"sartor serve --dev --db {out}/people.db" in result.stdout.replace("\n", "")
    return out


@pytest.fixture
def db(shelf: Path) -> Path:
    return shelf / "people.db"


def test_the_demo_leaves_the_lists_of_its_report(shelf: Path, db: Path) -> None:
    from sartor.engine import Engine

    told = json.loads((shelf / "demo.json").read_text())
    with Engine(f"sqlite:///{db}", background=False) as engine:
        (card,) = engine.models()
        assert card.report["gain"]["mean"] == pytest.approx(told["gain"])
        for person in told["people"]:
            answer = engine.recommend(person["person"], 10)
            assert answer.fallback is None
            assert [pick.item for pick in answer.items] == [entry["item"] for entry in person["own"]]


def test_a_second_demo_replaces_its_own_store_only(shelf: Path, tmp_path: Path, call_json: Call) -> None:
    (tmp_path / "people.db").write_bytes(b"somebody's own")
    code, found = call_json("demo", "--people", 60, "--items", 60, "-m", "ease", "--out", tmp_path)
    assert (code, found["store"]) == (0, None)
    assert (tmp_path / "people.db").read_bytes() == b"somebody's own"


def test_show_history_and_export(db: Path, call: Call, call_json: Call, tmp_path: Path) -> None:
    code, shown = call_json("profile", "show", 1, "--db", db, "--events", 2)
    assert code == 0
    assert shown["records"] > 2
    assert len(shown["newest"]) == 2
    code, out, _ = call("profile", "show", 1, "--db", db)
    assert shown["sentences"][0] in out
    _, found = call_json("profile", "history", 1, "--db", db)
    assert [one["version"] for one in found["states"]] == [1]
    code, found = call_json("profile", "export", 1, "--db", db, "--out", tmp_path / "one.zip")
    assert code == 0
    assert zipfile.ZipFile(tmp_path / "one.zip").testzip() is None
    assert call_json("profile", "export", 1, "--db", db, "--out", tmp_path / "one.zip")[1]["error"] == "ConfigError"


def test_forget_asks_for_the_id_and_prints_the_receipt(db: Path, call: Call, call_json: Call) -> None:
    words = ["profile", "forget", "2", "--db", str(db)]
    assert CliRunner().invoke(app, words, input="3\n").exit_code == 2
    assert call_json("profile", "show", 2, "--db", db)[1]["records"] > 0
    assert call_json(*words)[1]["fix"] == "add --yes"
    result = CliRunner().invoke(app, words, input="2\n")
    assert result.exit_code == 0, result.output
    assert "nothing of her is left" in result.stdout
    code, receipt = call_json(*words, "--yes")
    assert (code, receipt["known"]) == (0, False)
    assert call_json("profile", "show", 2, "--db", db)[1]["error"] == "UnknownId"


def test_keys_open_until_they_are_revoked(db: Path, call: Call, call_json: Call) -> None:
    from sartor.errors import AccessDenied
    from sartor.profile.store import ProfileStore

    code, made = call_json("keys", "create", "shop", "--db", db, "--scope", "read", "--days", 1)
    assert code == 0
    with ProfileStore.open(f"sqlite:///{db}") as store:
        assert store.check_key(made["secret"]).scopes == {"read"}
    _, listed = call_json("keys", "list", "--db", db)
    assert made["secret"] not in json.dumps(listed)
    assert [one["label"] for one in listed["keys"]] == ["shop"]
    assert call("keys", "revoke", made["key"]["id"], "--db", db)[0] == 0
    with ProfileStore.open(f"sqlite:///{db}") as store, pytest.raises(AccessDenied):
        store.check_key(made["secret"])
    assert call_json("keys", "create", "shop", "--db", db, "--scope", "everything")[1]["error"] == "ConfigError"


def test_batch_writes_everybodys_lists(db: Path, call_json: Call, tmp_path: Path) -> None:
    code, found = call_json("batch", "--db", db, "--out", tmp_path / "lists", "-k", 3, "-w", 1)
    assert code == 0
    frame = pl.read_parquet(tmp_path / "lists" / "part-*.parquet")
    assert frame["person"].n_unique() == found["people"]
    assert frame.height == found["rows"] == 3 * found["people"]


def test_a_store_that_is_not_there_is_not_made(tmp_path: Path, call_json: Call) -> None:
    for words in (("profile", "show", 1), ("keys", "list"), ("batch", "--out", tmp_path / "lists")):
        code, found = call_json(*words, "--db", tmp_path / "none.db")
        assert (code, found["error"]) == (2, "FileProblem")
    assert list(tmp_path.iterdir()) == []


def test_serve_prints_the_admin_key_once(tmp_path: Path) -> None:
    first = _served(tmp_path / "people.db")
    assert first["key"].startswith("sk_sartor_")
    assert _served(tmp_path / "people.db", key=first["key"])["key"] is None


def _served(db: Path, key: str | None = None) -> dict[str, Any]:
    """What `sartor serve` says when it starts; the server answers, knows the key, and ends when told to."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [sys.executable, "-m", "sartor.cli", "serve", "--db", str(db), "--port", str(port), "--json"]
    server = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    try:
        assert server.stdout is not None
        said: dict[str, Any] = json.loads(server.stdout.readline())
        assert said["url"] == f"http://127.0.0.1:{port}"
        secret = key or said["key"]
        me = json.loads(_asked(f"{said['url']}/v1/me", secret))
        assert me["tenant"] == "default"
        assert "admin" in me["scopes"]
    finally:
        server.send_signal(signal.SIGINT)
        assert server.wait(60) in (0, -signal.SIGINT, 130)
    return said


def _asked(url: str, key: str) -> bytes:
    for _ in range(600):
        try:
            with urllib.request.urlopen(urllib.request.Request(url, headers={"Authorization": f"Bearer {key}"}), timeout=5) as answer:
                return bytes(answer.read())
        except urllib.error.HTTPError:
            raise
        except OSError:
            time.sleep(0.1)
    raise AssertionError(f"{url} does not answer")
