"""What a written object is derived from: the patient, the study and the images of one series.

Patient and study are copied as the source has them, mistakes included: an object that corrects a name is an object of
another patient.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy.typing as npt
import pydicom.config
from pydicom.dataset import Dataset

from clinic import elements
from clinic.geometry import Grid, SourcePlane
from clinic.headers import age_years
from clinic.instance import InstanceRow
from clinic.refusals import CORRECTIONS
from inference.volume import Volume

pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
"""Values of the source are copied, not judged; the intake has decided what is let in."""

IDENTITY = (
    "00080020",
    "00080030",
    "00080050",
    "00080051",
    "00080090",
    "00080201",
    "00081030",
    "00081032",
    "00081048",
    "00081060",
    "00081080",
    "00081110",
    "00100010",
    "00100020",
    "00100021",
    "00100022",
    "00100024",
    "00100030",
    "00100032",
    "00100040",
    "00101001",
    "00101002",
    "00101010",
    "00101020",
    "00101030",
    "00102160",
    "00102180",
    "001021B0",
    "00104000",
    "00120062",
    "00120063",
    "00120064",
    "0020000D",
    "00200010",
)
"""Patient, General Study and Patient Study Modules (PS3.3 C.7.1.1, C.7.2.1, C.7.2.2)."""

AGES_APART_MAX = 1.5
"""Years by which Patient's Age (0010,1010), in whole years, and what the dates say may differ."""

_AGE = "00101010"
_EMPTY = ("00080020", "00080030", "00080050", "00080090", "00100010", "00100020", "00100030", "00100040", "00200010")
"""Type 2: present, if need be empty."""


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """A series as it was analysed.

    Attributes
    ----------
    grid
        Its instances in order, and where they lie.
    volume
        Its pixel values; the preview shows them.
    consulted
        Instances of further series that were analysed with it: what is written names them as evidence.
    """

    grid: Grid
    volume: Volume
    consulted: tuple[InstanceRow, ...] = ()

    @property
    def head(self) -> InstanceRow:
        """Its first instance."""
        return self.grid.rows[0]

    def plane(self, array: npt.NDArray[Any], k: int) -> npt.NDArray[Any]:
        """Plane k of the source (`grid.planes[k]`), cut out of an array in the Volume's geometry.

        Parameters
        ----------
        array
            (z, y, x), `grid.shape`.
        k
            Which plane of the source, from 0.

        Returns
        -------
        array
            (rows, columns), a view: of every pixel of the source the nearest voxel.
        """
        assert array.shape == self.grid.shape, "an array in the Volume's geometry has its shape"
        straightening = self.grid.straightening
        return array[k] if straightening is None else straightening.plane(array, k)

    def to_volume(self, stack: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Planes of the source as an array in the Volume's geometry.

        Parameters
        ----------
        stack
            (planes, rows, columns), `grid.stack_shape`.

        Returns
        -------
        array
            (z, y, x): of every voxel the nearest pixel of the nearest plane, 0 where there is none; `stack` itself when
            nothing was straightened.
        """
        assert stack.shape == self.grid.stack_shape, "the planes of the source have its matrix"
        straightening = self.grid.straightening
        return stack if straightening is None else straightening.block(stack)

    @property
    def frame_of_reference_uid(self) -> str:
        """Frame of Reference UID (0020,0052); empty when the source has none."""
        return elements.text(self.head.header, "00200052")

    @property
    def remark(self) -> str:
        """One line on what was put right before the series was analysed; empty when nothing was."""
        return " ".join(CORRECTIONS[code] for code in self.grid.warnings)

    @property
    def age_years(self) -> float | None:
        """How old the patient was; None when nothing says so, or age and dates contradict each other."""
        header = self.head.header
        stated, by_dates = age_years(header), age_years({tag: header[tag] for tag in header if tag != _AGE})
        if stated is None or by_dates is None:
            return stated
        return stated if abs(stated - by_dates) <= AGES_APART_MAX else None

    @property
    def series_number(self) -> int:
        """Series Number (0020,0011); 0 when absent."""
        return elements.integer(self.head.header, "00200011")


def neutral_dataset(source: Source, z: int = 0) -> Dataset:
    """One slice of the source with its geometry and references, but a nameless patient: for libraries that judge values.

    Parameters
    ----------
    source
        The series.
    z
        Which plane of it.
    """
    plane = source.grid.planes[z]
    dataset = nameless(plane)
    dataset.FrameOfReferenceUID = source.frame_of_reference_uid
    dataset.SamplesPerPixel, dataset.BitsAllocated = 1, 16
    dataset.ImagePositionPatient = plane.position.tolist()
    dataset.ImageOrientationPatient = plane.cosines.reshape(-1).tolist()
    dataset.PixelSpacing = list(plane.spacing_mm)
    dataset.SliceThickness = elements.number(plane.attributes, "00180050") or source.grid.spacing_mm[2]
    dataset.SpacingBetweenSlices = source.grid.spacing_mm[2]
    return dataset


def evidence_of(source: Source) -> list[Dataset]:
    """Every instance of the source once, in order, as a report names it: with a nameless patient and no geometry."""
    planes = {plane.row.sop_uid: plane for plane in reversed(source.grid.planes)}
    return [nameless(plane) for plane in reversed(planes.values())]


def consulted_of(source: Source) -> list[Dataset]:
    """Every instance of the further series that were analysed with the source, as `evidence_of` names its own."""
    return [_nameless(row, integers_of(row)) for row in source.consulted]


def integers_of(row: InstanceRow) -> tuple[int, int]:
    """Rows and Columns of an instance."""
    return elements.integer(row.header, "00280010"), elements.integer(row.header, "00280011")


def nameless(plane: SourcePlane) -> Dataset:
    """The instance of one image of the source, with a nameless patient and without geometry."""
    return _nameless(plane.row, plane.size)


def _nameless(row: InstanceRow, size: tuple[int, int]) -> Dataset:
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = row.sop_class, row.sop_uid
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = row.study_uid, row.series_uid
    dataset.Modality = elements.text(row.header, "00080060")
    dataset.Rows, dataset.Columns = size
    dataset.PatientID = dataset.PatientName = dataset.PatientBirthDate = dataset.PatientSex = ""
    dataset.StudyID = dataset.AccessionNumber = dataset.ReferringPhysicianName = ""
    dataset.StudyDate = dataset.StudyTime = None
    return dataset


def copy_identity(dataset: Dataset, header: dict[str, Any]) -> None:
    """Give a written object the patient and the study of its source.

    Parameters
    ----------
    dataset
        The object; changed in place.
    header
        A source instance's header, DICOM JSON Model.
    """
    for tag in IDENTITY:
        if tag in dataset:
            del dataset[tag]
    kept = {tag: header[tag] for tag in IDENTITY if tag in header and "BulkDataURI" not in header[tag]}
    kept |= {tag: {"vr": pydicom.datadict.dictionary_VR(tag)} for tag in _EMPTY if tag not in kept}
    dataset.update(Dataset.from_json(kept))
    if not all(str(item.get("Value", "")).isascii() for item in kept.values()):
        dataset.SpecificCharacterSet = "ISO_IR 192"
