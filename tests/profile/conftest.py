"""Every test of the store runs on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sartor.profile.store import ProfileStore

KEY = bytes(range(32))


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/people.db"
    return str(request.getfixturevalue("postgresql_url"))


@pytest.fixture
def open_store(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], ProfileStore]]:
    """Opens the test's database, as often as a test has processes."""
    monkeypatch.delenv("SARTOR_MASTER_KEY", raising=False)
    monkeypatch.setenv("SARTOR_BLOBS", str(tmp_path / "blobs"))
    opened: list[ProfileStore] = []

    def open_() -> ProfileStore:
        opened.append(ProfileStore.open(url, master_key=KEY))
        return opened[-1]

    yield open_
    for store in opened:
        store.close()


@pytest.fixture
def store(open_store: Callable[[], ProfileStore]) -> ProfileStore:
    """An empty store."""
    return open_store()
