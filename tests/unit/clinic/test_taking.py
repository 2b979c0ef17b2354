from collections.abc import Collection
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bithive.keys import SigningKey
from bithive.offer import OfferKeys
from clinic.batch import StoreOutcome
from clinic.checking import check_findings
from clinic.refusals import FindingsRefused
from clinic.statements import measured_of
from clinic.taking import hear
from clinic.workitem import Duty, State
from clinic.writers.seg import LABEL_MAP_STORAGE, SEGMENTATION_STORAGE
from inference.findings import Findings, LabelMap, Mask, Measurement
from models.catalog import Catalog
from pipelines.catalog import Repertoire, pipelines
from tests.common.clinic_side import ClinicSide
from tests.common.dicom_factory import INSTITUTION, content_of, head_series
from tests.common.loop_network import NODE, bright
from tests.common.written import Many, many, source_of

HEAD = [content_of(item) for item in head_series()]
PIPELINE = pipelines()["intracranial_volume_t1"]


@pytest.fixture
def side(tmp_path) -> ClinicSide:
    made = ClinicSide(tmp_path)
    made.receive(HEAD)
    made.settle()
    return made


def ended(side) -> tuple[str, str | None]:
    side.settle()
    (item,) = side.workitems()
    return str(item.state), item.reason


@pytest.mark.parametrize(
    ("members", "code"),
    [
        ({"bundle_sha256": "0" * 64}, "findings-refused"),
        ({"bundle_version": "9.9.9"}, "findings-refused"),
        ({"input_digest": "0" * 64}, "findings-refused"),
        ({"output_digest": "0" * 64}, "findings-refused"),
        ({"output_size_bytes": 12}, "findings-refused"),
        ({"offer_id": "off_00000000000000000000000009"}, "findings-refused"),
        ({"attempt_id": "att_00000000000000000000000009"}, "findings-refused"),
        ({"fencing_token": 999}, "bad-envelope"),
    ],
)
def test_a_receipt_that_does_not_fit_writes_nothing(side, members, code):
    (offer_id,) = side.network.open
    side.network.accept(offer_id, side.network.lease(offer_id), **members)
    assert ended(side) == ("CANCELED", code)
    assert not [row for row in side.archive._instances.values() if row.own]
    assert side.network.ended[offer_id] == "acknowledged"


def test_a_receipt_that_nobody_signed_writes_nothing(side):
    (offer_id,) = side.network.open
    side.network.run(offer_id)
    accepted = side.network.stream[-1]
    side.network.stream[-1] = replace(accepted, receipt=accepted.receipt | {"wall_ms": 1})
    assert ended(side) == ("CANCELED", "bad-signature")


def test_a_receipt_that_is_none_writes_nothing(side):
    (offer_id,) = side.network.open
    side.network.run(offer_id)
    side.network.stream[-1] = replace(side.network.stream[-1], receipt={"attempt_id": 5})
    assert ended(side) == ("CANCELED", "bad-receipt")


def shaped(*shape, key="intracranial", unit="mL", fill=True, measured=True) -> Findings:
    mask = Mask(key, np.full(shape, fill))
    values = (Measurement("intracranial_volume", 1.0, unit, key),) if measured else ()
    return Findings((mask,), values)


@pytest.mark.parametrize(
    "findings",
    [
        Findings(),
        shaped(64, 66, 61),
        shaped(64, 66, 62, fill=False),
        shaped(64, 66, 62, key="other"),
        shaped(64, 66, 62, unit="L"),
        shaped(64, 66, 62, measured=False),
    ],
)
def test_findings_that_do_not_fit_write_nothing(side, findings):
    (offer_id,) = side.network.open
    side.network.run(offer_id, findings)
    assert ended(side) == ("CANCELED", "findings-refused")


def test_a_mask_larger_than_the_volume_is_refused_before_it_is_unpacked(side):
    (offer_id,) = side.network.open
    side.network.run(offer_id, shaped(65, 66, 62))
    assert ended(side) == ("CANCELED", "bad-findings")


def test_garbage_under_a_right_receipt_is_refused(side):
    (offer_id,) = side.network.open

    class Garbage:
        def to_bytes(self):
            return b"no findings at all"

    side.network.run(offer_id, Garbage())
    assert ended(side) == ("CANCELED", "bad-findings")


def test_findings_that_fit_are_let_pass(side):
    source = side.volumes.source(INSTITUTION, "1.2.3.100.1")
    check_findings(bright(source.volume), PIPELINE, source)
    with pytest.raises(FindingsRefused):
        check_findings(Findings(), PIPELINE, source)


def test_an_archive_that_cannot_store_is_asked_again(side):
    (offer_id,) = side.network.open
    store = side.intake.store_results
    side.intake.store_results = lambda *_: [StoreOutcome("", "", 0xA700, None, "no-space")]
    side.network.run(offer_id)
    side.settle()
    (item,) = side.workitems()
    assert (item.state, item.duty, item.waiting) == (State.IN_PROGRESS, Duty.TAKE, "results-not-stored")
    side.intake.store_results = store
    side.clock.advance_s(5)
    assert ended(side) == ("COMPLETED", None)


def test_the_same_attempt_twice_gives_the_same_bytes(side):
    (offer_id,) = side.network.open
    stored = []
    store = side.intake.store_results

    def spy(institution, contents):
        stored.append(list(contents))
        if len(stored) == 1:
            raise ZeroDivisionError
        return store(institution, contents)

    side.intake.store_results = spy
    side.network.run(offer_id)
    side.settle()
    side.clock.advance_s(3600 * 30)
    side.settle()
    assert len(stored) == 2
    assert stored[0] == stored[1]


def test_events_of_unknown_offers_and_topics_only_move_the_cursor(side):
    side.network.tell("attempt.accepted", "off_00000000000000000000000009", receipt={})
    side.network.tell("something.new", side.network.open[0])
    means = side.flow._means
    for event in side.network.stream[-2:]:
        assert hear(means, INSTITUTION, event) is None
    assert side.store.cursor(INSTITUTION) == side.network.stream[-1].seq


def test_news_are_shown_as_they_come(side):
    (offer_id,) = side.network.open
    attempt = side.network.lease(offer_id)
    side.network.tell("attempt.progressed", offer_id, attempt_id=attempt, stage="segmenting", fraction=0.5, node=NODE)
    side.settle()
    (item,) = side.workitems()
    assert (item.state, item.stage, item.fraction, item.node, item.attempt_id) == (
        State.IN_PROGRESS, "segmenting", 0.5, NODE, attempt,
    )  # fmt: skip
    running = side.events()[-1].detail
    assert (running["stage"], running["fraction"], running["node"]) == ("segmenting", 0.5, NODE)


def test_a_second_acceptance_changes_nothing(side):
    (offer_id,) = side.network.open
    side.network.run(offer_id)
    side.settle()
    (before,) = side.workitems()
    side.network.tell("attempt.accepted", offer_id, attempt_id="att_00000000000000000000000077", receipt={})
    side.network.tell("offer.exhausted", offer_id, code="late")
    side.settle()
    assert side.workitems() == [before]


def test_the_key_opens_nothing_for_another(side):
    (offer_id,) = side.network.open
    offer, keys = side.network.offers[offer_id]
    side.network.key = SigningKey(b"x" * 32)
    side.network.offers[offer_id] = (offer, OfferKeys(b"z" * 32, keys.digest_key))
    findings = bright(side.volumes.source(INSTITUTION, "1.2.3.100.1").volume)
    side.network.accept(offer_id, side.network.lease(offer_id), findings)
    assert ended(side) == ("CANCELED", "bad-envelope")


@pytest.fixture
def body_side(tmp_path):
    """A clinical side whose pipeline finds many structures, an open Offer, and what a cell would find."""

    def make(count: int, empty: Collection[int] = (), **settings: Any) -> tuple[ClinicSide, str, Many]:
        side = ClinicSide(tmp_path)
        body = many(source_of(HEAD), count, empty=empty)
        pipeline = replace(PIPELINE, outputs=body.context.pipeline.outputs)
        catalog = Catalog(side.settings.state / "models").bundles()
        clinic = side.settings.clinic.model_copy(update=settings)
        side.start(
            repertoire=lambda: Repertoire(catalog, {PIPELINE.name: pipeline}),
            settings=side.settings.model_copy(update={"clinic": clinic}),
        )
        side.receive(HEAD)
        side.settle()
        (offer_id,) = side.network.open
        return side, offer_id, body

    return make


@pytest.mark.parametrize(
    ("count", "setting", "sop_class"),
    [
        (3, "auto", SEGMENTATION_STORAGE),
        (25, "auto", LABEL_MAP_STORAGE),
        (25, "never", SEGMENTATION_STORAGE),
    ],
)
def test_many_structures_are_written_and_measured(body_side, count, setting, sop_class):
    side, offer_id, body = body_side(count, label_map_segmentation=setting)
    side.network.run(offer_id, body.findings)
    assert ended(side) == ("COMPLETED", None)
    (item,) = side.workitems()
    assert [reference.kind for reference in item.references] == ["seg", "sr", "sc"]
    assert item.reference("seg").sop_class == sop_class
    assert [one.name for one in item.measured] == [segment.label for segment in body.segments]
    row = side.archive.instance(INSTITUTION, item.reference("seg").sop_uid)
    assert (row.own, row.sop_class) == (True, sop_class)
    overlay = side.volumes.overlay(item, side.volumes.source(INSTITUTION, "1.2.3.100.1"))
    assert np.array_equal(overlay.array, body.findings.labels.array)


def test_structures_that_are_absent_have_no_segment_and_no_measurement(body_side):
    side, offer_id, body = body_side(25, empty=(2, 25))
    side.network.run(offer_id, body.findings)
    assert ended(side) == ("COMPLETED", None)
    (item,) = side.workitems()
    names = [segment.label for place, segment in enumerate(body.segments, start=1) if place not in (2, 25)]
    assert [one.name for one in item.measured] == names
    overlay = side.volumes.overlay(item, side.volumes.source(INSTITUTION, "1.2.3.100.1"))
    assert [(segment.number, segment.name) for segment in overlay.segments] == list(enumerate(names, start=1))


@pytest.mark.parametrize("with_zeros", [True, False])
def test_when_nothing_is_found_the_report_says_so(body_side, with_zeros):
    side, offer_id, body = body_side(3, empty=(1, 2, 3))
    findings = body.findings if with_zeros else replace(body.findings, measurements=())
    side.network.run(offer_id, findings)
    assert ended(side) == ("COMPLETED", None)
    (item,) = side.workitems()
    assert ([reference.kind for reference in item.references], item.measured) == (["sr"], ())
    accepted = side.reviews.accept(INSTITUTION, item.workitem_id, "Dr Berg")
    assert accepted.reference("sr-verified") is not None
    rejected = side.reviews.reject(INSTITUTION, item.workitem_id, "Dr Berg", "it is there")
    assert rejected.reference("rejection") is not None


def changed(body: Many, **members: Any) -> Findings:
    """The findings with another label map."""
    labels = body.findings.labels
    array, keys = members.get("array", labels.array), members.get("keys", labels.keys)
    return Findings((), members.get("measurements", body.findings.measurements), (), LabelMap(array, keys))


@pytest.mark.parametrize(
    "hostile",
    [
        lambda body: changed(body, keys=(*body.findings.labels.keys, "undeclared")),
        lambda body: changed(body, array=np.ascontiguousarray(body.findings.labels.array[:, :, :-1])),
        lambda body: changed(body, measurements=body.findings.measurements[:-1]),
        lambda body: changed(body, measurements=tuple(replace(one, unit="L") for one in body.findings.measurements)),
        lambda body: changed(
            body, measurements=tuple(replace(one, mask="structure_1") for one in body.findings.measurements)
        ),
        lambda body: replace(body.findings, masks=(Mask("other", np.ones_like(body.findings.labels.array, bool)),)),
    ],
    ids=["undeclared", "geometry", "unmeasured", "unit", "mask", "another-mask"],
)
def test_label_maps_that_do_not_fit_write_nothing(body_side, hostile):
    side, offer_id, body = body_side(3)
    side.network.run(offer_id, hostile(body))
    assert ended(side) == ("CANCELED", "findings-refused")
    assert not [row for row in side.archive._instances.values() if row.own]


def test_a_structure_that_must_be_there_is_missed():
    source = source_of(HEAD)
    body = many(source, 3, empty=(2,))
    pipeline = body.context.pipeline
    assert check_findings(body.findings, pipeline, source) == {"structure_1", "structure_3"}
    strict = tuple(replace(one, may_be_absent=False) if one in body.segments else one for one in pipeline.outputs)
    with pytest.raises(FindingsRefused):
        check_findings(body.findings, replace(pipeline, outputs=strict), source)


def test_a_measurement_that_may_be_absent_is_not_missed():
    source = source_of(HEAD)
    body = many(source, 3)
    findings = replace(body.findings, measurements=body.findings.measurements[1:])
    pipeline = body.context.pipeline
    lenient = tuple(replace(one, may_be_absent=True) if one in body.measured else one for one in pipeline.outputs)
    there = check_findings(findings, replace(pipeline, outputs=lenient), source)
    assert len(there) == 3
    assert [one.key for one in measured_of(pipeline, findings, there)] == ["structure_2_volume", "structure_3_volume"]
