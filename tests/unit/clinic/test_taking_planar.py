"""A radiograph and an ultrasound clip through the whole clinical side: what is written, said, accepted and taken back."""

import re
from dataclasses import replace

import pytest

from clinic.workitem import Statement
from clinic.writers.map import PARAMETRIC_MAP_STORAGE
from models.catalog import Catalog
from pipelines.catalog import Repertoire
from pipelines.series import PLANAR_STORAGES
from tests.common.clinic_side import ClinicSide
from tests.common.dicom_factory import INSTITUTION
from tests.common.planar_written import SCORED, classified, scored

NEVER, ANY = re.compile("(?!)"), re.compile("")


def selector(modality):
    return replace(
        SCORED.selector,
        modality=modality,
        sop_classes=PLANAR_STORAGES,
        planar=True,
        body_parts=frozenset({"CHEST"}),
        shown_by_words=ANY,
        contrary_words=NEVER,
        other_anatomy_words=NEVER,
        derived_words=NEVER,
        contrast_words=NEVER,
        with_contrast=True,
        spacing_mm_max=float("inf"),
        slices_min=1,
        extent_mm_min=0.0,
        age_years=(0.0, 120.0),
    )


@pytest.fixture
def run(tmp_path):
    """Receives a series, runs its Offer with findings, and gives the side and the ended Workitem."""

    def go(case, modality, findings=None):
        side = ClinicSide(tmp_path)
        pipeline = replace(
            case.context.pipeline,
            name="intracranial_volume_t1",
            selector=selector(modality),
        )
        catalog = Catalog(side.settings.state / "models").bundles()
        side.start(repertoire=lambda: Repertoire(catalog, {pipeline.name: pipeline}))
        side.receive(case.series)
        side.settle()
        (offer_id,) = side.network.open
        side.network.run(offer_id, findings or case.findings)
        side.settle()
        (item,) = side.workitems()
        return side, item

    return go


@pytest.mark.parametrize(
    ("age", "positive", "text", "remarks"),
    [
        ("004Y", True, "Present (87 %)", ()),
        ("047Y", None, "87 %, outside the intended population", ("outside-population",)),
    ],
)
def test_a_film_has_its_score_its_map_and_its_remark(run, age, positive, text, remarks):
    side, item = run(scored(age=age), "CR")
    assert (str(item.state), item.reason) == ("COMPLETED", None)
    assert [reference.kind for reference in item.references] == ["sr", "map", "sc"]
    assert item.reference("map").sop_class == PARAMETRIC_MAP_STORAGE
    assert item.statements == (Statement("pneumonia", "Pneumonia", text, 0.871, None, positive),)
    assert item.remarks == remarks
    assert [measured.name for measured in item.measured] == ["Mean brightness"]
    rows = [side.archive.instance(INSTITUTION, reference.sop_uid) for reference in item.references]
    assert all(row is not None and row.own for row in rows)


def test_a_clip_has_the_class_of_each_frame_and_its_key_images(run):
    case = classified(4)
    _, item = run(case, "US")
    assert [reference.kind for reference in item.references] == ["sr", "kos", "sc"]
    assert [(said.frame, said.text) for said in item.statements] == [
        (0, "Head"), (1, "Abdomen"), (2, "No standard plane"), (3, "Abdomen"), (4, "No standard plane"),
    ]  # fmt: skip
    assert item.remarks == ()


def test_what_was_written_can_be_accepted_and_taken_back(run):
    side, item = run(scored(), "CR")
    accepted = side.reviews.accept(INSTITUTION, item.workitem_id, "Dr Berg")
    assert accepted.reference("sr-verified") is not None
    rejected = side.reviews.reject(INSTITUTION, item.workitem_id, "Dr Berg", "a skin fold")
    assert rejected.reference("rejection") is not None
    assert (rejected.statements, rejected.remarks) == (item.statements, item.remarks)


@pytest.mark.parametrize(
    "members", [{"scores": ()}, {"maps": ()}, {"classes": classified(1).findings.classes}], ids=str
)
def test_findings_that_are_not_those_declared_write_nothing(run, members):
    case = scored()
    side, item = run(case, "CR", replace(case.findings, **members))
    assert (str(item.state), item.reason) == ("CANCELED", "findings-refused")
    assert not [row for row in side.archive._instances.values() if row.own]
