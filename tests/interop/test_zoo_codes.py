"""What the pipeline of a bundle makes of labels, judged by programs that nobody here made: codes, sides, colours."""

import io

import numpy as np
import pydicom
import pytest

from clinic.writers import write
from inference.findings import Findings, LabelMap, Measurement
from pipelines.from_bundle import pipeline_of
from tests.common.dicom_factory import make_series
from tests.common.installed import installed
from tests.common.written import blocks, context, source_of
from tests.interop.test_written_objects import faults
from tests.unit.pipelines.zoo_names import BUNDLES, WHOLE_BODY

SHAPE = (8, 24, 26)
TOO_OLD = {"Error - - Shall not be present for Referenced SOP Class that is not segmentation"}
"""What dciodvfy says because it does not know Label Map Segmentation Storage (Supplement 243) yet."""
FEW = ("spleen", "kidney_left", "kidney_right", "rib_left_1", "gluteus_maximus_left", "pancreatic tumor")


@pytest.fixture(scope="module", params=["few", "wholeBody_ct_segmentation"])
def case(request, tmp_path_factory):
    """A pipeline, its written objects, as files and as data sets."""
    folder = tmp_path_factory.mktemp(request.param)
    names = FEW if request.param == "few" else BUNDLES[request.param][2]
    name = "few_ct" if request.param == "few" else request.param
    bundle = installed(folder / "bundle", name, names, "CT")
    pipeline = pipeline_of(bundle)
    source = source_of(make_series(SHAPE, (2.0, 2.0, 3.0), modality="CT"))
    labels = LabelMap(blocks(SHAPE, len(names)), tuple(item.key for item in bundle.structures))
    volumes = labels.counts()[1:] * source.volume.voxel_ml
    measured = tuple(
        Measurement(f"{key}_volume", float(volume), "mL", key) for key, volume in zip(labels.keys, volumes, strict=True)
    )
    written = write(source, Findings((), measured, (), labels), context(pipeline=pipeline))
    for item in written:
        (folder / f"{item.kind}.dcm").write_bytes(item.content)
    (folder / "source.dcm").write_bytes(_content(source))
    return pipeline, {item.kind: pydicom.dcmread(io.BytesIO(item.content)) for item in written}, folder


def _content(source):
    from tests.common.dicom_factory import content_of

    return content_of(make_series(SHAPE, (2.0, 2.0, 3.0), modality="CT")[0])


def by_label(objects):
    return {str(item.SegmentLabel): item for item in objects["seg"].SegmentSequence if int(item.SegmentNumber)}


@pytest.mark.parametrize("kind", ["seg", "sr", "sc"])
def test_dciodvfy_sees_no_error_that_the_source_does_not_have(case, kind):
    _, _, folder = case
    assert faults(folder / f"{kind}.dcm") <= faults(folder / "source.dcm") | TOO_OLD


def test_every_segment_says_what_and_which_side(case):
    _, objects, _ = case
    segments = by_label(objects)
    kidney = segments["Left kidney"].SegmentedPropertyTypeCodeSequence[0]
    side = kidney.SegmentedPropertyTypeModifierCodeSequence[0]
    assert (kidney.CodeValue, kidney.CodingSchemeDesignator, side.CodeMeaning) == ("64033007", "SCT", "Left")
    assert "SegmentedPropertyTypeModifierCodeSequence" not in segments["Spleen"].SegmentedPropertyTypeCodeSequence[0]
    own = segments["Left gluteus maximus"].SegmentedPropertyTypeCodeSequence[0]
    assert own.CodingSchemeDesignator == "99BITHIVE"
    assert len({tuple(item.RecommendedDisplayCIELabValue) for item in segments.values()}) == len(segments)


def test_the_report_says_the_side_too(case):
    _, objects, _ = case
    text = str(objects["sr"])
    assert "Laterality" in text
    sites = [item for group in groups(objects["sr"]) for item in group if code_of(item) == "363698007"]
    sided = [item for item in sites if "ContentSequence" in item]
    assert 0 < len(sided) < len(sites)
    assert {item.ContentSequence[0].ConceptCodeSequence[0].CodeMeaning for item in sided} <= {"Left", "Right"}


def groups(report):
    container = next(item for item in report.ContentSequence if code_of(item) == "126010")
    return [group.ContentSequence for group in container.ContentSequence]


def code_of(item):
    return item.ConceptNameCodeSequence[0].CodeValue


def test_a_hundred_structures_are_a_label_map_that_highdicom_reads(case):
    import highdicom

    pipeline, objects, folder = case
    if "few" in pipeline.name:
        assert objects["seg"].SegmentationType == "BINARY"
        return
    segmentation = highdicom.seg.segread(folder / "seg.dcm")
    assert segmentation.SegmentationType == "LABELMAP"
    wanted = blocks(SHAPE, len(WHOLE_BODY))
    assert len(by_label(objects)) == len(np.unique(wanted)) - 1
