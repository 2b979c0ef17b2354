"""Every DICOM file of others that is here has the outcome that the table states, and lies where others say it lies."""

from __future__ import annotations

import io
import subprocess
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pydicom.data
import pytest
import SimpleITK

from bithive.errors import BitHiveError
from clinic.geometry import Grid
from clinic.reader import read
from clinic.writers import seg
from clinic.writers.source import Source
from inference.volume import Volume
from tests.common.dicom_factory import rows_of
from tests.common.written import SEGMENT, context, findings_of
from tests.golden import outcomes
from tests.golden.outcomes import PYDICOM_FILES, PYDICOM_SERIES, SHARED, Series

SAMPLES = Path(pydicom.data.__file__).parent / "test_files"
TOLERANCE_MM = 1e-3


def outcome_of(contents: list[bytes]) -> tuple[str, Grid | None, Volume | None]:
    try:
        rows, blobs = rows_of(contents)
        return "read", *read(rows, blobs)
    except BitHiveError as error:
        return error.code, None, None


def series_in(root: Path) -> Iterator[tuple[str, list[bytes]]]:
    """Folder and files of each series, as the intake tells them apart."""
    found: dict[tuple[str, str], list[bytes]] = defaultdict(list)
    for path in sorted(root.rglob("*")):
        if path.is_file():
            content = path.read_bytes()
            try:
                (row,), _ = rows_of([content])
            except BitHiveError:
                continue
            found[path.parent.relative_to(root).as_posix(), row.series_uid].append(content)
    for (folder, _), contents in found.items():
        yield folder, contents


def judged(folder: str, contents: list[bytes]) -> tuple[Series, list[bytes], Grid | None, Volume | None]:
    code, grid, volume = outcome_of(contents)
    shape, put_right = (volume.array.shape, grid.warnings) if grid and volume else (None, ())
    return Series(folder, len(contents), code, shape, put_right), contents, grid, volume


def comparable(series: Series) -> tuple[object, ...]:
    return (series.folder, series.images, series.outcome, series.shape, series.warnings)


@pytest.mark.filterwarnings("ignore")
def test_every_test_file_of_pydicom_has_its_outcome():
    patterns = {pattern: code for code, listed in PYDICOM_FILES.items() for pattern in listed}
    used: Counter[str] = Counter()
    wrong = []
    for path in sorted(SAMPLES.rglob("*")):
        if not path.is_file() or path.suffix == ".py":
            continue
        name = path.relative_to(SAMPLES).as_posix()
        fitting = [
            pattern for pattern in patterns if name == pattern or ("*" in pattern and fnmatchcase(name, pattern))
        ]
        used.update(fitting)
        stated = [patterns[pattern] for pattern in fitting]
        found = outcome_of([path.read_bytes()])[0]
        if stated != [found]:
            wrong.append(f"{name}: {found}, stated {stated}")
    assert wrong == []
    assert set(used) == set(patterns)


@dataclass(frozen=True)
class Found:
    """A series as it was read."""

    series: Series
    contents: list[bytes]
    grid: Grid | None
    volume: Volume | None


@pytest.fixture(scope="module")
def found_in() -> Callable[[Path], list[Found]]:
    """Every series below a folder, read once."""

    @cache
    def find(root: Path) -> list[Found]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return [Found(*judged(folder, contents)) for folder, contents in series_in(root)]

    return find


def test_every_series_of_the_shared_data_has_its_outcome(shared, found_in):
    found = [comparable(item.series) for item in found_in(shared / "data")]
    assert sorted(found) == sorted(map(comparable, SHARED))


def test_every_series_of_pydicom_has_its_outcome(found_in):
    found = [comparable(item.series) for item in found_in(SAMPLES / "dicomdirtests") if item.series.images > 1]
    assert sorted(("dicomdirtests/" + str(folder), *rest) for folder, *rest in found) == sorted(
        map(comparable, PYDICOM_SERIES)
    )


def read_ones() -> list[Series]:
    return [series for series in (*SHARED, *PYDICOM_SERIES) if series.outcome == "read" and not series.planar]


@pytest.fixture(scope="module", params=read_ones(), ids=lambda series: series.folder.replace("/", "-"))
def measured(request, found_in, tmp_path_factory) -> tuple[Series, Grid, Volume, Path]:
    """A series that is read, and a folder with its files by their order along the normal."""
    series: Series = request.param
    ours = series in PYDICOM_SERIES
    root = SAMPLES / "dicomdirtests" if ours else request.getfixturevalue("shared") / "data"
    folder = series.folder.removeprefix("dicomdirtests/")
    (found,) = (item for item in found_in(root) if item.series.folder == folder)
    place = tmp_path_factory.mktemp("series")
    rows, _ = rows_of(found.contents)
    content = {row.sop_uid: item for row, item in zip(rows, found.contents, strict=True)}
    for k, row in enumerate(found.grid.rows):
        (place / f"{k:04}.dcm").write_bytes(content[row.sop_uid])
    return series, found.grid, found.volume, place


def test_voxel_centres_are_those_of_simpleitk(measured):
    """Plane by plane, since SimpleITK knows neither tilt nor uneven distances; as a whole where there are none."""
    _, grid, volume, folder = measured
    places = [(0, 0, k) for k in range(len(grid.planes))] if grid.straightening is None else grid.straightening.places
    for k, place in enumerate(places):
        image = SimpleITK.ReadImage(str(folder / f"{k:04}.dcm"))
        columns, rows, _ = image.GetSize()
        for x, y in ((0, 0), (columns - 1, 0), (0, rows - 1), (columns - 1, rows - 1)):
            theirs = image.TransformIndexToPhysicalPoint((x, y, 0))
            ours = (volume.affine @ (place[0] + x, place[1] + y, place[2], 1))[:3]
            assert np.linalg.norm(ours - theirs) < TOLERANCE_MM
    if grid.straightening is None:
        image = SimpleITK.ReadImage([str(path) for path in sorted(folder.iterdir())])
        assert np.array_equal(SimpleITK.GetArrayViewFromImage(image), volume.array)
        for corner in np.ndindex(2, 2, 2):
            index = [int((size - 1) * bit) for size, bit in zip(image.GetSize(), corner, strict=True)]
            theirs = image.TransformIndexToPhysicalPoint(index)
            assert np.linalg.norm((volume.affine @ (*index, 1))[:3] - theirs) < TOLERANCE_MM


def test_voxel_centres_are_those_of_dcm2niix(measured, external, tmp_path):
    series, grid, volume, folder = measured
    subprocess.run([external("dcm2niix"), "-o", tmp_path, "-f", "x", folder], check=True, capture_output=True)
    (name,) = tmp_path.glob("x_Tilt*.nii" if "tilt-corrected" in grid.warnings else "x.nii")
    image = nib.load(name)
    theirs = np.diag([-1.0, -1.0, 1.0, 1.0]) @ image.affine
    in_plane = np.linalg.inv(volume.affine) @ theirs
    if grid.straightening is not None:
        # Another step along the normal, so only the first plane's voxels are the same.
        whole = np.delete(in_plane[:2], 2, axis=1)
        assert np.abs(whole - np.rint(whole)).max() * min(volume.spacing_mm[:2]) < series.dcm2niix_mm
        assert abs(in_plane[2, 3]) * volume.spacing_mm[2] < series.dcm2niix_mm
        assert image.shape[:2] == volume.array.shape[:0:-1]
        return
    moved = np.rint(in_plane)
    assert sorted(np.abs(moved[:3, :3]).ravel()) == [0] * 6 + [1] * 3
    sizes = np.array(image.shape[:3]) - 1
    values = np.asarray(image.dataobj)
    for corner in np.ndindex(2, 2, 2):
        index = sizes * corner
        ours = moved[:3, :3] @ index + moved[:3, 3]
        apart = volume.affine[:3, :3] @ ours + volume.affine[:3, 3] - (theirs[:3, :3] @ index + theirs[:3, 3])
        assert np.linalg.norm(apart) < series.dcm2niix_mm
        x, y, z = ours.astype(int)
        assert values[tuple(index)] == volume.array[z, y, x]


def test_what_is_found_in_the_tilted_head_lies_on_its_own_slices(shared, found_in):
    """Bone, found in the block by its value, written as a Segmentation, and compared with bone in each source slice."""
    (head,) = (item for item in found_in(shared / "data") if item.series.folder == "ct-head-tilted")
    source = Source(head.grid, head.volume)
    bone = head.volume.array > 300
    written = seg.write([SEGMENT], source, findings_of(source, bone), context())
    dataset = pydicom.dcmread(io.BytesIO(written.content))
    slices = {item.SOPInstanceUID: item for item in map(pydicom.dcmread, map(io.BytesIO, head.contents))}
    shared_groups = dataset.SharedFunctionalGroupsSequence[0]
    axes = np.array(shared_groups.PlaneOrientationSequence[0].ImageOrientationPatient, float).reshape(2, 3)
    agreement = []
    for frame, group in zip(dataset.pixel_array, dataset.PerFrameFunctionalGroupsSequence, strict=True):
        reference = group.DerivationImageSequence[0].SourceImageSequence[0]
        image = slices[reference.ReferencedSOPInstanceUID]
        position = np.array(group.PlanePositionSequence[0].ImagePositionPatient, float)
        assert np.linalg.norm(position - np.array(image.ImagePositionPatient, float)) < TOLERANCE_MM
        assert np.abs(axes.reshape(-1) - np.array(image.ImageOrientationPatient, float)).max() < 1e-6
        assert _misplaced(frame, position, axes, head) == 0
        acquired = image.pixel_array * float(image.RescaleSlope) + float(image.RescaleIntercept) > 300
        agreement.append(2 * np.count_nonzero(acquired & (frame > 0)) / (acquired.sum() + frame.sum()))
    assert len(agreement) == 28
    assert min(agreement[:14]) > 0.96
    assert np.median(agreement[14:]) > 0.85


def _misplaced(frame, position, axes, head: Found) -> int:
    """How many voxels of a frame are not what the nearest voxel of the block is, by their places in the patient."""
    y, x = np.mgrid[: frame.shape[0] : 3, : frame.shape[1] : 3]
    step = head.volume.spacing_mm[:2]
    places = position + step[0] * x[..., None] * axes[0] + step[1] * y[..., None] * axes[1]
    inverse = np.linalg.inv(head.volume.affine)
    index = places @ inverse[:3, :3].T + inverse[:3, 3]
    half_way = (np.abs(index - np.floor(index) - 0.5) < 1e-3).any(axis=-1)
    i, j, k = np.rint(index).astype(int).transpose(2, 0, 1)
    differs = (head.volume.array[k, j, i] > 300) != (frame[::3, ::3] > 0)
    return int((differs & ~half_way).sum())


def test_the_table_names_known_codes():
    codes = {error.code for error in _leaves(BitHiveError)}
    assert set(PYDICOM_FILES) | {series.outcome for series in (*SHARED, *PYDICOM_SERIES)} <= codes | {"read"}
    assert set(PYDICOM_FILES) >= outcomes.NOT_TAKEN


def _leaves(kind: type) -> Iterator[type]:
    yield kind
    for child in kind.__subclasses__():
        yield from _leaves(child)
