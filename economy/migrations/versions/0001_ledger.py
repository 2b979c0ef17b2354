"""The ledger: asset, party, policy, account, entry, transfer, seal, and the triggers that keep the log append-only."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_BIG = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_SMALL = sa.SmallInteger().with_variant(sa.Integer, "sqlite")
_APPEND_ONLY = ("entry", "transfer", "seal", "policy", "asset")
_FIXED = "id, asset_id, party_id, code, limit_mode"


def upgrade() -> None:
    _declared()
    _account()
    _log()
    _seal()
    (_protect_sqlite if op.get_bind().dialect.name == "sqlite" else _protect_postgresql)()


def _declared() -> None:
    op.create_table(
        "asset",
        sa.Column("id", _BIG, primary_key=True, autoincrement=False),
        sa.Column("code", sa.Text, nullable=False),
        sa.Column("scale", _SMALL, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("caip19", sa.Text),
        sa.UniqueConstraint("code", name="uq_asset_code"),
        sa.UniqueConstraint("caip19", name="uq_asset_caip19"),
        sa.CheckConstraint("scale BETWEEN 0 AND 18", name="ck_asset_scale"),
        sqlite_strict=True,
    )
    op.create_table(
        "party",
        sa.Column("id", _BIG, primary_key=True, autoincrement=False),
        sa.Column("code", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("ref", sa.Text),
        sa.UniqueConstraint("code", name="uq_party_code"),
        sa.UniqueConstraint("kind", "ref", name="uq_party_kind_ref"),
        sqlite_strict=True,
    )
    op.create_table(
        "policy",
        sa.Column("kind", sa.Text, primary_key=True),
        sa.Column("version", _BIG, primary_key=True, autoincrement=False),
        sa.Column("effective_from_ms", _BIG, nullable=False),
        sa.Column("content", sa.Text, nullable=False),
        sqlite_strict=True,
    )


def _account() -> None:
    totals = ("debit_pending", "debit_posted", "credit_pending", "credit_posted")
    op.create_table(
        "account",
        sa.Column("id", _BIG, primary_key=True, autoincrement=False),
        sa.Column("asset_id", _BIG, sa.ForeignKey("asset.id", name="fk_account_asset_id_asset"), nullable=False),
        sa.Column("party_id", _BIG, sa.ForeignKey("party.id", name="fk_account_party_id_party"), nullable=False),
        sa.Column("code", sa.Text, nullable=False),
        sa.Column("limit_mode", _SMALL, nullable=False),
        *(sa.Column(name, _BIG, nullable=False) for name in totals),
        sa.Column("version", _BIG, nullable=False),
        sa.UniqueConstraint("party_id", "asset_id", "code", name="uq_account_party_id_asset_id_code"),
        sa.UniqueConstraint("id", "asset_id", name="uq_account_id_asset_id"),
        sa.CheckConstraint("limit_mode BETWEEN -1 AND 1", name="ck_account_limit_mode"),
        sa.CheckConstraint(" AND ".join(f"{name} >= 0" for name in totals), name="ck_account_not_negative"),
        sa.CheckConstraint(
            "limit_mode <> 1 OR debit_pending + debit_posted <= credit_posted", name="ck_account_credit_limit"
        ),
        sa.CheckConstraint(
            "limit_mode <> -1 OR credit_pending + credit_posted <= debit_posted", name="ck_account_debit_limit"
        ),
        sqlite_strict=True,
    )


def _log() -> None:
    op.create_table(
        "entry",
        sa.Column("seq", _BIG, primary_key=True, autoincrement=False),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("request_hash", sa.Text, nullable=False),
        sa.Column("recorded_us", _BIG, nullable=False),
        sa.Column("effective_ms", _BIG, nullable=False),
        sa.Column("content", sa.Text, nullable=False),
        sa.Column("leaf_hash", sa.Text, nullable=False),
        sa.UniqueConstraint("id", name="uq_entry_id"),
        sa.CheckConstraint("length(request_hash) = 64 AND length(leaf_hash) = 64", name="ck_entry_hashes"),
        sqlite_strict=True,
    )
    op.create_index("ix_entry_kind_seq", "entry", ["kind", "seq"])
    account = ["account.id", "account.asset_id"]
    op.create_table(
        "transfer",
        sa.Column("entry_seq", _BIG, sa.ForeignKey("entry.seq", name="fk_transfer_entry_seq_entry"), primary_key=True),
        sa.Column("leg", _SMALL, primary_key=True, autoincrement=False),
        *(sa.Column(name, _BIG, nullable=False) for name in ("asset_id", "debit_id", "credit_id", "amount")),
        sa.Column("phase", _SMALL, nullable=False),
        sa.Column("pending_seq", _BIG),
        sa.Column("pending_leg", _SMALL),
        sa.Column("expires_us", _BIG),
        sa.ForeignKeyConstraint(["debit_id", "asset_id"], account, name="fk_transfer_debit_id_asset_id_account"),
        sa.ForeignKeyConstraint(["credit_id", "asset_id"], account, name="fk_transfer_credit_id_asset_id_account"),
        sa.ForeignKeyConstraint(
            ["pending_seq", "pending_leg"],
            ["transfer.entry_seq", "transfer.leg"],
            name="fk_transfer_pending_seq_pending_leg_transfer",
        ),
        sa.CheckConstraint("amount > 0", name="ck_transfer_amount"),
        sa.CheckConstraint("debit_id <> credit_id", name="ck_transfer_two_accounts"),
        sa.CheckConstraint("phase BETWEEN 0 AND 3", name="ck_transfer_phase"),
        sa.CheckConstraint(
            "(phase IN (2, 3)) = (pending_seq IS NOT NULL) AND (pending_seq IS NULL) = (pending_leg IS NULL)",
            name="ck_transfer_resolves",
        ),
        sa.CheckConstraint("phase = 1 OR expires_us IS NULL", name="ck_transfer_expires"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    once, timed = sa.text("phase IN (2, 3)"), sa.text("expires_us IS NOT NULL")
    op.create_index(
        "ix_transfer_one_resolution",
        "transfer",
        ["pending_seq", "pending_leg"],
        unique=True,
        sqlite_where=once,
        postgresql_where=once,
    )
    op.create_index("ix_transfer_expires_us", "transfer", ["expires_us"], sqlite_where=timed, postgresql_where=timed)


def _seal() -> None:
    op.create_table(
        "seal",
        sa.Column("id", _BIG, primary_key=True, autoincrement=False),
        sa.Column("from_seq", _BIG, nullable=False),
        sa.Column("to_seq", _BIG, nullable=False),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("log_root", "state_root", "frontier", "previous")),
        sa.Column("sealed_ms", _BIG, nullable=False),
        sa.Column("public_key", sa.Text, nullable=False),
        sa.Column("signature", sa.Text, nullable=False),
        sa.UniqueConstraint("to_seq", name="uq_seal_to_seq"),
        sa.UniqueConstraint("previous", name="uq_seal_previous"),
        sa.CheckConstraint("from_seq >= 1 AND to_seq >= from_seq", name="ck_seal_range"),
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
        f"CREATE TRIGGER account_fixed BEFORE UPDATE OF {_FIXED} ON account"
        " BEGIN SELECT RAISE(ABORT, 'an account does not change its name or limit'); END"
    )
    op.execute(
        "CREATE TRIGGER account_never_delete BEFORE DELETE ON account"
        " BEGIN SELECT RAISE(ABORT, 'an account is never deleted'); END"
    )


def _protect_postgresql() -> None:
    op.execute(
        "CREATE FUNCTION ledger_refuses() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION '% is append-only', TG_TABLE_NAME; END $$"
    )
    for table in _APPEND_ONLY:
        op.execute(
            f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE ON {table}"
            " FOR EACH ROW EXECUTE FUNCTION ledger_refuses()"
        )
        op.execute(
            f"CREATE TRIGGER {table}_never_truncate BEFORE TRUNCATE ON {table}"
            " FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuses()"
        )
    op.execute(
        f"CREATE TRIGGER account_fixed BEFORE UPDATE OF {_FIXED} ON account"
        " FOR EACH ROW EXECUTE FUNCTION ledger_refuses()"
    )
    op.execute(
        "CREATE TRIGGER account_never_delete BEFORE DELETE ON account FOR EACH ROW EXECUTE FUNCTION ledger_refuses()"
    )
