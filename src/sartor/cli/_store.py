"""What every command on a store of people shares: which store, whose, and which key opens it."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sartor.errors import ConfigError, FileProblem, MissingExtra

if TYPE_CHECKING:
    from sartor.engine import Engine
    from sartor.profile.store import ProfileStore

Db = Annotated[
    str | None,
    typer.Option("--db", help="A file, sqlite:///... or postgresql://... Default: $SARTOR_DB, else people.db.", show_default=False),
]
Tenant = Annotated[str, typer.Option("--tenant", help="Whose people.")]
Models = Annotated[Path | None, typer.Option("--models", help="Folder of fitted models. Default: beside the database file.", show_default=False)]
MasterKey = Annotated[
    Path | None,
    typer.Option("--master-key", help="File with it. Default: $SARTOR_MASTER_KEY, else beside the database.", show_default=False),
]


def url(db: str | None) -> str:
    """A database URL from what was given, from SARTOR_DB, or the default file."""
    given = db or os.environ.get("SARTOR_DB") or "people.db"
    return given if "://" in given else f"sqlite:///{Path(given).expanduser()}"


def check_there(db: str) -> None:
    """Raise `FileProblem` for an SQLite file that is not there: looking at a store must not make one."""
    path = Path(db.removeprefix("sqlite:///"))
    if db.startswith("sqlite:///") and not path.is_file():
        raise FileProblem("there is no such store", fix="name one with --db, or start one with `sartor serve`", file=path)


def open_engine(db: str | None, tenant: str, models: Path | None, master_key: Path | None, *, memory_encoder: str | None = None) -> Engine:
    """An engine without background work, for one command."""
    found = url(db)
    check_there(found)
    return engine_class()(
        found, tenant=tenant, models=folder(found, models), master_key=master_key, background=False, memory_encoder=memory_encoder
    )  # fmt: skip


def open_store(db: str | None, master_key: Path | None) -> ProfileStore:
    """The store alone, for what needs no model."""
    found = url(db)
    check_there(found)
    check_extra()
    from sartor.profile.store import ProfileStore

    return ProfileStore.open(found, master_key=master_key, create=False)


def engine_class() -> type[Engine]:
    """`sartor.Engine`, or the sentence that says which extra is missing."""
    check_extra()
    from sartor.engine import Engine

    return Engine


def check_extra() -> None:
    """Raise `MissingExtra` without what a store needs."""
    try:
        import cryptography  # noqa: F401
        import sqlalchemy  # noqa: F401
    except ImportError as missing:
        raise MissingExtra(str(missing.name), "engine") from missing


def when(seconds: float | None) -> str:
    """A time for tables, UTC."""
    return "-" if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")


def folder(found: str, models: Path | None) -> Path | None:
    if models is None and not found.startswith("sqlite:"):
        if "SARTOR_MODELS" not in os.environ:
            raise ConfigError("there is no folder for models", fix="add --models FOLDER, or set SARTOR_MODELS; all processes must share it")
        return Path(os.environ["SARTOR_MODELS"])
    return models
