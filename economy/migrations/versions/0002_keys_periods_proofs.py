# ruff: noqa: S608 - the statement is put together from settings of this file
"""Signing keys, period closes, what proofs of inclusion start from, cosignatures; seals that are signed notes."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_BIG = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_SMALL = sa.SmallInteger().with_variant(sa.Integer, "sqlite")
_APPEND_ONLY = ("period", "subtree", "cosignature")


def upgrade() -> None:
    _keys_and_periods()
    _proofs()
    op.execute("ALTER TABLE seal ADD COLUMN version " + _small() + " DEFAULT 1 NOT NULL")
    op.execute("ALTER TABLE seal ADD COLUMN note TEXT DEFAULT '' NOT NULL")
    (_protect_sqlite if op.get_bind().dialect.name == "sqlite" else _protect_postgresql)()


def _small() -> str:
    return "INTEGER" if op.get_bind().dialect.name == "sqlite" else "SMALLINT"


def _keys_and_periods() -> None:
    entry = "entry.seq"
    op.create_table(
        "signing_key",
        sa.Column("public_key", sa.Text, primary_key=True),
        sa.Column("purpose", sa.Text, nullable=False),
        sa.Column("party", sa.Text, sa.ForeignKey("party.code", name="fk_signing_key_party_party"), nullable=False),
        sa.Column("declared_seq", _BIG, sa.ForeignKey(entry, name="fk_signing_key_declared_seq_entry"), nullable=False),
        sa.Column("revoked_seq", _BIG, sa.ForeignKey(entry, name="fk_signing_key_revoked_seq_entry")),
        sa.CheckConstraint("length(public_key) = 64", name="ck_signing_key_public_key"),
        sa.CheckConstraint("purpose IN ('seal', 'officer')", name="ck_signing_key_purpose"),
        sa.CheckConstraint("revoked_seq IS NULL OR revoked_seq > declared_seq", name="ck_signing_key_revoked"),
        sqlite_strict=True,
    )
    op.create_table(
        "period",
        sa.Column("closed_until_ms", _BIG, primary_key=True, autoincrement=False),
        sa.Column("seq", _BIG, sa.ForeignKey(entry, name="fk_period_seq_entry"), nullable=False),
        sa.CheckConstraint("closed_until_ms > 0", name="ck_period_closed_until_ms"),
        sqlite_strict=True,
    )


def _proofs() -> None:
    op.create_table(
        "subtree",
        sa.Column("height", _SMALL, primary_key=True, autoincrement=False),
        sa.Column("place", _BIG, primary_key=True, autoincrement=False),
        sa.Column("hash", sa.Text, nullable=False),
        sa.CheckConstraint("length(hash) = 64", name="ck_subtree_hash"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_table(
        "cosignature",
        sa.Column("seal_id", _BIG, sa.ForeignKey("seal.id", name="fk_cosignature_seal_id_seal"), primary_key=True),
        sa.Column("public_key", sa.Text, primary_key=True),
        sa.Column("signature", sa.Text, nullable=False),
        sa.Column("witnessed_ms", _BIG, nullable=False),
        sqlite_strict=True,
    )


def _protect_sqlite() -> None:
    for table in _APPEND_ONLY:
        for verb in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_never_{verb.lower()} BEFORE {verb} ON {table}"
                f" BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
            )
    op.execute(
        "CREATE TRIGGER signing_key_never_delete BEFORE DELETE ON signing_key"
        " BEGIN SELECT RAISE(ABORT, 'a key is never deleted'); END"
    )
    op.execute(
        f"CREATE TRIGGER signing_key_revoked_once BEFORE UPDATE ON signing_key WHEN NOT ({_revokes('IS')})"
        " BEGIN SELECT RAISE(ABORT, 'a key is revoked once and changes in nothing else'); END"
    )


def _protect_postgresql() -> None:
    _check_references_by_the_set()
    # Totals change in place all the time: with room on their page, no index has to follow.
    op.execute("ALTER TABLE account SET (fillfactor = 50)")
    for table in _APPEND_ONLY:
        op.execute(
            f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE ON {table}"
            " FOR EACH ROW EXECUTE FUNCTION ledger_refuses()"
        )
    for table in (*_APPEND_ONLY, "signing_key"):
        op.execute(
            f"CREATE TRIGGER {table}_never_truncate BEFORE TRUNCATE ON {table}"
            " FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuses()"
        )
    op.execute(
        "CREATE TRIGGER signing_key_never_delete BEFORE DELETE ON signing_key"
        " FOR EACH ROW EXECUTE FUNCTION ledger_refuses()"
    )
    op.execute(
        "CREATE TRIGGER signing_key_revoked_once BEFORE UPDATE ON signing_key FOR EACH ROW"
        f" WHEN (NOT ({_revokes('=')})) EXECUTE FUNCTION ledger_refuses()"
    )


def _check_references_by_the_set() -> None:
    """What four foreign keys refuse row by row, one statement refuses for all rows of an INSERT, at a tenth of the cost.

    It is as strict: what a transfer refers to is never deleted and never changes its number, other triggers see to that.
    """
    for name in ("debit_id_asset_id_account", "credit_id_asset_id_account", "pending_seq_pending_leg_transfer"):
        op.drop_constraint(f"fk_transfer_{name}", "transfer", type_="foreignkey")
    op.drop_constraint("fk_transfer_entry_seq_entry", "transfer", type_="foreignkey")
    # The plan is made once a session, perhaps over empty tables: it must be the one for large tables all the same.
    plans = " ".join(f"SET enable_{name} = off" for name in ("seqscan", "hashjoin", "mergejoin", "bitmapscan"))
    op.execute(
        f"CREATE FUNCTION ledger_transfers_refer() RETURNS trigger LANGUAGE plpgsql {plans} AS $$ BEGIN"
        " IF EXISTS (SELECT 1 FROM added"
        " LEFT JOIN entry ON entry.seq = added.entry_seq"
        " LEFT JOIN account AS debit ON debit.id = added.debit_id AND debit.asset_id = added.asset_id"
        " LEFT JOIN account AS credit ON credit.id = added.credit_id AND credit.asset_id = added.asset_id"
        " LEFT JOIN transfer AS held ON held.entry_seq = added.pending_seq AND held.leg = added.pending_leg"
        " WHERE entry.seq IS NULL OR debit.id IS NULL OR credit.id IS NULL"
        " OR (added.pending_seq IS NOT NULL AND held.entry_seq IS NULL))"
        " THEN RAISE EXCEPTION 'a transfer refers to what is not there' USING ERRCODE = 'foreign_key_violation';"
        " END IF; RETURN NULL; END $$"
    )
    op.execute(
        "CREATE TRIGGER transfer_refers AFTER INSERT ON transfer REFERENCING NEW TABLE AS added"
        " FOR EACH STATEMENT EXECUTE FUNCTION ledger_transfers_refer()"
    )


def _revokes(equals: str) -> str:
    """The one change that a key may see."""
    fixed = ("public_key", "purpose", "party", "declared_seq")
    same = " AND ".join(f"NEW.{name} {equals} OLD.{name}" for name in fixed)
    return f"{same} AND OLD.revoked_seq IS NULL AND NEW.revoked_seq IS NOT NULL"
