"""The tables. Every key starts with the tenant; personal content is encrypted before it gets here (`keyring`).

`subject` stands for a person: a keyed hash of the id, different in every tenant. Every table that holds something of a person has a column
of that name, so that forgetting can be checked against this file.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

metadata = sa.MetaData()

_Text = sa.Text
_Big = sa.BigInteger
_Double = sa.Double


class _Bytes(sa.LargeBinary):
    """Bytes as they are: both drivers take and give `bytes`, so wrapping each value would only cost."""

    def bind_processor(self, dialect: Any) -> None:
        return None

    def result_processor(self, dialect: Any, coltype: Any) -> None:
        return None


def _tenant() -> sa.Column[str]:
    return sa.Column("tenant", _Text, primary_key=True)


def _subject(*, key: bool = True, nullable: bool = False) -> sa.Column[bytes]:
    return sa.Column("subject", _Bytes, primary_key=key, nullable=nullable)


keyring = sa.Table(
    "keyring",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("wrapped", _Bytes, nullable=False, comment="the root key, encrypted by the master key"),
    sa.Column("made", _Double, nullable=False),
)

settings = sa.Table("settings", metadata, sa.Column("key", _Text, primary_key=True), sa.Column("value", _Text, nullable=False))

tenants = sa.Table(
    "tenants",
    metadata,
    _tenant(),
    sa.Column("position", _Big, nullable=False, comment="the newest position given out; its row lock orders all writers of the tenant"),
    sa.Column("epoch", _Big, nullable=False, comment="changes when a data key goes or changes: caches of keys are void then"),
    sa.Column("items_version", _Big, nullable=False),
    sa.Column("models_version", _Big, nullable=False),
    sa.Column("audited", _Big, nullable=False, comment="the newest number of an audit line"),
    sa.Column("consents", _Text, comment="purposes granted by default, JSON; null: the built-in default"),
    sa.Column("kinds", _Text, comment="weights of kinds of events, JSON; null: the built-in default"),
    sa.Column("created", _Double, nullable=False),
)

people = sa.Table(
    "people",
    metadata,
    _tenant(),
    _subject(),
    sa.Column("wrapped", _Bytes, nullable=False, comment="the person's data key, encrypted by the master key"),
    sa.Column("wrapped_next", _Bytes, comment="the same under the next master key, while that is being changed"),
    sa.Column("name", _Bytes, nullable=False, comment="the person's id, encrypted by the data key"),
    sa.Column("born", _Big, nullable=False, comment="the tenant's position when the person became known"),
    sa.Column("made", _Double, nullable=False),
)

evidence = sa.Table(
    "evidence",
    metadata,
    _tenant(),
    sa.Column("position", _Big, primary_key=True, autoincrement=False),
    _subject(key=False),
    sa.Column("rid", _Bytes, nullable=False, comment="keyed hash of the record's id"),
    sa.Column("frame", _Text, nullable=False),
    sa.Column("kind", _Text),
    sa.Column("time", _Double),
    sa.Column("received", _Double, nullable=False),
    sa.Column("expires", _Double),
    sa.Column("purposes", _Text, comment="comma separated, with commas around; null: whatever consent allows"),
    sa.Column("data", _Bytes, nullable=False),
    # WITHOUT ROWID: rows lie in the order of arrival, and the index of a person's records carries their positions.
    sa.Index("evidence_of_person", "tenant", "subject", "rid", unique=True, postgresql_include=["position"]),
    sqlite_with_rowid=False,
)

stale = sa.Table(
    "stale",
    metadata,
    _tenant(),
    _subject(),
    sa.Column("position", _Big, nullable=False),
    sa.Column("since", _Double, nullable=False),
    sa.Column("newest", _Double, nullable=False, comment="time of the newest mark"),
    sa.Column("due", _Double, nullable=False, comment="not to be claimed before: end of a lease or of a wait after failing"),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("failed", sa.Boolean, nullable=False),
    sa.Column("token", _Text, nullable=False),
    sa.Column("worker", _Text),
    sa.Column("reason", _Text),
    sa.Index("stale_due", "due"),
    sqlite_with_rowid=False,
)

states = sa.Table(
    "states",
    metadata,
    _tenant(),
    _subject(),
    sa.Column("verb", _Text, primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("model", _Text, nullable=False),
    sa.Column("position", _Big, nullable=False),
    sa.Column("made", _Double, nullable=False),
    sa.Column("nbytes", sa.Integer, nullable=False),
    sa.Column("restored_from", sa.Integer),
    sa.Column("data", _Bytes, comment="the encrypted state; null when it lies in a file"),
    sa.Column("file", _Text, comment="sha256 of the encrypted file"),
)

holds = sa.Table(
    "holds",
    metadata,
    _tenant(),
    _subject(),
    sa.Column("verb", _Text, primary_key=True),
    sa.Column("version", sa.Integer, nullable=False),
    sqlite_with_rowid=False,
)

consents = sa.Table(
    "consents",
    metadata,
    _tenant(),
    _subject(),
    sa.Column("purpose", _Text, primary_key=True),
    sa.Column("position", _Big, primary_key=True, autoincrement=False),
    sa.Column("granted", sa.Boolean, nullable=False),
    sa.Column("time", _Double, nullable=False),
    sa.Column("data", _Bytes, nullable=False, comment="text, version and source, encrypted"),
    sqlite_with_rowid=False,
)

retention = sa.Table(
    "retention",
    metadata,
    _tenant(),
    sa.Column("frame", _Text, primary_key=True, comment="'' is every frame"),
    sa.Column("kind", _Text, primary_key=True, comment="'' is every kind"),
    sa.Column("seconds", _Double, comment="older records are deleted"),
    sa.Column("half_life", _Double, comment="seconds after which a record counts half"),
)

models = sa.Table(
    "models",
    metadata,
    _tenant(),
    sa.Column("verb", _Text, primary_key=True),
    sa.Column("fingerprint", _Text, primary_key=True),
    sa.Column("method", _Text, nullable=False),
    sa.Column("folder", _Text, nullable=False),
    sa.Column("status", _Text, nullable=False),
    sa.Column("made", _Double, nullable=False),
    sa.Column("switched", _Double),
    sa.Column("report", _Text, nullable=False),
    sa.Column("people", sa.Integer, nullable=False),
    sa.Column("position", _Big, nullable=False),
)

members = sa.Table("members", metadata, _tenant(), sa.Column("model", _Text, primary_key=True), _subject(), sqlite_with_rowid=False)

items = sa.Table(
    "items",
    metadata,
    _tenant(),
    sa.Column("item", _Text, primary_key=True),
    sa.Column("hidden", sa.Boolean, nullable=False),
    sa.Column("attributes", _Text, nullable=False),
)

api_keys = sa.Table(
    "api_keys",
    metadata,
    _tenant(),
    sa.Column("id", _Text, primary_key=True),
    sa.Column("hash", _Bytes, nullable=False, unique=True, comment="keyed hash of the secret"),
    sa.Column("label", _Text, nullable=False),
    sa.Column("scopes", _Text, nullable=False),
    _subject(key=False, nullable=True),
    sa.Column("created", _Double, nullable=False),
    sa.Column("expires", _Double),
    sa.Column("used", _Double),
    sa.Column("revoked", _Double),
)

jobs = sa.Table(
    "jobs",
    metadata,
    _tenant(),
    sa.Column("id", _Text, primary_key=True),
    sa.Column("kind", _Text, nullable=False),
    sa.Column("args", _Text, nullable=False),
    _subject(key=False, nullable=True),
    sa.Column("status", _Text, nullable=False),
    sa.Column("progress", _Double, nullable=False),
    sa.Column("message", _Text, nullable=False),
    sa.Column("created", _Double, nullable=False),
    sa.Column("started", _Double),
    sa.Column("finished", _Double),
    sa.Column("result", _Text),
    sa.Column("error", _Text),
    sa.Column("log", _Text, nullable=False),
    sa.Column("claimed_by", _Text, nullable=False),
    sa.Column("lease", _Double),
    sa.Column("cancel", sa.Boolean, nullable=False),
)

audit = sa.Table(
    "audit",
    metadata,
    _tenant(),
    sa.Column("number", _Big, primary_key=True, autoincrement=False),
    sa.Column("time", _Double, nullable=False),
    sa.Column("action", _Text, nullable=False),
    _subject(key=False, nullable=True),
    sa.Column("tombstone", _Bytes, comment="what stands for a forgotten person"),
    sa.Column("detail", _Text, nullable=False),
    sa.Index("audit_of_person", "tenant", "subject"),
)

ACROSS_TENANTS = ("people", "stale", "jobs", "tenants", "models", "retention")
"""Tables that the process's own upkeep (queues, sweeping, purging, changing the master key) may read over all tenants; the others never."""
