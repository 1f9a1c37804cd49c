"""The first tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_OWN = (
    "people", "evidence", "stale", "states", "holds", "consents", "retention", "models", "members", "items", "api_keys", "jobs", "audit", "tenants",
)  # fmt: skip
_ACROSS = ("people", "stale", "jobs", "tenants", "models", "retention")


def upgrade() -> None:
    op.create_table(
        "api_keys",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False, comment="keyed hash of the secret"),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("scopes", sa.Text(), nullable=False),
        sa.Column("subject", sa.LargeBinary(), nullable=True),
        sa.Column("created", sa.Double(), nullable=False),
        sa.Column("expires", sa.Double(), nullable=True),
        sa.Column("used", sa.Double(), nullable=True),
        sa.Column("revoked", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("tenant", "id"),
        sa.UniqueConstraint("hash"),
    )
    op.create_table(
        "audit",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("time", sa.Double(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("subject", sa.LargeBinary(), nullable=True),
        sa.Column("tombstone", sa.LargeBinary(), nullable=True, comment="what stands for a forgotten person"),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "number"),
    )
    op.create_index("audit_of_person", "audit", ["tenant", "subject"], unique=False)
    op.create_table(
        "consents",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("subject", sa.LargeBinary(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("position", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("granted", sa.Boolean(), nullable=False),
        sa.Column("time", sa.Double(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False, comment="text, version and source, encrypted"),
        sa.PrimaryKeyConstraint("tenant", "subject", "purpose", "position"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "evidence",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("position", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("subject", sa.LargeBinary(), nullable=False),
        sa.Column("rid", sa.LargeBinary(), nullable=False, comment="keyed hash of the record's id"),
        sa.Column("frame", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=True),
        sa.Column("time", sa.Double(), nullable=True),
        sa.Column("received", sa.Double(), nullable=False),
        sa.Column("expires", sa.Double(), nullable=True),
        sa.Column("purposes", sa.Text(), nullable=True, comment="comma separated, with commas around; null: whatever consent allows"),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "position"),
        sqlite_with_rowid=False,
    )
    op.create_index("evidence_of_person", "evidence", ["tenant", "subject", "rid"], unique=True, postgresql_include=["position"])
    op.create_table(
        "holds",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("subject", sa.LargeBinary(), nullable=False),
        sa.Column("verb", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "subject", "verb"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "items",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("item", sa.Text(), nullable=False),
        sa.Column("hidden", sa.Boolean(), nullable=False),
        sa.Column("attributes", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "item"),
    )
    op.create_table(
        "jobs",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("args", sa.Text(), nullable=False),
        sa.Column("subject", sa.LargeBinary(), nullable=True),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("progress", sa.Double(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("created", sa.Double(), nullable=False),
        sa.Column("started", sa.Double(), nullable=True),
        sa.Column("finished", sa.Double(), nullable=True),
        sa.Column("result", sa.Text(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("log", sa.Text(), nullable=False),
        sa.Column("claimed_by", sa.Text(), nullable=False),
        sa.Column("lease", sa.Double(), nullable=True),
        sa.Column("cancel", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "id"),
    )
    op.create_table(
        "keyring",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("wrapped", sa.LargeBinary(), nullable=False, comment="the root key, encrypted by the master key"),
        sa.Column("made", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "members",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("subject", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "model", "subject"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "models",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("verb", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("folder", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("made", sa.Double(), nullable=False),
        sa.Column("switched", sa.Double(), nullable=True),
        sa.Column("report", sa.Text(), nullable=False),
        sa.Column("people", sa.Integer(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "verb", "fingerprint"),
    )
    op.create_table(
        "people",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("subject", sa.LargeBinary(), nullable=False),
        sa.Column("wrapped", sa.LargeBinary(), nullable=False, comment="the person's data key, encrypted by the master key"),
        sa.Column("wrapped_next", sa.LargeBinary(), nullable=True, comment="the same under the next master key, while that is being changed"),
        sa.Column("name", sa.LargeBinary(), nullable=False, comment="the person's id, encrypted by the data key"),
        sa.Column("born", sa.BigInteger(), nullable=False, comment="the tenant's position when the person became known"),
        sa.Column("made", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "subject"),
    )
    op.create_table(
        "retention",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("frame", sa.Text(), nullable=False, comment="'' is every frame"),
        sa.Column("kind", sa.Text(), nullable=False, comment="'' is every kind"),
        sa.Column("seconds", sa.Double(), nullable=True, comment="older records are deleted"),
        sa.Column("half_life", sa.Double(), nullable=True, comment="seconds after which a record counts half"),
        sa.PrimaryKeyConstraint("tenant", "frame", "kind"),
    )
    op.create_table(
        "settings", sa.Column("key", sa.Text(), nullable=False), sa.Column("value", sa.Text(), nullable=False), sa.PrimaryKeyConstraint("key")
    )
    op.create_table(
        "stale",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("subject", sa.LargeBinary(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("since", sa.Double(), nullable=False),
        sa.Column("newest", sa.Double(), nullable=False, comment="time of the newest mark"),
        sa.Column("due", sa.Double(), nullable=False, comment="not to be claimed before: end of a lease or of a wait after failing"),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("failed", sa.Boolean(), nullable=False),
        sa.Column("token", sa.Text(), nullable=False),
        sa.Column("worker", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("tenant", "subject"),
        sqlite_with_rowid=False,
    )
    op.create_index("stale_due", "stale", ["due"], unique=False)
    op.create_table(
        "states",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("subject", sa.LargeBinary(), nullable=False),
        sa.Column("verb", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("made", sa.Double(), nullable=False),
        sa.Column("nbytes", sa.Integer(), nullable=False),
        sa.Column("restored_from", sa.Integer(), nullable=True),
        sa.Column("data", sa.LargeBinary(), nullable=True, comment="the encrypted state; null when it lies in a file"),
        sa.Column("file", sa.Text(), nullable=True, comment="sha256 of the encrypted file"),
        sa.PrimaryKeyConstraint("tenant", "subject", "verb", "version"),
    )
    op.create_table(
        "tenants",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column(
            "position", sa.BigInteger(), nullable=False, comment="the newest position given out; its row lock orders all writers of the tenant"
        ),
        sa.Column("epoch", sa.BigInteger(), nullable=False, comment="changes when a data key goes or changes: caches of keys are void then"),
        sa.Column("items_version", sa.BigInteger(), nullable=False),
        sa.Column("models_version", sa.BigInteger(), nullable=False),
        sa.Column("audited", sa.BigInteger(), nullable=False, comment="the newest number of an audit line"),
        sa.Column("consents", sa.Text(), nullable=True, comment="purposes granted by default, JSON; null: the built-in default"),
        sa.Column("created", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("tenant"),
    )

    if op.get_bind().dialect.name == "postgresql":
        _secure()
    else:
        _hint()


def _hint() -> None:
    """SQLite plans by these figures: rows, rows of a tenant, records of a person. Without them it walks through the tenant for one person."""
    op.execute("ANALYZE evidence")  # makes the table of figures
    op.execute("DELETE FROM sqlite_stat1")
    op.execute("INSERT INTO sqlite_stat1 VALUES ('evidence', 'evidence', '1000000 100000 1')")
    op.execute("INSERT INTO sqlite_stat1 VALUES ('evidence', 'evidence_of_person', '1000000 100000 30 1')")


def _secure() -> None:
    """Row-level security: a transaction sees the rows of the tenant it names, even when it belongs to the owner of the tables."""
    named = "current_setting('sartor.tenant', true)"
    for table in _OWN:
        sees = f"tenant = {named}"
        if table in _ACROSS:
            sees += f" OR {named} = '*'"
        change = sees
        if table == "api_keys":
            # Whoever brings a key has no tenant yet: that one row may be read, by its hash.
            sees += " OR encode(hash, 'hex') = current_setting('sartor.key', true)"
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
        op.execute(f"CREATE POLICY seen ON {table} FOR SELECT USING ({sees})")
        op.execute(f"CREATE POLICY added ON {table} FOR INSERT WITH CHECK ({change})")
        op.execute(f"CREATE POLICY changed ON {table} FOR UPDATE USING ({change}) WITH CHECK ({change})")
        op.execute(f"CREATE POLICY removed ON {table} FOR DELETE USING ({change})")
    # States and evidence are random bytes: trying to compress them only costs.
    for table, column in (("states", "data"), ("evidence", "data")):
        op.execute(f"ALTER TABLE {table} ALTER COLUMN {column} SET STORAGE EXTERNAL")
