"""Reads arrays and images from files of strangers: bounded, without pickles, and refused with a code when malformed."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bithive.limits import DATASET_BYTES_MAX, DATASET_IMAGE_PIXELS_MAX, PAYLOAD_BYTES_MAX
from inference.errors import BadDataset, DatasetTooLarge
from inference.volume import DISPLAY, DTYPES, Volume

Array = npt.NDArray[Any]

IMAGE_SUFFIXES = (".png", ".tif", ".tiff", ".jpg", ".jpeg", ".bmp")
NIFTI_SUFFIXES = (".nii", ".nii.gz")

_MEMBERS_MAX = 64
_KINDS = "biuf"
_GREY = {"1": "L", "L": "L", "LA": "L", "P": "RGB", "RGB": "RGB", "RGBA": "RGB", "CMYK": "RGB", "YCbCr": "RGB"}
_DEEP = frozenset({"I;16", "I;16L", "I;16B"})
_RAS_TO_LPS = np.diag((-1.0, -1.0, 1.0, 1.0))


def npz_members(path: Path) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
    """Shape and type of each array of an npz file, by its headers alone.

    Raises
    ------
    BadDataset
        If it is no npz file, or one of its members is no plain array of numbers.
    DatasetTooLarge
        If its arrays are larger than is read at once.
    """
    found: dict[str, tuple[tuple[int, ...], np.dtype[Any]]] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            rows = archive.infolist()
            if len(rows) > _MEMBERS_MAX:
                raise BadDataset("the npz file has too many members")
            if sum(row.file_size for row in rows) > DATASET_BYTES_MAX:
                raise DatasetTooLarge("the arrays are larger than is read at once", size_bytes_max=DATASET_BYTES_MAX)
            for row in rows:
                if not row.filename.endswith(".npy"):
                    raise BadDataset("the npz file holds something else than arrays")
                with archive.open(row) as member:
                    shape, dtype = _header(member)
                if math.prod(shape) * dtype.itemsize > row.file_size:
                    raise BadDataset("an array is shorter than its header says")
                found[row.filename.removesuffix(".npy")] = (shape, dtype)
    except (OSError, EOFError, zipfile.BadZipFile, NotImplementedError, RuntimeError):
        raise BadDataset("the file is no npz file") from None
    return found


def _header(member: Any) -> tuple[tuple[int, ...], np.dtype[Any]]:
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    try:
        version = np.lib.format.read_magic(member)
        shape, _, dtype = readers[version](member)
    except (ValueError, KeyError, SyntaxError):
        raise BadDataset("a member of the npz file is no array") from None
    if dtype.kind not in _KINDS or dtype.hasobject:
        raise BadDataset("a member of the npz file is not an array of numbers")
    return shape, dtype


def npz_arrays(path: Path, names: tuple[str, ...]) -> tuple[Array, ...]:
    """Some arrays of an npz file, after `npz_members` accepted it. Raises `BadDataset`."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return tuple(file[name] for name in names)
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile):
        raise BadDataset("an array of the npz file cannot be read") from None


def planar(picture: Array) -> Volume:
    """One picture as a Volume of display values.

    Parameters
    ----------
    picture
        (rows, columns), or (rows, columns, 3) in red, green, blue, which becomes its luma (ITU-R BT.601); uint8 or
        uint16, 0 black.
    """
    if picture.dtype not in (np.uint8, np.uint16):
        raise BadDataset("pictures are 8 or 16 bit, unsigned")
    grey = picture
    if picture.ndim == 3 and picture.shape[2] in (1, 3):
        weights = np.array((0.299, 0.587, 0.114)) if picture.shape[2] == 3 else np.ones(1)
        grey = np.rint(picture.astype(np.float64) @ weights).astype(picture.dtype)
    if grey.ndim != 2 or not grey.size:
        raise BadDataset("a picture has rows and columns, and one or three channels")
    return Volume(np.ascontiguousarray(grey[None]), np.eye(4), DISPLAY)


def image_file(path: Path) -> Volume:
    """A PNG, TIFF, JPEG or BMP file of one picture. Raises `BadDataset`, `DatasetTooLarge`."""
    from PIL import Image

    try:
        with Image.open(path) as opened:
            if math.prod(opened.size) > DATASET_IMAGE_PIXELS_MAX:
                raise DatasetTooLarge("a picture is larger than is read", pixels_max=DATASET_IMAGE_PIXELS_MAX)
            if getattr(opened, "n_frames", 1) != 1:
                raise BadDataset("a file holds several pictures")
            if opened.mode in _DEEP:
                return planar(np.asarray(opened).astype(np.uint16))
            if opened.mode not in _GREY:
                raise BadDataset("a picture's pixels are of a kind that is not read")
            return planar(np.asarray(opened.convert(_GREY[opened.mode])))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        raise BadDataset("a picture cannot be decoded") from None


def nifti(path: Path) -> tuple[Array, npt.NDArray[np.float64]]:
    """A three-dimensional NIfTI file as (z, y, x) and an affine of (x, y, z) to LPS millimetres.

    Raises
    ------
    BadDataset
        If it cannot be read or has other axes.
    DatasetTooLarge
        If it is larger than a Volume may be.
    """
    import nibabel
    from nibabel.filebasedimages import ImageFileError

    try:
        image = nibabel.load(path)
        shape = tuple(int(size) for size in image.shape)
        if len(shape) == 4 and shape[3] == 1:
            shape = shape[:3]
        if len(shape) != 3 or not all(shape):
            raise BadDataset("a NIfTI file is not three-dimensional")
        if math.prod(shape) * 8 > PAYLOAD_BYTES_MAX:
            raise DatasetTooLarge("a NIfTI file is larger than a Volume may be", size_bytes_max=PAYLOAD_BYTES_MAX)
        array = np.asanyarray(image.dataobj).reshape(shape)
    except (OSError, EOFError, ValueError, ImageFileError):
        raise BadDataset("a NIfTI file cannot be read") from None
    if array.dtype.kind not in _KINDS:
        raise BadDataset("a NIfTI file does not hold plain numbers")
    affine = _RAS_TO_LPS @ np.asarray(image.affine, np.float64)
    return np.ascontiguousarray(array.T), affine


def volume(array: Array, affine: npt.NDArray[np.float64], unit: str) -> Volume:
    """An array with its place as a Volume: its own type where that is one of a Volume's, else float32."""
    kept = array if str(array.dtype) in DTYPES else array.astype(np.float32)
    if kept.dtype == np.float32 and not np.isfinite(kept).all():
        raise BadDataset("an image holds values that are no numbers")
    return Volume(np.ascontiguousarray(kept), np.asarray(affine, np.float64), unit)


def npz_volume(path: Path, unit: str) -> tuple[Volume, Array]:
    """A case of a segmentation in one npz file: `image` and `labels` (z, y, x), `affine` (x, y, z) to LPS mm."""
    members: Mapping[str, Any] = npz_members(path)
    if not {"image", "labels", "affine"} <= set(members):
        raise BadDataset("a case has `image`, `labels` and `affine`")
    image, labels, affine = npz_arrays(path, ("image", "labels", "affine"))
    if image.ndim != 3 or labels.shape != image.shape or affine.shape != (4, 4):
        raise BadDataset("a case's image, labels and affine do not fit together")
    return volume(image, affine, unit), labels
