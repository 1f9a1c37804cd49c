"""How one state is found and opened: the held version, else the newest, of one model when asked."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from sartor.errors import CorruptFile, Unreadable
from sartor.profile.blobs import Blobs
from sartor.profile.keyring import PersonKey
from sartor.profile.packing import unpack
from sartor.profile.records import StoredState
from sartor.profile.schema import holds, people, states

HEAD = (states.c.model, states.c.version, states.c.position, states.c.made, states.c.nbytes, states.c.restored_from)


def opened(key: PersonKey, blobs: Blobs, verb: str, row: Any) -> StoredState:
    """A row's state; raises `Unreadable` when it is not what was written."""
    sealed = row.data if row.file is None else blobs.get(row.file)
    try:
        state = unpack(key.open("states", sealed))
    except CorruptFile as cause:
        raise Unreadable("a stored state is not one", fix="adapt the person again") from cause
    held = row.held == row.version
    return StoredState(verb, row.model, row.version, row.position, row.made, row.nbytes, held, row.restored_from, state)


def held_version(tenant: Any, subject: Any, verb: Any) -> sa.Select[Any]:
    """The version that is held of a person and verb."""
    return sa.select(holds.c.version).where(holds.c.tenant == tenant, holds.c.subject == subject, holds.c.verb == verb)


def _query(*, version: bool, model: bool) -> sa.Select[Any]:
    """One row: that version, or the held one, or the newest; of one model when asked."""
    tenant: Any = sa.bindparam("tenant")
    subject: Any = sa.bindparam("subject")
    verb: Any = sa.bindparam("verb")
    served = held_version(tenant, subject, verb)
    if version:
        wanted: Any = sa.bindparam("version")
    else:
        other = states.alias()
        here = [other.c.tenant == tenant, other.c.subject == subject, other.c.verb == verb]
        if model:
            here.append(other.c.model == sa.bindparam("model"))
        newest = sa.select(other.c.version).where(*here).order_by(other.c.version.desc()).limit(1).scalar_subquery()
        chosen = (
            sa.select(other.c.version).where(*here, other.c.version == served.scalar_subquery()).scalar_subquery()
            if model
            else served.scalar_subquery()
        )
        wanted = sa.func.coalesce(chosen, newest)
    query = (
        sa.select(*HEAD, states.c.data, states.c.file, people.c.wrapped, served.scalar_subquery().label("held"))
        .join(people, sa.and_(people.c.tenant == states.c.tenant, people.c.subject == states.c.subject))
        .where(states.c.tenant == tenant, states.c.subject == subject, states.c.verb == verb, states.c.version == wanted)
    )
    return query.where(states.c.model == sa.bindparam("model")) if model else query


READ, READ_MODEL, READ_VERSION = _query(version=False, model=False), _query(version=False, model=True), _query(version=True, model=False)
