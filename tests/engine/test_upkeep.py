"""What an engine does beside its work: retention in a turn of its own, and counts that do not cost what they count."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from sartor.engine import Engine, adapting
from sartor.engine.counts import Counts
from sartor.profile import retention
from sartor.profile.records import Record


def until(condition: Any, seconds: float = 60.0) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


@pytest.mark.parametrize("step", ["always somebody", "always fails"])
def test_retention_has_its_turn_whatever_the_adapter_has_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    monkeypatch.setattr(adapting, "HOUSEKEEPING", 0.05)
    monkeypatch.setattr(adapting, "PURGE_BUSY", 0.0)  # a page at a time
    steps = []

    def worked(self: adapting.Adapter) -> int:
        steps.append(time.monotonic())
        time.sleep(0.001)
        if step == "always fails":
            raise RuntimeError("a damaged model")
        return 1

    monkeypatch.setattr(adapting.Adapter, "step", worked)
    with Engine(f"sqlite:///{tmp_path}/people.db", background=False) as engine:
        retention.set_rule(engine.store, "default", retention.Rule(seconds=retention.DAY))
        old = [Record("ana", id=str(n), time=1.7e9, content={"item": n}) for n in range(3 * retention._BATCH)]
        engine.store.append("default", [*old, Record("ana", id="new", time=time.time(), content={"item": 1})])
        engine._adapter._look = 0.0
        engine._adapter.start()
        assert until(lambda: engine.store.count("default", "ana") == 1)
        before = len(steps)
        assert until(lambda: len(steps) > before), "adapting goes on"


def test_a_large_store_is_counted_a_fiftieth_of_the_time_and_a_small_one_anew(tmp_path: Path) -> None:
    now = [100.0]

    class Slow:
        asked, costs, records = 0, 0.1, 1_000_000

        def counts(self, tenant: str) -> dict[str, int]:
            self.asked += 1
            now[0] += self.costs
            return {"people": self.asked, "records": self.records, "states": 0}

    slow = Slow()
    counts = Counts(slow, clock=lambda: now[0])  # type: ignore[arg-type]
    assert [counts.of("a")["people"] for _ in range(5)] == [1] * 5
    assert counts.of("b")["people"] == 2, "each tenant has its own"
    now[0] += 0.1 / 0.02
    assert counts.of("a")["people"] == 3
    slow.records, now[0] = 100, now[0] + 10
    assert [counts.of("a")["people"] for _ in range(3)] == [4, 5, 6]


def test_status_counts_a_small_store_as_it_is(tmp_path: Path) -> None:
    with Engine(f"sqlite:///{tmp_path}/people.db", background=False) as engine:
        for number in range(1, 4):
            engine.observe(f"p{number}", [number])
            assert (engine.status().people, engine.status().counts["records"]) == (number, number)
        threads = [threading.Thread(target=engine.status) for _ in range(4)]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
