import threading

import pytest

from bithive.database_sql import Database, new_metadata
from bithive.outbox import Event, Relay
from bithive.outbox_sql import SqlOutbox, outbox_table
from tests.common.servers import new_database


@pytest.fixture(params=["sqlite", "postgres"])
def outbox(request, tmp_path):
    url = (
        f"sqlite:///{tmp_path}/a.db"
        if request.param == "sqlite"
        else (new_database(request.getfixturevalue("postgres_url"), "outbox"))
    )
    database = Database(url)
    metadata = new_metadata()
    table = outbox_table(metadata)
    with database.write() as connection:
        metadata.create_all(connection)
    yield SqlOutbox(database, table), database
    database.close()


def test_an_event_leaves_with_the_commit_that_made_it(outbox):
    box, database = outbox
    with pytest.raises(RuntimeError, match="undone"), database.write() as connection:
        box.append(connection, Event("t", "lost", {}))
        raise RuntimeError("undone")
    with database.write() as connection:
        box.append(connection, Event("t", "kept", {"n": [1, None, "é"]}))
        assert box.waiting() == []
    (event,) = box.waiting()
    assert (event.topic, event.key, event.body) == ("t", "kept", {"n": [1, None, "é"]})


def test_the_same_topic_and_key_is_one_event(outbox):
    box, database = outbox
    for body in ({"n": 1}, {"n": 2}):
        with database.write() as connection:
            box.append(connection, Event("t", "k", body))
    with database.write() as connection:
        box.append(connection, Event("other", "k", {}))
    assert [(event.topic, event.body) for event in box.waiting()] == [("t", {"n": 1}), ("other", {})]


def test_taken_is_remembered_and_order_kept(outbox):
    box, database = outbox
    with database.write() as connection:
        for number in range(5):
            box.append(connection, Event("t", str(number), {}))
    seen = []

    def take(event):
        if event.key == "3" and "3" not in seen:
            seen.append("3")
            raise OSError
        seen.append(event.key)

    relay = Relay(box, take)
    assert [relay.drain(), relay.drain(), relay.drain()] == [3, 2, 0]
    assert seen == ["0", "1", "2", "3", "3", "4"]
    with database.write() as connection:
        box.append(connection, Event("t", "0", {}))
    assert box.waiting() == [], "an event that was taken is not made again"
    assert len(box.waiting(limit=3)) == 0


def test_two_writers_of_one_event(outbox):
    box, database = outbox
    barrier, failures = threading.Barrier(4), []

    def write():
        try:
            barrier.wait()
            for number in range(10):
                with database.write() as connection:
                    box.append(connection, Event("t", str(number), {}))
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert sorted(event.key for event in box.waiting()) == sorted(map(str, range(10)))


def test_no_event_appears_behind_one_that_was_taken(outbox):
    """A transaction that began first and commits last: whoever reads in between must not see the later one alone."""
    events, database = outbox
    begun, second = threading.Event(), []

    def late():
        begun.wait(10)
        with database.write() as connection:
            events.append(connection, Event("a.b", "second", {}))
        second.append(True)

    thread = threading.Thread(target=late)
    thread.start()
    with database.write() as connection:
        events.append(connection, Event("a.b", "first", {}))
        begun.set()
        thread.join(0.3)
        assert second == []
    thread.join(10)
    assert [event.key for event in events.waiting()] == ["first", "second"]


def test_readers_see_places_in_order_whoever_commits_first(outbox):
    events, database = outbox

    def write(name):
        for number in range(15):
            with database.write() as connection:
                events.append(connection, Event("a.b", f"{name}-{number}", {}))

    threads = [threading.Thread(target=write, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    taken = []
    while len(taken) < 60:
        for event in events.waiting():
            events.taken(event.seq)
            taken.append(event.seq)
    for thread in threads:
        thread.join()
    assert taken == sorted(taken)
