"""The tables' history (Alembic). `ProfileStore.open` runs what is missing, in one transaction."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from sartor.errors import StoreProblem

HEAD = "0002"
"""The revision that this version of sartor works with."""


def revision(connection: sa.Connection) -> str | None:
    """The revision of a database, None when it is empty; raises `StoreProblem` for somebody else's database and for a newer one."""
    tables = sa.inspect(connection).get_table_names()
    if "alembic_version" not in tables:
        if tables:
            raise StoreProblem("this database belongs to another program", fix="give the store a database of its own")
        return None
    found = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    if found is None:
        return None
    if found != HEAD and found not in _known():
        raise StoreProblem("this database was made by a newer version of sartor", fix="update sartor", revision=found)
    return str(found)


def upgrade(connection: sa.Connection) -> None:
    """Bring the tables to `HEAD` inside the caller's transaction."""
    from alembic import command

    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _known() -> set[str]:
    from alembic.script import ScriptDirectory

    return {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}


def _config():  # type: ignore[no-untyped-def]  # alembic is imported only when a database has to change
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config
