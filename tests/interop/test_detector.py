"""A detector of the zoo's form by name: pulled, made a pipeline, run on a CT with a ball in the dark, written."""

import dataclasses

import numpy as np
import pydicom
import pytest

from clinic.checking import check_findings
from clinic.refusals import FindingsRefused
from clinic.statements import statements_of
from clinic.writers import write
from inference.errors import BadFindings
from inference.findings import Findings, Region
from inference.memory import predict
from inference.run import load
from inference.zoo_detector import carried_out
from models.catalog import Catalog
from pipelines.from_bundle import BOX_LEAST, pipeline_of
from pipelines.outputs import RegionOutput
from tests.common.detector import NAME, detector_bundle
from tests.common.dicom_factory import make_series
from tests.common.written import context, source_of
from tests.interop.test_written_objects import faults

BOX = Region("nodule", 1, (0.0, 0.0, 0.0), (7.0, 8.0, 5.0), 0.83)


@pytest.fixture(scope="module")
def pulled(tmp_path_factory):
    folder = tmp_path_factory.mktemp("zoo")
    (folder / "none").mkdir()
    models = Catalog(folder / "state", (), folder / "none")
    made = detector_bundle(folder)
    assert models.pull(str(made), judge=carried_out) == NAME
    return models, models.bundle(NAME)


@pytest.fixture(scope="module")
def source():
    return source_of(make_series((12, 40, 36), modality="CT"))


def middle_of(source):
    z, y, x = source.grid.shape
    place = source.grid.affine @ (x / 2, y / 2, z / 2, 1.0)
    return tuple(float(value) for value in place[:3])


def test_the_pulled_bundle_is_a_pipeline_that_runs(pulled):
    models, bundle = pulled
    assert (bundle.regions, bundle.structures, bundle.engines) == (("nodule",), (), ("torch",))
    pipeline = pipeline_of(bundle)
    (output,) = [item for item in pipeline.outputs if isinstance(item, RegionOutput)]
    assert (output.finding.value, output.finding_site.value, output.least) == ("27925004", "39607008", BOX_LEAST)
    assert (pipeline.selector.modality, pipeline.selector.spacing_mm_max) == ("CT", 2.5)
    assert pipeline.selector.age_years == (18.0, 120.0)
    assert {"CHEST", "LUNG"} <= pipeline.selector.body_parts
    assert "HEAD" not in pipeline.selector.body_parts
    assert "no segmentation" in pipeline.intended_use
    assert str(pipeline.data_class) == "P3"
    from tests.unit.inference.test_zoo_detector import lungs

    volume, (place,) = lungs()
    findings = load(bundle, models.weights(bundle), threads=2).run(volume)
    found = findings.boxed("nodule", output.least)
    assert np.abs(np.subtract(found[0].centre_mm, place)).max() < 8.0
    assert Findings.from_bytes(findings.to_bytes(), volume.array.shape).regions == findings.regions


def test_the_zoos_window_is_foretold_to_be_large(pulled):
    _, bundle = pulled
    large = predict(bundle, (300, 512, 512), (0.7, 0.7, 1.25), 2).peak_bytes
    small = predict(bundle, (40, 128, 128), (0.7, 0.7, 1.25), 2).peak_bytes
    assert small < 2 << 30 < 12 << 30 < large


@pytest.mark.parametrize("regions", [(), (0.83, 0.6, 0.2)], ids=["none", "three"])
def test_what_is_written_says_that_a_box_is_a_box(pulled, source, tmp_path, regions):
    pipeline = pipeline_of(pulled[1])
    centre = middle_of(source)
    boxes = [
        dataclasses.replace(BOX, number=number, centre_mm=centre, certainty=certainty)
        for number, certainty in enumerate(regions, 1)
    ]
    findings = Findings(regions=tuple(boxes))
    there = check_findings(findings, pipeline, source)
    written = {item.kind: item for item in write(source, findings, context(pipeline=pipeline), there)}
    assert set(written) == {"sr", "sc"}
    (tmp_path / "sr.dcm").write_bytes(written["sr"].content)
    assert not faults(tmp_path / "sr.dcm")
    report = pydicom.dcmread(tmp_path / "sr.dcm")
    said = str(report)
    told = [value for value in regions if value >= BOX_LEAST]
    assert said.count("'POLYGON'") == 2 * len(told)
    assert said.count("Longest edge of bounding box") == said.count("Certainty of Finding") == len(told)
    assert b"finding none excludes nothing" in written["sr"].content
    assert "Absent" not in said
    rows = statements_of(pipeline, findings, ())
    assert len(rows) == 1 + len(told)
    assert rows[0].text.startswith(f"{len(told)} boxes" if told else "no box")
    assert all("longest edge of box 8.0 mm" in row.text and row.positive is None for row in rows[1:])


def test_boxes_that_nobody_asked_for_or_that_lie_elsewhere_are_refused(pulled, source):
    pipeline, centre = pipeline_of(pulled[1]), middle_of(source)
    for wrong in (
        dataclasses.replace(BOX, key="mass", centre_mm=centre),
        dataclasses.replace(BOX, centre_mm=(centre[0] + 900.0, *centre[1:])),
        dataclasses.replace(BOX, centre_mm=centre, size_mm=(900.0, 5.0, 5.0)),
    ):
        with pytest.raises(FindingsRefused):
            check_findings(Findings(regions=(wrong,)), pipeline, source)


@pytest.mark.parametrize(
    "change",
    [
        {"number": 0},
        {"number": True},
        {"number": 1_025},
        {"centre_mm": (0.0, float("nan"), 0.0)},
        {"centre_mm": (0.0, 0.0)},
        {"size_mm": (7.0, 0.0, 5.0)},
        {"size_mm": (1e9, 1.0, 1.0)},
        {"certainty": 1.5},
        {"certainty": float("nan")},
        {"key": "Nodule!"},
    ],
    ids=str,
)
def test_what_is_no_box_is_refused(change):
    with pytest.raises(BadFindings):
        dataclasses.replace(BOX, **change)


def test_boxes_come_back_and_containers_without_are_what_they_were():
    some = Findings(regions=(BOX, dataclasses.replace(BOX, number=2, certainty=0.9)))
    back = Findings.from_bytes(some.to_bytes(), (4, 4, 4))
    assert back.regions == some.regions
    assert [item.number for item in back.boxed("nodule")] == [2, 1]
    assert b"regions" not in Findings().to_bytes()
    for old, new in ((b'"number":1', b'"number":9.'), (b'"number":2', b'"number":1'), (b'"size_mm"', b'"size_cm"')):
        with pytest.raises(BadFindings):
            Findings.from_bytes(some.to_bytes().replace(old, new), (4, 4, 4))
    with pytest.raises(BadFindings):
        Findings(regions=tuple(dataclasses.replace(BOX, number=1) for _ in range(2)))
