"""What is acknowledged stays, whole, whatever happens; `benchmarks/store_faults.py` does the same at length and prints figures."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest

import store_faults as faults


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SARTOR_MASTER_KEY", raising=False)
    monkeypatch.setenv("SARTOR_BLOBS", str(tmp_path / "blobs"))


def sound(figures: dict[str, Any] | None) -> dict[str, Any]:
    """The figures, after a look at all that must be 0 or true."""
    assert figures is not None
    assert faults.failed({"": figures}) == []
    return figures


def test_kill_9_in_the_middle_of_writes_loses_nothing_acknowledged(url: str) -> None:
    found = sound(faults.kills(url, 8, check_every=4))
    assert found["killed_in_the_middle_of_a_write"] > 0
    assert found["records_acknowledged"] > 0
    assert found["checks"] == 2


@pytest.mark.parametrize("full", [faults.file_size_limit, partial(faults.page_limit, pages=100)], ids=["no file may grow", "no page more"])
def test_a_full_disk_is_a_named_error_and_nothing_is_lost(full: Any, tmp_path: Path) -> None:
    assert sound(full(tmp_path))["records_acknowledged"] > 0


def test_a_clock_that_jumps_changes_no_order(url: str) -> None:
    sound(faults.clock_jumps(url, 20))


def test_events_that_come_three_times_in_any_order_are_kept_once(url: str) -> None:
    found = sound(faults.duplicates(url, 200))
    assert (found["accepted"], found["duplicates_named"], found["kept"]) == (200, 400, 200)


def test_postgresql_restarted_under_load_loses_nothing_acknowledged() -> None:
    import _postgres

    pytest.importorskip("psycopg", reason="needs the extra 'postgres'")
    if _postgres.binaries() is None:
        pytest.skip("PostgreSQL's server binaries are not installed (Debian: apt-get install postgresql)")
    with _postgres.server() as server:

        def restart() -> None:
            server.stop("immediate")
            server.start()

        found = sound(faults.restarts(server.url, restart, times=1, between=0.4))
    assert found["records_acknowledged"] > 0
    assert found["calls_that_failed_with_a_named_error"] > 0


def test_the_check_would_notice_a_loss(tmp_path: Path) -> None:
    """The figures are not zero by construction: records and states that are taken away show."""
    url = f"sqlite:///{tmp_path / 'people.db'}"
    faults.opened(url).close()
    promises = faults.Promises()
    batches = "> batch 0 0 person-1 2\n+ batch 0 0 person-1 2\n> batch 0 1 person-2 3\n"
    promises.hear(f"+ open\n{batches}+ state person-2 7\n> consent person-2 1\n+ consent person-1 1\n")
    with faults.opened(url) as store:
        rows = [
            faults.Record(person, id=ident, content={"item": 0, "of": size})
            for person, ident, size in (("person-1", "0.0.0", 2), ("person-2", "0.1.0", 3))
        ]
        store.append(faults.TENANT, rows)
        torn = faults.State({"values": faults.np.zeros(64, "uint8")}, "Fake", faults.MODEL, examples=6, notes={"number": 6, "nbytes": 64})
        store.put_state(faults.TENANT, "person-2", faults.VERB, torn, model=faults.MODEL, position=store.position(faults.TENANT))
        store.done(store.claim(worker="test", limit=10))
        found = promises.check(store)
    assert promises.in_the_middle == 0
    assert found["records_lost"] == 1
    assert found["half_batches"] == 2
    assert found["half_states"] == 1
    assert found["states_lost"] == 1
    assert found["consents_lost"] == 1
    assert found["not_marked_stale"] == 1
