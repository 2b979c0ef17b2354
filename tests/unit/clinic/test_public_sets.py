"""Declaring a study public: before its images, or because they say so themselves; always logged."""

import pytest

from bithive.clock import ManualClock
from bithive.errors import BitHiveError
from clinic.access_log import Access, AccessLog, MemoryAccessStore
from clinic.data_class import why_not_public
from clinic.public_sets import (
    STUDIES_MAX,
    BadPublicSet,
    Basis,
    LicenceUnsuitable,
    MemoryPublicStore,
    PublicSets,
    StudyNotPublic,
)
from tests.common.clinic_side import ClinicSide
from tests.common.dicom_factory import INSTITUTION, content_of, head_series

UID = "1.2.840.99.1"


class House:
    def __init__(self, folder):
        self.side = ClinicSide(folder)
        self.log = AccessLog(MemoryAccessStore(), ManualClock())
        self.store = MemoryPublicStore()
        self.sets = PublicSets(self.store, ManualClock(), self.side.archive, why_not_public)

    def declare(self, *uids, name="A Set (2020)", licence="CC-BY-4.0", basis=Basis.MANIFEST):
        return self.sets.declare(INSTITUTION, "acc_1", uids, name, licence, basis, self.log)


@pytest.fixture
def house(tmp_path):
    return House(tmp_path)


def test_a_declaration_is_kept_and_logged(house):
    house.declare(UID, "1.2.3")
    assert house.store.public(INSTITUTION, UID).name == "A Set (2020)"
    assert house.store.public("ins_other", UID) is None
    logged = [(row.kind, row.study_uid, row.account) for row in house.log.read(INSTITUTION)]
    assert sorted(logged) == [(Access.PUBLISHED, "1.2.3", "acc_1"), (Access.PUBLISHED, UID, "acc_1")]


def test_the_first_declaration_stands(house):
    house.declare(UID)
    house.declare(UID, name="Another", licence="MIT")
    assert house.store.public(INSTITUTION, UID).licence == "CC-BY-4.0"


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"licence": "CC-BY-NC-4.0"}, LicenceUnsuitable),
        ({"licence": ""}, LicenceUnsuitable),
        ({"name": "x"}, BadPublicSet),
        ({"name": "line\nbreak"}, BadPublicSet),
        ({"name": "a" * 65}, BadPublicSet),
    ],
)
def test_what_does_not_hold_by_itself_is_refused_and_not_logged(house, change, error):
    with pytest.raises(error):
        house.declare(UID, **change)
    assert house.log.read(INSTITUTION) == []


@pytest.mark.parametrize(
    "uids", [(), ("x",), ("1." * 40 + "1",), ("1.2\n",), tuple(f"1.{n}" for n in range(STUDIES_MAX + 1))]
)
def test_uids_are_uids(house, uids):
    with pytest.raises(BitHiveError):
        house.declare(*uids)


def test_a_patients_study_does_not_become_public(house):
    series = head_series()
    house.side.receive([content_of(item) for item in series])
    uid = str(series[0].StudyInstanceUID)
    for basis in Basis:
        with pytest.raises(StudyNotPublic):
            house.declare("1.2.3", uid, basis=basis)
    assert house.store.public(INSTITUTION, "1.2.3") is None


def test_a_study_that_says_so_itself_does(house):
    series = head_series()
    for dataset in series:
        dataset.PatientIdentityRemoved = "YES"
    house.side.receive([content_of(item) for item in series])
    uid = str(series[0].StudyInstanceUID)
    house.declare(uid, basis=Basis.FLAGS)
    assert house.store.public(INSTITUTION, uid).basis is Basis.FLAGS
