"""Makes DICOM: series with any geometry and any fault, as data sets, files, or rows of an archive."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from bithive.blobs import Blobs, MemoryBlobs
from clinic import part10
from clinic.archive import row_of
from clinic.instance import InstanceRow, NewInstance, identify, with_uids

pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
"""Faulty values are made on purpose."""

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)
CORONAL = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)
OBLIQUE = (0.9990321764, -0.0217883752, 0.0382096472, 0.0265194769, 0.9914138703, -0.128043958)
MR, CT = "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.2"
INSTITUTION = "ins_00000000000000000000000001"

PATIENT = {
    "PatientName": "Test^Patient",
    "PatientID": "T-1",
    "PatientBirthDate": "19700101",
    "PatientSex": "F",
    "PatientAge": "042Y",
    "StudyDate": "20250102",
    "StudyTime": "101112",
    "StudyID": "7",
    "AccessionNumber": "A7",
    "StudyDescription": "Head",
    "ReferringPhysicianName": "",
}


def make_series(
    shape: tuple[int, int, int] = (4, 8, 6),
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0),
    orientation: Sequence[float] = AXIAL,
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0),
    modality: str = "MR",
    pixels: np.ndarray | None = None,
    study_uid: str = "1.2.3.100",
    series_uid: str = "1.2.3.100.1",
    description: str = "T1 MPRAGE",
    patient: dict[str, Any] | None = None,
    positions: Sequence[Sequence[float]] | None = None,
    syntax: str = ExplicitVRLittleEndian,
    signed: bool = True,
    bits_stored: int = 16,
    **members: Any,
) -> list[Dataset]:
    """A series of single-frame images, in order along the slice normal.

    Parameters
    ----------
    shape
        (z, y, x).
    spacing
        Along (x, y, z), millimetres.
    orientation, origin
        Image Orientation (Patient); position of the first slice.
    pixels
        Stored values of that shape; counts through the slices when absent.
    positions
        One position for each slice instead of even ones.
    members
        Any other attribute by keyword: `RescaleSlope=2`, `PhotometricInterpretation="MONOCHROME1"`.
    """
    z, rows, columns = shape
    dtype = np.int16 if signed else np.uint16
    if pixels is None:
        pixels = (np.arange(z)[:, None, None] * 10 + np.arange(rows)[:, None] + np.arange(columns)).astype(dtype)
    normal = np.cross(orientation[:3], orientation[3:])
    if positions is None:
        positions = [(np.array(origin) + k * spacing[2] * normal).tolist() for k in range(z)]
    made = []
    for k in range(z):
        dataset = Dataset()
        for name, value in (PATIENT | (patient or {})).items():
            setattr(dataset, name, value)
        dataset.SOPClassUID = CT if modality == "CT" else MR
        dataset.SOPInstanceUID = f"{series_uid}.{k + 1}"
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study_uid, series_uid
        dataset.FrameOfReferenceUID = f"{study_uid}.9"
        dataset.Modality, dataset.Manufacturer, dataset.SeriesNumber = modality, "Factory", 3
        dataset.SeriesDescription, dataset.InstanceNumber = description, k + 1
        dataset.ImageType = ["ORIGINAL", "PRIMARY"]
        dataset.ImagePositionPatient = [round(float(item), 6) for item in positions[k]]
        dataset.ImageOrientationPatient = [round(float(item), 8) for item in orientation]
        dataset.PixelSpacing, dataset.SliceThickness = [spacing[1], spacing[0]], spacing[2]
        dataset.Rows, dataset.Columns = rows, columns
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, bits_stored, bits_stored - 1
        dataset.PixelRepresentation = int(signed)
        if modality == "CT":
            dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = -1024, 1, "HU"
            dataset.KVP = 120
        else:
            dataset.ScanningSequence, dataset.SequenceVariant, dataset.ScanOptions = "GR", "SP", ""
            dataset.MRAcquisitionType, dataset.EchoTime, dataset.RepetitionTime = "3D", 3, 2000
        for name, value in members.items():
            setattr(dataset, name, value)
        dataset.PixelData = pixels[k].astype(dtype).tobytes()
        dataset["PixelData"].VR = "OW"
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = syntax
        made.append(dataset)
    return made


def head_series(shape: tuple[int, int, int] = (64, 66, 62), spacing: float = 2.0, **arguments: Any) -> list[Dataset]:
    """An ellipsoid "head" in air, large enough for the T1 pipeline's selector; a few voxels wide."""
    z, y, x = (np.linspace(-1, 1, size) for size in shape)
    inside = (z[:, None, None] ** 2 + y[:, None] ** 2 + x**2) < 0.8
    pixels = np.where(inside, 600, 20).astype(np.int16)
    return make_series(shape, (spacing, spacing, spacing), pixels=pixels, **arguments)


def content_of(dataset: Dataset) -> bytes:
    """A data set as a Part 10 file."""
    if not hasattr(dataset, "file_meta"):
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    target = io.BytesIO()
    pydicom.dcmwrite(target, dataset, enforce_file_format=True)
    return target.getvalue()


def write_series(folder: Path, instances: int = 4, **arguments: Any) -> list[Path]:
    """A small series as files, in order; arguments as for `make_series`."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, dataset in enumerate(make_series((instances, 8, 6), **arguments), start=1):
        paths.append(folder / f"{number:04}.dcm")
        paths[-1].write_bytes(content_of(dataset))
    return paths


def files_of(folder: Path, pattern: str = "*") -> list[bytes]:
    """The DICOM files of a folder, without file sets and licences."""
    found = [path.read_bytes() for path in sorted(folder.glob(pattern)) if path.is_file()]
    return [
        content for content in found if content[128:132] == b"DICM" and b"1.2.840.10008.1.3.10\x00" not in content[:400]
    ]


def rows_of(contents: Iterable[bytes | Dataset], blobs: Blobs | None = None) -> tuple[list[InstanceRow], Blobs]:
    """Files or data sets as rows of an archive, and the store that holds their bytes."""
    blobs = blobs or MemoryBlobs()
    rows = []
    for item in contents:
        content = content_of(item) if isinstance(item, Dataset) else item
        spool = blobs.spool()
        spool.write(content)
        spool.finish()
        (digest,) = blobs.commit([spool])
        rows.append(row_of(INSTITUTION, new_instance(content, digest)))
    return rows, blobs


def new_instance(content: bytes, digest: str, received_ms: int = 1_800_000_000_000) -> NewInstance:
    """What an intake would make of a file."""
    file = part10.read(content)
    identity = identify(file)
    return NewInstance(
        study_uid=identity.study_uid,
        series_uid=identity.series_uid,
        sop_uid=identity.sop_uid,
        sop_class=identity.sop_class,
        transfer_syntax=file.transfer_syntax,
        blob=digest,
        size_bytes=len(content),
        header=with_uids(file.header, identity, received_ms),
        pixel_offset=file.pixel_offset,
        pixel_length=file.pixel_length,
        received_ms=received_ms,
        batch="bat_00000000000000000000000001",
    )
