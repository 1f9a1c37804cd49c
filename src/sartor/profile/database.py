"""One database, SQLite or PostgreSQL, behind two context managers: `read` and `write`."""

from __future__ import annotations

import contextlib
import os
import weakref
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import URL, make_url

from sartor.errors import ConfigError, MissingExtra, StoreProblem
from sartor.profile.names import EVERY_TENANT as EVERY_TENANT
from sartor.profile.names import check_scope
from sartor.profile.schema import tenants

PAGE = 16384
"""Bytes of an SQLite page: with the usual 4096, one state of 2 KB fills a page."""
ARRAYS = 4 * 2**20
"""Bytes of rows in one statement, about."""
BUSY = 10.0
"""Seconds to wait for another writer."""


class Database:
    """Connections of one process; safe to share between threads, and used again safely after a fork."""

    def __init__(self, url: str) -> None:
        try:
            parsed = make_url(url)
        except sa.exc.ArgumentError as cause:
            raise ConfigError("this is not a database URL", fix="use sqlite:///people.db or postgresql://user:password@host/database") from cause
        self.dialect = parsed.get_backend_name()
        self.path: Path | None = None
        if self.dialect == "sqlite":
            if not parsed.database or parsed.database == ":memory:":
                raise ConfigError("a store needs a file", fix="use sqlite:///people.db")
            self.path = Path(parsed.database).absolute()
            self.engine = _sqlite(self.path)
        elif self.dialect in ("postgresql", "postgres"):
            self.dialect = "postgresql"
            self.engine = _postgresql(parsed)
        else:
            raise ConfigError(f"'{self.dialect}' is not a database that is known here", fix="use sqlite:/// or postgresql://")
        # A password may also stand among the parameters.
        self.url = self.engine.url.set(drivername=self.dialect).difference_update_query(["password"]).render_as_string(hide_password=True)
        _after_fork(self)

    def __repr__(self) -> str:
        return f"Database({self.url})"

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()

    @contextlib.contextmanager
    def read(self, tenant: str, *, snapshot: bool = False) -> Iterator[sa.Connection]:
        """A connection for reading one tenant's rows; with `snapshot`, several queries see the same moment."""
        tenant = check_scope(tenant)
        if self.dialect == "sqlite":
            begin = "BEGIN" if snapshot else ""
        else:
            begin = f"BEGIN READ ONLY{', ISOLATION LEVEL REPEATABLE READ' if snapshot else ''}; {_setting('tenant', tenant)}"
        with explained(self.path), self._connected(begin) as connection:
            yield connection

    @contextlib.contextmanager
    def write(self, tenant: str, *, durable: bool = True) -> Iterator[sa.Connection]:
        """A transaction on one tenant's rows, kept when the block ends and undone when it raises.

        `durable` ones are on the disk before this returns. The others are whole or absent after a power cut, and survive a crash of the process.
        """
        tenant = check_scope(tenant)
        if self.dialect == "sqlite":
            begin = "BEGIN IMMEDIATE"
        else:
            begin = f"BEGIN; {_setting('tenant', tenant)}{'' if durable else '; SET LOCAL synchronous_commit = off'}"
        with explained(self.path), self._connected(begin, synchronous="FULL" if durable else "NORMAL") as connection:
            yield connection
            connection.commit()

    @contextlib.contextmanager
    def find_key(self, found: bytes) -> Iterator[sa.Connection]:
        """A connection that sees the API key with this hash, whichever tenant's it is, and nothing else of any tenant."""
        begin = "" if self.dialect == "sqlite" else f"BEGIN READ ONLY; {_setting('key', found.hex())}"
        with explained(self.path), self._connected(begin) as connection:
            yield connection

    @contextlib.contextmanager
    def _connected(self, begin: str, *, synchronous: str | None = None) -> Iterator[sa.Connection]:
        """A connection on which `begin` was said. The drivers are in autocommit: transactions are what we say, in one message."""
        with self.engine.connect() as connection:  # leaving it rolls back what was not committed
            if synchronous is not None and self.dialect == "sqlite" and connection.info.get("synchronous") != synchronous:
                connection.exec_driver_sql(f"PRAGMA synchronous={synchronous}")
                connection.info["synchronous"] = synchronous
            if begin:
                try:
                    connection.exec_driver_sql(begin)
                except sa.exc.DBAPIError as problem:
                    # A server that was restarted has closed its side: nothing has been done yet, so begin again on a fresh connection.
                    if not problem.connection_invalidated:
                        raise
                    connection.rollback()
                    connection.exec_driver_sql(begin)
            yield connection

    def fetch(self, tenant: str, *asked: tuple[sa.Select[Any], Mapping[str, Any]]) -> list[list[Any]]:
        """Rows of several constant statements at one moment; for what is asked with every request.

        On PostgreSQL all of it is one message there and one back, prepared by the server, and past what SQLAlchemy costs per statement.
        """
        if self.dialect == "sqlite":
            with self.read(tenant, snapshot=len(asked) > 1) as connection:
                return [list(connection.execute(statement, values)) for statement, values in asked]
        tenant = check_scope(tenant)
        with explained(None):
            for last in (False, True):
                with self.engine.connect() as connection:
                    try:
                        return _pipelined(connection, tenant, asked)
                    except sa.exc.DBAPIError as problem:
                        # A server that was restarted has closed its side; reading again on a fresh connection does no harm.
                        if last or not problem.connection_invalidated:
                            raise
        raise AssertionError("unreachable")

    def insert(self, table: sa.Table) -> Any:
        """An INSERT that knows ON CONFLICT, in this database's dialect."""
        if self.dialect == "sqlite":
            from sqlalchemy.dialects import sqlite

            return sqlite.insert(table)
        from sqlalchemy.dialects import postgresql

        return postgresql.insert(table)

    def insert_many(
        self, connection: sa.Connection, table: sa.Table, columns: Sequence[str], rows: Sequence[tuple[Any, ...]], on_conflict: str = ""
    ) -> int:
        """Insert tuples straight through the driver; how many rows were written.

        Per row SQLAlchemy costs as much as encrypting and storing it: use this for what comes in thousands.
        """
        into = f"INSERT INTO {table.name} ({', '.join(columns)})"
        if self.dialect == "sqlite":
            return connection.exec_driver_sql(f"{into} VALUES ({', '.join('?' * len(columns))}) {on_conflict}", list(rows)).rowcount
        # Whole columns as arrays: one statement, planned and answered once, where a row at a time costs a message each.
        kinds = [table.c[name].type.compile(dialect=connection.dialect) for name in columns]
        statement = f"{into} SELECT * FROM unnest({', '.join(f'%b::{kind}[]' for kind in kinds)}) {on_conflict}"
        return sum(connection.exec_driver_sql(statement, tuple(map(list, zip(*part, strict=True)))).rowcount for part in _parts(rows))

    def bump_epoch(self, connection: sa.Connection, tenant: str) -> None:
        """Tell every process that a data key of this tenant is gone or different; also waits for, and holds off, its appends."""
        connection.execute(tenants.update().where(tenants.c.tenant == tenant).values(epoch=tenants.c.epoch + 1))


def _parts(rows: Sequence[tuple[Any, ...]]) -> Iterator[list[tuple[Any, ...]]]:
    """Rows in parts of some megabytes."""
    part: list[tuple[Any, ...]] = []
    size = 0
    for row in rows:
        part.append(row)
        size += 64 + sum(len(value) for value in row if isinstance(value, bytes))
        if size > ARRAYS:
            yield part
            part, size = [], 0
    if part:
        yield part


_texts: dict[sa.Select[Any], tuple[str, dict[str, Any]]] = {}
"""Of constant statements: what the server reads, and the constants in it."""


def _pipelined(connection: sa.Connection, tenant: str, asked: Sequence[tuple[sa.Select[Any], Mapping[str, Any]]]) -> list[list[Any]]:
    """A read-only transaction in one message; raises what SQLAlchemy would."""
    import psycopg
    from psycopg.rows import namedtuple_row

    for statement, _ in asked:
        if statement not in _texts:
            compiled: Any = statement.compile(dialect=connection.dialect)
            _texts[statement] = str(compiled), {name: bind.value for name, bind in compiled.binds.items() if not bind.required}
    driver: Any = connection.connection.driver_connection
    try:
        with driver.pipeline():
            driver.execute("BEGIN READ ONLY, ISOLATION LEVEL REPEATABLE READ")
            driver.execute("SELECT set_config('sartor.tenant', %s, true)", [tenant])
            cursors = []
            for statement, values in asked:
                text, constants = _texts[statement]
                cursors.append(driver.cursor(row_factory=namedtuple_row, binary=True).execute(text, constants | dict(values)))
            driver.execute("ROLLBACK")
            return [cursor.fetchall() for cursor in cursors]
    except psycopg.Error as cause:
        gone = bool(driver.closed or driver.broken)
        if gone:
            connection.invalidate()
        else:
            driver.rollback()
        raise sa.exc.DBAPIError("", None, cause, hide_parameters=True, connection_invalidated=gone) from cause


def _setting(name: str, value: str) -> str:
    """For row-level security: who is asking, until the transaction ends. In hex digits, so that no name can be read as SQL."""
    return f"SELECT set_config('sartor.{name}', convert_from(decode('{value.encode().hex()}', 'hex'), 'UTF8'), true)"


def _sqlite(path: Path) -> sa.Engine:
    engine = sa.create_engine(
        URL.create("sqlite", database=str(path)),
        hide_parameters=True,  # they would be in error messages
        pool_size=8,
        max_overflow=120,
        pool_timeout=BUSY,
        connect_args={"timeout": BUSY, "check_same_thread": False, "isolation_level": None, "cached_statements": 256},
    )

    @sa.event.listens_for(engine, "connect")
    def prepare(connection: Any, record: Any) -> None:
        # Legacy transaction control of the driver is off (isolation_level None): we say BEGIN ourselves.
        cursor = connection.cursor()
        for pragma in (f"page_size={PAGE}", "journal_mode=WAL", "secure_delete=ON", "foreign_keys=ON", "synchronous=FULL",
                       "cache_size=-16384", "temp_store=MEMORY", f"journal_size_limit={64 * 2**20}"):  # fmt: skip
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    return engine


def _postgresql(url: URL) -> sa.Engine:
    try:
        import psycopg  # noqa: F401
    except ImportError as cause:
        raise MissingExtra("psycopg", "postgres") from cause
    return sa.create_engine(
        url.set(drivername="postgresql+psycopg"),
        hide_parameters=True,
        pool_size=8,
        max_overflow=24,
        pool_timeout=BUSY,
        isolation_level="AUTOCOMMIT",
        connect_args={"connect_timeout": int(BUSY), "application_name": "sartor"},
    )


@contextlib.contextmanager
def explained(path: Path | None) -> Iterator[None]:
    """Database errors as `StoreProblem`, without the statement or anything in it."""
    try:
        yield
    except sa.exc.TimeoutError as cause:
        raise StoreProblem("no connection to the database became free", fix="ask with fewer threads", file=path) from cause
    except sa.exc.DBAPIError as cause:
        text = str(cause.orig).lower()
        if "locked" in text or "busy" in text:
            what, fix = f"another process kept the database busy for more than {BUSY:.0f} s", "try again"
        elif "full" in text or "no space" in text:
            what, fix = "the disk is full; nothing of this was kept", "make room and try again"
        elif "malformed" in text or "not a database" in text or "corrupt" in text:
            what, fix = "the database is damaged, or is no database", "restore it from a backup"
        elif "readonly" in text or "read-only" in text:
            what, fix = "the database cannot be written", "check the rights of the file and its folder"
        elif "unable to open" in text:
            what, fix = "the database cannot be opened", "check that its folder is there and may be written"
        elif cause.connection_invalidated or isinstance(cause, sa.exc.OperationalError):
            what, fix = "the database cannot be reached or broke off; nothing of this was confirmed", "check that it runs and try again"
        else:
            # A message of the database may quote values: its class says enough.
            what, fix = f"the database refused a statement ({type(cause.orig).__name__})", "this is a mistake in sartor: please report it"
        raise StoreProblem(what, fix=fix, file=path) from cause


def _after_fork(database: Database) -> None:
    """A connection must not be used by two processes: the child starts with none."""
    reference = weakref.ref(database)

    def renew() -> None:
        if (alive := reference()) is not None:
            alive.engine.dispose(close=False)

    os.register_at_fork(after_in_child=renew)
