"""Who takes part and with which state, followed from change to change: what is told of the few that changed is what a look at everybody says."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

import numpy as np
import pytest

from sartor.method import State
from sartor.profile import audit, retention, standing, withdrawn
from sartor.profile.records import Record
from sartor.profile.rotate_person import rotate_person
from sartor.profile.standing import Made
from sartor.profile.store import ProfileStore

MODEL, VERB = "a" * 32, "recognize"
PEOPLE = [f"p{number}" for number in range(8)]


def _state(value: float) -> State:
    return State({"vector": np.full(4, value, np.float32)}, "NearestCentroid", MODEL)


class Reader:
    """Somebody who keeps what the store said last, as another process does."""

    def __init__(self, store: ProfileStore) -> None:
        self.store = store
        self.seen: dict[bytes, Made] = {}
        self.moment: withdrawn.Moment | None = None

    def look(self) -> tuple[int, bool]:
        """How many were looked at, and whether it agrees with who looks at everybody."""
        moment = withdrawn.moment(self.store, "t")
        found = self.store.serving("t", purpose=VERB, verb=VERB, model=MODEL, seen=self.seen, since=self.moment)
        everybody = self.store.serving("t", purpose=VERB, verb=VERB, model=MODEL, seen={})
        assert set(found.names) == {subject for subject, made in found.now.items() if self.seen.get(subject) != made}
        self.seen = {subject: made for subject, made in self.seen.items() if subject not in found.gone} | dict(found.now)
        self.moment = moment
        return len(found.now.keys() | found.gone), self.seen == dict(everybody.now)


def _enrol(store: ProfileStore, person: str, *, note: bool = True) -> None:
    history = store.history("t", person, VERB)
    record = Record(person, "events", "", time=time.time(), kind="enrolment", content={"item": "enrolment"}) if note else None
    store.put_states(
        "t", VERB, {person: _state(len(history))}, model=MODEL, position=store.position("t"), newest={person: history[0].version if history else 0},
        clear=False, note=record,
    )  # fmt: skip


@pytest.fixture
def enrolled(store: ProfileStore) -> ProfileStore:
    for person in PEOPLE:
        store.consent("t", person, VERB, True)
        _enrol(store, person)
    return store


def test_after_a_change_only_those_are_looked_at_of_whom_it_is(enrolled: ProfileStore) -> None:
    store, reader = enrolled, Reader(enrolled)
    assert reader.look() == (8, True)
    changes: list[tuple[Callable[[], object], int]] = [
        (lambda: None, 0), (lambda: store.consent("t", "p0", VERB, False), 1), (lambda: store.consent("t", "p0", VERB, True), 1),
        (lambda: store.forget("t", "p1", scan_files=False), 1), (lambda: _enrol(store, "p2"), 1), (lambda: _enrol(store, "p2", note=False), 1),
        (lambda: store.restore("t", "p2", VERB, 1), 1), (lambda: store.release("t", "p2", VERB), 1), (lambda: store.drop_verb("t", "p3", VERB), 1),
        (lambda: rotate_person(store, "t", "p4"), 1), (lambda: store.append("t", [Record("stranger", content={"item": "i"})]), 0),
        (lambda: store.set_default_consent("t", ["recommend"]), 6),
        (lambda: store.put_states("t", VERB, {one: _state(9) for one in ("p5", "p6")}, model=MODEL, position=store.position("t"), clear=False), 6),
    ]  # fmt: skip
    assert [(change(), reader.look())[1] for change, _ in changes] == [(looked, True) for _, looked in changes]


def test_who_comes_back_after_being_forgotten_is_another(enrolled: ProfileStore) -> None:
    reader = Reader(enrolled)
    reader.look()
    enrolled.forget("t", "p1", scan_files=False)
    enrolled.consent("t", "p1", VERB, True)
    subject = enrolled.keyring.subject("t", "p1")
    before = reader.seen[subject]
    assert reader.look() == (1, True)
    assert subject not in reader.seen
    _enrol(enrolled, "p1")
    assert reader.look() == (1, True)
    assert reader.seen[subject][0] == before[0] == 1
    assert reader.seen[subject] != before


def test_a_hold_that_ends_with_what_was_purged_is_noticed(enrolled: ProfileStore) -> None:
    reader = Reader(enrolled)
    _enrol(enrolled, "p0")
    enrolled.restore("t", "p0", VERB, 1)
    _enrol(enrolled, "p0")
    reader.look()
    retention.set_rule(enrolled, "t", retention.Rule(seconds=3600.0))
    assert retention.purge(enrolled, "t", now=time.time() + 7200).records
    assert reader.look()[1]


def test_everybody_is_looked_at_where_the_log_is_cut_or_too_much_happened(enrolled: ProfileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = Reader(enrolled)
    reader.look()
    with monkeypatch.context() as short:
        short.setattr(audit, "KEPT", 2)
        short.setattr(audit, "_SWEEP", 1)
        for number in range(4):
            enrolled.consent("t", f"p{number}", VERB, False)
    assert reader.look() == (8, True)
    monkeypatch.setattr(standing, "ONE_BY_ONE", 1)
    for number in range(2):
        enrolled.consent("t", f"p{number}", VERB, True)
    assert reader.look() == (6, True)


@pytest.mark.parametrize("seed", range(3))
def test_whatever_happens_in_whatever_order(enrolled: ProfileStore, open_store: Callable[[], ProfileStore], seed: int) -> None:
    dice, other = random.Random(seed), open_store()
    readers = [Reader(enrolled), Reader(other)]

    def change() -> None:
        who, store = dice.choice(PEOPLE), dice.choice([enrolled, other])
        match dice.randrange(8):
            case 0 | 1:
                store.consent("t", who, VERB, dice.random() < 0.5)
            case 2:
                store.forget("t", who, scan_files=False)
            case 3 | 4:
                store.consent("t", who, VERB, True)
                _enrol(store, who, note=dice.random() < 0.5)
            case 5:
                store.drop_verb("t", who, VERB)
            case 6:
                if history := store.history("t", who, VERB):
                    store.restore("t", who, VERB, dice.choice(history).version, hold=dice.random() < 0.7)
            case 7:
                store.release("t", who, VERB)

    for _ in range(25):
        for _ in range(dice.randrange(1, 4)):
            change()
        assert all(reader.look()[1] for reader in readers if dice.random() < 0.7)
    assert all(reader.look()[1] for reader in readers)
