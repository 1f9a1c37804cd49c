"""PostgreSQL's quick paths: whole columns in one statement, and a request's reads in one message."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import psycopg
import pytest

from sartor.errors import StoreProblem
from sartor.method import State
from sartor.profile import database
from sartor.profile.records import Record
from sartor.profile.store import ProfileStore

MODEL = "f" * 32


@pytest.fixture
def url(postgresql_url: str) -> str:
    return postgresql_url


def test_rows_go_in_parts_with_every_kind_of_value_and_duplicates_are_counted(store: ProfileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "ARRAYS", 2_000)
    given = [
        Record("ana", id=str(n), kind=None if n % 3 else "click", time=None if n % 2 else 1.7e9 + n, content={"item": "ä" * (n % 50), "value": n},
               purposes=None if n % 5 else frozenset(["recommend"]), expires=4e9 if n % 7 == 0 else None)
        for n in range(200)
    ]  # fmt: skip
    assert store.append("shop", given).accepted == 200
    again = store.append("shop", [*given[150:], Record("ana", id="new", content={})])
    assert (again.accepted, again.duplicates) == (1, 50)
    kept = {one.id: one for one in store.evidence("shop", "ana")}
    assert [(one.kind, one.time, one.content, one.purposes, one.expires) for one in given] == [
        (kept[one.id].kind, kept[one.id].time, kept[one.id].content, kept[one.id].purposes, kept[one.id].expires) for one in given
    ]


def test_states_come_as_before_also_after_the_server_has_closed_every_connection(
    store: ProfileStore, open_store: Callable[[], ProfileStore], url: str
) -> None:
    store.append("shop", [Record("ana", id="1", content={"item": 1}), Record("ben", id="1", content={"item": 1})])
    states = {person: State({"vector": np.arange(5, dtype=np.float32) + n}, "ALS", MODEL) for n, person in enumerate(("ana", "ben"))}
    store.put_states("shop", "recommend", states, model=MODEL, position=store.position("shop"))
    about = {"purpose": "recommend", "verb": "recommend", "model": MODEL}
    for restarted in (False, True):
        if restarted:
            with psycopg.connect(url, autocommit=True) as other:
                other.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'sartor' AND pid <> pg_backend_pid()")
        for person, state in states.items():
            found = store.state("shop", person, "recommend", model=MODEL)
            assert found is not None
            np.testing.assert_array_equal(found.state["vector"], state["vector"])
        both = store.standing("shop", ["ana", "ben"], **about)
        for person in ("ana", "ben"):
            one = store.standing("shop", [person], **about)[person]
            assert (one.known, one.allowed, one.newer, one.stored and one.stored.version) == (
                both[person].known, both[person].allowed, both[person].newer, both[person].stored and both[person].stored.version,
            )  # fmt: skip
    # Another tenant's rows stay another tenant's, on the very same connections.
    assert not store.standing("other", ["ana"], **about)["ana"].known
    assert store.state("other", "ana", "recommend") is None
    store.consent("shop", "ana", "recommend", False)
    assert not store.standing("shop", ["ana"], **about)["ana"].allowed


def test_a_refused_read_leaves_the_connection_usable(store: ProfileStore) -> None:
    store.append("shop", [Record("ana", id="1", content={"item": 1})])
    import sqlalchemy as sa

    with pytest.raises(StoreProblem, match="refused a statement"):
        store.db.fetch("shop", (sa.select(sa.text("1 / 0")), {}))
    for _ in range(10):
        assert store.state("shop", "ana", "recommend") is None
