import io
import subprocess

import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK

from clinic.reader import read
from clinic.straighten import plan
from tests.common.dicom_factory import AXIAL, OBLIQUE, files_of, make_series, rows_of
from tests.common.written import source_of

TILT = np.tan(np.radians(18.5))


def tilted(
    planes=9, rows=20, columns=16, lean=TILT, step=3.0, spacing=(0.5, 0.75), orientation=AXIAL, seed=0, **members
):
    pixels = np.random.default_rng(seed).integers(-900, 1500, (planes, rows, columns)).astype(np.int16)
    row, column = np.array(orientation[:3]), np.array(orientation[3:])
    positions = [k * step * (np.cross(row, column) + lean * column) for k in range(planes)]
    arguments = {
        "pixels": pixels,
        "positions": positions,
        "orientation": orientation,
        "modality": "CT",
        "RescaleIntercept": 0,
    }
    return make_series((planes, rows, columns), (*spacing, step), **(arguments | members)), pixels


def test_a_block_has_room_for_every_plane():
    made = plan(np.array([[0, 0, 0], [-0.4, 1.5, 1.0], [-0.8, 3.0, 2.2]]), (5, 4))
    assert made.shape == (3, 8, 5)
    assert made.places.tolist() == [[1, 0, 0], [0.6, 1.5, 1.0], pytest.approx([0.2, 3.0, 2.2])]
    stack = np.arange(1, 61).reshape(3, 5, 4)
    block = made.block(stack)
    for k in range(3):
        assert np.array_equal(made.plane(block, k), stack[k])
        assert np.shares_memory(made.plane(block, k), block)


@pytest.mark.parametrize("orientation", [AXIAL, OBLIQUE])
def test_a_linear_image_stays_where_it_is(orientation):
    """Its value is a place in the patient, so that each voxel says whether it was moved."""
    row, column = np.array(orientation[:3]), np.array(orientation[3:])
    normal = np.cross(row, column)
    slope = 0.4 * row + 0.3 * column + 0.5 * normal
    positions = np.array([d * normal + d * TILT * column for d in (0, 4, 8, 12, 13.1, 20.1, 27.1, 34.1)])
    series, _ = tilted(8, orientation=orientation, positions=positions, RescaleSlope=0.01)
    y, x = np.mgrid[:20, :16]
    for k, item in enumerate(series):
        item.SliceThickness = 4 if k < 4 else 7
        places = positions[k] + 0.5 * x[..., None] * row + 0.75 * y[..., None] * column
        item.PixelData = np.rint(100 * (places @ slope)).astype(np.int16).tobytes()
    source = source_of(series)
    assert source.grid.warnings == ("tilt-corrected", "spacing-corrected")
    z, y, x = np.indices(source.grid.shape)
    places = np.stack((x, y, z), -1) @ source.volume.affine[:3, :3].T + source.volume.affine[:3, 3]
    inside = covered(source)
    assert inside.mean() > 0.3
    assert np.abs(source.volume.array - places @ slope)[inside].max() < 0.011


def covered(source):
    """Voxels that lie inside both planes that they are made of, by a pixel."""
    made = source.grid.straightening
    found = np.zeros(made.shape, np.bool_)
    _, rows, columns = made.stack_shape
    for z in range(made.shape[0]):
        if z > made.places[-1, 2]:
            continue
        found[z] = True
        for k, _ in made.weights(z):
            x, y, _ = made.places[k]
            inside = np.zeros(made.shape[1:], np.bool_)
            inside[int(np.ceil(y)) : int(y) + rows, int(np.ceil(x)) : int(x) + columns] = True
            found[z] &= inside
    return found


def test_whole_pixels_are_moved_and_not_mixed():
    series, pixels = tilted(lean=0.5, step=3.0, spacing=(0.5, 0.5))
    source = source_of(series)
    assert source.grid.warnings == ("tilt-corrected",)
    assert source.volume.array.shape == (9, 20 + 24, 16)
    for k, plane in enumerate(pixels):
        assert np.array_equal(source.plane(source.volume.array, k), plane)
    outside = np.ones(source.grid.shape, bool)
    for k in range(9):
        source.plane(outside, k)[...] = False
    assert set(np.unique(source.volume.array[outside])) == {max(int(pixels.min()), -1000)}


def test_simpleitk_interpolates_the_same_values():
    series, pixels = tilted()
    volume = source_of(series).volume
    lattice = SimpleITK.GetImageFromArray(pixels.astype(np.float32))
    first = np.array(series[0].ImagePositionPatient, float)
    last = np.array(series[-1].ImagePositionPatient, float)
    axes = np.column_stack(([0.5, 0, 0], [0, 0.75, 0], (last - first) / 8))
    to_index = SimpleITK.AffineTransform(3)
    inverse = np.linalg.inv(axes)
    to_index.SetMatrix(inverse.ravel().tolist())
    to_index.SetTranslation((-inverse @ first).tolist())
    reference = SimpleITK.Image([int(size) for size in volume.array.shape[::-1]], SimpleITK.sitkFloat32)
    reference.SetSpacing(volume.spacing_mm)
    reference.SetOrigin(volume.affine[:3, 3].tolist())
    reference.SetDirection((volume.affine[:3, :3] / volume.spacing_mm).ravel().tolist())
    theirs = SimpleITK.GetArrayFromImage(
        SimpleITK.Resample(lattice, reference, to_index, SimpleITK.sitkLinear, -5000.0)
    )
    seen = theirs > -4000
    inside = seen.copy()
    inside[:, 1:] &= seen[:, :-1]  # the outermost row is mixed with what lies outside
    inside[:, :-1] &= seen[:, 1:]
    inside[:, [0, -1]] = False
    assert inside.mean() > 0.5
    assert np.abs(theirs - volume.array)[inside].max() <= 0.51


def converted(external, folder, files):
    """What dcm2niix makes of it: array (z, y, x) and affine in LPS."""
    (folder / "in").mkdir()
    for number, content in enumerate(files):
        (folder / "in" / f"{number}.dcm").write_bytes(content)
    subprocess.run([external("dcm2niix"), "-o", folder, "-f", "x", folder / "in"], check=True, capture_output=True)
    (corrected,) = folder.glob("x_Tilt*.nii")
    image = nib.load(corrected)
    return np.asarray(image.dataobj).transpose(2, 1, 0), np.diag([-1, -1, 1, 1]) @ image.affine


def test_dcm2niix_corrects_one_zone_of_a_real_head_alike(shared, external, tmp_path):
    files = [content for content in files_of(shared / "data" / "ct-head-tilted", "*.dcm") if thickness(content) == 4]
    theirs, affine = converted(external, tmp_path, files)
    rows, blobs = rows_of(files)
    _, volume = read(rows, blobs)
    assert theirs.shape == volume.array.shape == (14, 548, 512)
    flipped = theirs[:, ::-1]
    to_ours = np.linalg.inv(volume.affine) @ affine
    assert to_ours == pytest.approx(np.array([[1, 0, 0, 0], [0, -1, 0, 547], [0, 0, 1, 0], [0, 0, 0, 1]]), abs=1e-3)
    seen = (volume.array > -1000) & (flipped > -1000)
    assert seen.mean() > 0.3
    assert (np.abs(flipped.astype(int) - volume.array)[seen] <= 1).mean() > 0.9995


def thickness(content):
    return float(pydicom.dcmread(io.BytesIO(content), stop_before_pixels=True).SliceThickness)


def test_dcm2niix_puts_the_whole_head_at_the_same_place(shared, external, tmp_path):
    from scipy import ndimage

    files = files_of(shared / "data" / "ct-head-tilted", "*.dcm")
    theirs, affine = converted(external, tmp_path, files)
    rows, blobs = rows_of(files)
    _, volume = read(rows, blobs)
    to_theirs = np.linalg.inv(affine) @ volume.affine
    assert np.abs(to_theirs[:3, :3] - np.diag(np.diag(to_theirs[:3, :3]))).max() < 1e-5
    ours = volume.array[:, ::4, ::4].astype(np.float32)
    head = ours > -300

    normal = volume.affine[:3, 2] / volume.spacing_mm[2]
    places = np.meshgrid(
        *(np.arange(size)[::step] for size, step in zip(volume.array.shape, (1, 4, 4), strict=True)), indexing="ij"
    )

    def disagreement(shift_mm):
        shift = np.linalg.inv(affine[:3, :3]) @ (normal * shift_mm)
        where = [to_theirs[r, r] * places[2 - r] + to_theirs[r, 3] + shift[r] for r in (2, 1, 0)]
        sampled = ndimage.map_coordinates(theirs.astype(np.float32), where, order=1, mode="nearest")
        return float(np.abs(sampled - ours)[head].mean())

    by_shift = {shift: disagreement(shift) for shift in (-1.0, -0.5, 0.0, 0.5, 1.0)}
    assert min(by_shift, key=by_shift.get) == 0.0
