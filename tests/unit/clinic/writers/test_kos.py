import io
from dataclasses import replace

import pydicom

from clinic.writers import kos, write
from inference.findings import Classification, Findings
from tests.common.planar_written import CLASSIFIED, PLANES, classified

KEY_IMAGES = CLASSIFIED.outputs[1]


def test_the_best_frame_of_each_class_is_referred_to():
    case = classified(8)
    written = next(item for item in write(case.source, case.findings, case.context) if item.kind == "kos")
    dataset = pydicom.dcmread(io.BytesIO(written.content))
    assert (dataset.SOPClassUID, dataset.Modality) == (kos.KEY_OBJECT_SELECTION, "KO")
    assert dataset.ConceptNameCodeSequence[0].CodeValue == "113000"
    images = [item for item in dataset.ContentSequence if item.ValueType == "IMAGE"]
    still, clip = (item.SOPInstanceUID for item in case.series)
    found = [item.ReferencedSOPSequence[0] for item in images]
    assert [(item.ReferencedSOPInstanceUID, item.get("ReferencedFrameNumber")) for item in found] == [
        (still, None), (clip, 7),
    ]  # fmt: skip
    texts = [item.TextValue for item in dataset.ContentSequence if item.ValueType == "TEXT"]
    (told,) = [text for text in texts if "frame" in text]
    assert told.endswith("Standard plane: Head: frame 1 (97 %), Abdomen: frame 8 (85 %)")
    assert told.startswith("Chosen automatically, not for diagnosis.")
    (study,) = dataset.CurrentRequestedProcedureEvidenceSequence
    (series,) = study.ReferencedSeriesSequence
    assert [item.ReferencedSOPInstanceUID for item in series.ReferencedSOPSequence] == [still, clip]


def test_two_classes_of_one_clip_name_it_twice_and_its_evidence_once():
    case = classified(2)
    rows = (Classification("plane", 1, "head", 0.9), Classification("plane", 2, "abdomen", 0.9))
    written = kos.write(KEY_IMAGES, PLANES, case.source, Findings(classes=rows), case.context)
    dataset = pydicom.dcmread(io.BytesIO(written.content))
    images = [item.ReferencedSOPSequence[0] for item in dataset.ContentSequence if item.ValueType == "IMAGE"]
    assert [item.ReferencedFrameNumber for item in images] == [1, 2]
    (series,) = dataset.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    assert len(series.ReferencedSOPSequence) == 1


def test_no_frame_that_is_certain_enough_is_no_document():
    case = classified(4)
    rows = (Classification("plane", 0, "head", 0.49), Classification("plane", 1, "background", 1.0))
    findings = Findings(classes=rows)
    assert kos.write(KEY_IMAGES, PLANES, case.source, findings, case.context) is None
    assert [item.kind for item in write(case.source, findings, case.context)] == ["sr", "sc"]


def test_outside_the_population_the_description_begins_with_it():
    case = classified(4)
    chosen = replace(case.context, pipeline=replace(CLASSIFIED, validated_age_years=(90.0, 99.0)))
    written = kos.write(KEY_IMAGES, PLANES, case.source, case.findings, chosen)
    assert b"Outside the intended population. Chosen automatically" in written.content
