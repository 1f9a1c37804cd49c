"""What an event of each kind counts, per tenant."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("tenants", sa.Column("kinds", sa.Text(), comment="weights of kinds of events, JSON; null: the built-in default"))
