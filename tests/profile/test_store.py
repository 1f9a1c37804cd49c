"""The store keeps what it acknowledges, once, in order, and gives it only for what was agreed to."""

from __future__ import annotations

import multiprocessing
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa

from sartor.errors import AccessDenied, BadValue, ConfigError, Conflict, StoreProblem, TooLarge, UnknownId
from sartor.method import State
from sartor.profile import migrations, schema, withdrawn
from sartor.profile.records import ModelCard, Record
from sartor.profile.store import ProfileStore

MODEL, OTHER = "a" * 32, "b" * 32
Open = Callable[[], ProfileStore]


def clicks(person: str, count: int, *, start: int = 0) -> list[Record]:
    return [Record(person, id=f"e{n}", content={"item": n}, kind="click", time=1e9 + n) for n in range(start, start + count)]


def a_state(number: int = 0, size: int = 8) -> State:
    return State({"w": np.full(size, number, np.float32)}, "Fake", MODEL, examples=number)


def ids(records: list[Record]) -> list[str]:
    return [record.id for record in records]


def test_a_record_comes_back_as_it_was_given(store: ProfileStore) -> None:
    given = Record(
        "ana", "texts", "t1", 1.5e9, "review", {"text": "naïve \u2603", "nested": {"a": [1, None, True]}}, frozenset({"write"}), "api:web", MODEL, 4e9
    )
    receipt = store.append("t", [given])
    (read,) = store.evidence("t", "ana")
    assert read.position == receipt.position
    assert read.received == pytest.approx(time.time(), abs=30)
    assert Record(**{name: getattr(read, name) for name in Record.__slots__ if name not in ("position", "received")}) == given


def test_an_id_counts_once_and_ids_that_the_store_makes_sort_by_time(store: ProfileStore, open_store: Open) -> None:
    assert store.append("t", [*clicks("ana", 3), *clicks("ana", 2), *clicks("bob", 1)]).duplicates == 2
    other = open_store()
    receipt = other.append("t", clicks("ana", 5))
    assert (receipt.accepted, receipt.duplicates) == (2, 3)
    assert ids(store.evidence("t", "ana")) == ["e0", "e1", "e2", "e3", "e4"]
    store.append("t", [Record("eve") for _ in range(50)])
    made = ids(store.evidence("t", "eve"))
    assert len(set(made)) == 50
    assert made == sorted(made)


def test_whole_numbers_and_their_digits_are_the_same_person(store: ProfileStore) -> None:
    store.append("t", [Record(7, id="x")])  # type: ignore[arg-type]
    assert ids(store.evidence("t", "7")) == ["x"]


BAD = (
    (Record(""), BadValue),
    (Record("a\0b"), BadValue),
    (Record("ana", "items"), BadValue),
    (Record("ana", time=float("nan")), BadValue),
    (Record("ana", time=1.6e12), BadValue),
    (Record("ana", content={"x": float("inf")}), BadValue),
    (Record("ana", content={"x": object()}), BadValue),
    (Record("ana", purposes=frozenset({"spy"})), BadValue),
    (Record("ana", content={"x": "y" * 2_000_000}), TooLarge),
)


def test_a_bad_record_keeps_all_out(store: ProfileStore) -> None:
    for record, error in BAD:
        with pytest.raises(error, match="record 2"):
            store.append("t", [*clicks("bob", 2), record])
    with pytest.raises(BadValue, match="no tenant"):
        store.append("*", clicks("bob", 1))
    assert store.counts("t")["people"] == 0


def test_reading_by_position_frame_and_end(store: ProfileStore) -> None:
    store.append("t", [*clicks("ana", 6), Record("ana", "people", "p", content={"city": "Rome"}), Record("ana", id="old", expires=1.0)])
    all_ = store.evidence("t", "ana")
    assert ids(all_) == ["e0", "e1", "e2", "e3", "e4", "e5", "p"]
    assert ids(store.evidence("t", "ana", after=all_[3].position, frames=["events"])) == ["e4", "e5"]
    assert ids(store.evidence("t", "ana", limit=2, newest_first=True)) == ["p", "e5"]
    assert ids(store.evidence("t", "ana", limit=2)) == ["e0", "e1"]
    many = store.evidence_of("t", ["ana", "nobody"], purpose="recommend", limit=3)
    assert {person: ids(records) for person, records in many.items()} == {"ana": ["e4", "e5", "p"], "nobody": []}


def test_nothing_is_read_for_what_was_not_agreed_to(store: ProfileStore) -> None:
    store.append("t", [*clicks("ana", 2), Record("ana", id="mine", purposes=frozenset({"write"}))])
    store.append("t", clicks("bob", 1))

    def seen(purpose: str) -> dict[str, list[str]]:
        one = {person: ids(store.evidence("t", person, purpose=purpose)) for person in ("ana", "bob")}
        assert {person: ids(records) for person, records in store.evidence_of("t", ["ana", "bob"], purpose=purpose).items()} == one
        scanned = {str(person) for frame in store.scan("t", purpose=purpose) for person in frame["person"]}
        assert scanned == {person for person, records in one.items() if records}
        return one

    assert seen("recommend") == {"ana": ["e0", "e1"], "bob": ["e0"]}
    assert seen("write")["ana"] == ["e0", "e1", "mine"]
    assert seen("train") == {"ana": [], "bob": []}
    store.consent("t", "ana", "train", True, text="fit on me", version="2")
    assert seen("train") == {"ana": ["e0", "e1"], "bob": []}
    store.consent("t", "ana", "train", False)
    store.set_default_consent("t", ["recommend", "train"])
    assert seen("train") == {"ana": [], "bob": ["e0"]}
    assert [(one.purpose, one.granted, one.text) for one in store.consent_history("t", "ana")] == [("train", True, "fit on me"), ("train", False, "")]
    assert store.consents("t", "bob")["write"].default
    assert not store.allowed("t", "bob", "write")


def test_a_scan_gives_each_person_whole_and_in_order(store: ProfileStore) -> None:
    people = [f"p{n}" for n in range(23)]
    for turn in range(4):
        store.append("t", [record for person in people for record in clicks(person, 3, start=3 * turn)])
    until = store.position("t")
    store.append("t", clicks("late", 5))
    frames = list(store.scan("t", purpose="recommend", batch=50, until=until))
    assert len(frames) > 3
    whole: dict[str, list[int]] = {}
    for frame in frames:
        for (person,), rows in frame.group_by("person", maintain_order=True):
            assert str(person) not in whole
            assert rows["position"].is_sorted()
            whole[str(person)] = rows["item"].to_list()
    assert whole == {person: list(range(12)) for person in people}
    assert store.changed("t", until) == ["late"]


def test_removal_is_real_and_makes_the_person_stale(store: ProfileStore) -> None:
    store.append("t", clicks("ana", 4))
    (claim,) = store.claim(worker="w")
    store.done([claim])
    assert store.remove("t", "ana", ["e1", "e3", "never"]) == 2
    assert ids(store.evidence("t", "ana")) == ["e0", "e2"]
    assert store.stale("t").people == 1
    # What was adapted before the removal must not count as current.
    store.put_state("t", "ana", "recommend", a_state(), model=MODEL, position=claim.position)
    assert store.is_stale("t", "ana")


def test_states_have_versions_that_can_be_restored_and_held(store: ProfileStore) -> None:
    store.append("t", clicks("ana", 1))
    start = store.position("t")
    for number in range(1, 15):
        put = store.put_state("t", "ana", "recommend", a_state(number), model=MODEL, position=start + number)
    assert put.version == 14
    assert [card.version for card in store.history("t", "ana", "recommend")] == list(range(14, 4, -1))
    restored = store.restore("t", "ana", "recommend", 6)
    assert (restored.version, restored.restored_from, restored.held) == (15, 6, True)
    store.put_state("t", "ana", "recommend", a_state(99), model=MODEL, position=start + 99)
    for model in (None, MODEL):
        held = store.state("t", "ana", "recommend", model=model)
        assert held is not None
        assert held.held
        assert held.state["w"][0] == 6
        assert store.states("t", ["ana", "bob"], "recommend", model=model)["ana"].state["w"][0] == 6
    store.release("t", "ana", "recommend")
    newest = store.state("t", "ana", "recommend")
    assert newest is not None
    assert newest.state["w"][0] == 99
    assert store.state("t", "ana", "search") is None
    with pytest.raises(UnknownId):
        store.restore("t", "ana", "recommend", 1)


def test_who_serves_is_told_by_the_states_the_consent_and_the_log(store: ProfileStore) -> None:
    def enrol(person: str, *, newest: int = 0, position: int | None = None) -> bool:
        at = store.position("t") if position is None else position
        note = Record(person, kind="enrolment", purposes=frozenset())
        states = {person: a_state()}
        made = store.put_states(
            "t", "recognize", states, model=MODEL, position=at, clear=False, newest={person: newest}, agreed="recognize", note=note
        )  # fmt: skip
        return person in made

    def serving(since: withdrawn.Moment | None = None) -> dict[str, int]:
        found = store.serving("t", purpose="recognize", verb="recognize", model=MODEL, seen={}, since=since)
        return {found.names[subject]: made[0] for subject, made in found.now.items()}

    def moved(what: Callable[[], object]) -> bool:
        before = withdrawn.moment(store, "t")
        what()
        return withdrawn.moment(store, "t") != before

    for person in ("ana", "ben"):
        store.consent("t", person, "recognize", True)
        assert enrol(person)
    assert not enrol("eve")
    assert store.count("t", "eve") == 0
    until = withdrawn.moment(store, "t")
    assert serving() == {"ana": 1, "ben": 1}
    assert serving(until) == {}
    store.append("t", clicks("eve", 2))
    assert enrol("ana", newest=1)
    assert serving(until) == {"ana": 2}
    assert serving() == {"ana": 2, "ben": 1}
    seen = store.serving("t", purpose="recognize", verb="recognize", model=MODEL, seen={}).now
    assert store.serving("t", purpose="recognize", verb="recognize", model=MODEL, seen=seen).names == {}
    assert moved(lambda: store.restore("t", "ana", "recognize", 1))
    assert enrol("ana", newest=3)
    assert serving()["ana"] == 3
    assert moved(lambda: store.release("t", "ana", "recognize"))
    assert not moved(lambda: store.release("t", "ana", "recognize"))
    assert serving()["ana"] == 4
    assert moved(lambda: store.consent("t", "ben", "recognize", False))
    assert serving() == {"ana": 4}
    assert moved(lambda: store.consent("t", "ben", "recognize", True))
    read = store.position("t")
    assert store.drop_verb("t", "ben", "recognize") == 1
    assert serving() == {"ana": 4}
    assert enrol("ben")
    # Version 1 again, but not the one that was read.
    assert not enrol("ben", newest=1, position=read)
    assert serving() == {"ana": 4, "ben": 1}
    store.forget("t", "ana", scan_files=False)
    assert serving() == {"ben": 1}


def test_models_have_states_of_their_own_and_older_never_replaces_newer(store: ProfileStore) -> None:
    store.append("t", clicks("ana", 1))
    at = store.position("t")
    store.put_model("t", "recommend", ModelCard(MODEL, "Fake", "folder", "active"))
    store.put_state("t", "ana", "recommend", a_state(1), model=OTHER, position=at)
    assert store.is_stale("t", "ana"), "another model than the active one leaves the mark"
    store.put_state("t", "ana", "recommend", a_state(2), model=MODEL, position=at + 5)
    assert not store.is_stale("t", "ana")
    late = store.put_state("t", "ana", "recommend", a_state(3), model=MODEL, position=at + 4)
    assert late.state["w"][0] == 2
    found = store.state("t", "ana", "recommend", model=OTHER)
    assert found is not None
    assert found.state["w"][0] == 1
    assert store.model_references() == {MODEL, OTHER}
    assert store.drop_states("t", OTHER) == 1
    assert store.state("t", "ana", "recommend", model=OTHER) is None


def test_a_large_state_lies_in_a_file(store: ProfileStore) -> None:
    store.append("t", clicks("ana", 1))
    big = State({"w": np.arange(400_000, dtype=np.float32)}, "Fake", MODEL)
    store.put_state("t", "ana", "draw", big, model=MODEL, position=store.position("t"))
    (name,) = store.blobs.names()
    found = store.state("t", "ana", "draw")
    assert found is not None
    np.testing.assert_array_equal(found.state["w"], big["w"])
    path = next(store.blobs.folder.glob(f"*/{name}"))
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(StoreProblem, match="changed"):
        store.state("t", "ana", "draw")


def later(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Let time pass, however fast or slow the machine is."""
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + seconds)


def test_claims_are_exclusive_and_taken_over_when_they_die(store: ProfileStore, open_store: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    store.append("t", [record for n in range(5) for record in clicks(f"p{n}", 1)])
    other = open_store()
    first, second = store.claim(worker="a", limit=3, lease=600), other.claim(worker="b", limit=10)
    assert len(first) == 3
    assert not {one.person for one in first} & {one.person for one in second}
    assert other.claim(worker="b") == []
    other.done(second)
    later(monkeypatch, 601)
    taken = other.claim(worker="b")
    assert {one.person for one in taken} == {one.person for one in first}
    assert {one.attempts for one in taken} == {2}
    store.failed(taken[0], "numbers were not finite", 60.0)
    count = store.stale("t")
    assert (count.people, count.failing) == (3, 1)
    other.put_states("t", "recommend", {one.person: a_state() for one in taken[1:]}, model=MODEL, position=taken[1].position + 9, claims=taken)
    assert store.stale("t").people == 1


def test_evidence_that_comes_while_adapting_is_adapted_next(store: ProfileStore) -> None:
    store.append("t", clicks("ana", 1))
    (claim,) = store.claim(worker="w", lease=600)
    store.append("t", clicks("ana", 2))
    store.put_states("t", "recommend", {"ana": a_state()}, model=MODEL, position=claim.position, claims=[claim])
    (again,) = store.claim(worker="w")
    assert again.position > claim.position


def test_a_claim_from_before_forgetting_writes_nothing(store: ProfileStore) -> None:
    store.append("t", clicks("ana", 1))
    (old,) = store.claim(worker="w")
    store.forget("t", "ana")
    with pytest.raises(UnknownId):
        store.put_state("t", "ana", "recommend", a_state(), model=MODEL, position=old.position)
    store.append("t", clicks("ana", 1))
    assert store.put_states("t", "recommend", {"ana": a_state()}, model=MODEL, position=store.position("t"), claims=[old]) == {}
    assert store.state("t", "ana", "recommend") is None
    assert store.is_stale("t", "ana")


def test_keys_that_went_in_another_process_are_not_used_again(store: ProfileStore, open_store: Open) -> None:
    other = open_store()
    store.append("t", clicks("ana", 2))
    assert other.append("t", clicks("ana", 3)).accepted == 1
    other.forget("t", "ana")
    store.append("t", clicks("ana", 4, start=10))  # its cached key is void
    assert ids(other.evidence("t", "ana")) == ["e10", "e11", "e12", "e13"]


def test_threads_and_stores_write_together(store: ProfileStore, open_store: Open) -> None:
    stores = [store, open_store()]
    receipts: list[int] = []

    def write(number: int) -> None:
        receipts.extend(stores[number % 2].append("t", clicks(f"p{n % 5}", 3, start=3 * n)).accepted for n in range(12))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(receipts) == 36, "every id was accepted by exactly one"
    records = [record for n in range(5) for record in store.evidence("t", f"p{n}")]
    assert len({record.position for record in records}) == len(records) == 36


def test_positions_become_visible_in_their_order(store: ProfileStore, open_store: Open) -> None:
    """A reader that goes on from the newest position it saw misses nothing."""
    writers = [open_store() for _ in range(3)]
    stop = threading.Event()
    seen: list[str] = []

    def read() -> None:
        at = 0
        while True:
            last = stop.is_set()
            for record in store.evidence("t", "ana", after=at):
                seen.append(record.id)
                at = record.position
            if last:
                return

    reader = threading.Thread(target=read)
    reader.start()
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda n: [writers[n].append("t", [Record("ana", id=f"{n}-{m}")]) for m in range(15)], range(3)))
    stop.set()
    reader.join()
    assert sorted(seen) == sorted(f"{n}-{m}" for n in range(3) for m in range(15))


def _write_in_process(url: str, number: int) -> None:
    with ProfileStore.open(url, master_key=bytes(range(32))) as store:
        for n in range(20):
            store.append("t", [Record(f"p{n % 4}", id=f"e{n}"), Record("all", id=f"{number}-{n}")])


def test_processes_share_a_database(store: ProfileStore, url: str) -> None:
    context = multiprocessing.get_context("fork")  # the children must not use the connections they inherit
    workers = [context.Process(target=_write_in_process, args=(url, number)) for number in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    assert store.count("t", "all") == 40
    assert sum(store.count("t", f"p{n}") for n in range(4)) == 20


def test_edits_of_the_catalogue_are_lines_of_the_audit_and_many_of_them_few(store: ProfileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(30):
        store.put_items("t", [{"item": number, "title": "secret"}, {"item": "b"}])
    store.hide_items("t", [1, 2, "nowhere"])
    store.hide_items("t", [1], hidden=False)
    store.delete_items("t", [2])
    store.put_items("u", [{"item": 1}])
    told = [(line.action, line.detail) for line in store.audits("t")]
    done = [("items deleted", {"items": 1}), ("items shown", {"items": 1}), ("items hidden", {"items": 2}), ("items put", {"items": 60})]
    assert told == done
    monkeypatch.setattr("sartor.profile.audit.TOGETHER", 0.0)
    store.delete_items("t", [3])
    assert [line.detail for line in store.audits("t")][:2] == [{"items": 1}, {"items": 1}]


def test_items(store: ProfileStore) -> None:
    store.put_items("t", [{"item": 1, "title": "Heat", "year": 1995}, {"item": "b", "categories": ["x", "y"]}, {"item": 3}])
    before = store.items_version("t")
    assert store.hide_items("t", [1, "nothing"]) == 1
    assert store.items_version("t") > before
    frame = store.items("t")
    assert frame.rows(named=True) == [
        {"item": "1", "hidden": True, "categories": None, "title": "Heat", "year": 1995},
        {"item": "3", "hidden": False, "categories": None, "title": None, "year": None},
        {"item": "b", "hidden": False, "categories": ["x", "y"], "title": None, "year": None},
    ]
    assert store.delete_items("t", [3]) == 1
    assert store.items("t", ["b", 3])["item"].to_list() == ["b"]


def test_models(store: ProfileStore) -> None:
    store.append("t", clicks("ana", 1))
    for made, name in enumerate((MODEL, OTHER), 1):
        store.put_model("t", "recommend", ModelCard(name, "Fake", "folder", made=float(made), report={"gain": 0.5}))
    store.activate("t", "recommend", MODEL)
    version = store.models_version("t")
    store.activate("t", "recommend", OTHER)
    assert store.models_version("t") > version
    assert {card.fingerprint: card.status for card in store.models("t")} == {MODEL: "retired", OTHER: "active"}
    active = store.active_model("t", "recommend")
    assert active is not None
    assert (active.fingerprint, active.report) == (OTHER, {"gain": 0.5})
    assert store.note_members("t", OTHER, ["ana", "forgotten"]) == 1
    assert (store.members("t", OTHER), store.models_of("t", "ana")) == (["ana"], [OTHER])
    with pytest.raises(UnknownId):
        store.activate("t", "recommend", "c" * 32)


def test_api_keys(store: ProfileStore) -> None:
    card, secret = store.create_key("t", label="web", scopes=["read", "write"], person="ana")
    _, expired = store.create_key("t", label="old", scopes=["read"], expires=time.time() - 1)
    found = store.check_key(secret)
    assert (found.id, found.tenant, found.person, found.scopes) == (card.id, "t", "ana", {"read", "write"})
    with store.db.read("t") as connection:
        kept = str([tuple(row) for row in connection.execute(sa.select(schema.api_keys))])
    assert secret not in kept
    store.revoke_key("t", card.id)
    for wrong in (secret, expired, secret[:-1], "sk_sartor_", "", "x" * 1000):
        with pytest.raises(AccessDenied):
            store.check_key(wrong)
    with pytest.raises(ConfigError):
        store.create_key("t", label="x", scopes=["everything"])


def test_jobs(store: ProfileStore, open_store: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    store.put_job("t", "fit", {"method": "ease"})
    other = open_store()
    claims = [one.claim_job(worker=name, lease=600) for one, name in ((store, "a"), (other, "b"))]
    (job,) = [claim for claim in claims if claim is not None]
    assert job.args == {"method": "ease"}
    assert store.job_progress("t", job.id, worker=job.claimed_by, progress=0.5, log="half", lease=600)
    assert other.claim_job(worker="c") is None
    later(monkeypatch, 601)
    again = other.claim_job(worker="c")
    assert again is not None
    with pytest.raises(Conflict):
        store.job_progress("t", job.id, worker=job.claimed_by, progress=0.6)
    store.cancel_job("t", job.id)
    assert not store.job_progress("t", job.id, worker="c")
    ended = store.finish_job("t", job.id, worker="c", status="cancelled")
    assert (ended.status, ended.progress, ended.log) == ("cancelled", 0.5, ("half", "its worker died; another one goes on"))
    assert [one.id for one in store.jobs("t", status="cancelled")] == [job.id]


def test_a_job_that_kills_its_workers_is_given_up(store: ProfileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    job = store.put_job("t", "fit", {})
    for _ in range(3):
        claimed = store.claim_job(worker="w", lease=600)
        assert claimed is not None
        assert claimed.id == job.id
        later(monkeypatch, 601)
    assert store.claim_job(worker="w") is None
    assert (store.job("t", job.id).status, store.job("t", job.id).error) == ("failed", "its worker died 3 times")


def test_a_key_opens_also_when_its_use_cannot_be_noted(store: ProfileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    card, secret = store.create_key("t", label="x", scopes=["read"])
    monkeypatch.setattr(store.db, "write", lambda *_, **__: (_ for _ in ()).throw(StoreProblem("the disk is full")))
    assert store.check_key(secret).id == card.id


def test_the_audit_is_bounded_and_holds_no_content(store: ProfileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sartor.profile.audit.KEPT", 5)
    monkeypatch.setattr("sartor.profile.audit._SWEEP", 2)
    store.append("t", clicks("ana", 2))
    store.remove("t", "ana", ["e0"])
    assert [line.action for line in store.audits("t", "ana")] == ["evidence removed"]
    for n in range(20):
        store.audit("t", f"step {n}", detail={"n": n})
    lines = store.audits("t")
    assert len(lines) <= 6
    assert lines[0].detail == {"n": 19}


def test_tables_are_what_the_migrations_make(store: ProfileStore) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext
    from alembic.script import ScriptDirectory

    assert ScriptDirectory.from_config(migrations._config()).get_current_head() == migrations.HEAD
    with store.db.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), schema.metadata) == []


def test_another_key_or_a_newer_database_is_refused_before_anything_is_written(store: ProfileStore, url: str) -> None:
    store.append("t", clicks("ana", 1))
    with pytest.raises(StoreProblem, match="another master key"):
        ProfileStore.open(url, master_key=b"x" * 32)
    with pytest.raises(ConfigError, match="32 bytes"):
        ProfileStore.open(url, master_key=b"short")
    with store.db.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(StoreProblem, match="newer version"):
        ProfileStore.open(url, master_key=bytes(range(32)))


def test_secrets_are_not_in_words(store: ProfileStore) -> None:
    store.append("t", clicks("ana", 1))
    with store.db.read("t") as connection:
        key = store._evidence.people.key(connection, "t", store.keyring.subject("t", "ana"))
    assert key is not None
    words = f"{store!r} {store.keyring!r} {key!r} {store.db!r}"
    assert key.key.hex() not in words
    assert repr(key.key) not in words
    with pytest.raises(ConfigError) as problem:
        ProfileStore.open("mysql://user:hunter2@host/db")
    assert "hunter2" not in str(problem.value)


def test_an_sqlite_store_makes_its_own_key_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SARTOR_MASTER_KEY", raising=False)
    url, key = f"sqlite:///{tmp_path}/deep/people.db", tmp_path / "deep" / "people.db.key"
    with pytest.raises(StoreProblem, match="no store"):
        ProfileStore.open(url, create=False)
    with ProfileStore.open(url) as store:
        store.append("t", clicks("ana", 1))
    assert [path.stat().st_mode & 0o777 for path in (key, key.with_suffix(""))] == [0o600, 0o600]
    monkeypatch.setenv("SARTOR_MASTER_KEY", key.read_text())
    kept = key.rename(tmp_path / "kept")
    with ProfileStore.open(url) as store:
        assert store.count("t", "ana") == 1
    monkeypatch.delenv("SARTOR_MASTER_KEY")
    with pytest.raises(StoreProblem, match="key file of this database is missing"):
        ProfileStore.open(url)
    with ProfileStore.open(url, master_key=kept) as store:
        assert store.count("t", "ana") == 1


def test_what_is_not_our_database_is_left_alone(tmp_path: Path) -> None:
    other, noise = tmp_path / "other.db", tmp_path / "noise.db"
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    noise.write_bytes(b"this is no database at all" * 1000)
    for path, words in ((other, "another program"), (noise, "damaged")):
        with pytest.raises(StoreProblem, match=words):
            ProfileStore.open(f"sqlite:///{path}")
        assert not path.with_name(path.name + ".key").exists()


def test_a_writer_that_never_ends_and_a_full_disk_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sartor.profile.database.BUSY", 0.2)
    with ProfileStore.open(f"sqlite:///{tmp_path}/people.db") as store:
        store.append("t", clicks("ana", 1))
        blocker = sqlite3.connect(tmp_path / "people.db", isolation_level=None)
        blocker.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreProblem, match="busy"):
            store.append("t", clicks("ana", 2))
        blocker.close()

        def small(connection: Any, *_: object) -> None:
            pages = connection.execute("PRAGMA page_count").fetchone()[0]
            connection.execute(f"PRAGMA max_page_count={pages + 3}")

        sa.event.listen(store.db.engine, "checkout", small)
        with pytest.raises(StoreProblem, match="full"):
            store.append("t", [Record("ana", id=f"big{n}", content={"text": "x" * 50_000}) for n in range(40)])
        sa.event.remove(store.db.engine, "checkout", small)
        assert ids(store.evidence("t", "ana")) == ["e0"]


def test_an_unreachable_server_is_said() -> None:
    pytest.importorskip("psycopg", reason="needs the extra 'postgres'")
    with pytest.raises(StoreProblem, match="cannot be reached"):
        ProfileStore.open("postgresql://user:hunter2@127.0.0.1:1/none", master_key=b"k" * 32)


def test_uuids_of_version_seven_sort_even_when_the_clock_goes_back() -> None:
    from sartor.profile.append import sortable_id

    made = [sortable_id(now) for now in (2e9, 2e9, 1e9, 2e9 + 1)]
    assert made == sorted(made)
    assert {one[14] for one in made} == {"7"}
