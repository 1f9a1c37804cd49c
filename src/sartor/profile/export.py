"""Everything that is kept of one person as one zip file that she can read and another store can take in.

What is in it: `sartor.profile.archive`. Everything is exported that may still be read of her, whatever she consented to: it is hers.
"""

from __future__ import annotations

import io
import json
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from sartor.data.schema import SCHEMAS, FrameName
from sartor.errors import FileProblem, Unreadable
from sartor.profile import schema
from sartor.profile.append import FRAMES_OF_PEOPLE
from sartor.profile.archive import ArchiveWriter, iso
from sartor.profile.audit import Audit
from sartor.profile.consent import Consents
from sartor.profile.names import check_name, check_tenant

if TYPE_CHECKING:
    from sartor.profile.records import Record, StoredState
    from sartor.profile.store import ProfileStore

_PAGE = 5_000


def export(store: ProfileStore, tenant: str, person: str, path: str | Path | None = None) -> bytes:
    """A person's archive, as bytes; with `path` it is also written there, whole or not at all, readable by its owner only.

    Somebody the store has never seen gets an archive that says so. Raises `FileProblem` when the file cannot be written.
    """
    tenant, person = check_tenant(tenant), check_name(person, "person")
    buffer = io.BytesIO()
    known = _write(store, tenant, person, buffer)
    data = buffer.getvalue()
    if path is not None:
        _put(Path(path), data)
    if known:
        store.audit(tenant, "export", person=person, detail={"bytes": len(data)})
    return data


def _put(path: Path, data: bytes) -> None:
    name = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # made with mode 0600
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException as cause:
        if name is not None:
            Path(name).unlink(missing_ok=True)
        if isinstance(cause, OSError):
            raise FileProblem(f"the archive cannot be written: {cause.strerror}", fix="choose another place", file=path) from cause
        raise


def _write(store: ProfileStore, tenant: str, person: str, target: io.BytesIO) -> bool:
    from sartor import __version__

    subject = store.keyring.subject(tenant, person)
    writer = ArchiveWriter(target)
    counts = {frame: count for frame in FRAMES_OF_PEOPLE if (count := _evidence(store, tenant, person, frame, writer))}
    with store.db.read(tenant, snapshot=True) as connection:
        audit = Audit(store.db, store.keyring)
        consents = Consents(store.db, store.keyring, audit).history(connection, tenant, subject)
        lists = {
            "models": _rows(connection, _models(tenant, subject)),
            "keys": _rows(connection, _of(schema.api_keys, tenant, subject, "id", "label", "scopes", "created", "expires", "used", "revoked")),
            "jobs": _rows(connection, _of(schema.jobs, tenant, subject, "id", "kind", "status", "created", "started", "finished")),
        }
        verbs = _rows(connection, _of(schema.states, tenant, subject, "verb").distinct())
    states = [one for verb in verbs for one in _states(store, tenant, person, verb["verb"], writer)]
    writer.add_lines("consents.jsonl", ({**asdict(one), "time_utc": iso(one.time)} for one in consents))
    audits = audit.lines(tenant, person, 100_000)
    writer.add_lines(
        "audit.jsonl", ({"time": one.time, "time_utc": iso(one.time), "action": one.action, "detail": dict(one.detail)} for one in audits)
    )
    for name, rows in lists.items():
        writer.add_json(f"{name}.json", rows)
    facts = {**counts, "states": len(states), "consents": len(consents), "audit": len(audits), **{name: len(rows) for name, rows in lists.items()}}
    writer.add("README.txt", readme(person, counts, facts).encode())
    writer.close({"person": person, "exported": iso(time.time()), "sartor": __version__})
    return any(facts.values())


def as_row(record: Record) -> dict[str, Any]:
    """One line of evidence."""
    return {
        "id": record.id, "time": record.time, "time_utc": iso(record.time), "kind": record.kind, "content": dict(record.content),
        "purposes": None if record.purposes is None else sorted(record.purposes), "source": record.source, "model": record.model,
        "expires": record.expires, "received": record.received, "received_utc": iso(record.received), "position": record.position,
    }  # fmt: skip


def _evidence(store: ProfileStore, tenant: str, person: str, frame: FrameName, writer: ArchiveWriter) -> int:
    rows: list[dict[str, Any]] = []

    def lines() -> Iterator[dict[str, Any]]:
        after = 0
        while page := store.evidence(tenant, person, frames=[frame], after=after, limit=_PAGE):
            after = page[-1].position
            for record in page:
                rows.append(as_row(record))
                yield rows[-1]

    if not store.evidence(tenant, person, frames=[frame], limit=1):
        return 0
    count = writer.add_lines(f"evidence/{frame}.jsonl", lines())
    writer.add(f"evidence/{frame}.parquet", _parquet(frame, rows), rows=count)
    return count


def _parquet(frame: FrameName, rows: list[dict[str, Any]]) -> bytes:
    """The same as a table: columns of the frame as its schema names them, ids and texts as text; everything given in `content`, as JSON."""
    import polars as pl

    columns: dict[str, list[Any]] = {name: [row[name] for row in rows] for name in rows[0] if name != "content"}
    types: dict[str, Any] = dict.fromkeys(("time", "expires", "received"), pl.Float64) | {"position": pl.Int64, "purposes": pl.List(pl.String)}
    for name, column in SCHEMAS[frame].items():
        if name in columns or name == "person":
            continue
        values = [row["content"].get(name) for row in rows]
        if column.kind == "number":
            types[name] = pl.Float64
            columns[name] = [float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None for value in values]
        else:
            columns[name] = [value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False) for value in values]
    columns["content"] = [json.dumps(row["content"], ensure_ascii=False) for row in rows]
    table = io.BytesIO()
    pl.DataFrame(columns, schema={name: types.get(name, pl.String) for name in columns}).write_parquet(table)
    return table.getvalue()


def _states(store: ProfileStore, tenant: str, person: str, verb: str, writer: ArchiveWriter) -> Iterator[str]:
    for card in reversed(store.history(tenant, person, verb)):
        try:
            stored = store.state(tenant, person, verb, version=card.version)
        except Unreadable:
            writer.add_json(f"states/{verb}-{card.version}.json", {"words": ["This version is damaged: it cannot be read, by nobody."]})
            continue
        if stored is not None:  # else it made room for a newer one meanwhile
            name = f"states/{verb}-{card.version}"
            writer.add(f"{name}.safetensors", stored.state.to_bytes())
            writer.add_json(f"{name}.json", card_of(stored))
            yield name


def card_of(stored: StoredState) -> dict[str, Any]:
    """A state in words and numbers."""
    state = stored.state
    arrays: list[dict[str, Any]] = [
        {"name": name, "type": str(array.dtype), "shape": list(array.shape), "bytes": array.nbytes} for name, array in sorted(state.arrays.items())
    ]
    words = [
        f"Version {stored.version} for the verb '{stored.verb}', made {iso(stored.made)} by {state.method or 'an unnamed method'} "
        f"(model {stored.model[:12]}) from {state.examples} pieces of evidence.",
        f"It is all that this model keeps of the person: {stored.nbytes} bytes.",
        *(f"{one['name']}: {' x '.join(map(str, one['shape'])) or 'one'} numbers of type {one['type']}, {one['bytes']} bytes." for one in arrays),
    ]
    if stored.held:
        words.append("It is held: it is served until it is released, however many newer versions there are.")
    if stored.restored_from is not None:
        words.append(f"It is a copy of version {stored.restored_from}, which was restored.")
    return {
        "words": words, "verb": stored.verb, "version": stored.version, "model": stored.model, "method": state.method, "made": stored.made,
        "made_utc": iso(stored.made), "position": stored.position, "bytes": stored.nbytes, "examples": state.examples, "held": stored.held,
        "restored_from": stored.restored_from, "arrays": arrays, "notes": dict(state.notes),
    }  # fmt: skip


def _of(table: sa.Table, tenant: str, subject: bytes, *names: str) -> sa.Select[Any]:
    return sa.select(*(table.c[name] for name in names)).where(table.c.tenant == tenant, table.c.subject == subject)


def _models(tenant: str, subject: bytes) -> sa.Select[Any]:
    members, models = schema.members, schema.models
    joined = members.outerjoin(models, sa.and_(models.c.tenant == members.c.tenant, models.c.fingerprint == members.c.model))
    query = sa.select(members.c.model.label("fingerprint"), models.c.verb, models.c.method, models.c.status, models.c.made).select_from(joined)
    return query.where(members.c.tenant == tenant, members.c.subject == subject)


def _rows(connection: sa.Connection, query: sa.Select[Any]) -> list[dict[str, Any]]:
    return [dict(row) for row in connection.execute(query).mappings()]


def readme(person: str, counts: dict[FrameName, int], facts: dict[str, int]) -> str:
    """What is in an archive, in plain words."""
    kept = [f"  evidence/{frame}.jsonl, .parquet   {count:,} records" for frame, count in counts.items()] or ["  No evidence is kept."]
    lines = [
        f"What is kept of: {person}",
        "",
        "This archive holds everything that this system keeps about one person, in forms that people and programs can read.",
        "",
        *kept,
        f"  states/                          {facts['states']} personal states: what models keep of the person. Each is a file of numbers",
        "                                   (.safetensors) and a card that says in words what it is (.json).",
        f"  consents.jsonl                   {facts['consents']} answers to the question what the evidence may be used for, oldest first",
        f"  audit.jsonl                      {facts['audit']} lines on what was done with the person's data and when",
        f"  models.json                      {facts['models']} models that were fitted while the person's evidence was among everybody's",
        f"  keys.json, jobs.json             {facts['keys']} API keys (without their secrets) and {facts['jobs']} jobs that are the person's",
        "  manifest.json                    the length and the SHA-256 of every file, so that a change can be noticed",
        "",
        "A .jsonl file has one record per line, as JSON. A .parquet file has the same records as a table for spreadsheets and data tools.",
        "Times are seconds since 1970-01-01 UTC; beside them stands the same in words, ending in +00:00.",
        "",
        "In a record: id is the giver's own name for it; time is when it happened; kind is what sort of thing happened; content is what was given;",
        "purposes is what it may be used for (nothing there: whatever the person allows); source is where it came from; model is the model that",
        "derived it, if one did; received is when it arrived; position is its place in the order of everything.",
        "",
        "Another store takes this archive in with `import`. It checks every name, length and hash first.",
        "",
    ]
    return "\n".join(lines)
