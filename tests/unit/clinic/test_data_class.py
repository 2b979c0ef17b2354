"""A payload's class: as its pipeline declares, higher where the images say so, P0 only where nothing speaks against it."""

from dataclasses import replace

import pytest

from bithive.offer import DataClass
from bithive.settings import ClinicSettings, Settings
from clinic.access_log import AccessLog, MemoryAccessStore
from clinic.data_class import Leaving, payload_class, why_not_public
from clinic.instance import InstanceRow
from clinic.public_sets import Basis, PublicStudy
from clinic.refusals import ClassWithheld
from clinic.workitem import Duty, State
from pipelines.catalog import pipelines
from tests.common.clinic_side import T1, ClinicSide
from tests.common.dicom_factory import INSTITUTION, content_of, head_series, rows_of

PIPELINE = pipelines()[T1]
PUBLIC = PublicStudy(INSTITUTION, "1.2", "A Set", "CC0-1.0", Basis.FLAGS, "acc_x", 0)
BY_MANIFEST = replace(PUBLIC, basis=Basis.MANIFEST)
REMOVED, BURNED, PART = "00120062", "00280301", "00180015"


def rows(*headers: dict[str, str]) -> list[InstanceRow]:
    found, _ = rows_of([content_of(item) for item in head_series()[: len(headers)]])
    made = []
    for row, header in zip(found, headers, strict=True):
        plain = {key: value for key, value in row.header.items() if key not in (REMOVED, BURNED, PART)}
        values = {tag: {"vr": "CS", "Value": [text]} for tag, text in header.items()}
        made.append(replace(row, header=plain | values))
    return made


YES, NO, SILENT = {REMOVED: "YES"}, {REMOVED: "NO"}, dict[str, str]()


@pytest.mark.parametrize(
    ("headers", "public", "expected"),
    [
        ([SILENT], None, DataClass.P2),
        ([YES, YES], None, DataClass.P2),
        ([YES, YES], PUBLIC, DataClass.P0),
        ([YES, SILENT], PUBLIC, DataClass.P2),
        ([YES, NO], PUBLIC, DataClass.P2),
        ([YES, SILENT], BY_MANIFEST, DataClass.P0),
        ([YES, NO], BY_MANIFEST, DataClass.P2),
        ([{REMOVED: "yes "}], PUBLIC, DataClass.P0),
        ([YES | {BURNED: "YES"}], PUBLIC, DataClass.P3),
        ([YES, SILENT | {BURNED: "YES"}], BY_MANIFEST, DataClass.P3),
        ([YES | {BURNED: "NO"}], PUBLIC, DataClass.P0),
        ([SILENT | {BURNED: "YES"}], None, DataClass.P3),
    ],
)
def test_what_the_images_say(headers: list[dict[str, str]], public: PublicStudy | None, expected: DataClass) -> None:
    assert payload_class(PIPELINE, rows(*headers), public) is expected


@pytest.mark.parametrize(("part", "expected"), [("HEADNECK", "P2"), ("BRAIN", "P2"), ("KNEE", "P1"), ("", "P1")])
def test_a_head_is_never_p1_whatever_a_pipeline_says(part: str, expected: str) -> None:
    lax = replace(PIPELINE, data_class=DataClass.P1)
    assert payload_class(lax, rows({PART: part} if part else {}), None) == expected


def test_why_not_public_names_the_first_reason() -> None:
    assert why_not_public(rows(NO), Basis.MANIFEST) == "identity-not-removed"
    assert why_not_public(rows(YES | {BURNED: "YES"}), Basis.FLAGS) == "burned-in-annotation"
    assert why_not_public(rows(YES), Basis.FLAGS) is None


def test_what_may_leave() -> None:
    assert Leaving().countries(DataClass.P2) == ()
    settings = Settings(clinic=ClinicSettings(residency="FR,DE DE", data_class_out_max="P1", network_url="http://x"))
    leaving = Leaving.of(settings)
    assert leaving.countries(DataClass.P1) == ("DE", "FR")
    assert leaving.countries(DataClass.P0) == ()
    leaving.check(DataClass.P1)
    with pytest.raises(ClassWithheld):
        leaving.check(DataClass.P2)
    Leaving(elsewhere=False, data_class_max=DataClass.P0).check(DataClass.P3)


def test_a_study_that_may_not_leave_ends_with_its_code_and_nothing_is_sent(tmp_path) -> None:
    side = ClinicSide(tmp_path)
    clinic = side.settings.clinic.model_copy(update={"network_url": "http://other", "data_class_out_max": "P1"})
    side.settings = side.settings.model_copy(update={"clinic": clinic})
    side.start()
    side.receive([content_of(item) for item in head_series()])
    side.settle()
    (item,) = side.workitems()
    assert (item.state, item.reason) == (State.CANCELED, "data-class-withheld")
    assert side.network.offers == {}


def test_a_class_that_changed_makes_another_offer(tmp_path) -> None:
    side = ClinicSide(tmp_path)
    side.network.reachable = False
    flagged = head_series()
    for dataset in flagged:
        dataset.PatientIdentityRemoved = "YES"
    side.receive([content_of(item) for item in flagged])
    side.settle()
    side.network.reachable = True
    from clinic.offering import offer

    means = side.flow._means
    offer(means, side.workitems()[0])
    (first,) = side.workitems()
    assert first.offer is not None
    assert first.offer["data_class"] == "P2"
    log = AccessLog(MemoryAccessStore(), side.clock)
    from clinic.public_sets import PublicSets

    sets = PublicSets(means.public, side.clock, side.archive, why_not_public)
    sets.declare(INSTITUTION, "acc_x", [first.study_uid], "A Set", "CC0-1.0", Basis.FLAGS, log)
    means.store.commit(_owing(first, side))
    offer(means, side.workitems()[0])
    (again,) = side.workitems()
    assert again.offer_id != first.offer_id
    assert again.duty is Duty.OFFER
    side.settle()
    (done,) = side.workitems()
    assert done.offer is not None
    assert done.offer["data_class"] == "P0"


def _owing(item, side):
    from clinic.workitem_store import Change

    return Change((item.changed(side.clock.now_ms(), duty=Duty.OFFER),))
