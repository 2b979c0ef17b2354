"""One contract for every archive: in memory, SQLite, PostgreSQL."""

from __future__ import annotations

import pkgutil
import shutil
from dataclasses import replace
from importlib import import_module

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text

import clinic
from bithive import limits
from bithive.database_sql import Database
from bithive.outbox import Event
from clinic.archive import MemoryArchive, SeriesChange, Taken
from clinic.archive_sql import SqlArchive
from clinic.attributes import Level
from clinic.instance import NewInstance
from clinic.metadata_sql import METADATA, MIGRATIONS
from clinic.query import Query, by_uid, parse
from tests.common import servers

OURS, THEIRS = "ins_00000000000000000000000001", "ins_00000000000000000000000002"
UNLIMITED = Query()


def instance(
    number=1, series="1.2.3.1", study="1.2.3", patient="P1", issuer=None, modality="MR", **header
) -> NewInstance:
    uid = f"{series}.{number}"
    elements = {
        "00080016": ("UI", "1.2.840.10008.5.1.4.1.1.4"),
        "00080018": ("UI", uid),
        "0020000D": ("UI", study),
        "0020000E": ("UI", series),
        "00080020": ("DA", "20240105"),
        "00080060": ("CS", modality),
        "00100010": ("PN", {"Alphabetic": "Doe^Jane", "Ideographic": "\u5c71\u7530"}),
        "00100020": ("LO", patient),
        "00200011": ("IS", 4),
        "00200013": ("IS", number),
        **({"00100021": ("LO", issuer)} if issuer else {}),
        **header,
    }
    json = {tag: {"vr": vr, "Value": [value]} for tag, (vr, value) in elements.items()}
    digest = f"{abs(hash(uid)):064x}"[:64]
    return NewInstance(
        study,
        series,
        uid,
        "1.2.840.10008.5.1.4.1.1.4",
        "1.2.840.10008.1.2",
        digest,
        1000,
        json,
        500,
        400,
        7_000,
        "bat_1",
    )


@pytest.fixture(scope="module")
def migrated(tmp_path_factory):
    """A migrated SQLite file to copy: migrating takes longer than a test."""
    path = tmp_path_factory.mktemp("migrated") / "clinic.db"
    database = Database(f"sqlite:///{path}")
    database.upgrade(MIGRATIONS)
    database.close()
    return path


@pytest.fixture(scope="module")
def postgres_database(postgres_url):
    database = Database(servers.new_database(postgres_url, "archive"))
    database.upgrade(MIGRATIONS)
    yield database
    database.close()


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def archive(request, tmp_path):
    if request.param == "memory":
        yield MemoryArchive()
    elif request.param == "sqlite":
        shutil.copy(request.getfixturevalue("migrated"), tmp_path / "clinic.db")
        database = Database(f"sqlite:///{tmp_path}/clinic.db")
        yield SqlArchive(database)
        database.close()
    else:
        database = request.getfixturevalue("postgres_database")
        with database.write() as connection:
            connection.execute(text("TRUNCATE studies, outbox CASCADE"))
        yield SqlArchive(database)


def taken(outcomes):
    return [(outcome.taken, outcome.code) for outcome in outcomes]


STORED, KNOWN = (Taken.STORED, ""), (Taken.KNOWN, "")


def test_what_was_added_is_there_and_whole(archive):
    new = instance(1)
    assert taken(archive.add(OURS, [new, instance(2)])) == [STORED, STORED]
    row = archive.instance(OURS, new.sop_uid)
    assert row.institution == OURS
    assert all(getattr(row, name) == getattr(new, name) for name in ("blob", "header", "pixel_offset", "own", "batch"))
    assert [row.header["00200013"]["Value"][0] for row in archive.series(OURS, "1.2.3.1")] == [1, 2]
    study = archive.study(OURS, "1.2.3")
    assert (study.series, study.instances, study.modalities, study.patient_id) == (1, 2, ("MR",), "P1")
    assert study.created_ms == study.changed_ms == 7_000


def test_another_institution_finds_nothing_and_may_have_the_same_uids(archive):
    archive.add(OURS, [instance(1)])
    assert archive.instance(THEIRS, "1.2.3.1.1") is None
    assert archive.study(THEIRS, "1.2.3") is None
    assert archive.series(THEIRS, "1.2.3.1") == []
    assert archive.search(THEIRS, Level.INSTANCE, UNLIMITED) == []
    assert taken(archive.add(THEIRS, [instance(1, patient="Q9")])) == [STORED]
    assert archive.study(OURS, "1.2.3").patient_id == "P1"
    assert not archive.delete_study(THEIRS, "9.9", lambda _blobs: None)


def test_a_series_is_sorted_by_instance_number_and_the_unnumbered_come_last(archive):
    unnumbered = instance(3)
    del unnumbered.header["00200013"]
    archive.add(OURS, [unnumbered, instance(10), instance(2)])
    assert [row.sop_uid[-2:] for row in archive.series(OURS, "1.2.3.1")] == [".2", "10", ".3"]


def test_the_same_again_is_known_and_another_file_under_its_uid_is_refused(archive):
    new = instance(1)
    archive.add(OURS, [new])
    (same, other) = archive.add(OURS, [new, replace(new, blob="f" * 64)])
    assert same.taken is Taken.KNOWN
    assert (other.taken, other.code, other.blob) == (Taken.REFUSED, "instance-differs", new.blob)
    assert archive.study(OURS, "1.2.3").instances == 1


def test_duplicates_in_one_request_are_one_instance(archive):
    new = instance(1)
    outcomes = archive.add(OURS, [new, new, replace(new, blob="f" * 64)])
    assert taken(outcomes) == [STORED, KNOWN, (Taken.REFUSED, "instance-differs")]
    assert len(archive.series(OURS, "1.2.3.1")) == 1


@pytest.mark.parametrize(
    ("held", "came", "expected"),
    [
        (("P1", None), ("P2", None), "patient-mismatch"),
        (("P1", None), ("", None), "patient-mismatch"),
        (("P1", "A"), ("P1", "B"), "patient-mismatch"),
        (("P1", "A"), ("P1", None), ""),
        (("P1", None), ("P1", "B"), ""),
    ],
)
def test_a_study_has_one_patient(archive, held, came, expected):
    archive.add(OURS, [instance(1, patient=held[0], issuer=held[1])])
    (outcome,) = archive.add(OURS, [instance(2, patient=came[0], issuer=came[1])])
    assert outcome.code == expected


def test_the_first_issuer_that_is_named_is_kept(archive):
    archive.add(OURS, [instance(1)])
    archive.add(OURS, [instance(2, issuer="A")])
    (outcome,) = archive.add(OURS, [instance(3, issuer="B")])
    assert outcome.code == "patient-mismatch"


def test_of_two_patients_in_one_request_the_first_stays(archive):
    outcomes = archive.add(OURS, [instance(1), instance(2, patient="P2"), instance(3)])
    assert taken(outcomes) == [STORED, (Taken.REFUSED, "patient-mismatch"), STORED]


def test_a_series_stays_in_its_study(archive):
    archive.add(OURS, [instance(1)])
    (outcome,) = archive.add(OURS, [instance(2, study="1.9")])
    assert outcome.code == "series-mismatch"
    assert archive.study(OURS, "1.9") is None


def test_a_study_holds_no_more_than_the_limit(archive, monkeypatch):
    monkeypatch.setattr(limits, "STUDY_INSTANCES_MAX", 2)
    outcomes = archive.add(OURS, [instance(1), instance(2), instance(3)])
    assert taken(outcomes) == [STORED, STORED, (Taken.REFUSED, "study-full")]


def test_events_leave_with_the_commit_and_know_what_changed(archive):
    seen = []

    def announce(changes):
        seen.extend(changes)
        return [Event("series.changed", f"b{len(seen)}/{change.series_uid}", {"n": change.added}) for change in changes]

    archive.add(OURS, [instance(1), instance(2), instance(1, series="1.2.3.2")], announce)
    assert seen == [SeriesChange("1.2.3", "1.2.3.1", 2, 2), SeriesChange("1.2.3", "1.2.3.2", 1, 1)]
    archive.add(OURS, [instance(1), instance(3)], announce)
    assert seen[2:] == [SeriesChange("1.2.3", "1.2.3.1", 1, 3)]
    archive.add(OURS, [instance(1)], announce)
    assert len(seen) == 3
    assert [event.body["n"] for event in archive.outbox.waiting()] == [2, 1, 1]


def test_an_announcement_that_fails_undoes_everything(archive):
    def fail(_changes):
        raise RuntimeError

    with pytest.raises(RuntimeError):
        archive.add(OURS, [instance(1)], fail)
    assert archive.study(OURS, "1.2.3") is None
    assert archive.instance(OURS, "1.2.3.1.1") is None
    assert taken(archive.add(OURS, [instance(1)])) == [STORED]


def test_a_deleted_study_is_gone_and_only_its_own_files_are_released(archive):
    shared = instance(1)
    archive.add(OURS, [shared, instance(2)])
    archive.add(THEIRS, [shared])
    released = []
    assert archive.delete_study(OURS, "1.2.3", released.extend)
    assert released == [instance(2).blob]
    assert archive.study(OURS, "1.2.3") is None
    assert archive.series(OURS, "1.2.3.1") == []
    assert archive.referenced([shared.blob, instance(2).blob]) == {shared.blob}
    assert not archive.delete_study(OURS, "1.2.3", released.extend)
    assert taken(archive.add(OURS, [instance(1)])) == [STORED]


def test_a_deletion_cut_short_leaves_the_study_listed(archive):
    archive.add(OURS, [instance(1)])

    def fail(_blobs):
        raise OSError

    with pytest.raises(OSError):
        archive.delete_study(OURS, "1.2.3", fail)
    assert archive.study(OURS, "1.2.3") is not None
    assert archive.delete_study(OURS, "1.2.3", lambda _blobs: None)


def studies(archive, *parameters):
    return [found.study.study_uid for found in archive.search(OURS, Level.STUDY, parse(Level.STUDY, parameters))]


@pytest.fixture
def filled(archive):
    def study(number, came_ms, **members):
        new = instance(1, series=f"1.{number}.1", study=f"1.{number}", **members)
        archive.add(OURS, [replace(new, received_ms=came_ms)])

    study(1, 1_000, **{"00100010": ("PN", {"Alphabetic": "Doe^Jane"}), "00080030": ("TM", "101500.25")})
    study(2, 2_000, **{"00100010": ("PN", {"Alphabetic": "DOE^JOHN"}), "00080020": ("DA", "20240201")})
    study(3, 3_000, modality="CT", **{"00080020": ("DA", ""), "00080050": ("SH", "A_1%[x]")})
    archive.add(OURS, [replace(instance(1, series="1.3.2", study="1.3", modality="SEG"), received_ms=3_000)])
    return archive


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ([], ["1.3", "1.2", "1.1"]),
        ([("limit", "1")], ["1.3"]),
        ([("limit", "2"), ("offset", "1")], ["1.2", "1.1"]),
        ([("limit", "0")], []),
        ([("PatientName", "doe^j*")], ["1.3", "1.2", "1.1"]),
        ([("PatientName", "doe^jo?n")], ["1.2"]),
        ([("PatientName", "Doe^Jane")], ["1.1"]),
        ([("00100010", "*jane=*")], ["1.3"]),
        ([("StudyDate", "20240105")], ["1.1"]),
        ([("StudyDate", "20240101-20240131")], ["1.1"]),
        ([("StudyDate", "20240131-")], ["1.2"]),
        ([("StudyDate", "-20240131")], ["1.1"]),
        ([("StudyTime", "10")], ["1.1"]),
        ([("StudyTime", "1016-1100")], []),
        ([("StudyTime", "0900-1015")], ["1.1"]),
        ([("AccessionNumber", "A_1%[x]")], ["1.3"]),
        ([("AccessionNumber", "A_1%[*")], ["1.3"]),
        ([("AccessionNumber", "A?1%[x?")], ["1.3"]),
        ([("AccessionNumber", "AA1*")], []),
        ([("AccessionNumber", "%")], []),
        ([("ModalitiesInStudy", "SEG")], ["1.3"]),
        ([("ModalitiesInStudy", "S*,MR")], ["1.3", "1.2", "1.1"]),
        ([("ModalitiesInStudy", "S")], []),
        ([("StudyInstanceUID", "1.1,1.3,1.9")], ["1.3", "1.1"]),
        ([("StudyInstanceUID", "1.1\\1.2")], ["1.2", "1.1"]),
        ([("PatientID", "P1"), ("StudyDate", "20240201")], ["1.2"]),
        ([("PatientID", "p1")], []),
    ],
)
def test_studies_are_found(filled, parameters, expected):
    assert studies(filled, *parameters) == expected


def test_series_and_instances_are_found_through_their_study(filled):
    series = filled.search(OURS, Level.SERIES, parse(Level.SERIES, [("StudyDate", "20240201")]))
    assert [(found.study.study_uid, found.series.series_uid, found.series.modality) for found in series] == [
        ("1.2", "1.2.1", "MR")
    ]
    by_modality = parse(Level.INSTANCE, [("Modality", "SEG"), ("PatientID", "P1")])
    (found,) = filled.search(OURS, Level.INSTANCE, by_modality)
    assert (found.instance.sop_uid, found.series.instances, found.study.series) == ("1.3.2.1", 1, 2)
    assert len(filled.search(OURS, Level.SERIES, by_uid("1.3"))) == 2
    assert len(filled.search(OURS, Level.INSTANCE, by_uid("1.3", "1.3.1"))) == 1
    one_of_study = parse(Level.INSTANCE, [("ModalitiesInStudy", "SEG")])
    assert len(filled.search(OURS, Level.INSTANCE, one_of_study)) == 2
    assert filled.search(OURS, Level.INSTANCE, parse(Level.INSTANCE, [("InstanceNumber", "2")])) == []


def test_texts_of_any_length_and_script_are_kept(archive):
    long = "\u5c71" * 4000
    new = instance(1, patient=long, **{"00100010": ("PN", {"Alphabetic": long}), "00081030": ("LO", "a\x00b" * 300)})
    assert taken(archive.add(OURS, [new])) == [STORED]
    assert archive.study(OURS, "1.2.3").attributes["00100010"]["Value"][0]["Alphabetic"] == long
    assert taken(archive.add(OURS, [instance(2, patient=long)])) == [STORED]


def test_the_migrations_make_what_the_tables_declare(tmp_path, postgres_url):
    for module in pkgutil.iter_modules(clinic.__path__):
        if module.name.startswith("tables_"):
            import_module(f"clinic.{module.name}")
    for url in (f"sqlite:///{tmp_path}/clinic.db", servers.new_database(postgres_url, "migrated")):
        database = Database(url)
        database.upgrade(MIGRATIONS)
        with database.engine.connect() as connection:
            context = MigrationContext.configure(connection, opts={"compare_type": True})
            assert compare_metadata(context, METADATA) == []
        database.close()
