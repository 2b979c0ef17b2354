"""Accounts, credentials, and the institution's own id."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "account",
        sa.Column("number", sa.Integer, nullable=False, autoincrement=True),
        sa.Column("account_id", sa.String(40), nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("role", sa.String(32), nullable=False),
        sa.Column("institution", sa.String(40)),
        sa.Column("cell", sa.String(40)),
        sa.Column("disabled", sa.Boolean(create_constraint=False), nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_account"),
        sa.UniqueConstraint("account_id", name="uq_account_account_id"),
        sa.UniqueConstraint("name", name="uq_account_name"),
    )
    op.create_table(
        "credential",
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("account_id", sa.String(40), nullable=False),
        sa.Column("expires_ms", sa.BigInteger, nullable=False),
        sa.Column("used", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("digest", name="pk_credential"),
        sa.ForeignKeyConstraint(["account_id"], ["account.account_id"], name="fk_credential_account_id_account"),
    )
    op.create_index("ix_credential_account_id", "credential", ["account_id"])
    op.create_table(
        "site",
        sa.Column("one", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("institution", sa.String(40), nullable=False),
        sa.PrimaryKeyConstraint("one", name="pk_site"),
        sa.CheckConstraint("one = 1", name="ck_site_single"),
    )
