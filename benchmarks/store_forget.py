"""How long it takes to forget somebody with 10,000 events whose rows lie scattered among everybody else's, and to look whether she is gone.

    python benchmarks/store_forget.py --others 300000
    python benchmarks/store_forget.py --others 300000 --postgres

Prints one JSON object, and appends it to `store_forget.jsonl` with --keep. Seconds are wall time, median of the people forgotten.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from sartor.method import State
from sartor.profile.files import compact, places, size
from sartor.profile.forget import forget
from sartor.profile.records import Record
from sartor.profile.scan import scan
from sartor.profile.store import ProfileStore

RESULTS = Path(__file__).parent / "store_forget.jsonl"
EVENTS, HEAVY = 10_000, 3


def fill(store: ProfileStore, others: int) -> None:
    """Events of many people in the order of time: the heavy ones' lie among all others."""
    rng = np.random.default_rng(0)
    who = np.concatenate([np.repeat(np.arange(HEAVY), EVENTS), HEAVY + rng.integers(0, max(1, others // 30), others)])
    rng.shuffle(who)
    items = rng.integers(0, 50_000, who.size)
    for start in range(0, who.size, 5_000):
        part = slice(start, start + 5_000)
        rows = zip(range(start, start + 5_000), who[part].tolist(), items[part].tolist(), strict=False)
        store.append(
            "shop", [Record(f"person-{person:07d}", id=str(n), time=1e9 + n, kind="view", content={"item": item}) for n, person, item in rows]
        )
    for person in range(HEAVY):
        for version in range(5):
            state = State({"vector": rng.random(500, np.float32)}, "ALS", "model", version=version + 1)
            store.put_state("shop", f"person-{person:07d}", "recommend", state, model="model", position=store.position("shop"))
        store.note_members("shop", "model", [f"person-{person:07d}"])


def measure(store: ProfileStore, others: int, files_at: list[Path], settle: Callable[[], Any]) -> dict[str, Any]:
    start = time.perf_counter()
    fill(store, others)
    filled = time.perf_counter() - start
    where = [*places(store), *files_at]
    files = size(where)
    receipts = [forget(store, "shop", f"person-{person:07d}", scan_files=False) for person in range(HEAVY)]
    assert all(receipt.removed["evidence"] == EVENTS for receipt in receipts)
    names = [f"person-{person:07d}" for person in range(HEAVY)]
    needles = {"person id": names, "subject": [store.keyring.subject("shop", name) for name in names]}
    before = scan(where, needles)
    start = time.perf_counter()
    compact(store)
    compacted = time.perf_counter() - start
    settle()
    after = scan(where, needles)
    return {
        "database": store.dialect,
        "events": others + HEAVY * EVENTS,
        "events_of_the_person": EVENTS,
        "megabytes": round(files / 1e6, 1),
        "append_per_second": round((others + HEAVY * EVENTS) / filled),
        "forget_seconds": round(statistics.median(one.seconds for one in receipts), 3),
        "forget_seconds_each": [round(one.seconds, 3) for one in receipts],
        "rows_left": sum(sum(one.left.values()) for one in receipts),
        "scan_seconds": round(before.seconds, 3),
        "traces_before_compaction": len(before.hits),
        "compaction_seconds": round(compacted, 3),
        "traces_after_compaction": len(after.hits),
        "places_of_traces": sorted({Path(hit.file).parent.name for hit in after.hits}),
        "unreadable": len(after.unreadable),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--others", type=int, default=300_000, help="events of other people")
    parser.add_argument("--postgres", action="store_true")
    parser.add_argument("--keep", action="store_true", help=f"append to {RESULTS.name}")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="sartor-forget."))
    try:
        with contextlib.ExitStack() as stack:
            url, files_at, settle = f"sqlite:///{folder / 'people.db'}", list[Path](), lambda: None
            if given.postgres:
                import _postgres

                os.environ.setdefault("SARTOR_BLOBS", str(folder / "blobs"))
                server = stack.enter_context(_postgres.server())
                url, files_at, settle = server.url, [server.data], server.settle
            found = measure(stack.enter_context(ProfileStore.open(url, master_key=bytes(range(32)))), given.others, files_at, settle)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    found = {"date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"), **found}
    print(json.dumps(found, indent=1))
    if given.keep:
        with RESULTS.open("a") as file:
            file.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
