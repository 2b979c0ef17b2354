"""What every store of Workitems promises: in memory, on SQLite, on PostgreSQL."""

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from bithive.clock import ManualClock
from bithive.database_sql import Database
from clinic.metadata_sql import MIGRATIONS
from clinic.refusals import StaleWorkitem, WorkitemAbsent
from clinic.tables_workitem_sql import CURSORS, EVENTS, INBOX, SERIES, WORKITEMS
from clinic.workitem import Duty, Event, InputSeries, Measured, Reference, Review, State, Statement, Workitem
from clinic.workitem_store import (
    EVENTS_READ_MAX,
    Change,
    Kind,
    MemoryWorkitemStore,
    SeriesWatch,
    StudyEvent,
    Which,
    WorkitemStore,
)
from clinic.workitem_store_sql import SqlWorkitemStore
from tests.common import servers

OURS, THEIRS = "ins_1", "ins_2"


@pytest.fixture(scope="module")
def migrated(tmp_path_factory) -> Path:
    """A migrated SQLite file to copy: migrating takes longer than a test."""
    path = tmp_path_factory.mktemp("migrated") / "clinic.db"
    database = Database(f"sqlite:///{path}")
    database.upgrade(MIGRATIONS)
    database.close()
    return path


@pytest.fixture(scope="module")
def postgres_database(postgres_url) -> Iterator[Database]:
    database = Database(servers.new_database(postgres_url, "workitems"))
    database.upgrade(MIGRATIONS)
    yield database
    database.close()


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def store(request, tmp_path) -> Iterator[WorkitemStore]:
    if request.param == "memory":
        yield MemoryWorkitemStore()
    elif request.param == "sqlite":
        with opened(shutil.copy(request.getfixturevalue("migrated"), tmp_path)) as database:
            yield SqlWorkitemStore(database, ManualClock())
    else:
        database = request.getfixturevalue("postgres_database")
        with database.write() as connection:
            for table in (WORKITEMS, SERIES, EVENTS, INBOX, CURSORS):
                connection.execute(table.delete())
        yield SqlWorkitemStore(database, ManualClock())


@contextmanager
def opened(path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{path}")
    yield database
    database.close()


def workitem(number: int = 1, **members) -> Workitem:
    known = {
        "workitem_id": f"wit_{number}",
        "institution": OURS,
        "study_uid": "1.2",
        "series_uid": "1.2.3",
        "pipeline": "p",
        "input_digest": "d",
        "offer_id": f"off_{number}",
        "key": bytes(range(32)),
        "created_ms": 1_800_000_000_000 + number,
        "changed_ms": 1_800_000_000_000,
    }
    return Workitem(**(known | members))


def event(number: int = 1, **members) -> StudyEvent:
    known = {"institution": OURS, "study_uid": "1.2", "kind": Kind.RECEIVED, "at_ms": 1_800_000_000_000}
    return StudyEvent(**(known | {"detail": {"number": number}} | members))


def watch(**members) -> SeriesWatch:
    known = {
        "institution": OURS,
        "study_uid": "1.2",
        "series_uid": "1.2.3",
        "changed_ms": 1_800_000_000_000,
        "due_ms": 1_800_000_000_500,
        "one_request": True,
        "instances": 3,
    }
    return SeriesWatch(**(known | members))


def test_a_workitem_comes_back_as_it_was(store):
    full = workitem(
        offer={"deadline_ms": 5, "work_units": 7},
        waiting="network-silent",
        tries=2,
        due_ms=1_800_000_000_001,
        stage="segmenting",
        fraction=0.25,
        node="nod_1",
        cell="cel_1",
        attempt_id="att_1",
        accepted_ms=1_800_000_000_002,
        receipt={"wall_ms": 12, "deterministic": True},
        measured=(Measured("v", "Volume", 1792.25, "mL"),),
        statements=(
            Statement("pneumonia", "Pneumonia", "87 %, outside the intended population", 0.871, None, None),
            Statement("plane", "Standard plane", "Head", 0.93, 7),
            Statement("score", "Score", "Present (51 %)", 0.51, positive=True),
        ),
        remarks=("outside-population",),
        inputs=(InputSeries("T1c", "1.2.1", "0" * 64), InputSeries("FLAIR", "1.2.2", "1" * 64)),
        references=(Reference("seg", "1", "2", "3"),),
        superseded_by="wit_9",
        review=Review.ACCEPTED,
        reviewed_by="Dr. Ümit",
        reviewed_ms=1_800_000_000_003,
        reason=None,
        duty=Duty.TAKE,
    )
    assert store.commit(Change((full,)))
    assert store.workitem(OURS, "wit_1") == full


def test_a_changed_workitem_replaces_the_former_version(store):
    first = workitem()
    store.commit(Change((first,)))
    begun = first.after(Event.CLAIM, 5)
    store.commit(Change((begun,)))
    ended = begun.after(Event.COMPLETE, 6, duty=None)
    store.commit(Change((ended,)))
    found = store.workitem(OURS, "wit_1")
    assert (found, found.key, found.state) == (ended, None, State.COMPLETED)


def test_only_the_next_version_is_taken_and_nothing_of_a_refused_change_stays(store):
    first = workitem()
    store.commit(Change((first,)))
    newer = first.changed(2)
    store.commit(Change((newer,)))
    for stale in (first, newer, replace(newer, version=5), workitem(2, version=2)):
        refused = Change((workitem(3), stale), (watch(),), (event(),), "att_1", (OURS, 9))
        with pytest.raises(StaleWorkitem):
            store.commit(refused)
    assert [item.workitem_id for item in store.find(Which())] == ["wit_1"]
    assert store.events_after(OURS, 0) == []
    assert store.watched() == []
    assert store.cursor(OURS) == 0
    assert store.commit(Change(taken="att_1"))


def test_what_was_taken_once_writes_nothing_again(store):
    assert store.commit(Change((workitem(),), taken="att_1"))
    assert not store.commit(Change((workitem(2),), (watch(),), (event(),), "att_1", (OURS, 3)))
    assert len(store.find(Which())) == 1
    assert store.cursor(OURS) == 0


def test_another_institution_finds_nothing(store):
    store.commit(Change((workitem(),), (watch(),), (event(),), cursor=(OURS, 4)))
    with pytest.raises(WorkitemAbsent):
        store.workitem(THEIRS, "wit_1")
    with pytest.raises(WorkitemAbsent):
        store.workitem(OURS, "wit_2")
    assert store.find(Which(institution=THEIRS)) == []
    assert store.watched(THEIRS, "1.2") == []
    assert store.events_after(THEIRS, 0) == []
    assert store.cursor(THEIRS) == 0


def test_finding(store):
    items = [
        workitem(1),
        workitem(2, series_uid="1.2.4", duty=None),
        workitem(3, study_uid="1.9", state=State.IN_PROGRESS),
        workitem(4, institution=THEIRS, state=State.CANCELED, duty=Duty.WITHDRAW),
    ]
    store.commit(Change(tuple(items[::-1])))

    def numbers(**which) -> list[str]:
        return [item.workitem_id[-1] for item in store.find(Which(**which))]

    assert numbers() == ["1", "2", "3", "4"]
    assert numbers(institution=OURS) == ["1", "2", "3"]
    assert numbers(study_uid="1.2", institution=OURS) == ["1", "2"]
    assert numbers(series_uid="1.2.4") == ["2"]
    assert numbers(offer_id="off_3") == ["3"]
    assert numbers(owed=True) == ["1", "3", "4"]
    assert numbers(active=True) == ["1", "2", "3"]
    assert numbers(active=True, owed=True) == ["1", "3"]


def test_series_are_watched_until_they_are_judged(store):
    store.commit(Change(series=(watch(), watch(series_uid="1.2.4", due_ms=1_800_000_000_100))))
    assert [item.series_uid for item in store.watched()] == ["1.2.4", "1.2.3"]
    judged = watch(pending=False, input_digest="d", unmatched={"p": "other-modality"}, geometry="gantry-tilt")
    store.commit(Change(series=(judged,)))
    assert [item.series_uid for item in store.watched()] == ["1.2.4"]
    assert store.watched(OURS, "1.2") == [watch(series_uid="1.2.4", due_ms=1_800_000_000_100), judged]


def test_the_log_is_numbered_and_in_order(store):
    store.commit(Change(events=(event(1), event(2, study_uid="1.9"))))
    store.commit(Change(events=(event(3, kind=Kind.COMPLETED, detail={"number": 3, "code": None, "f": 0.5}),)))
    found = store.events_after(OURS, 0)
    assert [item.detail["number"] for item in found] == [1, 2, 3]
    assert [item.seq for item in found] == sorted({item.seq for item in found})
    assert found[2].kind is Kind.COMPLETED
    assert store.events_after(OURS, found[0].seq) == found[1:]
    assert [item.detail["number"] for item in store.events_after(OURS, 0, "1.2")] == [1, 3]


def test_the_log_is_read_in_portions(store):
    store.commit(Change(events=tuple(event(number) for number in range(EVENTS_READ_MAX + 20))))
    first = store.events_after(OURS, 0)
    rest = store.events_after(OURS, first[-1].seq)
    assert (len(first), len(rest)) == (EVENTS_READ_MAX, 20)


def test_the_cursor_moves(store):
    store.commit(Change(cursor=(OURS, 7)))
    store.commit(Change(cursor=(OURS, 8)))
    store.commit(Change(cursor=(THEIRS, 2)))
    assert (store.cursor(OURS), store.cursor(THEIRS)) == (8, 2)


def test_of_many_who_change_one_version_one_succeeds(store):
    store.commit(Change((workitem(),)))
    won, gate = [], threading.Barrier(4)

    def change(number: int) -> None:
        gate.wait()
        try:
            store.commit(Change((workitem().changed(2, waiting=str(number)),), (), (event(number),)))
            won.append(number)
        except StaleWorkitem:
            pass

    threads = [threading.Thread(target=change, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert [item.detail["number"] for item in store.events_after(OURS, 0)] == won
    assert store.workitem(OURS, "wit_1").waiting == str(won[0])


def test_events_are_announced_once_they_are_stored(tmp_path, migrated):
    with opened(shutil.copy(migrated, tmp_path)) as database:
        for made in (MemoryWorkitemStore, lambda announce: SqlWorkitemStore(database, ManualClock(), announce)):
            heard: list[StudyEvent] = []
            store = made(heard.extend)
            store.commit(Change((workitem(),), (), (event(1), event(2))))
            with pytest.raises(StaleWorkitem):
                store.commit(Change((workitem(),), (), (event(3),)))
            assert heard == store.events_after(OURS, 0)
            assert len(heard) == 2
