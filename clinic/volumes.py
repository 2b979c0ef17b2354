"""Volumes of archived series, read once and kept for a while: for the flow, and for the slices of the viewer."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bithive.blobs import Blobs, read_verified
from clinic import planes, reader
from clinic.archive import Archive
from clinic.errors import SeriesAbsent
from clinic.headers import input_digest
from clinic.instance import InstanceRow
from clinic.overlays import SEGMENTATIONS, Overlay, read_overlay
from clinic.planes import Plane, PlaneCount
from clinic.refusals import NoPlane, Superseded
from clinic.workitem import Workitem
from clinic.writers.source import Source

KEPT = 2
KEPT_BYTES_MAX = 1 << 30


@dataclass(frozen=True, slots=True, eq=False)
class _Known:
    """A series that was read: its digest, and how many instances its study had then."""

    digest: str
    source: Source
    study_instances: int


class Volumes:
    """The volumes and overlays last asked for, at most two of each and at most 1 GiB of each.

    Parameters
    ----------
    archive, blobs
        Where series are.
    threads
        How many files are read at once.
    """

    def __init__(self, archive: Archive, blobs: Blobs, threads: int = 4) -> None:
        self._archive, self._blobs, self._threads = archive, blobs, threads
        self._sources: OrderedDict[tuple[str, str, frozenset[str]], _Known] = OrderedDict()
        self._overlays: OrderedDict[tuple[str, str], Overlay] = OrderedDict()
        self._noted: tuple[str, str, Sequence[InstanceRow]] | None = None
        self._lock = threading.Lock()

    def note(self, institution: str, series_uid: str, rows: Sequence[InstanceRow]) -> None:
        """Remember the instances of the series that will be asked for next, so that they are looked up once."""
        self._noted = (institution, series_uid, rows)

    def source(
        self, institution: str, series_uid: str, digest: str | None = None, views: frozenset[str] = frozenset()
    ) -> Source:
        """A series with its Volume.

        Parameters
        ----------
        institution, series_uid
            Which.
        digest
            Its expected `input_digest`, or None for whatever is there now.
        views
            Of a planar series, the views that are taken; all of them when empty.

        Raises
        ------
        SeriesAbsent
            If there is no such series.
        Superseded
            If its instances are not those of `digest` any more.
        Refused
            If it forms no Volume.
        """
        key = (institution, series_uid, views)
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
        source = known.source if known and same else Source(*reader.read(rows, self._blobs, self._threads, views))
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
            for key in [key for key in self._sources if key[:2] == (institution, series_uid)]:
                del self._sources[key]

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
            `axial` from the feet up, `coronal` from front to back, `sagittal` from right to left, `frame` of planar
            images in their order; from 0.
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
        pixels, spacing = planes.slice_of(volume, kind, index)
        if volume.planar:
            rows, columns = source.grid.planes[index].size
            pixels = pixels[:rows, :columns]
        found = self.overlay(overlay, source) if overlay is not None and overlay.series_uid == series_uid else None
        masks: Iterable[tuple[planes.Bits, planes.Colour]] = ()
        if found is not None:
            masks = planes.labelled(planes.cut(found.array, volume.affine, kind, index)[0], found.colours)
        return planes.png(planes.picture(pixels, spacing, window or planes.window_of(volume), masks))

    def overlay(self, item: Workitem, source: Source) -> Overlay | None:
        """A Workitem's archived Segmentation in the Volume's geometry; None when it has none."""
        reference = item.reference("seg")
        if reference is None:
            return None
        key = (item.institution, reference.sop_uid)
        with self._lock:
            if key in self._overlays:
                self._overlays.move_to_end(key)
                return self._overlays[key]
        row = self._archive.instance(item.institution, reference.sop_uid)
        if row is None or row.sop_class not in SEGMENTATIONS:
            return None
        found = read_overlay(read_verified(self._blobs, row.blob), source)
        with self._lock:
            self._overlays[key] = found
            while len(self._overlays) > 1 and (
                len(self._overlays) > KEPT or sum(one.array.nbytes for one in self._overlays.values()) > KEPT_BYTES_MAX
            ):
                self._overlays.popitem(last=False)
        return found

    def _keep(self, key: tuple[str, str, frozenset[str]], known: _Known) -> None:
        with self._lock:
            self._sources[key] = known
            self._sources.move_to_end(key)
            while len(self._sources) > 1 and (len(self._sources) > KEPT or self._size_bytes() > KEPT_BYTES_MAX):
                self._sources.popitem(last=False)

    def _size_bytes(self) -> int:
        return sum(known.source.volume.array.nbytes for known in self._sources.values())


def _plane(name: Plane | str) -> Plane:
    try:
        return Plane(name)
    except ValueError:
        raise NoPlane from None
