"""What the store loses when things go wrong: kill -9 in a loop during writes, a full disk, a restarted PostgreSQL, a clock that goes back.

    python benchmarks/store_faults.py --kills 200

Figures are printed as one JSON object, and appended to `store_faults.jsonl` with --keep. The exit code is 1 when anything acknowledged was
lost, a half-written batch or state was read, or a database failed its integrity check.

kill -9 ends the process, not the machine: what the operating system had taken survives. That a loss of power loses nothing either rests on
SQLite's `synchronous` setting, which is read back and printed, and on the disk keeping its own promises.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import os
import random
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from sartor.errors import SartorError, StoreProblem
from sartor.method import State
from sartor.profile.records import Record
from sartor.profile.store import ProfileStore

RESULTS = Path(__file__).parent / "store_faults.jsonl"
TENANT, VERB, MODEL = "shop", "recommend", "0123456789abcdef"
PEOPLE = 12
KEY = bytes(range(32))
LARGE = 1_300_000
"""Bytes of a state that is kept as a file beside the database."""


def opened(url: str) -> ProfileStore:
    return ProfileStore.open(url, master_key=KEY)


def a_state(number: int, nbytes: int) -> State:
    """Every byte of it follows from its number: half a state, or two mixed, would show."""
    values = np.random.default_rng(number).integers(0, 256, nbytes, dtype=np.uint8)
    return State({"values": values}, "Fake", MODEL, examples=number, notes={"number": number, "nbytes": nbytes})


def whole(state: State) -> bool:
    number, nbytes = state.notes["number"], state.notes["nbytes"]
    return state.examples == number and np.array_equal(state["values"], a_state(number, nbytes)["values"])


# ---- kill -9 -------------------------------------------------------------------------------------------------------------------------------


def write_until_killed(url: str, acknowledge: int, life: int) -> None:
    """The child: writes evidence, states, consents and queue marks for ever, and says what was begun (">") and what was acknowledged ("+")."""

    def say(mark: str, what: str, *facts: object) -> None:
        os.write(acknowledge, (" ".join([mark, what, *map(str, facts)]) + "\n").encode())

    rng = random.Random(life)
    with opened(url) as store:
        say("+", "open")
        for number in range(1_000_000):
            person, size = f"person-{rng.randrange(PEOPLE)}", rng.choice([1, 1, 1, 4, 40, 400])
            records = [
                Record(person, id=f"{life}.{number}.{row}", time=1e9 + number, kind="view", content={"item": row, "of": size}) for row in range(size)
            ]
            say(">", "batch", life, number, person, size)
            receipt = store.append(TENANT, records)
            say("+", "batch", life, number, person, size)
            if number % 3 == 0:
                stamp = life * 10_000 + number
                say(">", "state", person, stamp)
                store.put_state(TENANT, person, VERB, a_state(stamp, LARGE if number % 12 == 0 else 2048), model=MODEL, position=receipt.position)
                say("+", "state", person, stamp)
            if number % 7 == 0:
                store.claim(worker=f"life-{life}", limit=4, lease=0.01)
            if number % 11 == 0:
                granted = bool(rng.getrandbits(1))
                say(">", "consent", person, int(granted))
                store.consent(TENANT, person, "share", granted, version=str(life))
                say("+", "consent", person, int(granted))


class Promises:
    """What the child was told is durable, and what of it is there afterwards."""

    def __init__(self) -> None:
        self.batches: dict[tuple[int, int], tuple[str, int]] = {}
        self.begun: dict[tuple[int, int], tuple[str, int]] = {}
        self.states: dict[str, int] = {}
        self.consents: dict[str, set[str]] = {}
        self.in_the_middle = 0

    def hear(self, text: str) -> None:
        """One life's words."""
        lines = [line.split() for line in text.splitlines()]
        if lines and lines[-1][0] == ">":
            self.in_the_middle += 1
        for mark, what, *facts in lines:
            if what == "batch":
                life, number, person, size = int(facts[0]), int(facts[1]), facts[2], int(facts[3])
                (self.begun if mark == ">" else self.batches)[life, number] = (person, size)
            elif what == "state" and mark == "+":
                self.states[facts[0]] = max(self.states.get(facts[0], 0), int(facts[1]))
            elif what == "consent":
                # What was begun and not acknowledged may hold as well, or what held before it: at first nobody shares.
                self.consents[facts[0]] = {facts[1]} | (self.consents.get(facts[0], {"0"}) if mark == ">" else set())

    def check(self, store: ProfileStore) -> dict[str, int]:
        """Counts of what must not be."""
        seen: dict[tuple[int, int], set[int]] = {}
        wrong = dict.fromkeys(
            ("records_lost", "half_batches", "strange_records", "half_states", "states_lost", "consents_lost", "not_marked_stale"), 0
        )
        newest: dict[str, int] = {}
        for person in (f"person-{number}" for number in range(PEOPLE)):
            before = -1
            for record in store.evidence(TENANT, person):
                life, number, row = map(int, record.id.split("."))
                owner, size = self.begun[life, number]
                seen.setdefault((life, number), set()).add(row)
                wrong["strange_records"] += owner != person or record.content != {"item": row, "of": size} or record.position <= before
                before = newest[person] = max(before, record.position)
        for key, (_, size) in self.batches.items():
            wrong["records_lost"] += size - len(seen.get(key, ()))
        wrong["half_batches"] = sum(len(rows) != self.begun[key][1] for key, rows in seen.items())
        states = store.states(TENANT, list(newest), VERB)
        for person, number in self.states.items():
            found = states.get(person)
            wrong["states_lost"] += found is None or found.state.notes["number"] < number
        for person in newest:
            wrong["half_states"] += sum(
                not whole(one.state)
                for card in store.history(TENANT, person, VERB)
                if (one := store.state(TENANT, person, VERB, version=card.version)) is not None
            )
        wrong["consents_lost"] = sum(str(int(store.allowed(TENANT, person, "share"))) not in may for person, may in self.consents.items())
        behind = [person for person, position in newest.items() if person not in states or states[person].position < position]
        wrong["not_marked_stale"] = sum(not store.is_stale(TENANT, person) for person in behind)
        return wrong


def kills(url: str, times: int, *, seed: int = 0, check_every: int = 20) -> dict[str, Any]:
    """kill -9 a writing child again and again; everything acknowledged must be there, whole, each time."""
    rng, promises = random.Random(seed), Promises()
    opened(url).close()
    wrong: dict[str, int] = {}
    integrity_failures = checks = 0
    start = time.perf_counter()
    for life in range(times):
        promises.hear(_one_life(url, life, rng.uniform(0.0, 0.2)))
        if life % check_every == check_every - 1 or life == times - 1:
            checks += 1
            with opened(url) as store:
                for name, count in promises.check(store).items():
                    wrong[name] = wrong.get(name, 0) + count
            integrity_failures += not sound(url)
    records = sum(size for _, size in promises.batches.values())
    return {
        "kills": times, "killed_in_the_middle_of_a_write": promises.in_the_middle, "batches_acknowledged": len(promises.batches),
        "records_acknowledged": records, "checks": checks, **wrong, "integrity_failures": integrity_failures,
        "seconds": round(time.perf_counter() - start, 2),
    }  # fmt: skip


def _one_life(url: str, life: int, seconds: float) -> str:
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        try:
            write_until_killed(url, write, life)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(70)
    os.close(write)
    heard = b""
    with os.fdopen(read, "rb", buffering=0) as pipe:
        heard += pipe.read(65536) or b""  # it is open
        until = time.monotonic() + seconds
        os.set_blocking(read, False)
        while (left := until - time.monotonic()) > 0:
            time.sleep(min(left, 0.005))
            heard += pipe.read(65536) or b""
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status):
            raise SystemExit(f"the writing child of life {life} ended by itself: {heard[-300:]!r}")
        while piece := pipe.read(65536):
            heard += piece
    return heard.decode()


def sound(url: str) -> bool:
    """The database's own check of its structure. PostgreSQL recovers by its log; there, indexes are read by the queries of the check."""
    if not url.startswith("sqlite"):
        return True
    with contextlib.closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as database:
        return database.execute("PRAGMA integrity_check").fetchall() == [("ok",)] and database.execute("PRAGMA foreign_key_check").fetchall() == []


# ---- a full disk ---------------------------------------------------------------------------------------------------------------------------


def _fill(store: ProfileStore, prefix: str, most: int = 4000) -> tuple[list[str], str]:
    """Append until it fails: ids that were acknowledged, and the name of the error."""
    kept: list[str] = []
    for number in range(most):
        ids = [f"{prefix}.{number}.{row}" for row in range(20)]
        try:
            store.append(TENANT, [Record("ana", id=one, content={"item": one, "text": "x" * 200}) for one in ids])
        except SartorError as problem:
            return kept, type(problem).__name__
        kept += ids
    return kept, "none"


def _there(url: str, ids: list[str]) -> dict[str, Any]:
    with opened(url) as store:
        found = [record.id for record in store.evidence(TENANT, "ana")]
        store.append(TENANT, [Record("ana", id="afterwards", content={"item": 1})])
        goes_on = store.count(TENANT, "ana") == len(found) + 1
    sizes = Counter(one.rsplit(".", 1)[0] for one in found)
    return {
        "records_acknowledged": len(ids),
        "records_lost": len(set(ids) - set(found)),
        "half_batches": sum(size != 20 for size in sizes.values()),
        "works_again_with_room": goes_on,
        "integrity_failures": int(not sound(url)),
    }


def file_size_limit(folder: Path, limit: int = 3_000_000) -> dict[str, Any]:
    """The operating system refuses to let any file grow (RLIMIT_FSIZE), in a process of its own."""
    url = f"sqlite:///{folder / 'limited.db'}"
    opened(url).close()

    def child() -> dict[str, Any]:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        with opened(url) as store:
            ids, error = _fill(store, "a")
            read = len(store.evidence(TENANT, "ana"))
        return {"ids": ids, "error": error, "still_reads": read == len(ids)}

    told = _in_child(child)
    return {"error": told["error"], "still_reads": told["still_reads"], **_there(url, told["ids"])}


def page_limit(folder: Path, pages: int = 200) -> dict[str, Any]:
    """SQLite's own limit (max_page_count), as a quota would be."""
    from sqlalchemy import event

    url = f"sqlite:///{folder / 'pages.db'}"
    with opened(url) as store:
        event.listen(store.db.engine, "checkout", lambda connection, *_: connection.execute(f"PRAGMA max_page_count={pages}"))
        ids, error = _fill(store, "a")
        read = len(store.evidence(TENANT, "ana"))
    return {"error": error, "still_reads": read == len(ids), **_there(url, ids)}


def small_disk(folder: Path, size: str = "3m") -> dict[str, Any] | None:
    """A disk of a few megabytes (tmpfs); None where mounting is not allowed."""
    place = folder / "disk"
    place.mkdir()
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)], capture_output=True).returncode:
        return None
    try:
        url = f"sqlite:///{place / 'people.db'}"
        with opened(url) as store:
            ids, error = _fill(store, "a")
            read = len(store.evidence(TENANT, "ana"))
        subprocess.run(["mount", "-o", "remount,size=64m", str(place)], check=True)
        return {"error": error, "still_reads": read == len(ids), **_there(url, ids)}
    finally:
        subprocess.run(["umount", str(place)], check=False)


def _in_child(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        try:
            with os.fdopen(write, "w") as pipe:
                json.dump(work(), pipe)
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(70)
    os.close(write)
    with os.fdopen(read) as pipe:
        text = pipe.read()
    if os.waitpid(child, 0)[1]:
        raise SystemExit("the limited process failed")
    return json.loads(text)


# ---- the clock goes back, events come twice and in any order --------------------------------------------------------------------------------


@contextlib.contextmanager
def clock(wrong_by: float) -> Iterator[None]:
    """`time.time` as a wrong clock would give it."""
    real = time.time
    time.time = lambda: real() + wrong_by
    try:
        yield
    finally:
        time.time = real


def clock_jumps(url: str, rounds: int = 60, *, seed: int = 1) -> dict[str, Any]:
    """The clock jumps by up to a day, back and forth, between writes: order must follow positions, never the clock."""
    rng, positions, versions, wrong = random.Random(seed), [], [], 0
    with opened(url) as store:
        for number in range(rounds):
            with clock(rng.uniform(-86_400, 86_400)):
                positions.append(store.append(TENANT, [Record("clock", id=str(number), content={"item": number})]).position)
                stored = store.put_state(TENANT, "clock", VERB, a_state(number, 64), model=MODEL, position=positions[-1])
                versions.append(stored.version)
                newest = store.state(TENANT, "clock", VERB)
                wrong += newest is None or newest.state.notes["number"] != number
        kept = [record.id for record in sorted(store.evidence(TENANT, "clock"), key=lambda record: record.position)]
    back = sum(after <= before for row in (positions, versions) for before, after in pairwise(row))
    return {
        "jumps": rounds,
        "positions_or_versions_going_back": back,
        "older_state_read": wrong,
        "out_of_order": int(kept != [str(n) for n in range(rounds)]),
    }


def duplicates(url: str, events: int = 500, *, seed: int = 2) -> dict[str, Any]:
    """Every event is sent three times, shuffled, in batches of any size, from two threads."""
    rng = random.Random(seed)
    sent = [Record("twice", id=f"e{number}", time=1e9 + number, content={"item": number}) for number in range(events)] * 3
    rng.shuffle(sent)
    halves = [sent[: len(sent) // 2], sent[len(sent) // 2 :]]
    accepted, lock = [0, 0], threading.Lock()
    with opened(url) as store:

        def send(records: list[Record], sizes: random.Random) -> None:
            at = 0
            while at < len(records):
                size = sizes.randint(1, 60)
                receipt = store.append(TENANT, records[at : at + size])
                at += size
                with lock:
                    accepted[0] += receipt.accepted
                    accepted[1] += receipt.duplicates

        threads = [threading.Thread(target=send, args=(half, random.Random(number))) for number, half in enumerate(halves)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        found = store.evidence(TENANT, "twice")
    return {
        "sent": len(sent), "accepted": accepted[0], "duplicates_named": accepted[1], "kept": len(found),
        "lost": events - len({record.id for record in found}), "kept_twice": len(found) - len({record.id for record in found}),
        "wrong_content": sum(record.content != {"item": int(record.id[1:])} for record in found),
    }  # fmt: skip


# ---- PostgreSQL is restarted under load ----------------------------------------------------------------------------------------------------


def restarts(url: str, restart: Callable[[], None], *, times: int = 5, writers: int = 3, between: float = 1.0) -> dict[str, Any]:
    """Writers append with retries while the server is restarted; a call that failed is made again with the same ids."""
    stop, acknowledged, failures, strange = threading.Event(), [], [], []
    lock = threading.Lock()

    def work(store: ProfileStore, who: int) -> None:
        number = 0
        while not stop.is_set():
            ids = [f"{who}.{number}.{row}" for row in range(10)]
            try:
                store.append(TENANT, [Record(f"writer-{who}", id=one, content={"item": one}) for one in ids])
            except StoreProblem as problem:
                with lock:
                    failures.append(str(problem))
                time.sleep(0.02)
                continue
            except Exception as problem:
                with lock:
                    strange.append(repr(problem)[:300])
                time.sleep(0.02)
                continue
            with lock:
                acknowledged.extend(ids)
            number += 1

    with opened(url) as store:
        threads = [threading.Thread(target=work, args=(store, who)) for who in range(writers)]
        [thread.start() for thread in threads]
        down = []
        for _ in range(times):
            time.sleep(between)
            start = time.perf_counter()
            restart()
            down.append(time.perf_counter() - start)
        time.sleep(between)
        stop.set()
        [thread.join() for thread in threads]
    with opened(url) as store:
        found = [record.id for who in range(writers) for record in store.evidence(TENANT, f"writer-{who}")]
    return {
        "restarts": times,
        "writers": writers,
        "records_acknowledged": len(acknowledged),
        "records_lost": len(set(acknowledged) - set(found)),
        "kept_twice": len(found) - len(set(found)),
        "calls_that_failed_with_a_named_error": len(failures),
        "calls_that_failed_otherwise": len(strange),
        "otherwise": strange[:3],
        "restart_seconds": [round(one, 2) for one in down],
    }


# ---- all of it -----------------------------------------------------------------------------------------------------------------------------


def synchronous(url: str) -> str:
    """What SQLite was told to wait for when evidence is written."""
    with opened(url) as store, store.db.write(TENANT) as connection:
        return {0: "OFF", 1: "NORMAL", 2: "FULL", 3: "EXTRA"}[connection.exec_driver_sql("PRAGMA synchronous").scalar_one()]


BAD = (
    "records_lost", "half_batches", "strange_records", "half_states", "states_lost", "consents_lost", "not_marked_stale", "integrity_failures",
    "positions_or_versions_going_back", "older_state_read", "out_of_order", "lost", "kept_twice", "wrong_content", "calls_that_failed_otherwise",
)  # fmt: skip
"""Figures that must be 0."""


def failed(figures: dict[str, Any]) -> list[str]:
    """Which figures are not what they must be."""
    wrong = []
    for part, found in figures.items():
        if not isinstance(found, dict):
            continue
        wrong += [f"{part}: {name} is {found[name]}" for name in BAD if found.get(name)]
        wrong += [f"{part}: {name} is false" for name in ("still_reads", "works_again_with_room") if found.get(name) is False]
        if "error" in found and found["error"] != "StoreProblem":
            wrong.append(f"{part}: the error was {found['error']}")
    return wrong


def run(folder: Path, *, times: int, postgres: bool, progress: Callable[[str], None]) -> dict[str, Any]:
    """Everything that can be tried on this machine."""
    url = f"sqlite:///{folder / 'people.db'}"
    figures: dict[str, Any] = {}

    def part(name: str, call: Callable[[], Any]) -> None:
        progress(name)
        figures[name] = call()

    part("sqlite kill -9", lambda: {**kills(url, times), "synchronous": synchronous(url)})
    part("sqlite disk full (RLIMIT_FSIZE)", lambda: file_size_limit(folder))
    part("sqlite disk full (max_page_count)", lambda: page_limit(folder))
    part("sqlite disk full (tmpfs)", lambda: small_disk(folder) or "mounting is not allowed here")
    part("sqlite clock jumps", lambda: clock_jumps(url))
    part("sqlite duplicates and disorder", lambda: duplicates(url))
    if postgres:
        import _postgres

        os.environ.setdefault("SARTOR_BLOBS", str(folder / "blobs"))
        with _postgres.server() as server:
            part("postgresql kill -9", lambda: kills(server.url, times))
            part("postgresql clock jumps", lambda: clock_jumps(server.url))
            part("postgresql duplicates and disorder", lambda: duplicates(server.url))

            def restart() -> None:
                server.stop("immediate")
                server.start()

            part("postgresql restarted under load", lambda: restarts(server.url, restart))
    return figures


def say(what: str) -> None:
    print(time.strftime("%T"), what, "...", file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200, help="of each database")
    parser.add_argument("--no-postgres", action="store_true")
    parser.add_argument("--keep", action="store_true", help=f"append the figures to {RESULTS.name}")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="sartor-faults."))
    try:
        figures = run(folder, times=given.kills, postgres=not given.no_postgres, progress=say)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    wrong = failed(figures)
    figures = {"date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"), **figures, "wrong": wrong}
    print(json.dumps(figures, indent=1))
    if given.keep:
        with RESULTS.open("a") as file:
            file.write(json.dumps(figures) + "\n")
    raise SystemExit(1 if wrong else 0)


if __name__ == "__main__":
    main()
