"""Two who change the master key at once, and one who came too late: no key is ever lost, whoever wins."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sartor.errors import Conflict, StoreProblem
from sartor.profile import rotate
from sartor.profile.keyring import key_file, next_key_file
from sartor.profile.records import Record
from sartor.profile.store import ProfileStore

KEY = bytes(range(32))


def filled(store: ProfileStore) -> None:
    store.append("shop", [Record(f"p{number}", id="1", content={"item": number}) for number in range(30)])


def readable(store: ProfileStore) -> bool:
    return all(store.evidence("shop", f"p{number}")[0].content == {"item": number} for number in range(30))


def in_between(monkeypatch: pytest.MonkeyPatch, name: str, act: Callable[[], Any]) -> None:
    """Do something the first time that one of rotate's steps is over."""
    real, times = getattr(rotate, name), []

    def step(*given: Any) -> Any:
        found = real(*given)
        times.append(0)
        if len(times) == 1:
            act()
        return found

    monkeypatch.setattr(rotate, name, step)


def test_of_two_changes_to_different_keys_one_is_told_to_wait(
    open_store: Callable[[], ProfileStore], url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keys prepared for the one must not be put in place by the other."""
    store, other = open_store(), open_store()
    filled(store)
    one, two = os.urandom(32), os.urandom(32)
    monkeypatch.setattr(rotate, "_BATCH", 7)
    in_between(monkeypatch, "_begin", lambda: rotate._begin(other, two))
    with pytest.raises(Conflict):
        rotate.rotate_master(store, one, old=KEY)
    assert readable(open_store())
    assert rotate.rotate_master(other, two, old=KEY).keys == 30
    with ProfileStore.open(url, master_key=two) as renewed:
        assert readable(renewed)


def test_one_key_file_is_changed_by_one_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SARTOR_MASTER_KEY", raising=False)
    url = f"sqlite:///{tmp_path}/people.db"
    with ProfileStore.open(url) as store, ProfileStore.open(url) as other:
        filled(store)

        def also() -> None:
            with pytest.raises(Conflict):
                rotate.rotate_master(other, os.urandom(32))

        in_between(monkeypatch, "_begin", also)
        rotate.rotate_master(store)
    with ProfileStore.open(url) as store:
        assert readable(store)


def test_a_key_that_waits_for_its_file_is_not_written_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A crash after the database was changed and before the file was renamed; a process that was open before asks for yet another key."""
    monkeypatch.delenv("SARTOR_MASTER_KEY", raising=False)
    path = tmp_path / "people.db"
    with ProfileStore.open(f"sqlite:///{path}") as store, ProfileStore.open(f"sqlite:///{path}") as open_before:
        filled(store)
        with monkeypatch.context() as patch:
            patch.setattr(rotate, "_finish", lambda *_: pytest.fail("crash"))
            with pytest.raises(pytest.fail.Exception):
                rotate.rotate_master(store)
        third = os.urandom(32)
        assert rotate.rotate_master(open_before, third).keys == 30
    assert key_file(path).read_bytes() == third
    assert not next_key_file(path).exists()
    with ProfileStore.open(f"sqlite:///{path}") as store:
        assert readable(store)


def test_a_data_key_made_before_the_master_key_changed_is_not_stored(store: ProfileStore) -> None:
    """What only the old master key opens would be lost with it."""
    new = store.keyring.new("shop", store.keyring.subject("shop", "ana"))
    rotate.rotate_master(store, os.urandom(32), old=KEY)
    with pytest.raises(StoreProblem), store.db.write("shop") as connection:
        store._appender.people.insert(connection, "shop", {"ana": new}, 0)
    store.append("shop", [Record("ana", id="1")])
    assert store.count("shop", "ana") == 1
