"""`sartor keys rotate-master`: another key opens everything, the old one nothing; stopped calls go on, two at once are refused."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from calls import Call

from sartor.errors import StoreProblem
from sartor.profile import rotate
from sartor.profile.records import Record
from sartor.profile.store import ProfileStore

PEOPLE = 25


@pytest.fixture(params=["key file", "environment", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Of a store with some people, whose master key lies in a file beside it, or in the environment."""
    monkeypatch.setenv("SARTOR_BLOBS", str(tmp_path / "blobs"))
    monkeypatch.delenv("SARTOR_MASTER_KEY", raising=False)
    if request.param != "key file":
        monkeypatch.setenv("SARTOR_MASTER_KEY", base64.b64encode(os.urandom(32)).decode())
    url = str(request.getfixturevalue("postgresql_url")) if request.param == "postgresql" else f"sqlite:///{tmp_path}/people.db"
    with ProfileStore.open(url) as store:
        store.append("shop", [Record(f"p{n}", id="1", content={"item": n}) for n in range(PEOPLE)])
    monkeypatch.setattr(rotate, "_BATCH", 7)
    return url


@pytest.fixture
def new(tmp_path: Path) -> Path:
    (tmp_path / "new.key").write_bytes(base64.b64encode(os.urandom(32)))
    return tmp_path / "new.key"


def readable(url: str, key: Path | None = None) -> bool:
    with ProfileStore.open(url, master_key=key) as store:
        return [store.evidence("shop", f"p{n}")[0].content for n in range(PEOPLE)] == [{"item": n} for n in range(PEOPLE)]


def stopped_after(pages: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next change dies like a process that was killed."""
    real, left = rotate._prepare, [pages]

    def dies(*given: object) -> object:
        if not left[0]:
            monkeypatch.setattr(rotate, "_prepare", real)
            raise KeyboardInterrupt
        left[0] -= 1
        return real(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(rotate, "_prepare", dies)


def test_a_stopped_change_goes_on_and_the_old_key_opens_nothing(
    url: str, new: Path, call: Call, call_json: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["keys", "rotate-master", "--new", new, "--db", url]
    assert call_json(*words)[1]["fix"] == "add --yes"
    stopped_after(2, monkeypatch)
    assert call(*words, "--yes")[0] != 0
    assert readable(url)
    code, done = call_json(*words, "--yes")
    assert (code, done["keys"], done["resumed"]) == (0, PEOPLE - 14, True)
    in_file = "SARTOR_MASTER_KEY" not in os.environ
    assert done["key_file_replaced"] == in_file
    assert readable(url, new)
    if in_file:
        assert readable(url)
        return
    with pytest.raises(StoreProblem, match="another master key"):
        ProfileStore.open(url)
    assert call_json(*words, "--yes")[1]["resumed"], "once more, after a crash that came after the switch"


def test_of_two_at_once_the_second_is_refused(url: str, new: Path, tmp_path: Path, call_json: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "other.key"
    other.write_bytes(os.urandom(32))
    real: Callable[..., bool] = rotate._begin
    refused = []

    def begin(*given: object) -> bool:
        if not refused:
            refused.append(call_json("keys", "rotate-master", "--new", other, "--db", url, "--yes"))
        return real(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(rotate, "_begin", begin)
    assert call_json("keys", "rotate-master", "--new", new, "--db", url, "--yes")[0] == 0
    ((code, problem),) = refused
    assert code != 0
    assert problem["error"] == "Conflict"
    assert readable(url, new)


def test_without_a_new_key_the_key_file_is_replaced(tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SARTOR_MASTER_KEY", raising=False)
    url = f"sqlite:///{tmp_path}/people.db"
    with ProfileStore.open(url) as store:
        store.append("shop", [Record(f"p{n}", id="1", content={"item": n}) for n in range(PEOPLE)])
    before = (tmp_path / "people.db.key").read_bytes()
    code, out, said = call("keys", "rotate-master", "--db", tmp_path / "people.db", "--yes")
    assert code == 0, said
    assert f"{PEOPLE} keys" in out
    assert (tmp_path / "people.db.key").read_bytes() != before
    assert readable(url)
    monkeypatch.setenv("SARTOR_MASTER_KEY", base64.b64encode(os.urandom(32)).decode())
    assert call("keys", "rotate-master", "--db", tmp_path / "people.db", "--yes")[0] != 0
