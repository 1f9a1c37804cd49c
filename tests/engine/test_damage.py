"""Stored bytes that are not what was written: the person gets the population's answer, said so, then a fresh state; nobody else notices."""

from __future__ import annotations

import io
import logging
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

import sartor
from sartor.data.world import World
from sartor.engine import Engine
from sartor.errors import Unreadable
from sartor.profile import blobs, states
from sartor.profile.schema import states as table

KEY = bytes(range(32))


def truncated(engine: Engine) -> None:
    with engine.store.db.write("default") as connection:
        newest = sa.select(sa.func.max(table.c.version)).scalar_subquery()
        row = connection.execute(sa.select(table.c.data).where(table.c.version == newest)).scalar_one()
        connection.execute(table.update().where(table.c.version == newest).values(data=row[: len(row) // 2]))


def nonsense(engine: Engine) -> None:
    """Well encrypted, and no state."""
    subject = engine.store.keyring.subject("default", "ana")
    with engine.store.db.write("default") as connection:
        key = engine.store._states.people.key(connection, "default", subject)
        assert key is not None
        connection.execute(table.update().values(data=key.seal("states", b"\1 no state")))


def file_gone(engine: Engine) -> None:
    for name in engine.store.blobs.names():
        assert engine.store.blobs.delete(name)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    world = World(people=60, items=80, seed=2, events_per_person=15).population()
    with Engine(f"sqlite:///{tmp_path}/people.db", master_key=KEY, background=False) as engine:
        engine.install(sartor.make("als", factors=4, iterations=2).fit(world, progress=False), world)
        yield engine


@pytest.mark.parametrize("damage", [truncated, nonsense, file_gone])
def test_a_damaged_state_costs_its_person_one_impersonal_answer(
    engine: Engine, damage: Callable[[Engine], None], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    if damage is file_gone:
        monkeypatch.setattr(states, "BIG", 1)
    engine.observe("ana", [1, 2, 3])
    engine.catch_up()
    good = engine.recommend("ana")
    engine.observe("ben", [4, 5])
    if damage is truncated:  # the version that is held, at that
        engine.restore("ana", 1)
    damage(engine)
    monkeypatch.setattr(states, "BIG", blobs.BIG)
    engine.catch_up()
    with pytest.raises(Unreadable):
        engine.store.state("default", "ana", "recommend")
    everybody = [pick.item for pick in engine.recommend("nobody", k=13).items]
    with caplog.at_level(logging.WARNING):
        hers, his = engine.recommend_many(["ana", "ben"])
    assert (hers.fallback, hers.state_version) == ("state unreadable", None)
    assert "cannot be read" in hers.note
    assert [pick.item for pick in hers.items] == [item for item in everybody if item not in (1, 2, 3)][:10]
    assert his.fallback is None
    assert "cannot be read" in caplog.text
    assert "ana" not in caplog.text
    assert engine.store.is_stale("default", "ana")
    assert "No state" in " ".join(engine.profile("ana").sentences)
    with zipfile.ZipFile(io.BytesIO(engine.store.export("default", "ana"))) as archive:
        assert b"damaged" in b"".join(archive.read(name) for name in archive.namelist() if name.startswith("states/"))
    assert engine.catch_up()
    again = engine.recommend("ana")
    assert again.fallback is None
    assert again.items == good.items
    assert not engine.store.is_stale("default", "ana")


def test_what_cannot_be_renewed_is_answered_all_the_same(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    engine.observe("ana", [1, 2, 3])
    engine.catch_up()
    truncated(engine)
    with engine.store.db.write("default") as connection:
        connection.execute(sa.text("UPDATE evidence SET data = x'00112233445566778899aabbccddeeff'"))
    answers = [engine.recommend("ana") for _ in range(3)]
    assert {answer.fallback for answer in answers} == {"state unreadable"}
    engine._adapter.step()
    assert engine.status().failing == 1
    assert engine.recommend("ana").items == engine.recommend("nobody").items
