"""Who made an object, with what, and when: the same for every object of one Attempt.

Nothing here asks a clock: times are those of the Attempt's acceptance, so that writing again gives the same bytes.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta, timezone

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from bithive import __version__
from bithive.clock import as_utc
from clinic.uids import ResultUids
from clinic.writers.source import Source, copy_identity
from pipelines.outputs import Code
from pipelines.spec import Pipeline

MANUFACTURER = "BitHive"
IMPLEMENTATION_UID = "2.25.211883205176412894301256771913264950713"
IMPLEMENTATION_NAME = "BITHIVE_1"
SERIES_NUMBERS = {"seg": 1, "sr": 2, "sc": 3, "map": 4, "kos": 5, "rejection": 9}
Piece = bytes | memoryview
_PROCESSING = Code("109102", "DCM", "Processing Equipment")


@dataclass(frozen=True, slots=True)
class Context:
    """The circumstances of one Attempt.

    Attributes
    ----------
    pipeline
        The clinical task.
    bundle_sha256
        What ran, exactly.
    node
        Which Node ran it (`nod_...`).
    institution_name
        Institution Name (0008,0080) of the objects.
    at_ms
        When the network accepted it, milliseconds since the epoch.
    uids
        The UIDs of the outcome.
    label_maps
        Whether many segments may become a label map; some archives refuse its SOP class.
    """

    pipeline: Pipeline
    bundle_sha256: str
    node: str
    institution_name: str
    at_ms: int
    uids: ResultUids
    label_maps: bool = True

    @property
    def algorithm_version(self) -> str:
        """Version of the bundle and the beginning of its sha256: what a report must name."""
        return f"{self.pipeline.bundle_version}+{self.bundle_sha256[:12]}"


@dataclass(frozen=True, slots=True, eq=False)
class Written:
    """An object as a Part 10 file, ready for the archive.

    Attributes
    ----------
    kind
        `seg`, `sr`, `sc`, `map`, `kos`, `sr-verified` or `rejection`.
    sop_class, series_uid, sop_uid
        Its UIDs.
    content
        The file.
    """

    kind: str
    sop_class: str
    series_uid: str
    sop_uid: str
    content: bytes


def moment(at_ms: int, offset: str = "") -> tuple[str, str]:
    """Date and time as DICOM writes them.

    Parameters
    ----------
    at_ms
        Milliseconds since the epoch.
    offset
        Timezone Offset From UTC (0008,0201) of the study; without one, this machine's own zone.
    """
    when = as_utc(at_ms)
    when = when.astimezone(_zone(offset))
    return when.strftime("%Y%m%d"), when.strftime("%H%M%S.") + f"{when.microsecond:06d}"


def stamp(dataset: Dataset, kind: str, description: str, source: Source, context: Context) -> None:
    """Say whose object it is, who made it and when; changes `dataset` in place.

    Parameters
    ----------
    dataset
        The object.
    kind
        A key of `SERIES_NUMBERS`.
    description
        Series Description (0008,103E).
    source, context
        What it is derived from, and the circumstances.
    """
    copy_identity(dataset, source.head.header)
    restamp(dataset, context.at_ms)
    dataset.SeriesDate, dataset.SeriesTime = dataset.InstanceCreationDate, dataset.InstanceCreationTime
    dataset.SeriesNumber = 90_000 + source.series_number % 1_000 * 10 + SERIES_NUMBERS[kind]
    dataset.SeriesDescription = description[:64]
    dataset.Manufacturer, dataset.ManufacturerModelName = MANUFACTURER, context.pipeline.title
    dataset.InstitutionName = context.institution_name[:64]
    dataset.SoftwareVersions = [f"BitHive {__version__}", f"{context.pipeline.bundle} {context.algorithm_version}"[:64]]
    dataset.DeviceSerialNumber = context.node
    dataset.ContributingEquipmentSequence = [_equipment(dataset, context)]


def restamp(dataset: Dataset, at_ms: int) -> None:
    """Set every time at which the object itself was made."""
    date, time = moment(at_ms, str(dataset.get("TimezoneOffsetFromUTC", "")))
    dataset.InstanceCreationDate, dataset.InstanceCreationTime = date, time
    if "ContentDate" in dataset:
        dataset.ContentDate, dataset.ContentTime = date, time


def coded(code: Code) -> Dataset:
    """A code as the item of a code sequence."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code.value, code.scheme, code.meaning
    return item


def file_of(kind: str, dataset: Dataset, last: Iterable[Piece] = ()) -> Written:
    """The object as a Part 10 file, Explicit VR Little Endian.

    Parameters
    ----------
    kind, dataset
        Which object.
    last
        Elements that are encoded already, in pieces; their tags follow all those of `dataset`. Pieces are appended one by
        one, so that pixels are in memory once.
    """
    meta = FileMetaDataset()
    meta.FileMetaInformationVersion = b"\x00\x01"
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = dataset.SOPClassUID, dataset.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID, meta.ImplementationVersionName = IMPLEMENTATION_UID, IMPLEMENTATION_NAME
    dataset.file_meta, dataset.preamble = meta, b"\x00" * 128
    target = io.BytesIO()
    pydicom.dcmwrite(target, dataset, enforce_file_format=True, overwrite=True)
    for piece in last:
        target.write(piece)
    return Written(
        kind,
        str(dataset.SOPClassUID),
        str(dataset.SeriesInstanceUID),
        str(dataset.SOPInstanceUID),
        target.getvalue(),
    )


def _equipment(dataset: Dataset, context: Context) -> Dataset:
    item = Dataset()
    item.PurposeOfReferenceCodeSequence = [coded(_PROCESSING)]
    item.Manufacturer, item.ManufacturerModelName = MANUFACTURER, context.pipeline.bundle
    item.SoftwareVersions = context.algorithm_version
    item.DeviceSerialNumber = context.node
    item.ContributionDateTime = f"{dataset.InstanceCreationDate}{dataset.InstanceCreationTime}"
    item.ContributionDescription = "Node of the BitHive network that ran the analysis"
    return item


def _zone(offset: str) -> timezone | None:
    if len(offset) != 5 or offset[0] not in "+-" or not offset[1:].isdigit():
        return None
    minutes = int(offset[1:3]) * 60 + int(offset[3:])
    return timezone(timedelta(minutes=-minutes if offset[0] == "-" else minutes))
