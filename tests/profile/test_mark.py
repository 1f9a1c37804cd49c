"""The mark of a person's records changes with every change of hers, and with nobody else's."""

from __future__ import annotations

from sartor.profile.forget import forget
from sartor.profile.mark import mark_of
from sartor.profile.records import Record
from sartor.profile.store import ProfileStore


def test_a_mark_tells_what_changed(store: ProfileStore) -> None:
    def mark(person: str = "ana", tenant: str = "t") -> tuple[int, int, int]:
        found, _ = mark_of(store, tenant, person, purpose=None)
        return found.records, found.newest, found.born

    nothing = mark()
    assert nothing == (0, 0, -1)
    store.append("t", [Record("ana", "texts", "a", content={"text": "x"}), Record("ana", "texts", "b", content={"text": "y"})])
    one = mark()
    assert one[0] == 2
    seen, allowed = mark_of(store, "t", "ana", purpose="write")
    assert allowed
    assert mark_of(store, "t", "ana", purpose="write", seen=seen) == (seen, True)

    # Somebody else, and another tenant, change nothing of hers.
    store.append("t", [Record("bob", "texts", "a", content={"text": "x"})])
    store.append("u", [Record("ana", "texts", "a", content={"text": "x"})])
    again, _ = mark_of(store, "t", "ana", purpose="write", seen=seen)
    assert (again.records, again.newest, again.born) == (seen.records, seen.newest, seen.born)

    store.remove("t", "ana", ["a"])
    assert mark() != one
    two = mark()
    store.append("t", [Record("ana", "texts", "c", content={"text": "z"})])
    assert mark() not in (one, two), "one went and one came: the same count, another newest"
    store.consent("t", "ana", "write", False)
    assert not mark_of(store, "t", "ana", purpose="write", seen=mark_of(store, "t", "ana", purpose=None)[0])[1]
    three = mark()
    forget(store, "t", "ana", scan_files=False)
    assert mark() == nothing
    store.append("t", [Record("ana", "texts", "b", content={"text": "y"}), Record("ana", "texts", "c", content={"text": "z"})])
    assert mark() != three
