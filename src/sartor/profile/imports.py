"""Taking a person's archive in: into another store, as another person, or back after all."""

from __future__ import annotations

import time
from bisect import bisect_right
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sartor.errors import BadValue, CorruptFile, TooLarge
from sartor.method import State
from sartor.profile.append import FRAMES_OF_PEOPLE
from sartor.profile.archive import LIMIT, Archive
from sartor.profile.audit import Audit
from sartor.profile.consent import Consents
from sartor.profile.names import check_name
from sartor.profile.records import PURPOSES, Consent, Record

if TYPE_CHECKING:
    from sartor.profile.store import ProfileStore

_KINDS: dict[str, Any] = {
    "id": str, "time": int | float | None, "kind": str | None, "content": dict, "purposes": list | None, "source": str, "model": str,
    "expires": int | float | None, "received": int | float | None, "position": int,
}  # fmt: skip


@dataclass(frozen=True)
class Imported:
    """What was taken in."""

    person: str
    records: int
    duplicates: int
    """Records that were there already, by their ids."""
    states: int
    consents: int


def import_(store: ProfileStore, tenant: str, source: str | Path | bytes, *, person: str | None = None, limit: int = LIMIT) -> Imported:
    """Take an archive in; everything in it is checked before anything is stored. Again, it adds nothing.

    Parameters
    ----------
    person: as whom; None is the person of the archive. Ids of records, times, provenance and versions' contents stay as they were; positions,
        versions' numbers and times of receipt are those of this store. Consents are taken over, before the rest, where this store has none for that
        purpose.
    limit: bytes that the archive may unpack to.

    Not taken in: audit, API keys, jobs and memberships in models, which belong to the store they come from.

    Raises `UnsafeArchive`, `CorruptFile`, `FileProblem`, and what `append` raises.
    """
    archive = Archive(source, limit=limit)
    person = check_name(archive.manifest["person"] if person is None else person, "person")
    records = [
        _record(archive, person, frame, row, number)
        for frame in FRAMES_OF_PEOPLE
        for number, row in enumerate(archive.lines(f"evidence/{frame}.jsonl"), 1)
    ]
    states = _states(archive)
    consents = [_consent(archive, row, line) for line, row in enumerate(archive.lines("consents.jsonl"), 1)]
    records.sort(key=lambda record: record.position)
    # First of all: what she does not allow must not be used from the moment in which it is here.
    added = _put_consents(store, tenant, person, consents)
    try:
        receipt = store.append(tenant, records)
    except (BadValue, TooLarge) as problem:
        raise CorruptFile(f"a record cannot be stored: {problem.what}", fix="export again", file=archive.file) from problem
    kept = _put_states(store, tenant, person, states, records)
    result = Imported(person, receipt.accepted, receipt.duplicates, kept, added)
    if result.records or kept or added:
        store.audit(tenant, "import", person=person, detail={"records": receipt.accepted, "states": kept, "consents": added})
    return result


def _checked(archive: Archive, name: str, row: dict[str, Any], kinds: dict[str, Any], line: int | None = None) -> dict[str, Any]:
    if wrong := [key for key, kind in kinds.items() if key not in row or not isinstance(row[key], kind)]:
        raise CorruptFile(f"{', '.join(wrong)} are not what such a line has", fix="export again", file=archive.file, entry=name, line=line)
    return row


def _record(archive: Archive, person: str, frame: Any, row: dict[str, Any], line: int) -> Record:
    name = f"evidence/{frame}.jsonl"
    _checked(archive, name, row, _KINDS, line)
    if not row["id"]:
        raise CorruptFile("a record has no id, so it could come in twice", fix="export again", file=archive.file, entry=name, line=line)
    purposes = row["purposes"]
    if purposes is not None and not all(isinstance(one, str) for one in purposes):
        raise CorruptFile("its purposes are not words", fix="export again", file=archive.file, entry=name, line=line)
    return Record(
        person, frame, row["id"], row["time"], row["kind"], row["content"], None if purposes is None else frozenset(purposes), row["source"],
        row["model"], row["expires"], row["position"],
    )  # fmt: skip


def _states(archive: Archive) -> list[tuple[dict[str, Any], State]]:
    """(card, state), oldest version first."""
    found = []
    for name in archive.names:
        if not name.endswith(".safetensors"):
            continue
        card = f"{name.removesuffix('.safetensors')}.json"
        if card not in archive.names:
            raise CorruptFile("a state has no card", fix="export again", file=archive.file, entry=name)
        facts = archive.json(card)
        kinds = {"verb": str, "version": int, "model": str, "position": int, "held": bool}
        if not isinstance(facts, dict):
            raise CorruptFile("this is not a card of a state", fix="export again", file=archive.file, entry=card)
        found.append((_checked(archive, card, facts, kinds), State.from_bytes(archive.read(name))))
    return sorted(found, key=lambda one: (one[0]["verb"], one[0]["version"]))


def _consent(archive: Archive, row: dict[str, Any], line: int) -> Consent:
    kinds: dict[str, Any] = {"purpose": str, "granted": bool, "text": str, "version": str, "source": str}
    _checked(archive, "consents.jsonl", row, kinds, line)
    if row["purpose"] not in PURPOSES:
        raise CorruptFile("this purpose is unknown", fix=f"purposes are {', '.join(PURPOSES)}", file=archive.file, entry="consents.jsonl", line=line)
    said = row.get("time")
    said = float(said) if isinstance(said, int | float) and 0 <= said <= time.time() else None
    return Consent(row["purpose"], row["granted"], said, row["text"], row["version"], row["source"])


def _put_consents(store: ProfileStore, tenant: str, person: str, consents: list[Consent]) -> int:
    """What she said here already counts more than what she said elsewhere."""
    said = {purpose for purpose, one in store.consents(tenant, person).items() if not one.default}
    fresh = [one for one in consents if one.purpose not in said]
    Consents(store.db, store.keyring, Audit(store.db, store.keyring)).put_all(tenant, person, fresh)
    return len(fresh)


def _put_states(store: ProfileStore, tenant: str, person: str, states: list[tuple[dict[str, Any], State]], records: list[Record]) -> int:
    here = store.evidence(tenant, person)
    if not here:
        return 0  # nobody's state: all it was made of is gone, or was never there
    positions = {record.id: record.position for record in here}
    old = [record.position for record in records]
    # What a state has seen, in positions of this store: up to which record of the archive, and where that one is now.
    seen = list(accumulate((positions.get(record.id, 0) for record in records), max))
    kept = 0
    for card, state in states:
        verb = card["verb"]
        versions = {version.version: store.state(tenant, person, verb, version=version.version) for version in store.history(tenant, person, verb)}
        there = next((number for number, one in versions.items() if one is not None and _same(one.state, state)), None)
        if there is None:
            count = bisect_right(old, card["position"])
            position = seen[count - 1] if count else here[0].position
            stored = store.put_state(tenant, person, verb, state, model=card["model"], position=position)
            if stored.version in versions:
                continue  # this store has a state of that model which has seen more
            there, kept = stored.version, kept + 1
        if card["held"] and ((now := store.state(tenant, person, verb)) is None or not (now.held and _same(now.state, state))):
            store.restore(tenant, person, verb, there)
    return kept


def _same(one: State, other: State) -> bool:
    return one.to_bytes() == other.to_bytes()
