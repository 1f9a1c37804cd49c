"""Changing keys: the master key that wraps everything, or one person's data key.

A new master key costs nobody's content anything: only the wrapped keys are written again. They are prepared beside the old ones in batches, which
an interrupted call leaves in place for the next one, and take their place all at once, in one transaction. From then on the old master key opens
nothing; processes that still run with it are refused and must be started again.

A backup that was made before holds keys wrapped by the old master key: whoever destroys that one has made those backups unreadable.
"""

from __future__ import annotations

import base64
import fcntl
import hmac
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

from sartor._storage import write_atomically
from sartor.errors import ConfigError, Conflict, StoreProblem
from sartor.profile.database import EVERY_TENANT, explained
from sartor.profile.files import empty_log
from sartor.profile.keyring import (
    ENVIRONMENT,
    Keyring,
    derive,
    finish_rotation,
    key_file,
    next_key_file,
    open_root,
    read_master,
    wrap_root,
)
from sartor.profile.rotate_person import Rotation
from sartor.profile.rotate_person import rotate_person as rotate_person
from sartor.profile.schema import keyring, people, settings, tenants

if TYPE_CHECKING:
    from sartor.profile.store import ProfileStore

_NEXT = "next master key"
_BATCH = 2_000
_LOCK = 7222  # PostgreSQL's advisory lock of a change of the master key


def rotate_master(store: ProfileStore, new: bytes | str | Path | None = None, *, old: bytes | str | Path | None = None) -> Rotation:
    """Put a new master key in the place of the old one.

    Parameters
    ----------
    new: 32 bytes, their base64 text, or a file that holds either. None makes one, for an SQLite store that keeps its key in `<database>.key`:
        that file is replaced.
    old: the present key, as for `ProfileStore.open`; None looks where `open` looks.

    Interrupted at any point, the store works on with one of the two keys; call again with the same arguments to finish.
    Raises `StoreProblem` when `old` is not the store's key, `ConfigError` when there is nowhere to keep a new one or it is the old one, `Conflict`
    when somebody else changes the master key at the same time; nothing is changed then.
    """
    database = store.db.path if old is None and not os.environ.get(ENVIRONMENT) else None
    with _alone(store):
        return _rotate(store, new, old, database)


@contextmanager
def _alone(store: ProfileStore) -> Iterator[None]:
    """One change of a master key at a time: two would write over each other's waiting keys. Ends with the process, however that ends."""
    busy = Conflict("another process changes the master key", fix="wait until it has ended")
    if store.db.path is None:
        with explained(None), store.db.engine.connect() as connection:
            # Of the session, which is this connection's: a transaction's lock would end with the first batch.
            if not connection.exec_driver_sql(f"SELECT pg_try_advisory_lock({_LOCK})").scalar():
                raise busy
            try:
                yield
            finally:
                connection.exec_driver_sql(f"SELECT pg_advisory_unlock({_LOCK})")
        return
    handle = os.open(store.db.path.with_name(store.db.path.name + ".key.lock"), os.O_CREAT | os.O_RDWR, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as cause:
            raise busy from cause
        yield
    finally:
        os.close(handle)


def _rotate(store: ProfileStore, new: bytes | str | Path | None, old: bytes | str | Path | None, database: Path | None) -> Rotation:
    start = time.perf_counter()
    before = read_master(old, beside=store.db.path, exists=True)
    if database is not None and new is not None and next_key_file(database).exists():
        # The waiting key may be the store's already; then it must not be written over.
        with store.db.read(EVERY_TENANT) as connection:
            wrapped = bytes(connection.execute(sa.select(keyring.c.wrapped)).scalar_one())
        waiting = read_master(next_key_file(database), beside=None, exists=True)
        if _switched(wrapped, waiting) and not hmac.compare_digest(waiting, read_master(new, beside=None, exists=True)):
            before = finish_rotation(database, before, wrapped)
            store.keyring.renew(before, wrapped)
    after = _new_master(new, database)
    if hmac.compare_digest(before, after):
        raise ConfigError("the new master key is the old one", fix="give another")
    with store.db.read(EVERY_TENANT) as connection:
        wrapped = bytes(connection.execute(sa.select(keyring.c.wrapped)).scalar_one())
    if database is not None and _switched(wrapped, after):
        # An earlier call came as far as the database, and not to the file.
        return _finish(store, after, wrapped, database, Rotation(0, 0, time.perf_counter() - start, True))
    root = open_root(before, wrapped)
    old_ring, new_ring = Keyring(before, root), Keyring(after, root)
    resumed, keys, last = _begin(store, after), 0, ("", b"")
    while True:
        with store.db.write(EVERY_TENANT) as connection:
            _still_wanted(connection, after)
            page = _prepare(connection, last, old_ring, new_ring)
        if not page:
            break
        keys, last = keys + len(page), page[-1]
    sealed = wrap_root(after, root)
    with store.db.write(EVERY_TENANT) as connection:
        _still_wanted(connection, after)
        # Holds off everybody who is about to add a person; who was faster is seen by the next query.
        connection.execute(keyring.update().values(wrapped=sealed, made=time.time()))
        last = ("", b"")
        while late := _prepare(connection, last, old_ring, new_ring):
            keys, last = keys + len(late), late[-1]
        connection.execute(people.update().values(wrapped=people.c.wrapped_next, wrapped_next=None))
        connection.execute(tenants.update().values(epoch=tenants.c.epoch + 1))
        connection.execute(settings.delete().where(settings.c.key == _NEXT))
    return _finish(store, after, sealed, database, Rotation(keys, 0, time.perf_counter() - start, resumed))


def _finish(store: ProfileStore, after: bytes, sealed: bytes, database: Path | None, done: Rotation) -> Rotation:
    store.keyring.renew(after, sealed)
    if database is not None:
        os.replace(next_key_file(database), key_file(database))
    empty_log(store)
    return done


def _switched(wrapped: bytes, after: bytes) -> bool:
    try:
        open_root(after, wrapped)
    except StoreProblem:
        return False
    return True


def _new_master(new: bytes | str | Path | None, database: Path | None) -> bytes:
    if new is None and database is None:
        raise ConfigError("there is no key file to replace", fix="give the new master key")
    if database is None:
        return read_master(new, beside=None, exists=True)
    waiting = next_key_file(database)
    if new is None:
        if not waiting.exists():
            write_atomically(waiting, base64.b64encode(os.urandom(32)) + b"\n")  # with mode 0600
        return read_master(waiting, beside=None, exists=True)
    key = read_master(new, beside=None, exists=True)
    write_atomically(waiting, key)
    return key


def _check(after: bytes) -> str:
    """What tells one new master key from another, and says nothing about it."""
    return json.dumps(hmac.digest(derive(after, "next master check"), b"", "sha256").hex())


def _begin(store: ProfileStore, after: bytes) -> bool:
    """Whether an earlier call has prepared something for this key; what one prepared for another new key is thrown away."""
    check = _check(after)
    with store.db.write(EVERY_TENANT) as connection:
        said = connection.execute(sa.select(settings.c.value).where(settings.c.key == _NEXT)).scalar()
        if said == check:
            return (
                connection.execute(sa.select(sa.literal(1)).select_from(people).where(people.c.wrapped_next.is_not(None)).limit(1)).first()
                is not None
            )
        connection.execute(people.update().where(people.c.wrapped_next.is_not(None)).values(wrapped_next=None))
        connection.execute(settings.delete().where(settings.c.key == _NEXT))
        connection.execute(settings.insert().values(key=_NEXT, value=check))
    return False


def _still_wanted(connection: sa.Connection, after: bytes) -> None:
    """Raise `Conflict` when another key is being prepared by now: mixed with that one's, what we prepare could be opened by nobody."""
    said = connection.execute(sa.select(settings.c.value).where(settings.c.key == _NEXT).with_for_update(read=True)).scalar()
    if said != _check(after):
        raise Conflict("the master key is being changed to another one, or was just changed", fix="wait until that has ended")


def _prepare(connection: sa.Connection, last: tuple[str, bytes], old: Keyring, new: Keyring) -> list[tuple[str, bytes]]:
    """Wrap the next data keys anew, beside the old ones; whose they were.

    A key that is changed or deleted meanwhile is not overwritten: whoever does so holds the row, and leaves `wrapped_next` empty.
    """
    query = sa.select(people.c.tenant, people.c.subject, people.c.wrapped).where(
        people.c.wrapped_next.is_(None), sa.tuple_(people.c.tenant, people.c.subject) > sa.tuple_(*map(sa.literal, last))
    )
    rows = connection.execute(query.order_by(people.c.tenant, people.c.subject).limit(_BATCH).with_for_update()).all()
    update = people.update().where(people.c.tenant == sa.bindparam("t"), people.c.subject == sa.bindparam("s"))
    if rows:
        connection.execute(
            update.values(wrapped_next=sa.bindparam("n")),
            [
                {"t": tenant, "s": subject, "n": new.wrap(tenant, bytes(subject), old.unwrap(tenant, bytes(subject), bytes(wrapped)))}
                for tenant, subject, wrapped in rows
            ],
        )
    return [(tenant, bytes(subject)) for tenant, subject, _ in rows]
