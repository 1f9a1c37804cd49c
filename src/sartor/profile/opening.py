"""What opening a store needs: its root key, its tables, its folder of files."""

from __future__ import annotations

import os
import time
from pathlib import Path

import sqlalchemy as sa

from sartor.errors import StoreProblem
from sartor.profile import migrations
from sartor.profile.blobs import Blobs
from sartor.profile.database import EVERY_TENANT, Database, explained
from sartor.profile.keyring import Keyring, finish_rotation, new_root, open_root, read_master
from sartor.profile.schema import keyring


def opened(url: str, master_key: bytes | str | Path | None, create: bool) -> tuple[Database, Keyring, Blobs]:
    """See `ProfileStore.open`."""
    db = Database(url)
    try:
        sealed = _sealed_root(db, create)
        master = read_master(master_key, beside=db.path, exists=sealed is not None)
        root = None
        if sealed is not None:
            if master_key is None:
                master = finish_rotation(db.path, master, sealed)
            root = open_root(master, sealed)
        _migrate(db)
        if root is None or sealed is None:
            with db.write(EVERY_TENANT) as connection:
                # Whoever comes first decides; the others read it.
                row = {"id": 1, "wrapped": new_root(master), "made": time.time()}
                connection.execute(db.insert(keyring).values(row).on_conflict_do_nothing())
                sealed = connection.execute(sa.select(keyring.c.wrapped)).scalar_one()
            root = open_root(master, sealed)
        folder = _blob_folder(db)
    except BaseException:
        db.close()
        raise
    return db, Keyring(master, root, sealed_root=sealed), Blobs(folder)


def _sealed_root(db: Database, create: bool) -> bytes | None:
    """The wrapped root key of a store that is there, None when it is still to be made."""
    if db.path is not None and not db.path.exists():
        if not create:
            raise StoreProblem("there is no store", fix="check the path, or let it be made", file=db.path)
        try:
            db.path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(db.path, os.O_CREAT | os.O_RDWR, 0o600))
        except OSError as cause:
            raise StoreProblem(f"the database cannot be made: {cause.strerror}", fix="choose another place", file=db.path) from cause
    with explained(db.path), db.engine.connect() as connection:
        found = migrations.revision(connection)
        if found is None:
            if not create:
                raise StoreProblem("there is no store in this database", fix="check the URL, or let it be made", file=db.path)
            return None
        return connection.execute(sa.select(keyring.c.wrapped)).scalar()


def _migrate(db: Database) -> None:
    with explained(db.path), db.engine.connect() as connection:
        if migrations.revision(connection) == migrations.HEAD:
            return
    with db.write(EVERY_TENANT) as connection:
        if db.dialect == "postgresql":
            connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7221)")  # one process at a time
        if migrations.revision(connection) != migrations.HEAD:
            migrations.upgrade(connection)
    db.engine.dispose()  # SQLite plans by figures that a connection reads when it opens


def _blob_folder(db: Database) -> Path:
    """`<database>.blobs` beside an SQLite file; for PostgreSQL where SARTOR_BLOBS says, or `sartor.blobs` here."""
    if db.path is not None:
        return db.path.with_name(db.path.name + ".blobs")
    return Path(os.environ.get("SARTOR_BLOBS", "sartor.blobs")).absolute()
