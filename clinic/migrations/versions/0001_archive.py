"""Archive, outbox and access log."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_TEXT = 256
_SEQ = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _texts(*names: str) -> list[sa.Column[str | None]]:
    return [sa.Column(name, sa.String(_TEXT)) for name in names]


def upgrade() -> None:
    _studies()
    _series()
    _instances()
    _outbox()
    _access_log()


def _studies() -> None:
    op.create_table(
        "studies",
        sa.Column("institution", sa.String(30), nullable=False),
        sa.Column("study_uid", sa.String(64), nullable=False),
        sa.Column("patient_id", sa.Text, nullable=False),
        sa.Column("issuer", sa.Text, nullable=False),
        sa.Column("attributes", sa.Text, nullable=False),
        sa.Column("modalities", sa.Text, nullable=False),
        sa.Column("series", sa.Integer, nullable=False),
        sa.Column("instances", sa.Integer, nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.Column("changed_ms", sa.BigInteger, nullable=False),
        *_texts("study_date", "study_time", "accession_number", "referring_physician", "study_description"),
        *_texts("patient_name", "patient_birth_date", "patient_sex", "study_id"),
        sa.PrimaryKeyConstraint("institution", "study_uid", name="pk_studies"),
    )
    for column in ("created_ms", "study_date", "accession_number", "patient_name"):
        op.create_index(f"ix_studies_institution_{column}", "studies", ["institution", column])


def _series() -> None:
    op.create_table(
        "series",
        sa.Column("institution", sa.String(30), nullable=False),
        sa.Column("series_uid", sa.String(64), nullable=False),
        sa.Column("study_uid", sa.String(64), nullable=False),
        sa.Column("attributes", sa.Text, nullable=False),
        sa.Column("instances", sa.Integer, nullable=False),
        *_texts("series_date", "series_time", "modality", "series_description", "body_part", "protocol_name"),
        sa.Column("series_number", sa.Integer),
        *_texts("step_date", "step_time"),
        sa.PrimaryKeyConstraint("institution", "series_uid", name="pk_series"),
        sa.ForeignKeyConstraint(
            ["institution", "study_uid"],
            ["studies.institution", "studies.study_uid"],
            name="fk_series_institution_study_uid_studies",
        ),
    )
    op.create_index("ix_series_institution_study_uid", "series", ["institution", "study_uid"])


def _instances() -> None:
    op.create_table(
        "instances",
        sa.Column("institution", sa.String(30), nullable=False),
        sa.Column("sop_uid", sa.String(64), nullable=False),
        sa.Column("series_uid", sa.String(64), nullable=False),
        sa.Column("study_uid", sa.String(64), nullable=False),
        sa.Column("sop_class", sa.String(64), nullable=False),
        sa.Column("transfer_syntax", sa.String(64), nullable=False),
        sa.Column("blob", sa.String(64), nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("pixel_offset", sa.BigInteger),
        sa.Column("pixel_length", sa.BigInteger),
        sa.Column("received_ms", sa.BigInteger, nullable=False),
        sa.Column("batch", sa.String(30), nullable=False),
        sa.Column("own", sa.Integer, nullable=False),
        *_texts("content_date", "content_time"),
        sa.Column("instance_number", sa.Integer),
        sa.Column("rows", sa.Integer),
        sa.Column("columns", sa.Integer),
        sa.Column("frames", sa.Integer),
        sa.Column("header", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("institution", "sop_uid", name="pk_instances"),
        sa.ForeignKeyConstraint(
            ["institution", "series_uid"],
            ["series.institution", "series.series_uid"],
            name="fk_instances_institution_series_uid_series",
        ),
    )
    op.create_index("ix_instances_blob", "instances", ["blob"])
    op.create_index("ix_instances_institution_series_uid", "instances", ["institution", "series_uid"])
    op.create_index("ix_instances_institution_study_uid", "instances", ["institution", "study_uid"])


def _outbox() -> None:
    op.create_table(
        "outbox",
        sa.Column("seq", _SEQ, primary_key=True, autoincrement=True),
        sa.Column("topic", sa.String(64), nullable=False),
        sa.Column("key", sa.String(200), nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("taken", sa.Integer, nullable=False),
        sa.UniqueConstraint("topic", "key", name="uq_outbox_topic_key"),
    )
    op.create_index("ix_outbox_taken", "outbox", ["taken"])


def _access_log() -> None:
    op.create_table(
        "access_log",
        sa.Column("seq", _SEQ, primary_key=True, autoincrement=False),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sa.Column("institution", sa.String(30), nullable=False),
        sa.Column("account", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("study_uid", sa.String(64), nullable=False),
        sa.Column("previous", sa.String(64), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.UniqueConstraint("digest", name="uq_access_log_digest"),
    )
    op.create_index("ix_access_log_institution_study_uid", "access_log", ["institution", "study_uid"])
    if op.get_bind().dialect.name == "sqlite":
        for verb in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER access_log_no_{verb.lower()} BEFORE {verb} ON access_log "
                "BEGIN SELECT RAISE(ABORT, 'the access log is append-only'); END"
            )
        return
    op.execute(
        "CREATE FUNCTION access_log_refuse() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'the access log is append-only'; END $$"
    )
    op.execute(
        "CREATE TRIGGER access_log_no_change BEFORE UPDATE OR DELETE OR TRUNCATE ON access_log "
        "FOR EACH STATEMENT EXECUTE FUNCTION access_log_refuse()"
    )
