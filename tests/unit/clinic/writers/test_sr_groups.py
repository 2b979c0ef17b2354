import io
from dataclasses import replace

import numpy as np
import pydicom
import pytest
from highdicom.sr import Comprehensive3DSR

from clinic.refusals import REMARKS
from clinic.writers import sr, write
from clinic.writers.sr_groups import images_of
from inference.findings import Classification, Findings, Mask, Measurement, Score
from pipelines.anatomy import LOCAL_SCHEME
from pipelines.outputs import MEAN, MEDIAN, MORPHOLOGICAL_OPERATIONS, PERCENT, Code
from tests.common.dicom_factory import make_series
from tests.common.planar import sector, ultrasound
from tests.common.planar_written import BRIGHTNESS, SCORE, SCORED, classified, planar_source, scored
from tests.common.written import MEASUREMENT, PREVIEW, SEGMENT, context, findings_of, source_of

DENSITY = Code("112031", "DCM", "Attenuation Coefficient")
HOUNSFIELD = Code("[hnsf'U]", "UCUM", "Hounsfield unit")


def report_of(case, **members):
    chosen = replace(case.context, **members)
    return next(item for item in write(case.source, case.findings, chosen) if item.kind == "sr")


def groups_of(report):
    dataset = pydicom.dcmread(io.BytesIO(report.content))
    return Comprehensive3DSR.from_dataset(dataset).content.get_image_measurement_groups()


def evaluations(group):
    found = {(item.name.meaning, item.value.meaning) for item in group.get_qualitative_evaluations()}
    return found - {("Algorithm Family", "Artificial Intelligence")}


@pytest.mark.parametrize(
    ("score", "age", "told"),
    [(0.871, "004Y", "Present"), (0.5, "001Y", "Present"), (0.4999, "006Y", "Absent")],
)
def test_a_score_inside_the_population_is_flagged_by_its_threshold(score, age, told):
    case = scored(score, age)
    report = report_of(case)
    _, group = groups_of(report)
    (number,) = group.get_measurements()
    assert number.value == pytest.approx(100 * score, rel=1e-5)
    assert (number.name.value, number.unit.value) == ("111012", "%")
    assert evaluations(group) == {("Pneumonia", told)}
    assert group.finding_type.value == "233604007"
    assert group.finding_sites[0].value.value == "39607008"
    text = str(pydicom.dcmread(io.BytesIO(report.content)))
    assert case.context.algorithm_version in text
    assert "Qualitative Evaluations" not in text


@pytest.mark.parametrize("age", ["054Y", "011M", "", "X"])
@pytest.mark.parametrize("score", [0.999, 0.01])
def test_outside_the_population_nothing_is_flagged_and_it_is_said_twice(age, score):
    report = report_of(scored(score, age))
    _, group = groups_of(report)
    assert group.get_measurements()[0].value == pytest.approx(100 * score)
    outside = ("Remark on the findings", "Outside the intended population")
    assert evaluations(group) == {("Pneumonia", "Undetermined"), outside}
    dataset = pydicom.dcmread(io.BytesIO(report.content))
    assert "52101004" not in str(dataset)
    container = dataset.ContentSequence[-1]
    assert container.ConceptNameCodeSequence[0].CodeMeaning == "Qualitative Evaluations"
    code, sentence = container.ContentSequence
    assert code.ConceptCodeSequence[0].CodingSchemeDesignator == LOCAL_SCHEME
    assert sentence.TextValue == REMARKS["outside-population"]


def test_a_score_without_a_threshold_is_a_number_only():
    bare = replace(SCORED, outputs=(replace(SCORE, positive_from=None), BRIGHTNESS))
    case = scored()
    _, group = groups_of(report_of(replace(case, findings=replace(case.findings, maps=())), pipeline=bare))
    assert not evaluations(group)


def test_a_measurement_of_the_whole_names_its_images_and_its_statistic():
    case = scored()
    group, _ = groups_of(report_of(case))
    (number,) = group.get_measurements()
    assert number.value == pytest.approx(case.findings.measurements[0].value, rel=1e-5)
    assert number.derivation.value == MEAN.value
    assert group.tracking_identifier == "Mean brightness"
    named = [image.referenced_sop_instance_uid for image in group.source_images]
    assert named == [item.SOPInstanceUID for item in case.series]


def test_every_frame_has_its_class_its_certainty_and_its_reference():
    case = classified(3)
    groups = groups_of(report_of(case))
    told = [next(iter(evaluations(group)))[1] for group in groups]
    assert told == ["Fetal head plane", "Fetal abdomen plane", "No standard plane", "Fetal abdomen plane"]
    references = [group.source_images[0] for group in groups]
    still, clip = (item.SOPInstanceUID for item in case.series)
    assert [item.referenced_sop_instance_uid for item in references] == [still, clip, clip, clip]
    assert [item.referenced_frame_numbers for item in references] in (
        [None, 1, 2, 3], [None, [1], [2], [3]],
    )  # fmt: skip
    assert groups[0].get_measurements()[0].value == pytest.approx(97.0)


def test_the_evidence_is_every_instance_once():
    case = classified(5)
    dataset = pydicom.dcmread(io.BytesIO(report_of(case).content))
    (study,) = dataset.CurrentRequestedProcedureEvidenceSequence
    (series,) = study.ReferencedSeriesSequence
    assert [item.ReferencedSOPInstanceUID for item in series.ReferencedSOPSequence] == [
        item.SOPInstanceUID for item in case.series
    ]


def test_a_clip_of_which_a_part_was_analysed_is_named_with_its_frames():
    source = planar_source([ultrasound(sector(20, 22)[None].repeat(4, axis=0))])
    assert images_of(source)[0][2] is None
    part = replace(source, grid=replace(source.grid, planes=source.grid.planes[1:3]))
    assert images_of(part)[0][2] == [2, 3]


def test_several_measurements_of_a_segment_are_one_group_unless_they_are_of_something_else():
    source = source_of(make_series((6, 8, 7), modality="CT"))
    density = replace(MEASUREMENT, name=DENSITY, unit=HOUNSFIELD)
    outputs = (
        MEASUREMENT,
        replace(density, measurement="mean", statistic=MEAN),
        replace(density, measurement="median", statistic=MEDIAN),
        replace(MEASUREMENT, measurement="share", unit=PERCENT, finding=Code("118565006", "SCT", "Volume")),
        replace(MEASUREMENT, measurement="ratio", mask="", label="Ratio", unit=Code("1", "UCUM", "no units")),
    )
    values = (
        ("mean", -0.1 - 0.2, "[hnsf'U]"),
        ("median", 31.0, "[hnsf'U]"),
        ("share", 4.25, "%"),
        ("ratio", 0.31, "1"),
    )
    findings = findings_of(source)
    added = tuple(Measurement(key, value, unit) for key, value, unit in values)
    findings = replace(findings, measurements=(*findings.measurements, *added))
    pipeline = replace(context().pipeline, outputs=(SEGMENT, *outputs))
    segmentation, report = write(source, findings, context(pipeline=pipeline))
    dataset = pydicom.dcmread(io.BytesIO(report.content))
    content = Comprehensive3DSR.from_dataset(dataset).content
    first, second = content.get_volumetric_roi_measurement_groups()
    assert [item.unit.value for item in first.get_measurements()] == ["mL", "[hnsf'U]", "[hnsf'U]"]
    assert [item.derivation and item.derivation.value for item in first.get_measurements()] == [
        None, MEAN.value, MEDIAN.value,
    ]  # fmt: skip
    assert first.get_measurements()[1].value == -0.3
    assert second.get_measurements()[0].unit.value == "%"
    (whole,) = content.get_image_measurement_groups()
    assert whole.get_measurements()[0].value == 0.31
    assert whole.source_images[0].referenced_sop_instance_uid == segmentation.sop_uid


def test_a_volumetric_finding_outside_the_population_says_so():
    source = source_of(make_series((6, 8, 7)))
    pipeline = replace(context().pipeline, validated_age_years=(90.0, 99.0))
    written = write(source, findings_of(source), context(pipeline=pipeline))
    report = next(item for item in written if item.kind == "sr")
    assert REMARKS["outside-population"].encode() in report.content
    preview = pydicom.dcmread(io.BytesIO(written[-1].content))
    assert REMARKS["outside-population"] in preview.ImageComments
    final = sr.verified(report.content, "1.2.3.4", "Berg^", "Hospital", 1_900_000_000_000)
    assert REMARKS["outside-population"].encode() in final.content


def test_a_score_is_told_beside_structures_that_are_absent():
    source = source_of(make_series((6, 8, 7)))
    segment = replace(SEGMENT, may_be_absent=True)
    outputs = (segment, MEASUREMENT, replace(SCORE, positive_from=None), PREVIEW)
    findings = Findings((Mask("intracranial", np.zeros(source.grid.shape, bool)),), (), (Score("pneumonia", 0.25),))
    pipeline = replace(context().pipeline, outputs=outputs)
    report, preview = write(source, findings, context(pipeline=pipeline))
    assert (report.kind, preview.kind) == ("sr", "sc")
    dataset = pydicom.dcmread(io.BytesIO(report.content))
    measured, evaluated = dataset.ContentSequence[-2:]
    assert measured.ConceptNameCodeSequence[0].CodeMeaning == "Imaging Measurements"
    assert len(measured.ContentSequence) == 1
    assert [item.ValueType for item in evaluated.ContentSequence] == ["CODE", "TEXT"]
    assert b"Looked for, not found: Intracranial volume." in report.content


def test_a_rule_is_not_called_artificial_intelligence():
    source = source_of(make_series((6, 8, 7)))
    pipeline = replace(context().pipeline, algorithm_family=MORPHOLOGICAL_OPERATIONS)
    segmentation, report, _ = write(source, findings_of(source), context(pipeline=pipeline))
    for written in (segmentation, report):
        assert b"Morphological Operations" in written.content
        assert b"Artificial Intelligence" not in written.content


def test_writing_again_gives_the_same_bytes():
    for case in (scored(), classified(4)):
        first = write(case.source, case.findings, case.context)
        again = write(case.source, case.findings, case.context)
        assert [item.content for item in again] == [item.content for item in first]
        assert len({item.sop_uid for item in first}) == len(first)


def test_what_was_classified_shows_in_the_order_of_frames_whatever_the_order_found():
    case = classified(3)
    turned = Findings(classes=tuple(reversed(case.findings.classes)))
    assert report_of(replace(case, findings=turned)).content == report_of(case).content
    assert isinstance(turned.classes[0], Classification)
