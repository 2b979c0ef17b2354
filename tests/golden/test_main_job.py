"""The main job through the whole service: a study goes in by STOW-RS, a SEG as good as deepbet's comes out by WADO-RS."""

from __future__ import annotations

import io
import subprocess
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813 - its usual name

from tests.common.external import external
from tests.common.hub import Hub
from tests.golden.conftest import Head

pytestmark = pytest.mark.heavy

DICE_MIN = 0.995
VOLUME_DIFFERENCE_MAX = 0.01
CENTRE_TOLERANCE_MM = 1e-3


@pytest.fixture(scope="module")
def done(live: Hub, head: Head, tmp_path_factory: pytest.TempPathFactory) -> tuple[Head, Hub, dict, Path]:
    """The study as the hub tells of it when it has ended, and its written objects as files."""
    files = sorted(path for path in head.dicom.iterdir() if path.suffix == ".dcm")
    answer = live.stow(files)
    assert answer.status_code == 200, answer.text
    study_uid = str(pydicom.dcmread(files[0], specific_tags=["StudyInstanceUID"]).StudyInstanceUID)
    study = live.wait_for_state(study_uid, ["COMPLETED", "CANCELED"], 180)
    folder = tmp_path_factory.mktemp(head.name)
    (item,) = study["workitems"]
    assert item["state"] == "COMPLETED", item
    for reference in item["references"]:
        place = f"studies/{study_uid}/series/{reference['series_uid']}/instances/{reference['sop_uid']}"
        (folder / f"{reference['kind']}.dcm").write_bytes(instance(live, place))
    return head, live, item, folder


def instance(hub: Hub, place: str) -> bytes:
    """One instance by WADO-RS, as a single part."""
    import httpx2

    accept = {"Accept": "application/dicom; transfer-syntax=*"}
    with httpx2.Client(timeout=60) as client:
        answer = client.get(f"{hub.url}/dicomweb/{place}", headers={**hub.headers("pacs"), **accept})
        answer.raise_for_status()
        return answer.content


def test_seg_agrees_with_deepbet_voxel_by_voxel(done, tmp_path) -> None:
    head, _, _, folder = done
    convert = [external("segimage2itkimage"), "--inputDICOM", folder / "seg.dcm", "--outputDirectory", tmp_path]
    subprocess.run([*convert, "-t", "nifti"], check=True, capture_output=True)
    ours = sitk.ReadImage(next(iter(tmp_path.glob("*.nii.gz"))))
    found = np.argwhere(sitk.GetArrayFromImage(ours) > 0)[:, ::-1]
    centres = found @ (direction(ours) * ours.GetSpacing()).T + ours.GetOrigin()

    assert distance_to_source(centres, head.dicom).max() < CENTRE_TOLERANCE_MM

    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ head.reference.affine
    theirs = np.asarray(head.reference.dataobj) > 0
    x, y, z = np.rint((centres - affine[:3, 3]) @ np.linalg.inv(affine[:3, :3]).T).astype(int).T
    both = np.count_nonzero(theirs[x, y, z])
    assert 2 * both / (len(found) + np.count_nonzero(theirs)) >= DICE_MIN


def distance_to_source(centres: np.ndarray, folder: Path) -> np.ndarray:
    """How far each point lies from the nearest voxel centre that the source's own headers state, in millimetres."""
    headers = [pydicom.dcmread(path, stop_before_pixels=True) for path in folder.iterdir() if path.suffix == ".dcm"]
    row, column = np.array(headers[0].ImageOrientationPatient, float).reshape(2, 3)
    down, along = (float(value) for value in headers[0].PixelSpacing)
    normal = np.cross(row, column)
    origins = np.array(sorted(([float(v) for v in h.ImagePositionPatient] for h in headers), key=lambda p: normal @ p))
    heights = origins @ normal
    slices = np.clip(np.searchsorted(heights, centres @ normal - (heights[1] - heights[0]) / 2), 0, len(heights) - 1)
    offset = centres - origins[slices]
    columns, rows = np.rint(offset @ row / along), np.rint(offset @ column / down)
    return np.linalg.norm(offset - columns[:, None] * along * row - rows[:, None] * down * column, axis=1)


def direction(image) -> np.ndarray:
    return np.array(image.GetDirection()).reshape(3, 3)


def test_volume_is_deepbets(done) -> None:
    head, _, item, folder = done
    (measured,) = item["measured"]
    assert measured["unit"] == "mL"
    assert abs(measured["value"] / head.reference_ml - 1) < VOLUME_DIFFERENCE_MAX

    report = highdicom.sr.srread(io.BytesIO((folder / "sr.dcm").read_bytes()))
    assert report.VerificationFlag == "UNVERIFIED"
    (group,) = report.content.get_volumetric_roi_measurement_groups()
    (written,) = group.get_measurements()
    assert written.value == pytest.approx(measured["value"], abs=0.01)
    segment = pydicom.dcmread(folder / "seg.dcm", stop_before_pixels=True)
    assert group.referenced_segment.referenced_sop_instance_uid == segment.SOPInstanceUID


def test_every_object_is_valid(done) -> None:
    head, _, _, folder = done
    source = min(path for path in head.dicom.iterdir() if path.suffix == ".dcm")
    allowed = errors(source)
    for kind in ("seg", "sr", "sc"):
        assert errors(folder / f"{kind}.dcm") <= allowed, kind


def errors(path: Path) -> set[str]:
    """The kinds of error that dciodvfy sees, without values."""
    ended = subprocess.run([external("dciodvfy"), "-new", path], capture_output=True, text=True)
    lines = (ended.stdout + ended.stderr).splitlines()
    return {line.split("<")[0].split("=")[0] for line in lines if line.startswith(("Error", "Abort"))}


def test_it_was_charged_and_rewarded(done) -> None:
    _, live, item, _ = done
    charge = live.get(f"/api/workitems/{item['workitem_id']}/statement")
    assert charge["booked"]
    assert charge["charge"] == sum(part["amount"] for part in charge["split"] if part["asset"] == charge["currency"])
    assert charge["charge"] <= charge["hold"]
    assert charge["work_units"] == item["receipt"]["work_units"]
