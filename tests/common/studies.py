"""Real head studies for tests that need the model: the public sample, and marked copies of it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset

from clinic.sample import write_sample
from models.catalog import Catalog
from tests.common.hub import MODEL_STORE


@dataclass(frozen=True, slots=True)
class Study:
    """A study on disk.

    Attributes
    ----------
    study_uid, series_uid
        Of its one series.
    files
        Its instances, in order.
    """

    study_uid: str
    series_uid: str
    files: list[Path]


def catalog() -> Catalog:
    """The tests' own catalogue; whatever is asked for is fetched once and kept."""
    return Catalog(MODEL_STORE)


def pulled() -> None:
    """Make sure that the model's weights and the sample are here."""
    for name in ("intracranial_t1", "head_t1"):
        catalog().pull(name)


def head_study(folder: Path, seed: str, step: int = 1) -> Study:
    """The public T1 head as a study of its own.

    Parameters
    ----------
    folder
        Where its files go.
    seed
        Two seeds give two studies of two patients.
    step
        Keep every `step`-th voxel of each axis; 2 makes a study an eighth as large, at 2 mm.
    """
    pulled()
    files = write_sample(catalog().sample("head_t1"), folder, seed=seed)
    if step > 1:
        files = _thinned(files, step)
    first = pydicom.dcmread(files[0], stop_before_pixels=True)
    return Study(str(first.StudyInstanceUID), str(first.SeriesInstanceUID), files)


def _thinned(files: list[Path], step: int) -> list[Path]:
    for path in [path for number, path in enumerate(files) if number % step]:
        path.unlink()
    kept = files[::step]
    for path in kept:
        dataset = pydicom.dcmread(path)
        pixels = np.ascontiguousarray(dataset.pixel_array[::step, ::step])
        dataset.PixelData = pixels.tobytes()
        dataset.Rows, dataset.Columns = pixels.shape
        dataset.PixelSpacing = [float(value) * step for value in dataset.PixelSpacing]
        dataset.SliceThickness = float(dataset.SliceThickness) * step
        if "SpacingBetweenSlices" in dataset:
            dataset.SpacingBetweenSlices = float(dataset.SpacingBetweenSlices) * step
        dataset.save_as(path)
    return kept


TEXTS = {"PN", "LO", "SH", "ST", "LT", "UT", "UC"}
_LENGTHS = {"SH": 16, "LO": 64, "PN": 64}


def mark(study: Study, marker: str) -> list[str]:
    """Put `marker` and a number into every text element of every instance, also into ones the study did not have.

    Returns
    -------
    list
        Everything that identifies: what was written, and every UID and date of the study.
    """
    written: set[str] = set()
    for number, path in enumerate(study.files):
        dataset = pydicom.dcmread(path)
        _add_texts(dataset)
        for element in dataset:
            if element.VR in TEXTS and element.keyword != "SeriesDescription":
                text = f"{marker}{element.tag:08X}"[: _LENGTHS.get(element.VR, 1000)]
                element.value = text
                written.add(text)
        dataset.SeriesDescription = f"T1 {marker}"
        written |= {str(dataset.StudyInstanceUID), str(dataset.SeriesInstanceUID), str(dataset.FrameOfReferenceUID)}
        if number % 120 == 0:
            written |= {str(dataset.SOPInstanceUID), hashlib.sha256(dataset.PixelData).hexdigest()}
        dataset.save_as(path)
        if number % 120 == 0:
            written.add(hashlib.sha256(path.read_bytes()).hexdigest())
    return sorted(written | {marker})


def _add_texts(dataset: Dataset) -> None:
    for keyword in (
        "InstitutionName",
        "InstitutionAddress",
        "ReferringPhysicianName",
        "PerformingPhysicianName",
        "OperatorsName",
        "OtherPatientNames",
        "PatientAddress",
        "PatientComments",
        "ImageComments",
        "StationName",
        "StudyDescription",
        "ProtocolName",
        "AccessionNumber",
        "DeviceSerialNumber",
        "AdmittingDiagnosesDescription",
        "AdditionalPatientHistory",
        "RequestedProcedureDescription",
    ):
        setattr(dataset, keyword, "x")
