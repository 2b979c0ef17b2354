"""What BitHive writes, judged by programs that nobody here made: dciodvfy, dcmqi, SimpleITK, highdicom."""

import io
import json
import re
import subprocess
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813 - its usual name

from clinic.writers import rejection, sr, write
from tests.common.dicom_factory import CORONAL, content_of, files_of, head_series, make_series
from tests.common.external import external
from tests.common.written import as_frames, context, findings_of, many, source_of

SERIES = {
    "t1-head": ("t1-head/dicom", "*"),
    "mr-head-sagittal": ("mr-head-sagittal", "*.dcm"),
    "ct-head-philips": ("ct-head-philips", "I*"),
}


@pytest.fixture(scope="module", params=["factory", *SERIES])
def case(request, tmp_path_factory):
    """A source, its files, what was found in it, and the five objects written, as files."""
    if request.param == "factory":
        contents = [content_of(item) for item in head_series((12, 33, 31), orientation=CORONAL)]
    else:
        folder, pattern = SERIES[request.param]
        contents = files_of(request.getfixturevalue("shared") / "data" / folder, pattern)
    source = source_of(contents)
    findings = findings_of(source)
    objects = write(source, findings, context())
    objects.append(sr.verified(objects[1].content, "2.25.77", "Berg^", "Test Hospital", 1_800_000_900_000))
    every = [item.content for item in objects]
    objects.append(rejection.write(every, "2.25.78", "2.25.79", "Berg^", "Test Hospital", 1_800_000_950_000))
    place = tmp_path_factory.mktemp("written")
    for item in objects:
        (place / f"{item.kind}.dcm").write_bytes(item.content)
    (place / "source.dcm").write_bytes(contents[0])
    return source, findings, place


def faults(path: Path) -> set[str]:
    """The errors that dciodvfy sees, without the values and the place in the file."""
    ended = subprocess.run([external("dciodvfy"), "-new", path], capture_output=True, text=True)
    lines = (ended.stdout + ended.stderr).splitlines()
    return {re.sub(r"<[^>]*/|=? ?<[^>]*>", "", line) for line in lines if line.startswith(("Error", "Abort"))}


@pytest.mark.parametrize("kind", ["seg", "sr", "sc", "sr-verified", "rejection"])
def test_dciodvfy_sees_no_error_that_the_source_does_not_have(case, kind):
    _, _, place = case
    assert faults(place / f"{kind}.dcm") <= faults(place / "source.dcm")


def test_dcmqi_finds_every_voxel_where_the_source_has_it(case, tmp_path):
    source, findings, place = case
    command = [
        external("segimage2itkimage"),
        "--inputDICOM",
        place / "seg.dcm",
        "--outputDirectory",
        tmp_path,
        "-t",
        "nrrd",
    ]
    subprocess.run(command, check=True, capture_output=True)
    image = sitk.ReadImage(tmp_path / "1.nrrd")
    theirs = sitk.GetArrayFromImage(image) > 0
    mask = findings.masks[0].array
    assert theirs.sum() == mask.sum()
    steps = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    index = np.argwhere(theirs)[:: max(1, int(theirs.sum()) // 20_000), ::-1]
    places = index @ steps.T + np.array(image.GetOrigin())
    ours = (places - source.volume.affine[:3, 3]) @ np.linalg.inv(source.volume.affine[:3, :3]).T
    nearest = np.round(ours).astype(int)
    assert np.abs((ours - nearest) * source.volume.spacing_mm).max() < 1e-3
    assert mask[nearest[:, 2], nearest[:, 1], nearest[:, 0]].all()


def test_highdicom_finds_every_voxel_where_the_source_has_it(case):
    source, findings, place = case
    volume = hd.seg.segread(place / "seg.dcm").get_volume(combine_segments=True)
    assert int(volume.array.sum()) == int(findings.masks[0].array.sum())
    index = np.argwhere(volume.array)[:: max(1, int(volume.array.sum()) // 20_000)]
    places = index @ volume.affine[:3, :3].T + volume.affine[:3, 3]
    ours = (places - source.volume.affine[:3, 3]) @ np.linalg.inv(source.volume.affine[:3, :3]).T
    nearest = np.round(ours).astype(int)
    assert np.abs((ours - nearest) * source.volume.spacing_mm).max() < 1e-3
    assert findings.masks[0].array[nearest[:, 2], nearest[:, 1], nearest[:, 0]].all()


@pytest.mark.parametrize("kind", ["sr", "sr-verified"])
def test_dcmqi_and_highdicom_read_the_measurement_back(case, tmp_path, kind):
    _, findings, place = case
    value = findings.measurements[0].value
    (group,) = hd.sr.srread(place / f"{kind}.dcm").content.get_volumetric_roi_measurement_groups()
    assert group.get_measurements()[0].value == pytest.approx(value, rel=1e-5)
    told = tmp_path / "report.json"
    command = [external("tid1500reader"), "--inputDICOM", place / f"{kind}.dcm", "--outputMetadata", told]
    subprocess.run(command, check=True, capture_output=True)
    (measured,) = json.loads(told.read_text())["Measurements"]
    (item,) = measured["measurementItems"]
    assert float(item["value"]) == pytest.approx(value, rel=1e-5)
    assert item["units"]["CodeValue"] == "mL"
    assert measured["segmentationSOPInstanceUID"] == pydicom.dcmread(place / "seg.dcm").SOPInstanceUID


def test_dcmtk_parses_the_reports(case):
    _, _, place = case
    for kind in ("sr", "sr-verified", "rejection"):
        ended = subprocess.run([external("dsrdump"), place / f"{kind}.dcm"], capture_output=True, text=True)
        assert ended.returncode == 0, ended.stderr
        assert not re.search(r"^[EF]:", ended.stderr, re.MULTILINE), ended.stderr


def test_pydicom_opens_the_preview(case):
    _, _, place = case
    dataset = pydicom.dcmread(io.BytesIO((place / "sc.dcm").read_bytes()))
    assert dataset.pixel_array.shape[2] == 3


TILT = [(-20.5, 0.3 * z + 3.25, 2 * z) for z in range(12)]
SOURCES = {
    "even": lambda: make_series((12, 40, 36), (1.5, 1.25, 2), CORONAL, origin=(-33.3, 12.125, 7)),
    "tilted": lambda: make_series((12, 40, 36), (1, 1, 2), modality="CT", positions=TILT),
    "frames": lambda: [as_frames(make_series((12, 40, 36), (1.5, 1.25, 2), CORONAL, origin=(-33.3, 12.125, 7)))],
}


@pytest.fixture(scope="module", params=[(kind, count) for kind in SOURCES for count in (3, 25)], ids=str)
def many_case(request, tmp_path_factory):
    """A source, its data sets, what was found in it, and the objects written, as files."""
    kind, count = request.param
    series = SOURCES[kind]()
    source = source_of(series)
    body = many(source, count)
    place = tmp_path_factory.mktemp("many")
    for item in write(source, body.findings, body.context):
        (place / f"{item.kind}.dcm").write_bytes(item.content)
    (place / "source.dcm").write_bytes(content_of(series[0]))
    return source, series, body, place


def in_planes(source, body) -> np.ndarray:
    """The labels of each pixel of the source, plane by plane."""
    return np.stack([source.plane(body.findings.labels.array, k) for k in range(len(source.grid.planes))])


# dciodvfy of dicom3tools knows no Label Map Segmentation Storage as something that a segment number may refer to.
UNKNOWN_LABEL_MAP = "Shall not be present for Referenced SOP Class that is not segmentation"


@pytest.mark.parametrize("kind", ["seg", "sr", "sc"])
def test_dciodvfy_sees_no_error_in_many_segments(many_case, kind):
    _, _, body, place = many_case
    found = faults(place / f"{kind}.dcm") - faults(place / "source.dcm")
    if kind == "sr" and len(body.segments) > 20:
        found = {fault for fault in found if UNKNOWN_LABEL_MAP not in fault}
    assert not found


def test_highdicom_gives_each_source_image_its_segments(many_case):
    source, _, body, place = many_case
    read = hd.seg.segread(place / "seg.dcm")
    uids = [plane.row.sop_uid for plane in source.grid.planes]
    options = {"combine_segments": True, "ignore_spatial_locations": True, "assert_missing_frames_are_empty": True}
    if source.grid.planes[0].frame:
        frames = [plane.frame for plane in source.grid.planes]
        found = read.get_pixels_by_source_frame(uids[0], frames, **options)
    else:
        found = read.get_pixels_by_source_instance(uids, **options)
    assert np.array_equal(found, in_planes(source, body))
    assert [item.segment_label for item in map(read.get_segment_description, read.segment_numbers)] == [
        segment.label for segment in body.segments
    ]


def test_every_frame_lies_where_its_source_image_says(many_case):
    _, series, _, place = many_case
    if "PerFrameFunctionalGroupsSequence" in series[0]:
        (held,) = series
        known = {
            (held.SOPInstanceUID, number): group.PlanePositionSequence[0].ImagePositionPatient
            for number, group in enumerate(held.PerFrameFunctionalGroupsSequence, start=1)
        }
        shared = held.SharedFunctionalGroupsSequence[0]
        measures, orientation = shared.PixelMeasuresSequence[0], shared.PlaneOrientationSequence[0]
    else:
        known = {(image.SOPInstanceUID, 0): image.ImagePositionPatient for image in series}
        measures = orientation = series[0]
    dataset = pydicom.dcmread(place / "seg.dcm")
    shared = dataset.SharedFunctionalGroupsSequence[0]
    ours = shared.PlaneOrientationSequence[0].ImageOrientationPatient
    assert np.allclose(np.array(ours, float), np.array(orientation.ImageOrientationPatient, float), atol=1e-6)
    assert np.allclose(
        np.array(shared.PixelMeasuresSequence[0].PixelSpacing, float), np.array(measures.PixelSpacing, float), atol=1e-6
    )
    for group in dataset.PerFrameFunctionalGroupsSequence:
        image = group.DerivationImageSequence[0].SourceImageSequence[0]
        there = known[image.ReferencedSOPInstanceUID, int(image.get("ReferencedFrameNumber", 0))]
        here = group.PlanePositionSequence[0].ImagePositionPatient
        assert np.abs(np.array(here, float) - np.array(there, float)).max() < 1e-3


# dcmqi makes a rectangular image of a Segmentation; of planes that lean there is none.
@pytest.mark.parametrize(
    "many_case", [(kind, count) for kind in ("even", "frames") for count in (3, 25)], ids=str, indirect=True
)
def test_dcmqi_finds_every_segment_where_the_source_has_it(many_case, tmp_path):
    source, _, body, place = many_case
    command = [external("segimage2itkimage"), "--inputDICOM", place / "seg.dcm", "--outputDirectory", tmp_path]
    subprocess.run([*command, "-t", "nrrd"], check=True, capture_output=True)
    labels, step = body.findings.labels.array, np.linalg.inv(source.volume.affine[:3, :3]).T
    seen = np.zeros(labels.shape, int)
    for path in tmp_path.glob("*.nrrd"):
        image = sitk.ReadImage(path)
        theirs = sitk.GetArrayFromImage(image)
        index = np.argwhere(theirs)
        steps = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
        ours = (index[:, ::-1] @ steps.T + np.array(image.GetOrigin()) - source.volume.affine[:3, 3]) @ step
        nearest = np.round(ours).astype(int)
        assert np.abs((ours - nearest) * source.volume.spacing_mm).max() < 1e-3
        x, y, z = nearest.T
        numbers = theirs[tuple(index.T)] if len(body.segments) > 20 else int(path.stem)
        seen[z, y, x] += numbers
    assert np.array_equal(seen, labels)


def test_dcmqi_and_highdicom_read_every_measurement_back(many_case, tmp_path):
    _, _, body, place = many_case
    expected = [round(item.value, 3) for item in body.findings.measurements]
    groups = hd.sr.srread(place / "sr.dcm").content.get_volumetric_roi_measurement_groups()
    assert [round(group.get_measurements()[0].value, 3) for group in groups] == expected
    told = tmp_path / "report.json"
    command = [external("tid1500reader"), "--inputDICOM", place / "sr.dcm", "--outputMetadata", told]
    subprocess.run(command, check=True, capture_output=True)
    measured = json.loads(told.read_text())["Measurements"]
    assert [round(float(item["measurementItems"][0]["value"]), 3) for item in measured] == expected
    assert [item["ReferencedSegment"] for item in measured] == list(range(1, len(expected) + 1))
    assert {item["segmentationSOPInstanceUID"] for item in measured} == {
        pydicom.dcmread(place / "seg.dcm").SOPInstanceUID
    }


def test_a_report_that_nothing_was_found_is_a_report(tmp_path):
    source = source_of(make_series((12, 40, 36)))
    body = many(source, 3, empty=(1, 2, 3))
    (report,) = write(source, body.findings, body.context)
    (tmp_path / "sr.dcm").write_bytes(report.content)
    assert not faults(tmp_path / "sr.dcm")
    told = tmp_path / "report.json"
    command = [external("tid1500reader"), "--inputDICOM", tmp_path / "sr.dcm", "--outputMetadata", told]
    subprocess.run(command, check=True, capture_output=True)
    assert json.loads(told.read_text())["Measurements"] == []
    ended = subprocess.run([external("dsrdump"), tmp_path / "sr.dcm"], capture_output=True, text=True)
    assert ended.returncode == 0
    assert ended.stdout.count('"Absent"') == 3
