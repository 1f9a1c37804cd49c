"""The files of a store: where they are, how large, and how to be rid of what was deleted from the database and still lies in them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

from sartor.profile import schema
from sartor.profile.database import explained

if TYPE_CHECKING:
    from sartor.profile.store import ProfileStore


def places(store: ProfileStore) -> list[Path]:
    """Files and folders of a store on this machine: database, log, blobs; of PostgreSQL its data directory, if `data_directory` knows it."""
    if store.db.path is not None:
        own = [store.db.path.with_name(store.db.path.name + end) for end in ("", "-wal", "-shm", "-journal")]
    else:
        data = data_directory(store)
        own = [] if data is None else [data]
    return [path for path in (*own, store.blobs.folder) if path.exists()]


def data_directory(store: ProfileStore) -> Path | None:
    """Of PostgreSQL, when its user may read that setting (role pg_read_all_settings) and the server runs on this machine; else None."""
    if store.db.path is not None:
        return None
    try:
        with store.db.engine.connect() as connection:
            data = Path(connection.exec_driver_sql("SHOW data_directory").scalar_one())
    except sa.exc.DBAPIError:
        return None
    return data if data.is_dir() else None


def size(paths: Iterable[Path]) -> int:
    """Bytes of files and of all that lies in folders."""
    return sum(one.stat().st_size for path in paths for one in ([path] if path.is_file() else path.rglob("*")) if one.is_file())


def empty_log(store: ProfileStore) -> bool:
    """Move SQLite's write-ahead log into the database and cut it to nothing; False while somebody else reads, and elsewhere."""
    if store.db.dialect != "sqlite":
        return False
    with explained(store.db.path), store.db.engine.connect() as connection:
        busy, *_ = connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()
    return busy == 0


def compact(store: ProfileStore) -> None:
    """Write the database anew, without what was deleted from it. Writers wait meanwhile; it takes room for a second copy."""
    if store.db.dialect == "sqlite":
        with explained(store.db.path), store.db.engine.connect() as connection:
            connection.exec_driver_sql("VACUUM")
        empty_log(store)
    else:
        with explained(None), store.db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            for table in schema.metadata.sorted_tables:
                connection.exec_driver_sql(f"VACUUM FULL {table.name}")
