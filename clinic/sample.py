"""Writes a NIfTI head as the MR series that a scanner would have sent, of a patient who does not exist.

For demonstrations and tests. The series is sagittal, as most three-dimensional T1 images are: columns run to the
patient's back, rows to the feet, instances from the patient's left to the right.
"""

from __future__ import annotations

import gzip
import hashlib
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

from bithive.errors import BadInput

_LPS = np.diag([-1.0, -1.0, 1.0])
_VALUE_MAX = 4095
_GZIP = b"\x1f\x8b"
_SKEW_MAX = 1e-3


class BadSample(BadInput):
    code, title = "bad-sample", "The image file cannot be written as a series"


@dataclass(frozen=True, slots=True)
class SyntheticPatient:
    """Nobody. The name says so wherever it is shown.

    Attributes
    ----------
    name, patient_id, birth_date, sex, age
        As in DICOM: PN, LO, DA, CS and AS.
    study_date, study_time
        Of the study that never was.
    """

    name: str = "SYNTHETIC^HEAD"
    patient_id: str = "SYNTHETIC-0001"
    birth_date: str = "19810214"
    sex: str = "O"
    age: str = "044Y"
    study_date: str = "20250602"
    study_time: str = "101500"


def write_sample(
    nifti: Path, folder: Path, *, seed: str = "bithive-sample", patient: SyntheticPatient | None = None
) -> list[Path]:
    """Write the series.

    Parameters
    ----------
    nifti
        A three-dimensional T1-weighted head, `.nii` or `.nii.gz`, with orthogonal axes.
    folder
        Created; one file an instance.
    seed
        Of every UID: the same seed gives the same study.
    patient
        Whose study it pretends to be.

    Returns
    -------
    list
        The files in the order of Instance Number: MR Image Storage (PS3.3 A.4), Explicit VR Little Endian.

    Raises
    ------
    BadSample
        If the file is no such image.
    """
    voxels, affine = _read(nifti)
    folder.mkdir(parents=True, exist_ok=True)
    shared = _shared(voxels, affine, seed, patient or SyntheticPatient())
    return [_write(folder, voxels, affine, shared, number, seed) for number in range(1, voxels.shape[0] + 1)]


def _read(nifti: Path) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.float64]]:
    """Voxels along (slice to the right, row to the feet, column to the back), and their affine to LPS millimetres."""
    import nibabel
    from nibabel.filebasedimages import ImageFileError
    from nibabel.orientations import OrientationError
    from nibabel.wrapstruct import WrapStructError

    try:
        content = nifti.read_bytes()
        content = gzip.decompress(content) if content[:2] == _GZIP else content
        image = nibabel.as_closest_canonical(nibabel.Nifti1Image.from_bytes(content))
        values = np.asarray(image.dataobj, dtype=np.float32)
    except (OSError, EOFError, ValueError, zlib.error, ImageFileError, OrientationError, WrapStructError):
        raise BadSample("it is no NIfTI image") from None
    if values.ndim != 3 or min(values.shape) < 2 or not np.isfinite(values).all():
        raise BadSample("it is not a three-dimensional image of finite values")
    affine = np.eye(4)
    affine[:3] = _LPS @ np.asarray(image.affine, dtype=np.float64)[:3]
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    if np.abs(directions.T @ directions - np.eye(3)).max() > _SKEW_MAX:
        raise BadSample("its axes are not orthogonal")
    values -= min(0.0, float(values.min()))
    peak = float(values.max())
    if not peak > 0:
        raise BadSample("it is the same everywhere")
    if peak > _VALUE_MAX or peak < 64:
        values *= _VALUE_MAX / peak
    _, back, up = (size - 1 for size in values.shape)
    to_canonical = np.array([[1, 0, 0, 0], [0, 0, -1, back], [0, -1, 0, up], [0, 0, 0, 1]], dtype=np.float64)
    turned = np.rint(values).astype(np.uint16).transpose(0, 2, 1)[:, ::-1, ::-1]
    return np.ascontiguousarray(turned), affine @ to_canonical


def _shared(
    voxels: npt.NDArray[np.uint16], affine: npt.NDArray[np.float64], seed: str, patient: SyntheticPatient
) -> Dataset:
    """What every instance says."""
    slices, rows, columns = (affine[:3, axis] for axis in range(3))
    slice_mm, row_mm, column_mm = (float(np.linalg.norm(step)) for step in (slices, rows, columns))
    peak = int(voxels.max())
    image: dict[str, Any] = {
        "BodyPartExamined": "HEAD",
        "ScanningSequence": "RM",
        "SequenceVariant": "NONE",
        "ScanOptions": "",
        "MRAcquisitionType": "3D",
        "RepetitionTime": None,
        "EchoTime": None,
        "EchoTrainLength": None,
        "SliceThickness": _decimal(slice_mm),
        "SpacingBetweenSlices": _decimal(slice_mm),
        "ProtocolName": "T1w 3D sagittal",
        "ImageOrientationPatient": [_decimal(value) for value in (*columns / column_mm, *rows / row_mm)],
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": voxels.shape[1],
        "Columns": voxels.shape[2],
        "PixelSpacing": [_decimal(row_mm), _decimal(column_mm)],
        "BitsAllocated": 16,
        "BitsStored": 12,
        "HighBit": 11,
        "PixelRepresentation": 0,
        "BurnedInAnnotation": "NO",
        "LossyImageCompression": "00",
        "WindowCenter": _decimal(peak / 2),
        "WindowWidth": _decimal(float(peak)),
    }
    shared = Dataset()
    for keyword, value in {**_identity(seed, patient), **image}.items():
        setattr(shared, keyword, value)
    return shared


def _identity(seed: str, patient: SyntheticPatient) -> dict[str, Any]:
    """Patient, Study, Series and Equipment modules (PS3.3 C.7.1, C.7.2, C.7.3, C.7.5)."""
    return {
        "SpecificCharacterSet": "ISO_IR 192",
        "ImageType": ["DERIVED", "SECONDARY", "OTHER"],
        "SOPClassUID": MRImageStorage,
        "StudyDate": patient.study_date,
        "SeriesDate": patient.study_date,
        "AcquisitionDate": patient.study_date,
        "ContentDate": patient.study_date,
        "StudyTime": patient.study_time,
        "SeriesTime": patient.study_time,
        "AcquisitionTime": patient.study_time,
        "ContentTime": patient.study_time,
        "AccessionNumber": "",
        "Modality": "MR",
        "Manufacturer": "BitHive",
        "ManufacturerModelName": "Sample writer",
        "ReferringPhysicianName": "",
        "StudyDescription": "Synthetic head",
        "SeriesDescription": "T1w 3D sagittal, sample",
        "DerivationDescription": "Average of registered heads, written as a series",
        "PatientName": patient.name,
        "PatientID": patient.patient_id,
        "PatientBirthDate": patient.birth_date,
        "PatientSex": patient.sex,
        "PatientAge": patient.age,
        "StudyInstanceUID": _uid(seed, "study"),
        "SeriesInstanceUID": _uid(seed, "series"),
        "StudyID": "1",
        "SeriesNumber": 1,
        "AcquisitionNumber": 1,
        "FrameOfReferenceUID": _uid(seed, "frame"),
        "PositionReferenceIndicator": "",
        "PatientPosition": "HFS",
    }


def _write(
    folder: Path,
    voxels: npt.NDArray[np.uint16],
    affine: npt.NDArray[np.float64],
    shared: Dataset,
    number: int,
    seed: str,
) -> Path:
    path = folder / f"IM{number:04d}.dcm"
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = MRImageStorage
    meta.MediaStorageSOPInstanceUID = _uid(seed, f"instance/{number}")
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    instance = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    instance.update(shared)
    instance.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    instance.InstanceNumber = number
    position = affine[:3, 3] + affine[:3, 0] * (number - 1)
    instance.ImagePositionPatient = [_decimal(float(value)) for value in position]
    instance.PixelData = voxels[number - 1].astype("<u2").tobytes()
    instance["PixelData"].VR = "OW"
    instance.save_as(path, enforce_file_format=True)
    return path


def _decimal(value: float) -> str:
    """A DS of at most 16 characters (PS3.5 6.2)."""
    for digits in range(15, 0, -1):
        text = f"{value + 0.0:.{digits}g}"
        if len(text) <= 16:
            return text
    raise BadSample("a number does not fit into a decimal string")


def _uid(seed: str, what: str) -> str:
    """A UID under 2.25 (PS3.5 B.2) that the seed decides."""
    return f"2.25.{int.from_bytes(hashlib.sha256(f'{seed}/{what}'.encode()).digest()[:16], 'big')}"
