from __future__ import annotations

import threading

import pytest
from structlog.testing import capture_logs

from bithive.clock import ManualClock
from bithive.database_sql import Database
from bithive.ids import SeededIds, is_id
from economy.ledger import Ledger
from economy.parties import Parties
from economy.store_sql import SqlStore

KEY, OTHER = b"k" * 32, b"o" * 32


@pytest.fixture
def ledger(tmp_path, clock):
    ledger = Ledger(SqlStore(Database(f"sqlite:///{tmp_path}/ledger.db")), clock)
    yield ledger
    ledger.close()


def test_the_same_one_is_the_same_party_for_ever(ledger, ids):
    parties = Parties(ledger, ids, KEY)
    one = parties.of("node", "nod_1")
    assert is_id(one, "pty")
    assert parties.of("node", "nod_1") == one
    assert parties.of("node", "nod_2") != one
    assert parties.of("operator", "nod_1") != one
    assert Parties(ledger, ids, KEY).of("node", "nod_1") == one
    assert Parties(ledger, ids, OTHER).of("node", "nod_1") != one


def test_the_database_does_not_know_who_it_is(ledger, ids, tmp_path):
    Parties(ledger, ids, KEY).of("operator", "Dr Jane Roe")
    ledger.store._database.close()
    assert b"Jane" not in b"".join(path.read_bytes() for path in tmp_path.glob("ledger.db*"))


def test_two_that_see_someone_first_agree(ledger):
    made = []

    def meet(number):
        parties = Parties(ledger, SeededIds(number, ManualClock()), KEY)
        made.extend(parties.of("node", f"nod_{count}") for count in range(10))

    crowd = [threading.Thread(target=meet, args=(number,)) for number in range(6)]
    with capture_logs():
        for thread in crowd:
            thread.start()
        for thread in crowd:
            thread.join()
    assert len(made) == 60
    assert len(set(made)) == 10
