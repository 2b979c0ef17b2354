"""The image of a study: which series can be looked at, its geometry, and its slices or planar images as numbers.

Slices travel as they are, so that window and level change on the reader's screen without another request; the overlay
follows the pixels, the number of a segment each.
"""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Depends, Query, Request
from fastapi import Path as InPath
from starlette.responses import JSONResponse, Response

from api.auth import Principal, require
from api.deps import ServicesDep
from api.pages.evidence import series_label
from api.pages.gather import StudyPage, institution_of
from api.pages.openings import openings
from api.pages.viewing_planar import in_colour, planar_geometry
from api.services import Services
from bithive.errors import Refused
from clinic.elements import integer, text
from clinic.errors import InstanceAbsent, SeriesAbsent
from clinic.headers import input_digest
from clinic.instance import InstanceRow
from clinic.planar import is_planar, ordered
from clinic.planes import Plane, counts, cut, middle, slice_of, window_of
from clinic.refusals import NoPlane
from clinic.rendering import Look, Window, render
from clinic.workitem import Review, State, Workitem
from clinic.workitem_store import Which
from inference.volume import Volume

router = APIRouter(include_in_schema=False)
Reader = Annotated[Principal, Depends(require("studies:read"))]
Uid = Annotated[str, InPath(pattern=r"^[0-9.]{1,64}$")]

PICTURES_MAX = 5_000
PLANES = (("axial", "Axial"), ("coronal", "Coronal"), ("sagittal", "Sagittal"))
_SLICED = frozenset({"CT", "MR", "PT", "NM"})
NO_STORE = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
_DTYPES = frozenset({"int16", "uint16", "uint8", "float32"})
_NOT_IMAGES = frozenset(
    {"SEG", "SR", "KO", "PR", "DOC", "RTSTRUCT", "RTPLAN", "RTDOSE", "REG", "FID", "PLAN", "AU", "ECG"}
)
_SAMPLES = 200_000
_AXES = (Plane.SAGITTAL, Plane.CORONAL, Plane.AXIAL)
_COMPRESSED_FROM_BYTES = 4096

HOUNSFIELD_WINDOWS = (
    ("Brain", 40.0, 80.0),
    ("Stroke", 40.0, 40.0),
    ("Subdural", 75.0, 215.0),
    ("Soft tissue", 40.0, 400.0),
    ("Bone", 600.0, 2800.0),
    ("Lung", -600.0, 1500.0),
)
"""Name, centre and width of the windows that readers of CT expect."""


@dataclass(frozen=True, slots=True)
class ViewerChoices:
    """What the viewer of a page begins with.

    Attributes
    ----------
    source
        Address below which geometry and slices of the first series are.
    choices
        (address, label) of every series that can be shown.
    planes
        (key, name).
    planar
        Whether the first series most likely holds planar images: the page is laid out for them until it is known.
    """

    source: str
    choices: tuple[tuple[str, str], ...]
    planes: tuple[tuple[str, str], ...] = PLANES
    planar: bool = False


def choices(found: StudyPage) -> ViewerChoices | None:
    """The series that hold images, those with findings first; None when there is none."""
    base = f"/studies/{found.study.study_uid}/series"
    analysed = [item.workitem.series_uid for item in found.analyses]
    rows = [row for row in found.series_rows if row.modality not in _NOT_IMAGES]
    rows.sort(key=lambda row: analysed.index(row.series_uid) if row.series_uid in analysed else len(analysed))
    offered = tuple((f"{base}/{row.series_uid}/image", series_label(row)) for row in rows)
    return ViewerChoices(offered[0][0], offered, planar=rows[0].modality not in _SLICED) if offered else None


@router.get("/studies/{study_uid}/series/{series_uid}/image/geometry")
def geometry(request: Request, services: ServicesDep, principal: Reader, study_uid: Uid, series_uid: Uid) -> Response:
    """Sizes, spacing, windows and where to begin.

    Returns
    -------
    Response
        JSON: `size` and `spacing_mm` along left, back and head; `dtype` of a slice's pixels; `overlay`, the Workitem
        whose segments follow them, or null; `labels`, the type of their numbers; `segments`, of each its number, name
        and colour; `windows`; `low` and `high`, between which nearly all values lie;
        `start`, an index along each; `version`, which slices are asked for by. Of grey planar images
        `api.pages.viewing_planar` says what is there. Of a series that forms no Volume, and of images in colour: `pictures`, the
        addresses of its frames, and why it forms none.
    """
    institution = institution_of(principal)
    rows = services.archive.series(institution, series_uid)
    if not rows or rows[0].study_uid != study_uid:
        raise SeriesAbsent
    openings(request).opened(principal, study_uid, by_itself=True)
    if is_planar(rows) and in_colour(rows):
        return JSONResponse(_flat(ordered(rows), ""), headers=NO_STORE)
    try:
        source = services.volumes.source(institution, series_uid)
    except Refused as refusal:
        return JSONResponse(_flat(rows, f"{refusal.title}: shown image by image."), headers=NO_STORE)
    if source.grid.planar:
        return JSONResponse(planar_geometry(source, input_digest(rows)), headers=NO_STORE)
    volume = source.volume
    item = _finished(services, institution, series_uid)
    overlay = services.volumes.overlay(item, source) if item else None
    flat = volume.array.reshape(-1)[:: max(1, volume.array.size // _SAMPLES)]
    low, high = (float(value) for value in np.percentile(flat, (0.1, 99.9)))
    counted = {found.plane: found for found in counts(volume)}
    start = middle(overlay.array, volume.affine) if overlay else {}
    body: dict[str, Any] = {
        "size": [counted[plane].count for plane in _AXES],
        "spacing_mm": [counted[plane].spacing_mm for plane in _AXES],
        "dtype": _dtype(volume),
        "overlay": item.workitem_id if item and overlay else None,
        "labels": overlay.array.dtype.name if overlay else None,
        "segments": [
            {"number": segment.number, "name": segment.name, "colour": segment.colour_rgb}
            for segment in (overlay.segments if overlay else ())
        ],
        "windows": _windows(volume, low, high),
        "low": low,
        "high": high,
        "start": [start.get(plane, counted[plane].count // 2) for plane in _AXES],
        "version": input_digest(rows),
        "caption": _caption(volume, item if overlay else None),
    }
    return JSONResponse(body, headers=NO_STORE)


@router.get("/studies/{study_uid}/series/{series_uid}/image/{plane}/{index}")
def slice_pixels(
    request: Request,
    services: ServicesDep,
    principal: Reader,
    study_uid: Uid,
    series_uid: Uid,
    plane: Plane,
    index: Annotated[int, InPath(ge=0, le=100_000)],
    version: Annotated[str, Query(pattern="^[0-9a-f]{64}$")],
    overlay: Annotated[str | None, Query(pattern="^wit_[0-9A-Z]{26}$")] = None,
) -> Response:
    """One slice: its pixels row by row, little-endian, then the overlay's segment numbers where one is asked for.

    `version` and `overlay` come from `geometry`; when the series has changed since, this is refused as superseded.
    """
    institution = institution_of(principal)
    source = services.volumes.source(institution, series_uid, version)
    if source.head.study_uid != study_uid:
        raise SeriesAbsent
    volume = source.volume
    pixels, _ = slice_of(volume, plane, index)
    content = np.ascontiguousarray(pixels, np.dtype(_dtype(volume)).newbyteorder("<")).tobytes()
    if overlay is not None:
        item = services.workitems.workitem(institution, overlay)
        found = services.volumes.overlay(item, source) if item.series_uid == series_uid else None
        if found is None:
            raise NoPlane("the analysis has no mask")
        numbers, _ = cut(found.array, volume.affine, plane, index)
        content += np.ascontiguousarray(numbers, numbers.dtype.newbyteorder("<")).tobytes()
    headers = NO_STORE | {"Vary": "Accept-Encoding"}
    if "gzip" in request.headers.get("accept-encoding", "") and len(content) > _COMPRESSED_FROM_BYTES:
        content, headers = gzip.compress(content, 1, mtime=0), headers | {"Content-Encoding": "gzip"}
    return Response(content, media_type="application/octet-stream", headers=headers)


@router.get("/studies/{study_uid}/series/{series_uid}/image/picture/{sop_uid}/{frame}")
def picture(
    request: Request,
    services: ServicesDep,
    principal: Reader,
    study_uid: Uid,
    series_uid: Uid,
    sop_uid: Uid,
    frame: Annotated[int, InPath(ge=1, le=1_000_000)],
    center: Annotated[float | None, Query(ge=-1e6, le=1e6)] = None,
    width: Annotated[float | None, Query(ge=1, le=1e6)] = None,
) -> Response:
    """One frame as PNG, in its own window or the one asked for."""
    row = services.archive.instance(institution_of(principal), sop_uid)
    if row is None or (row.study_uid, row.series_uid) != (study_uid, series_uid):
        raise InstanceAbsent
    openings(request).opened(principal, study_uid, by_itself=True)
    window = Window(center, width) if center is not None and width is not None else None
    content = render(services.blobs, row, frame, "image/png", Look(window))
    return Response(content, media_type="image/png", headers=NO_STORE)


def _flat(rows: Sequence[InstanceRow], why: str) -> dict[str, Any]:
    """What the viewer shows of a series that forms no Volume, or is in colour: its frames one by one."""
    frames = [
        f"picture/{row.sop_uid}/{number}"
        for row in rows
        if integer(row.header, "00280010")
        for number in range(1, max(1, integer(row.header, "00280008")) + 1)
    ]
    is_ct = text(rows[0].header, "00080060") == "CT"
    windows: list[dict[str, Any]] = [{"name": "As acquired"}]
    if is_ct:
        windows += [{"name": name, "center": centre, "width": width} for name, centre, width in HOUNSFIELD_WINDOWS]
    return {
        "pictures": frames[:PICTURES_MAX],
        "windows": windows,
        "caption": why if len(frames) > 1 else "",
    }


def _dtype(volume: Volume) -> str:
    name = volume.array.dtype.name
    return name if name in _DTYPES else "float32"


def _windows(volume: Volume, low: float, high: float) -> list[dict[str, Any]]:
    if volume.unit == "HU":
        return [{"name": name, "center": centre, "width": width} for name, centre, width in HOUNSFIELD_WINDOWS]
    centre, width = window_of(volume)
    floor = centre - width / 2
    shown = (
        ("Automatic", centre, width),
        ("Soft contrast", floor + width * 0.75, width * 1.5),
        ("Strong contrast", floor + width * 0.45, width * 0.55),
        ("Dark parts", floor + width * 0.2, width * 0.4),
        ("Whole range", (low + high) / 2, max(high - low, 1.0)),
    )
    return [{"name": name, "center": middle_, "width": span} for name, middle_, span in shown]


def _finished(services: Services, institution: str, series_uid: str) -> Workitem | None:
    """The newest analysis of a series, as it is now, that has segments to show."""
    which = Which(institution=institution, series_uid=series_uid)
    done = [item for item in services.workitems.find(which) if item.state is State.COMPLETED]
    shown = [item for item in done if item.superseded_by is None and item.reference("seg") is not None]
    return shown[-1] if shown else None


def _caption(volume: Volume, item: Workitem | None) -> str:
    sizes = " x ".join(str(count) for count in reversed(volume.array.shape))
    spacing = " x ".join(f"{step:.3g}" for step in volume.spacing_mm)
    overlay = ""
    if item is not None:
        overlay = " Overlay: rejected findings." if item.review is Review.REJECTED else " Overlay: the findings’ mask."
    return f"{sizes} voxels of {spacing} mm.{overlay}"
