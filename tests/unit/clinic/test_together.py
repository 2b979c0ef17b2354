"""Four series of a study analysed together: from their arrival, in any order, to objects that name all of them."""

import io
from dataclasses import replace

import numpy as np
import pydicom
import pytest

from bithive.blobs import read_verified
from clinic.refusals import OtherFrameOfReference
from clinic.stacking import stacked
from clinic.workitem import State
from clinic.workitem_store import Change
from inference.errors import BadVolume
from inference.run import load
from inference.volume import VolumeSet
from inference.zoo_plan import plan_of
from models.catalog import Catalog
from pipelines.catalog import Repertoire, pipelines
from pipelines.outputs import SegmentOutput
from tests.common.clinic_side import ClinicSide
from tests.common.dicom_factory import INSTITUTION, content_of
from tests.common.tumours import (
    CHANNELS,
    KEYS,
    NAME,
    four_series,
    images,
    series_of,
    stacked_images,
    truth,
    tumour_bundle,
)

STUDY = "1.2.3.100"


@pytest.fixture(scope="module")
def catalog(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundles")
    made = Catalog(folder / "store")
    made.pull(str(tumour_bundle(folder)), judge=plan_of)
    return made


@pytest.fixture(scope="module")
def repertoire(catalog):
    bundles = catalog.bundles()
    return Repertoire(bundles, {NAME: pipelines(bundles)[NAME]})


@pytest.fixture(scope="module")
def sent():
    return {name: [content_of(item) for item in items] for name, items in four_series().items()}


@pytest.fixture
def side(tmp_path, repertoire):
    made = ClinicSide(tmp_path)
    made.start(repertoire=lambda: repertoire)
    return made


def watch_of(side, number):
    return next(item for item in side.store.watched(INSTITUTION, STUDY) if item.series_uid == f"{STUDY}.{number}")


def test_the_last_series_makes_the_workitem_and_all_are_evidence(side, sent, catalog):
    for name in ("FLAIR", "T2", "T1"):
        side.receive(sent[name])
        side.settle()
    assert side.workitems() == []
    assert watch_of(side, 4).unmatched == {NAME: "series-missing"}
    assert side.events()[-1].detail["missing"] == {NAME: "T1c"}
    side.receive(sent["T1c"])
    side.settle()
    (item,) = side.workitems()
    assert item.series_uid == f"{STUDY}.1"
    assert [(one.role, one.series_uid) for one in item.inputs] == [
        (name, f"{STUDY}.{k}") for k, name in enumerate(CHANNELS, 1)
    ]
    assert watch_of(side, 4).unmatched == {}
    (offer_id,) = side.network.open
    payload = side.network.volume(offer_id)
    assert isinstance(payload, VolumeSet)
    for volume, expected in zip(payload.volumes, stacked_images().volumes, strict=True):
        assert np.array_equal(volume.array, expected.array)
    assert side.network.offers[offer_id][0].voxels == payload.voxels
    bundle = catalog.bundle(NAME)
    findings = load(bundle, catalog.weights(bundle), "torch", threads=1).run(payload)
    side.network.run(offer_id, findings)
    side.settle()
    (item,) = side.workitems()
    assert item.state is State.COMPLETED, item.reason
    written = {one.kind: pydicom.dcmread(io.BytesIO(content(side, one.sop_uid))) for one in item.references}
    assert set(written) == {"seg", "sr", "sc"}
    assert [one.SegmentLabel for one in written["seg"].SegmentSequence] == [
        "Tumor core",
        "Whole tumor",
        "Enhancing tumor",
    ]
    assert [one.value for one in item.measured] == [pytest.approx(truth()[key].sum() / 1000) for key in KEYS]
    named = {
        series.SeriesInstanceUID
        for member in ("CurrentRequestedProcedureEvidenceSequence", "PertinentOtherEvidenceSequence")
        for study in written["sr"].get(member, [])
        for series in study.ReferencedSeriesSequence
    }
    assert {f"{STUDY}.{number}" for number in (2, 3, 4)} <= named


def content(side, sop_uid):
    return bytes(read_verified(side.blobs, side.archive.instance(INSTITUTION, sop_uid).blob))


def test_one_request_with_all_four_makes_one_workitem(side, sent):
    side.receive([item for name in CHANNELS for item in sent[name]])
    side.settle()
    assert len(side.workitems()) == len(side.network.open) == 1
    side.settle()
    assert len(side.workitems()) == 1


def test_the_same_images_once_more_change_nothing_and_hold_nothing_up(side, sent):
    everything = [item for name in CHANNELS for item in sent[name]]
    side.receive(everything)
    side.settle()
    side.receive(everything)
    side.settle()
    side.clock.advance_s(1)
    side.settle()
    (item,) = side.workitems()
    assert item.active
    watch = watch_of(side, 1)
    side.store.commit(Change((item.canceled("superseded", side.clock.now_ms()),), (replace(watch, pending=True),)))
    side.settle()
    assert [one.active for one in side.workitems()] == [False, True]


def test_a_series_that_changes_supersedes_the_workitem(side, sent):
    side.receive([item for name in CHANNELS for item in sent[name]])
    side.settle()
    more = series_of("T2", np.zeros((105, 116, 112), np.int16), 3)[-1]
    side.receive([more])
    side.settle()
    side.clock.advance_s(1)
    side.settle()
    first, second = side.workitems()
    assert (first.state, first.reason, first.superseded_by) == (State.CANCELED, "superseded", second.workitem_id)
    assert second.input_digest != first.input_digest
    assert len(side.network.open) == 1


def test_another_frame_of_reference_is_named(side, sent):
    moved = series_of("FLAIR", images()["FLAIR"], 4, FrameOfReferenceUID="1.9")
    side.receive([item for name in CHANNELS[:3] for item in sent[name]] + [content_of(item) for item in moved])
    side.settle()
    assert side.workitems() == []
    assert {watch_of(side, number).unmatched[NAME] for number in (4,)} <= {"series-missing", "other-frame-of-reference"}
    codes = {watch.unmatched[NAME] for watch in side.store.watched(INSTITUTION, STUDY)}
    assert "other-frame-of-reference" in codes


def test_a_canceled_one_is_repeated_with_all_its_series(side, sent):
    side.receive([item for name in CHANNELS for item in sent[name]])
    side.settle()
    (offer_id,) = side.network.open
    side.network.exhaust(offer_id, "not-skull-stripped")
    side.settle()
    (item,) = side.workitems()
    assert (item.state, item.reason) == (State.CANCELED, "not-skull-stripped")
    again = side.flow.rerun(INSTITUTION, item.workitem_id)
    assert (again.inputs, again.input_digest) == (item.inputs, item.input_digest)
    side.settle()
    assert len(side.network.open) == 1


def test_a_series_of_another_grid_is_brought_onto_the_first(side, sent):
    thick = images()["FLAIR"][::2]
    coarse = series_of("FLAIR", thick, 4, spacing=(1.0, 1.0, 2.0))
    side.receive(sent["T1c"] + [content_of(item) for item in coarse])
    sources = [side.volumes.source(INSTITUTION, f"{STUDY}.{number}") for number in (1, 4)]
    made = stacked(sources)
    assert [volume.array.dtype for volume in made.volumes] == [np.float32] * 2
    assert np.array_equal(made.volumes[1].array[::2], thick)
    between = (thick[:-1].astype(np.float32) + thick[1:]) / 2
    np.testing.assert_allclose(made.volumes[1].array[1:-1:2], between, atol=1e-3)
    header = dict(sources[1].head.header) | {"00200052": {"vr": "UI", "Value": ["1.9"]}}
    row = replace(sources[1].head, header=header)
    plane = replace(sources[1].grid.planes[0], row=row)
    far = replace(sources[1], grid=replace(sources[1].grid, planes=(plane, *sources[1].grid.planes[1:])))
    with pytest.raises(OtherFrameOfReference):
        stacked([sources[0], far])
    with pytest.raises(BadVolume):
        stacked([sources[0]])


def test_the_pipeline_names_its_codes(repertoire):
    pipeline = repertoire.pipelines[NAME]
    assert (pipeline.role, [role.name for role in pipeline.further]) == ("T1c", ["T1", "T2", "FLAIR"])
    codes = [(item.type.value, item.type.scheme) for item in pipeline.outputs if isinstance(item, SegmentOutput)]
    assert codes == [("108369006", "SCT"), ("108369006", "SCT"), ("C113842", "NCIt")]
