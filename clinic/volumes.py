"""Volumes of archived series, read once and kept for a while: for the flow, and for the slices of the viewer."""

from __future__ import annotations

import io
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pydicom

from bithive.blobs import Blobs, read_verified
from clinic import planes, reader
from clinic.archive import Archive
from clinic.errors import SeriesAbsent
from clinic.headers import input_digest
from clinic.instance import InstanceRow
from clinic.planes import Plane, PlaneCount
from clinic.refusals import NoPlane, Superseded
from clinic.workitem import Workitem
from clinic.writers.seg import SEGMENTATION_STORAGE
from clinic.writers.source import Source

KEPT = 2
KEPT_BYTES_MAX = 1 << 30
Bits = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """A mask as it was archived: its place in the source's array, and its colour."""

    array: Bits
    colour_rgb: tuple[int, int, int]


@dataclass(frozen=True, slots=True, eq=False)
class _Known:
    """A series that was read: its digest, and how many instances its study had then."""

    digest: str
    source: Source
    study_instances: int


class Volumes:
    """The volumes last asked for, at most two and at most 1 GiB of them.

    Parameters
    ----------
    archive, blobs
        Where series are.
    threads
        How many files are read at once.
    """

    def __init__(self, archive: Archive, blobs: Blobs, threads: int = 4) -> None:
        self._archive, self._blobs, self._threads = archive, blobs, threads
        self._sources: OrderedDict[tuple[str, str], _Known] = OrderedDict()
        self._segments: OrderedDict[tuple[str, str], list[Segment]] = OrderedDict()
        self._noted: tuple[str, str, Sequence[InstanceRow]] | None = None
        self._lock = threading.Lock()

    def note(self, institution: str, series_uid: str, rows: Sequence[InstanceRow]) -> None:
        """Remember the instances of the series that will be asked for next, so that they are looked up once."""
        self._noted = (institution, series_uid, rows)

    def source(self, institution: str, series_uid: str, digest: str | None = None) -> Source:
        """A series with its Volume.

        Parameters
        ----------
        institution, series_uid
            Which.
        digest
            Its expected `input_digest`, or None for whatever is there now.

        Raises
        ------
        SeriesAbsent
            If there is no such series.
        Superseded
            If its instances are not those of `digest` any more.
        Refused
            If it forms no Volume.
        """
        key = (institution, series_uid)
        with self._lock:
            known = self._sources.get(key)
        if known is not None and (known.digest == digest or (digest is None and self._unchanged(institution, known))):
            return known.source
        rows = self._rows(institution, series_uid, digest)
        if not rows:
            raise SeriesAbsent
        found = input_digest(rows)
        if digest is not None and found != digest:
            raise Superseded
        study = self._archive.study(institution, rows[0].study_uid)
        same = known is not None and known.digest == found
        source = known.source if known and same else Source(*reader.read(rows, self._blobs, self._threads))
        self._keep(key, _Known(found, source, study.instances if study else 0))
        return source

    def _rows(self, institution: str, series_uid: str, digest: str | None) -> Sequence[InstanceRow]:
        noted, self._noted = self._noted, None
        if noted is not None and noted[:2] == (institution, series_uid) and input_digest(noted[2]) == digest:
            return noted[2]
        return self._archive.series(institution, series_uid)

    def _unchanged(self, institution: str, known: _Known) -> bool:
        study = self._archive.study(institution, known.source.head.study_uid)
        return study is not None and study.instances == known.study_instances

    def forget(self, institution: str, series_uid: str) -> None:
        """Let go of a series: it was deleted, or will not be asked for soon."""
        with self._lock:
            self._sources.pop((institution, series_uid), None)

    def planes(self, institution: str, series_uid: str) -> tuple[PlaneCount, ...]:
        """How many planes of each kind a series has. Raises as `source`."""
        return planes.counts(self.source(institution, series_uid).volume)

    def plane(
        self,
        institution: str,
        series_uid: str,
        plane: Plane | str,
        index: int,
        overlay: Workitem | None = None,
        window: tuple[float, float] | None = None,
    ) -> bytes:
        """One plane as a PNG picture in radiological convention, square pixels.

        Parameters
        ----------
        institution, series_uid
            Which series.
        plane, index
            `axial` from the feet up, `coronal` from front to back, `sagittal` from right to left; from 0.
        overlay
            A completed Workitem of this series whose segments are drawn over it.
        window
            Grey window (centre, width); one that suits the values when absent.

        Raises
        ------
        NoPlane, SeriesAbsent
            If there is no such plane or series.
        """
        kind = _plane(plane)
        source = self.source(institution, series_uid)
        volume = source.volume
        pixels, spacing = planes.cut(volume.array, volume.affine, kind, index)
        segments = self.segments(overlay, source) if overlay is not None and overlay.series_uid == series_uid else []
        bits, colour = None, (64, 156, 255)
        for segment in segments[:1]:
            bits, colour = planes.cut(segment.array, volume.affine, kind, index)[0], segment.colour_rgb
        return planes.png(planes.picture(pixels, spacing, window or planes.window_of(volume), bits, colour))

    def segments(self, item: Workitem, source: Source) -> list[Segment]:
        """The segments of a Workitem's archived Segmentation in the source's array; none when it has not completed."""
        reference = item.reference("seg")
        if reference is None:
            return []
        key = (item.institution, reference.sop_uid)
        with self._lock:
            if key in self._segments:
                self._segments.move_to_end(key)
                return self._segments[key]
        row = self._archive.instance(item.institution, reference.sop_uid)
        if row is None or row.sop_class != SEGMENTATION_STORAGE:
            return []
        found = read_segments(read_verified(self._blobs, row.blob), source)
        with self._lock:
            self._segments[key] = found
            while len(self._segments) > KEPT:
                self._segments.popitem(last=False)
        return found

    def _keep(self, key: tuple[str, str], known: _Known) -> None:
        with self._lock:
            self._sources[key] = known
            self._sources.move_to_end(key)
            while len(self._sources) > 1 and (len(self._sources) > KEPT or self._size_bytes() > KEPT_BYTES_MAX):
                self._sources.popitem(last=False)

    def _size_bytes(self) -> int:
        return sum(known.source.volume.array.nbytes for known in self._sources.values())


def read_segments(content: bytes, source: Source) -> list[Segment]:
    """The segments of a Segmentation, each frame put where the source instance lies that it refers to.

    Parameters
    ----------
    content
        A Part 10 file: BINARY, in the source's in-plane geometry.
    source
        The series it was made from.
    """
    dataset = pydicom.dcmread(io.BytesIO(content))
    rows, columns, count = int(dataset.Rows), int(dataset.Columns), int(dataset.NumberOfFrames)
    assert (rows, columns) == source.grid.shape[1:], "our segmentations keep the source's matrix"
    bits = np.unpackbits(np.frombuffer(dataset.PixelData, np.uint8), count=count * rows * columns, bitorder="little")
    frames = bits.view(np.bool_).reshape(count, rows, columns)
    depth = {row.sop_uid: z for z, row in enumerate(source.grid.rows)}
    arrays = [np.zeros(source.grid.shape, np.bool_) for _ in dataset.SegmentSequence]
    for frame, group in zip(frames, dataset.PerFrameFunctionalGroupsSequence, strict=True):
        image = group.DerivationImageSequence[0].SourceImageSequence[0]
        number = int(group.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
        arrays[number - 1][depth[image.ReferencedSOPInstanceUID]] = frame
    return [Segment(array, _colour(item)) for array, item in zip(arrays, dataset.SegmentSequence, strict=True)]


def _colour(segment: pydicom.Dataset) -> tuple[int, int, int]:
    from highdicom.color import CIELabColor

    value = segment.get("RecommendedDisplayCIELabValue")
    if value is None:
        return (64, 156, 255)
    red, green, blue = CIELabColor.from_dicom_value(list(value)).to_rgb(clip=True)
    return (int(red), int(green), int(blue))


def _plane(name: Plane | str) -> Plane:
    try:
        return Plane(name)
    except ValueError:
        raise NoPlane from None
