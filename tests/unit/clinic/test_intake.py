"""The way into the archive: what is acknowledged is there, whatever happens beside it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections import Counter
from functools import partial

import pytest

from bithive import limits
from clinic.access_log import Access
from clinic.errors import DiskFull, DiskLow, RequestTooLarge, StudyAbsent, TooManyInstances
from clinic.intake import SERIES_CHANGED
from tests.common.dicom_factory import content_of, make_series
from tests.common.dicomweb import OURS, THEIRS, clinic_side


@pytest.fixture
def side(tmp_path):
    with clinic_side(tmp_path) as side:
        yield side


def files(count=3, **arguments):
    return [content_of(dataset) for dataset in make_series((count, 8, 6), **arguments)]


def codes(outcomes):
    return [outcome.code for outcome in outcomes]


def stored_files(folder):
    return sorted(path.name for path in (folder / "blobs").glob("??/*"))


def receive(side, contents, institution=OURS, study_uid=None):
    return side.intake.receive(institution, ([content] for content in contents), study_uid)


def test_a_series_is_stored_and_announced_once(side):
    outcomes = receive(side, files())
    assert codes(outcomes) == ["", "", ""]
    assert all(outcome.stored and outcome.warning is None for outcome in outcomes)
    (event,) = side.archive.outbox.waiting()
    batch = event.body["batch"]
    assert (event.topic, event.key) == (SERIES_CHANGED, f"{batch}/1.2.3.100.1")
    assert event.body == {
        "institution": OURS,
        "study_uid": "1.2.3.100",
        "series_uid": "1.2.3.100.1",
        "batch": batch,
        "instances": 3,
        "added": 3,
        "one_request": True,
        "at_ms": side.clock.now_ms(),
    }
    rows = side.archive.series(OURS, "1.2.3.100.1")
    for row, content in zip(rows, files(), strict=True):
        with side.blobs.open(row.blob) as file:
            assert file.read() == content


def test_the_same_again_succeeds_and_changes_nothing(side):
    receive(side, files())
    assert all(outcome.stored for outcome in receive(side, files()))
    assert len(side.archive.outbox.waiting()) == 1


def test_a_series_in_two_requests_is_not_one_request(side):
    receive(side, files()[:2])
    receive(side, files()[1:])
    bodies = [event.body for event in side.archive.outbox.waiting()]
    assert [(body["instances"], body["added"], body["one_request"]) for body in bodies] == [(2, 2, True), (3, 1, False)]


def test_bad_input_each_with_its_code_and_nothing_else_harmed(side, tmp_path):
    good = files(2)
    other_patient = files(3, patient={"PatientID": "SOMEBODY ELSE"})[2]
    changed = content_of(make_series((1, 8, 6), description="changed")[0])
    outcomes = receive(side, [*good, b"a text file", good[0][:-9], other_patient, changed, good[1]])
    assert codes(outcomes) == ["", "", "not-dicom", "truncated-instance", "patient-mismatch", "instance-differs", ""]
    assert [outcome.reason for outcome in outcomes] == [None, None, 0xC000, 0xC001, 0xA902, 0x0111, None]
    assert len(side.archive.series(OURS, "1.2.3.100.1")) == 2
    assert stored_files(tmp_path) == sorted(row.blob for row in side.archive.series(OURS, "1.2.3.100.1"))


def test_an_instance_of_another_study_than_the_one_named(side):
    outcomes = receive(side, [*files(1), *files(1, study_uid="1.9", series_uid="1.9.1")], study_uid="1.9")
    assert codes(outcomes) == ["study-mismatch", ""]
    assert outcomes[0].reason == 43265


def test_the_same_data_set_under_other_file_meta_is_the_same(side, tmp_path):
    (dataset,) = make_series((1, 8, 6))
    one = content_of(dataset)
    dataset.file_meta.SourceApplicationEntityTitle = "SOMEWHERE"
    (first,), (second,) = receive(side, [one]), receive(side, [content_of(dataset)])
    assert second.stored
    assert second.blob == first.blob
    assert stored_files(tmp_path) == [first.blob]


def test_two_requests_with_the_same_instances_at_once(side, tmp_path):
    contents, found = files(20), []
    threads = [threading.Thread(target=lambda: found.append(receive(side, contents))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(outcome.stored for outcomes in found for outcome in outcomes)
    assert len(side.archive.series(OURS, "1.2.3.100.1")) == 20
    assert sum(event.body["added"] for event in side.archive.outbox.waiting()) == 20
    assert len(stored_files(tmp_path)) == 20


def test_two_contents_of_one_instance_at_once_and_one_wins(side, tmp_path):
    variants = [content_of(make_series((1, 8, 6), description=f"variant {k}")[0]) for k in range(8)]
    found = []
    threads = [threading.Thread(target=lambda item=item: found.extend(receive(side, [item]))) for item in variants]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counter(codes(found)) == {"": 1, "instance-differs": 7}
    (row,) = side.archive.series(OURS, "1.2.3.100.1")
    assert stored_files(tmp_path) == [row.blob]


def test_one_file_of_two_institutions_outlives_the_deletion_of_one(side, tmp_path):
    receive(side, files(2))
    receive(side, files(2), THEIRS)
    assert len(stored_files(tmp_path)) == 2
    side.intake.delete_study(OURS, "1.2.3.100", "acc_1", side.access_log)
    assert len(stored_files(tmp_path)) == 2
    side.intake.delete_study(THEIRS, "1.2.3.100", "acc_2", side.access_log)
    assert stored_files(tmp_path) == []
    assert [row.kind for row in side.access_log.read(OURS)] == [Access.DELETED]
    with pytest.raises(StudyAbsent):
        side.intake.delete_study(OURS, "1.2.3.100", "acc_1", side.access_log)


def test_storing_and_deleting_at_once_never_loses_what_was_acknowledged(side):
    stop, contents = threading.Event(), files(4)

    def delete():
        while not stop.is_set():
            try:
                side.intake.delete_study(THEIRS, "1.2.3.100", "acc_2", side.access_log)
            except StudyAbsent:
                continue

    thread = threading.Thread(target=delete)
    thread.start()
    for _ in range(8):
        receive(side, contents, THEIRS)
    assert all(outcome.stored for outcome in receive(side, contents))
    stop.set()
    thread.join()
    for row in side.archive.series(OURS, "1.2.3.100.1"):
        assert side.blobs.size_bytes(row.blob) == row.size_bytes


def test_results_of_ours_are_kept_quietly_and_once(side):
    (dataset,) = make_series((1, 8, 6))
    (first,) = side.intake.store_results(OURS, [dataset])
    dataset.ContentTime = "120000"
    (second,) = side.intake.store_results(OURS, [dataset])
    assert first.stored
    assert second.stored
    assert second.blob == first.blob
    assert side.archive.outbox.waiting() == []
    assert side.archive.instance(OURS, dataset.SOPInstanceUID).own


def test_results_may_use_the_reserve(tmp_path):
    with clinic_side(tmp_path, lambda: 10, disk_reserve_bytes=1000, disk_low_bytes=2000) as side:
        (outcome,) = side.intake.store_results(OURS, make_series((1, 8, 6)))
        assert outcome.stored


def test_below_the_reserve_nothing_is_taken(tmp_path):
    with clinic_side(tmp_path, lambda: 1000, disk_reserve_bytes=1000, disk_low_bytes=1000) as side:
        side.intake.begin(OURS).discard()
        with pytest.raises(DiskFull):
            side.intake.begin(OURS, size_bytes=1)
        assert codes(receive(side, files(1))) == [""]


def test_below_the_low_mark_known_studies_are_taken_and_new_ones_are_not(tmp_path):
    free = [10_000]
    with clinic_side(tmp_path, lambda: free[0], disk_reserve_bytes=0, disk_low_bytes=5000) as side:
        receive(side, files(1))
        free[0] = 4999
        outcomes = receive(side, [*files(2), *files(1, study_uid="1.9", series_uid="1.9.1")])
        assert codes(outcomes) == ["", "", "no-space"]
        with pytest.raises(DiskLow):
            side.intake.begin(OURS, study_uid="1.9")
        side.intake.begin(OURS, study_uid="1.2.3.100").discard()


def test_requests_over_the_limits(side, tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "REQUEST_BYTES_MAX", 5000)
    with pytest.raises(RequestTooLarge):
        side.intake.begin(OURS, size_bytes=5001)
    with pytest.raises(RequestTooLarge):
        receive(side, files(6))
    monkeypatch.setattr(limits, "REQUEST_INSTANCES_MAX", 1)
    with pytest.raises(TooManyInstances):
        receive(side, files(2))
    assert stored_files(tmp_path) == []
    assert side.archive.study(OURS, "1.2.3.100") is None


def test_a_source_that_fails_leaves_nothing(side, tmp_path):
    def broken():
        yield [files(1)[0]]
        raise ValueError("the source is gone")

    with pytest.raises(ValueError, match="gone"):
        side.intake.receive(OURS, broken())
    assert stored_files(tmp_path) == []
    assert list((tmp_path / "blobs" / "spool").iterdir()) == []


def test_a_failing_index_is_not_an_acknowledgement(side, tmp_path, monkeypatch):
    def fail(*_arguments):
        raise RuntimeError("(sqlite3.OperationalError) database or disk is full")

    monkeypatch.setattr(type(side.archive), "add", fail)
    outcomes = receive(side, files(2))
    assert codes(outcomes) == ["no-space", "no-space"]
    assert stored_files(tmp_path) == []


@pytest.fixture
def tiny_disk(tmp_path):
    """A file system of 6 MB."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    mounted = (
        os.geteuid() == 0 and subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", folder]).returncode == 0
    )
    if not mounted:
        pytest.skip("no right to mount a small file system")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_a_full_disk_loses_nothing_that_was_accepted(tiny_disk):
    kept = files(2, study_uid="1.5", series_uid="1.5.1")
    large = [content_of(dataset) for dataset in make_series((12, 512, 512))]
    with clinic_side(tiny_disk, disk_reserve_bytes=0, disk_low_bytes=0) as side:
        assert codes(receive(side, kept)) == ["", ""]
        outcomes = receive(side, large)
        assert "no-space" in codes(outcomes)
        assert set(codes(outcomes)) <= {"", "no-space"}
        assert {outcome.reason for outcome in outcomes} <= {None, 0xA700}
        for outcome in outcomes:
            assert (side.archive.instance(OURS, outcome.sop_uid) is not None) == outcome.stored or not outcome.sop_uid
        for row in side.archive.series(OURS, "1.5.1"):
            assert side.blobs.size_bytes(row.blob) == row.size_bytes
        assert list((tiny_disk / "blobs" / "spool").iterdir()) == []
        stored = {row.blob for uid in ("1.5.1", "1.2.3.100.1") for row in side.archive.series(OURS, uid)}
        assert set(stored_files(tiny_disk)) == stored
        side.intake.delete_study(OURS, "1.2.3.100", "acc_1", side.access_log)
        assert codes(receive(side, [*kept, *large[:1]])) == ["", "", ""]


def test_an_open_request_is_known_until_it_ends(side):
    batch = side.intake.begin(OURS)
    first, second, third = files()
    for content in (first, second):
        part = batch.part()
        part.write(content)
        part.end()
    batch.settle()
    assert side.intake.is_receiving(OURS, "1.2.3.100")
    assert not side.intake.is_receiving(THEIRS, "1.2.3.100")
    assert not side.intake.is_receiving(OURS, "1.2.3.999")
    side.intake.commit(batch)
    assert not side.intake.is_receiving(OURS, "1.2.3.100")

    broken = side.intake.begin(OURS)
    part = broken.part()
    part.write(third)
    part.end()
    broken.discard()
    assert not side.intake.is_receiving(OURS, "1.2.3.100")


def test_asking_while_requests_begin_and_end(side, request):
    request.addfinalizer(partial(sys.setswitchinterval, sys.getswitchinterval()))
    sys.setswitchinterval(1e-5)
    done = threading.Event()
    failed = []

    def ask():
        while not done.is_set():
            try:
                side.intake.is_receiving(OURS, "1.2.3.100")
            except Exception as error:
                failed.append(error)
                return

    asking = threading.Thread(target=ask)
    asking.start()
    held = [side.intake.begin(OURS) for _ in range(3000)]
    done.set()
    asking.join()
    for batch in held:
        batch.discard()
    assert failed == []
