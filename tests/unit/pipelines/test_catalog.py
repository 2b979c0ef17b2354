from pathlib import Path

import pytest
from pydicom.sr.codedict import codes

from models.catalog import Catalog
from pipelines.catalog import pipelines
from pipelines.outputs import (
    ANATOMICAL_STRUCTURE,
    INTRACRANIAL,
    MILLILITRE,
    VOLUME,
    ClassOutput,
    Code,
    MapOutput,
    MeasurementOutput,
    ScoreOutput,
    SegmentOutput,
)
from pipelines.series import CT_IMAGE_STORAGE, MR_IMAGE_STORAGE, SECONDARY_CAPTURE_IMAGE_STORAGE, SeriesHeader
from pipelines.spec import Pipeline

ROOT = Path(__file__).resolve().parents[3]
ALL = list(pipelines().values())

KEYED = (
    (SegmentOutput, "mask", "masks"),
    (MeasurementOutput, "measurement", "measurements"),
    (ScoreOutput, "score", "scores"),
    (ClassOutput, "classification", "classes"),
    (MapOutput, "map", "maps"),
)
"""What a bundle's card lists, and a pipeline declares: the same but for scores, since anything else is refused."""


def test_the_mapping_is_a_copy():
    pipelines().clear()
    assert pipelines()


@pytest.mark.parametrize("pipeline", ALL, ids=lambda pipeline: pipeline.name)
def test_each_task_has_its_bundle_its_page_and_its_outputs(pipeline, tmp_path):
    bundle = Catalog(tmp_path).bundle(pipeline.bundle)
    assert bundle.version == pipeline.bundle_version
    assert bundle.data_class == pipeline.data_class
    assert (ROOT / "docs" / "pipelines" / f"{pipeline.name}.md").exists()
    found = dict(bundle.extension["findings"])
    found["masks"] = {*found.get("masks", ()), *(structure.key for structure in bundle.structures)}
    for output in pipeline.outputs:
        if isinstance(output, SegmentOutput | MeasurementOutput) and output.mask:
            assert output.mask in found["masks"]
        if isinstance(output, MeasurementOutput):
            assert found["measurements"][output.measurement] == output.unit.value
    for kind, name, listed in KEYED:
        declared = {getattr(output, name) for output in pipeline.outputs if isinstance(output, kind)}
        assert declared <= set(found.get(listed, ())), listed
        assert kind is ScoreOutput or declared == set(found.get(listed, ())), listed


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (ANATOMICAL_STRUCTURE, codes.SCT.AnatomicalStructure),
        (INTRACRANIAL, codes.SCT.Intracranial),
        (VOLUME, codes.SCT.Volume),
    ],
)
def test_codes_are_those_of_the_dictionary(ours, theirs):
    assert (ours.value, ours.scheme, ours.meaning) == (theirs.value, theirs.scheme_designator, theirs.meaning)


def test_codes_are_in_the_context_groups_of_a_segment():
    assert codes.SCT.AnatomicalStructure in codes.CID7150
    assert codes.SCT.Intracranial in codes.CID7151
    assert codes.SCT.Volume in codes.CID7469
    assert Code("mL", "UCUM", "milliliter") == MILLILITRE


def test_sop_classes_are_those_of_the_dictionary():
    from pydicom.uid import CTImageStorage, MRImageStorage, SecondaryCaptureImageStorage

    assert (CTImageStorage, MRImageStorage) == (CT_IMAGE_STORAGE, MR_IMAGE_STORAGE)
    assert SecondaryCaptureImageStorage == SECONDARY_CAPTURE_IMAGE_STORAGE


def test_extent():
    header = SeriesHeader("1", "MR", frozenset(), instances=10, rows=20, columns=30, spacing_mm=(1.0, 2.0, 3.0))
    assert header.extent_mm == (30.0, 40.0, 30.0)
    assert SeriesHeader("1", "MR", frozenset()).extent_mm is None


def test_a_pipeline_is_frozen():
    import dataclasses

    assert all(isinstance(pipeline, Pipeline) for pipeline in ALL)
    with pytest.raises(dataclasses.FrozenInstanceError):
        ALL[0].name = "other"


def test_a_measurement_needs_its_segment():
    import dataclasses

    with pytest.raises(AssertionError):
        dataclasses.replace(ALL[0], outputs=tuple(o for o in ALL[0].outputs if not isinstance(o, SegmentOutput)))
    with pytest.raises(AssertionError):
        dataclasses.replace(ALL[0], name="Not A Name")
