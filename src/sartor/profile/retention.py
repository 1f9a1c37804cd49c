"""How long evidence is kept, per frame and kind, and how fast it fades; and the purge that holds the store to it.

A rule says after how many seconds records are deleted (`seconds`) and after how many one counts half (`half_life`). The rule that names frame
and kind wins over the one that names one of them, and that over the tenant's general rule. Age counts from the record's own time, or from
when it was received where it has none. A record may also carry its own end (`Record.expires`).
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from sartor.data.schema import LATEST_TIME
from sartor.errors import ConfigError
from sartor.profile.append import FRAMES_OF_PEOPLE, mark
from sartor.profile.audit import Audit
from sartor.profile.database import EVERY_TENANT
from sartor.profile.names import check_tenant
from sartor.profile.schema import evidence, holds, settings, states, tenants
from sartor.profile.schema import retention as table
from sartor.profile.tenancy import add_tenant, next_position

if TYPE_CHECKING:
    from sartor.profile.records import Record
    from sartor.profile.store import ProfileStore

DAY = 86_400.0
WEEK = 7 * DAY
_LAST = "purged at"
_BATCH = 500
_YOUNG = 3600.0  # seconds: a state whose file is written is stored long before


@dataclass(frozen=True)
class Rule:
    """What becomes of records with time."""

    seconds: float | None = None
    """Older ones are deleted; None keeps them."""
    half_life: float | None = None
    """Seconds after which a record counts half; None lets it count fully for ever."""
    frame: str = ""
    """"" is every frame."""
    kind: str = ""
    """"" is every kind."""


@dataclass(frozen=True)
class Purged:
    """What a purge removed."""

    records: int
    people: int
    versions: int
    """Older versions of the states of people who lost records."""
    tenants: int
    seconds: float
    finished: bool
    """False: the time was up; the next purge goes on."""


def rules(store: ProfileStore, tenant: str) -> list[Rule]:
    """All rules of a tenant, the most special ones first."""
    query = sa.select(table).where(table.c.tenant == check_tenant(tenant))
    with store.db.read(tenant) as connection:
        found = [Rule(row.seconds, row.half_life, row.frame, row.kind) for row in connection.execute(query)]
    return sorted(found, key=lambda rule: (-_weight(rule), rule.frame, rule.kind))


def set_rule(store: ProfileStore, tenant: str, rule: Rule) -> None:
    """Put a rule in place of the one for the same frame and kind; one that says nothing takes it away.

    Raises `ConfigError` for times that are not above 0 and for unknown frames.
    """
    tenant = check_tenant(tenant)
    for name in ("seconds", "half_life"):
        value = getattr(rule, name)
        if value is not None and not (isinstance(value, int | float) and math.isfinite(value) and 0 < value <= LATEST_TIME):
            raise ConfigError(f"{name} is {value!r}", fix="give seconds above 0, or None")
    if rule.frame and rule.frame not in FRAMES_OF_PEOPLE:
        raise ConfigError("there is no evidence in this frame", fix=f"use one of {', '.join(FRAMES_OF_PEOPLE)}, or '' for all")
    key = {"tenant": tenant, "frame": rule.frame, "kind": rule.kind}
    with store.db.write(tenant) as connection:
        add_tenant(store.db, connection, tenant)
        connection.execute(table.delete().where(*(table.c[name] == value for name, value in key.items())))
        if rule.seconds is not None or rule.half_life is not None:
            connection.execute(table.insert(), [{**key, "seconds": rule.seconds, "half_life": rule.half_life}])
        detail = {"frame": rule.frame, "kind": rule.kind, "seconds": rule.seconds, "half_life": rule.half_life}
        Audit(store.db, store.keyring).write(connection, tenant, "retention", None, detail)


def replaced(found: Sequence[Rule], rule: Rule) -> list[Rule]:
    """Rules as they would be with one more in its place, or without the one that a rule which says nothing takes away."""
    others = [one for one in found if (one.frame, one.kind) != (rule.frame, rule.kind)]
    new = [rule] if rule.seconds is not None or rule.half_life is not None else []
    return sorted([*others, *new], key=lambda one: (-_weight(one), one.frame, one.kind))


def too_old(store: ProfileStore, tenant: str, found: Sequence[Rule]) -> int:
    """How many records a purge would delete now if these were the rules."""
    query = sa.select(sa.func.count()).select_from(evidence).where(evidence.c.tenant == check_tenant(tenant), _too_old(found, time.time()))
    with store.db.read(tenant) as connection:
        return int(connection.execute(query).scalar_one())


def _weight(rule: Rule) -> int:
    return 2 * bool(rule.kind) + bool(rule.frame)


def rule_for(found: Sequence[Rule], frame: str, kind: str | None, name: str) -> float | None:
    """The `seconds` or the `half_life` that holds for a record; `found` as `rules` gives them."""
    for rule in found:
        value: float | None = getattr(rule, name)
        if value is not None and rule.frame in ("", frame) and rule.kind in ("", kind or ""):
            return value
    return None


def faded(found: Sequence[Rule], record: Record, newest: float) -> float:
    """How much a record counts, from 0 to 1: half after its half-life, counted back from the person's newest record.

    Not from the clock: what a state is made of must not depend on the moment in which it is made.
    """
    half_life = rule_for(found, record.frame, record.kind, "half_life")
    when = record.time if record.time is not None else record.received
    if half_life is None or when is None:
        return 1.0
    return float(0.5 ** (max(0.0, newest - when) / half_life))


def purge(store: ProfileStore, tenant: str | None = None, *, now: float | None = None, limit_seconds: float = 60.0) -> Purged:
    """Delete what is too old or past its own end, in short transactions, so that writers are never held up for long.

    Who lost records is marked to be adapted again, and the older versions of her states, which were made of them, go too.

    Parameters
    ----------
    tenant: None is every tenant.
    limit_seconds: stop after about so long; call again to go on.
    """
    start, now = time.perf_counter(), time.time() if now is None else now
    everybody = [check_tenant(tenant)] if tenant is not None else _tenants(store)
    records = versions = 0
    people: set[tuple[str, bytes]] = set()
    finished = True
    for one in everybody:
        gone, who, older, finished = _purge(store, one, now, lambda: time.perf_counter() - start < limit_seconds)
        records, versions = records + gone, versions + older
        people |= {(one, subject) for subject in who}
        if not finished:
            break
    if tenant is None:
        if finished:
            _sweep(store, everybody)
        with store.db.write(EVERY_TENANT) as connection:
            if finished:
                _note(store, connection, now)
            else:
                # Whoever looks next finds it due, whatever `claim` has noted.
                connection.execute(settings.delete().where(settings.c.key == _LAST))
    return Purged(records, len(people), versions, len(everybody), time.perf_counter() - start, finished)


def due(store: ProfileStore, *, every: float = WEEK) -> bool:
    """Whether the last purge of everything is longer ago than `every` seconds. Cheap: one row."""
    with store.db.read(EVERY_TENANT) as connection:
        last = _last(connection)
    # A clock that was set back must not put it off for ever.
    return last is None or not 0 <= time.time() - last < every


def claim(store: ProfileStore, *, every: float = WEEK) -> bool:
    """The same, and true for one process only: that one should now `purge`."""
    with store.db.write(EVERY_TENANT) as connection:
        if store.db.dialect == "postgresql":
            connection.exec_driver_sql("LOCK TABLE settings IN EXCLUSIVE MODE")
        last, now = _last(connection), time.time()
        if last is not None and 0 <= now - last < every:
            return False
        _note(store, connection, now)
    return True


def _last(connection: sa.Connection) -> float | None:
    text = connection.execute(sa.select(settings.c.value).where(settings.c.key == _LAST)).scalar()
    return None if text is None else float(json.loads(text))


def _note(store: ProfileStore, connection: sa.Connection, now: float) -> None:
    insert = store.db.insert(settings).values(key=_LAST, value=json.dumps(now))
    connection.execute(insert.on_conflict_do_update(index_elements=["key"], set_={"value": json.dumps(now)}))


def _tenants(store: ProfileStore) -> list[str]:
    with store.db.read(EVERY_TENANT) as connection:
        return sorted(connection.execute(sa.select(tenants.c.tenant)).scalars())


def _sweep(store: ProfileStore, everybody: Sequence[str]) -> None:
    """Delete files that no state names: a process that was killed while it put one or forgot one leaves those."""
    # Listed first: a file that comes later is not in the list, and one that is being put now is young.
    old = [name for name in store.blobs.names() if (age := store.blobs.age(name)) is not None and age > _YOUNG]
    if not old:
        return
    named: set[str] = set()
    for tenant in everybody:
        with store.db.read(tenant) as connection:
            named |= set(connection.execute(sa.select(states.c.file).where(states.c.tenant == tenant, states.c.file.is_not(None))).scalars())
    for name in set(old) - named:
        store.blobs.delete(name)


def _too_old(found: Sequence[Rule], now: float) -> sa.ColumnElement[bool]:
    when = sa.func.coalesce(evidence.c.time, evidence.c.received)
    kind = sa.func.coalesce(evidence.c.kind, "")
    # The first rule that fits and has an age decides, as in `rule_for`.
    cases: list[tuple[Any, Any]] = [
        (
            sa.and_(*([evidence.c.frame == rule.frame] if rule.frame else []), *([kind == rule.kind] if rule.kind else []), sa.true()),
            when < now - rule.seconds,
        )
        for rule in found
        if rule.seconds is not None
    ]
    ended = sa.and_(evidence.c.expires.is_not(None), evidence.c.expires <= now)
    return sa.or_(ended, sa.case(*cases, else_=sa.false())) if cases else ended


def _purge(store: ProfileStore, tenant: str, now: float, time_left: Callable[[], bool]) -> tuple[int, set[bytes], int, bool]:
    too_old = _too_old(rules(store, tenant), now)
    audit = Audit(store.db, store.keyring)
    who: set[bytes] = set()
    records = versions = 0
    after, finished = 0, True
    while True:
        with store.db.read(tenant) as connection:
            # Read without a lock; the table lies in the order of positions, so every row is looked at once.
            page = sa.select(evidence.c.position, evidence.c.subject).where(evidence.c.tenant == tenant, evidence.c.position > after, too_old)
            rows = connection.execute(page.order_by(evidence.c.position).limit(_BATCH)).all()
        if not rows:
            break
        after = rows[-1].position
        with store.db.write(tenant) as connection:
            position, _ = next_position(store.db, connection, tenant)
            old = (evidence.c.tenant == tenant, evidence.c.position.in_([row.position for row in rows]), too_old)
            gone = connection.execute(evidence.delete().where(*old)).rowcount
            subjects = {bytes(row.subject) for row in rows}
            # States before marks, as those do who put states: else each could wait for what the other has.
            files, older = _older_versions(connection, tenant, subjects)
            mark(store.db, connection, tenant, dict.fromkeys(subjects, position), time.time())
            audit.write(connection, tenant, "purge", None, {"records": gone, "people": len(subjects), "versions": older})
        for name in files:
            store.blobs.delete(name)
        records, versions, who = records + gone, versions + older, who | subjects
        if not time_left():
            finished = False
            break
    return records, who, versions, finished


def _older_versions(connection: sa.Connection, tenant: str, subjects: set[bytes]) -> tuple[list[str], int]:
    """Delete all versions but the newest of every verb, which serves until the next one is made; a held one too, and the hold with it."""
    mine = (states.c.tenant == tenant, states.c.subject.in_(list(subjects)))
    connection.execute(holds.delete().where(holds.c.tenant == tenant, holds.c.subject.in_(list(subjects))))
    other = states.alias()
    newest = sa.select(sa.func.max(other.c.version)).where(
        other.c.tenant == states.c.tenant, other.c.subject == states.c.subject, other.c.verb == states.c.verb
    )
    older = (*mine, states.c.version < newest.correlate(states).scalar_subquery())
    files = list(connection.execute(sa.select(states.c.file).where(*older, states.c.file.is_not(None))).scalars())
    return files, connection.execute(states.delete().where(*older)).rowcount
