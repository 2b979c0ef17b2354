"""What BitHive writes of scores, classes and maps, judged by programs that nobody here made: dciodvfy, dcmqi, dcmtk."""

import json
import re
import subprocess
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - its usual name

from clinic.writers import sr, write
from inference.findings import Measurement, ScalarMap
from pipelines.outputs import MEAN, MEDIAN, PERCENT, Code
from tests.common.dicom_factory import CORONAL, content_of, make_series
from tests.common.external import external
from tests.common.planar_written import SALIENCY, classified, scored
from tests.common.written import context, many, source_of
from tests.interop.test_written_objects import faults

CASES = {
    "inside": lambda: scored(age="004Y"),
    "outside": lambda: scored(age="054Y"),
    "of-unknown-age": lambda: scored(age=""),
    "clip": lambda: classified(5),
}


@pytest.fixture(scope="module", params=CASES)
def case(request, tmp_path_factory):
    """A planar case and its objects as files, beside its sources; the report also verified."""
    made = CASES[request.param]()
    place = tmp_path_factory.mktemp("planar")
    written = write(made.source, made.findings, made.context)
    report = next(item for item in written if item.kind == "sr")
    written.append(sr.verified(report.content, "2.25.77", "Berg^", "Test Hospital", 1_800_000_900_000))
    for item in written:
        (place / f"{item.kind}.dcm").write_bytes(item.content)
    for number, item in enumerate(made.series):
        (place / f"source.{number}.dcm").write_bytes(content_of(item))
    return made, place, [item.kind for item in written]


def test_dciodvfy_sees_no_error_that_the_sources_do_not_have(case):
    _, place, kinds = case
    known = set().union(*(faults(path) for path in place.glob("source.*")))
    for kind in kinds:
        assert faults(place / f"{kind}.dcm") <= known, kind


def test_dcmtk_parses_the_documents(case):
    _, place, kinds = case
    for kind in {"sr", "sr-verified", "kos"} & set(kinds):
        ended = subprocess.run([external("dsrdump"), place / f"{kind}.dcm"], capture_output=True, text=True)
        assert ended.returncode == 0, ended.stderr
        assert not re.search(r"^[EF]:", ended.stderr, re.MULTILINE), ended.stderr


def test_dcmqi_reads_every_number_back(case, tmp_path):
    made, place, _ = case
    told = tmp_path / "report.json"
    command = [external("tid1500reader"), "--inputDICOM", place / "sr.dcm", "--outputMetadata", told]
    subprocess.run(command, check=True, capture_output=True)
    items = [group["measurementItems"][0] for group in json.loads(told.read_text())["Measurements"]]
    read = sorted(round(float(item["value"]), 1) for item in items)
    findings = made.findings
    expected = [100 * score.value for score in findings.scores]
    expected += [100 * item.certainty for item in findings.classes] + [item.value for item in findings.measurements]
    assert read == pytest.approx(sorted(round(value, 1) for value in expected))


@pytest.mark.parametrize("made", ["coronal", "axial"])
def test_dcmqi_finds_every_number_of_a_map_where_the_source_has_it(made, tmp_path):
    positions = [(-20.5, 0.0, 2 * z) for z in range(12)] if made == "axial" else None
    geometry = {"orientation": CORONAL, "origin": (-33.3, 12.125, 7)} if positions is None else {"positions": positions}
    series = make_series((12, 20, 18), (1.5, 1.25, 2), **geometry)
    source = source_of(series)
    array = np.random.default_rng(2).normal(size=source.grid.shape).astype(np.float32)
    findings = replace(scored().findings, measurements=(), scores=(), maps=(ScalarMap("saliency", array),))
    pipeline = replace(context().pipeline, outputs=(SALIENCY,))
    (written,) = write(source, findings, context(pipeline=pipeline))
    (tmp_path / "map.dcm").write_bytes(written.content)
    assert not faults(tmp_path / "map.dcm")
    command = [external("paramap2itkimage"), "--inputDICOM", tmp_path / "map.dcm", "--outputDirectory", tmp_path]
    subprocess.run([*command, "-t", "nrrd"], check=True, capture_output=True)
    image = sitk.ReadImage(next(tmp_path.glob("*.nrrd")))
    theirs = sitk.GetArrayFromImage(image)
    index = np.argwhere(np.isfinite(theirs))
    steps = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    places = index[:, ::-1] @ steps.T + np.array(image.GetOrigin()) - source.volume.affine[:3, 3]
    ours = places @ np.linalg.inv(source.volume.affine[:3, :3]).T
    nearest = np.round(ours).astype(int)
    assert np.abs((ours - nearest) * source.volume.spacing_mm).max() < 1e-3
    x, y, z = nearest.T
    assert np.array_equal(array[z, y, x], theirs.reshape(-1))


def test_dcmqi_reads_a_table_of_structures_with_several_measurements_each(tmp_path):
    source = source_of(make_series((12, 40, 36), (1.5, 1.25, 2), modality="CT"))
    body = many(source, 25)
    density = {
        "name": Code("112031", "DCM", "Attenuation Coefficient"),
        "unit": Code("[hnsf'U]", "UCUM", "Hounsfield unit"),
    }
    kinds = {
        "mean": density | {"statistic": MEAN},
        "median": density | {"statistic": MEDIAN},
        "share": {"unit": PERCENT},
    }
    outputs, values = list(body.measured), list(body.findings.measurements)
    for number, output in enumerate(body.measured):
        for kind, members in kinds.items():
            made = replace(output, measurement=f"{output.mask}_{kind}", **members)
            outputs.append(made)
            values.append(Measurement(made.measurement, number - 7.5, made.unit.value, made.mask))
    pipeline = replace(body.context.pipeline, outputs=(*body.segments, *outputs))
    findings = replace(body.findings, measurements=tuple(values))
    report = write(source, findings, replace(body.context, pipeline=pipeline))[1]
    (tmp_path / "sr.dcm").write_bytes(report.content)
    told = tmp_path / "report.json"
    command = [external("tid1500reader"), "--inputDICOM", tmp_path / "sr.dcm", "--outputMetadata", told]
    subprocess.run(command, check=True, capture_output=True)
    groups = json.loads(told.read_text())["Measurements"]
    assert [group["ReferencedSegment"] for group in groups] == list(range(1, 26))
    for number, (group, volume) in enumerate(zip(groups, body.findings.measurements, strict=True)):
        read = [(float(item["value"]), item["units"]["CodeValue"]) for item in group["measurementItems"]]
        shown = float(f"{volume.value:.6g}")
        assert read == [(shown, "mL"), *((number - 7.5, unit) for unit in ("[hnsf'U]", "[hnsf'U]", "%"))]
        statistics = [item.get("derivationModifier", {}).get("CodeMeaning") for item in group["measurementItems"]]
        assert statistics == [None, "Mean", "Median", None]
