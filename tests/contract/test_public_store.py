"""One contract for declarations of public studies, and one for canaries: in memory, SQLite, PostgreSQL."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from bithive.database_sql import Database
from clinic import metadata_sql as clinic_sql
from clinic.public_sets import Basis, MemoryPublicStore, PublicStore, PublicStudy
from clinic.public_sets_sql import SqlPublicStore
from cluster import network_sql
from cluster.canaries import Canary, Kind, Stage
from cluster.canary_store import CanaryStore, MemoryCanaryStore
from cluster.canary_store_sql import SqlCanaryStore
from tests.common import servers

KINDS = ("memory", "sqlite", "postgres")
STUDY = PublicStudy("ins_1", "1.2", "A Set", "MIT", Basis.FLAGS, "acc_1", 5)
CANARY = Canary("off_1", Kind.CANARY, "ab" * 32, {"deadline_ms": 7, "voxels": 3}, "cd" * 32, 10)


def database(request: pytest.FixtureRequest, tmp_path, migrations) -> Database:
    url = f"sqlite:///{tmp_path}/one.db"
    if request.param == "postgres":
        url = servers.new_database(request.getfixturevalue("postgres_url"), "public")
    made = Database(url)
    made.upgrade(migrations)
    request.addfinalizer(made.close)
    return made


@pytest.fixture(params=KINDS)
def public(request, tmp_path) -> PublicStore:
    if request.param == "memory":
        return MemoryPublicStore()
    return SqlPublicStore(database(request, tmp_path, clinic_sql.MIGRATIONS))


@pytest.fixture(params=KINDS)
def canaries(request, tmp_path) -> CanaryStore:
    if request.param == "memory":
        return MemoryCanaryStore()
    return SqlCanaryStore(database(request, tmp_path, network_sql.MIGRATIONS))


def test_a_declaration_comes_back(public: PublicStore) -> None:
    assert public.public("ins_1", "1.2") is None
    public.add([STUDY, replace(STUDY, study_uid="1.3", basis=Basis.MANIFEST)])
    assert public.public("ins_1", "1.2") == STUDY
    assert public.public("ins_1", "1.3") == replace(STUDY, study_uid="1.3", basis=Basis.MANIFEST)
    assert public.public("ins_2", "1.2") is None


def test_the_first_stands(public: PublicStore) -> None:
    public.add([STUDY])
    public.add([replace(STUDY, name="Another"), replace(STUDY, study_uid="1.9")])
    assert public.public("ins_1", "1.2") == STUDY
    assert public.public("ins_1", "1.9") is not None
    public.add([])


def test_several_who_declare_at_once(public: PublicStore) -> None:
    failed: list[BaseException] = []

    def declare(number: int) -> None:
        try:
            public.add([replace(STUDY, name=f"set {number}", study_uid=f"1.{place}") for place in range(5)])
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=declare, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert all(public.public("ins_1", f"1.{place}") is not None for place in range(5))


def test_one_institution_for_ever(canaries: CanaryStore) -> None:
    assert canaries.institution("ins_a") == "ins_a"
    assert canaries.institution("ins_b") == "ins_a"


def test_canaries_come_back_and_are_replaced(canaries: CanaryStore) -> None:
    assert canaries.canary("off_1") is None
    canaries.keep(CANARY)
    canaries.keep(replace(CANARY, offer_id="off_0", made_ms=20))
    assert canaries.canary("off_1") == CANARY
    assert [item.offer_id for item in canaries.unfinished()] == ["off_1", "off_0"]
    done = CANARY.at(Stage.OPEN).at(Stage.ANSWERED, attempt_id="att_1", given_digest="ef" * 32, ended_ms=30)
    canaries.keep(done)
    assert canaries.canary("off_1") == done
    assert [item.offer_id for item in canaries.unfinished()] == ["off_0"]
    assert [canaries.made_since(ms) for ms in (0, 11, 21)] == [2, 1, 0]


def test_the_cursor_never_goes_back(canaries: CanaryStore) -> None:
    canaries.institution("ins_a")
    assert canaries.cursor() == 0
    canaries.move(9)
    canaries.move(4)
    assert canaries.cursor() == 9
