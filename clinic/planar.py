"""Planar images: radiographs, ultrasound, secondary captures. They lie nowhere; a series of them is a stack in order.

An image counts as planar by its SOP Class (`pipelines.series.PLANAR_STORAGES`); what it shows is said by Modality, body
part and view. Images of different sizes are padded with black at the right and at the bottom.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from bithive.limits import PLANAR_FRAMES_MAX
from clinic import elements, multiframe, refusals
from clinic.geometry import SPACING_MM_MAX, SPACING_MM_MIN, SPACING_TOLERANCE, Grid, SourcePlane
from clinic.instance import InstanceRow, were_uids_corrected
from clinic.views import view_of
from pipelines.series import DIGITAL_X_RAY_IMAGE_STORAGE_FOR_PROCESSING, PLANAR_STORAGES

_FRAMES, _PER_FRAME = "00280008", "52009230"
_NOWHERE, _NO_COSINES = np.full(3, np.nan), np.full((2, 3), np.nan)
_NOWHERE.flags.writeable = _NO_COSINES.flags.writeable = False
_ASPECT_MAX = 100.0


def is_planar(rows: Sequence[InstanceRow]) -> bool:
    """Whether a series consists of planar images."""
    return all(row.sop_class in PLANAR_STORAGES for row in rows)


def is_for_processing(row: InstanceRow) -> bool:
    """Whether an image is raw detector output, not meant to be looked at: its SOP Class or (0008,0068) says so."""
    intent = elements.text(row.header, "00080068").upper()
    return row.sop_class == DIGITAL_X_RAY_IMAGE_STORAGE_FOR_PROCESSING or intent == "FOR PROCESSING"


def ordered(rows: Sequence[InstanceRow]) -> list[InstanceRow]:
    """The instances of a planar series by Instance Number (0020,0013), then UID."""
    return sorted(rows, key=lambda row: (elements.integer(row.header, "00200013"), row.sop_uid))


def arrange(rows: Sequence[InstanceRow], views: Collection[str] = ()) -> Grid:
    """The images of a planar series as one stack, by Instance Number (0020,0013), then UID, then frame.

    Parameters
    ----------
    rows
        Every instance of one series, in any order.
    views
        Those images alone that have one of these views (`clinic.views.view_of`); all of them when empty.

    Returns
    -------
    Grid
        `planar`: shape (frames, rows, columns) of the largest image; position and cosines of its planes are NaN.

    Raises
    ------
    ForProcessing, NoView, TooManyFrames, UnsupportedPixels, MultiFrame
        If images are not for viewing, none has such a view, they are too many, or their number or size is impossible.
    """
    if any(is_for_processing(row) for row in rows):
        raise refusals.ForProcessing
    chosen = [row for row in ordered(rows) if not views or view_of(row.header) in views]
    if not chosen:
        raise refusals.NoView(views=", ".join(sorted(view for view in views if view)))
    if sum(max(1, elements.integer(row.header, _FRAMES)) for row in chosen) > PLANAR_FRAMES_MAX:
        raise refusals.TooManyFrames(frames_max=PLANAR_FRAMES_MAX)
    planes = tuple(plane for row in chosen for plane in _planes(row))
    shape = (len(planes), max(plane.size[0] for plane in planes), max(plane.size[1] for plane in planes))
    warnings = ("uids-corrected",) if any(were_uids_corrected(row.header) for row in chosen) else ()
    return Grid(planes, _affine(planes), shape, warnings=warnings, planar=True)


def spacing_mm(attributes: Mapping[str, Any]) -> tuple[float, float] | None:
    """Distance between rows and between columns: Pixel Spacing (0028,0030), else Imager Pixel Spacing (0018,1164), which
    is that on the detector; None when neither is there or possible.
    """
    for tag in ("00280030", "00181164"):
        found = elements.numbers(attributes, tag)
        if len(found) == 2 and min(found) >= SPACING_MM_MIN and max(found) <= SPACING_MM_MAX:
            return (found[0], found[1])
    return None


def _planes(row: InstanceRow) -> list[SourcePlane]:
    """One plane for each frame, numbered from 1; 0 when the instance is one image."""
    header, frames = row.header, elements.integer(row.header, _FRAMES)
    size = (elements.integer(header, "00280010"), elements.integer(header, "00280011"))
    if min(size) < 1 or frames < 0:
        raise refusals.UnsupportedPixels("the image has no possible size")
    several = _FRAMES in header and frames >= 1
    described = multiframe.images(row) if _PER_FRAME in header else [(k, header) for k in range(1, max(frames, 1) + 1)]
    return [
        SourcePlane(
            row=row,
            frame=number if several else 0,
            position=_NOWHERE,
            cosines=_NO_COSINES,
            spacing_mm=spacing_mm(attributes) or _aspect(attributes),
            size=size,
            attributes=attributes,
            view=view_of(header),
        )
        for number, attributes in described
    ]


def _aspect(attributes: Mapping[str, Any]) -> tuple[float, float]:
    """The shape of pixels of unknown size, the width of one being 1: Pixel Aspect Ratio (0028,0034), vertical first."""
    ratio = elements.numbers(attributes, "00280034")
    if len(ratio) != 2 or min(ratio) <= 0 or not 1 / _ASPECT_MAX <= ratio[0] / ratio[1] <= _ASPECT_MAX:
        return (1.0, 1.0)
    return (ratio[0] / ratio[1], 1.0)


def _affine(planes: Sequence[SourcePlane]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Spacing alone, and only where all images share it."""
    spacing = np.array([plane.spacing_mm for plane in planes])
    shared = bool(np.abs(spacing / spacing[0] - 1).max() <= SPACING_TOLERANCE)
    row_mm, column_mm = planes[0].spacing_mm if shared else (1.0, 1.0)
    return np.diag((column_mm, row_mm, 1.0, 1.0))
