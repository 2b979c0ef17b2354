"""Key images of an analysis as PNG: slices through what was found, frames that were named, and maps over their images."""

from __future__ import annotations

import io
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from fastapi import APIRouter, Depends, Request
from fastapi import Path as InPath
from PIL import Image
from starlette.responses import Response

from api.auth import Principal, require
from api.deps import ServicesDep
from api.pages.gather import institution_of
from api.pages.openings import openings
from api.services import Services
from bithive.blobs import read_verified
from clinic import planes
from clinic.planes import Plane
from clinic.refusals import NoPlane, WorkitemAbsent
from clinic.workitem import State, Workitem
from clinic.writers.source import Source

router = APIRouter(include_in_schema=False)
Reader = Annotated[Principal, Depends(require("studies:read"))]
Uid = Annotated[str, InPath(pattern=r"^[0-9.]{1,64}$")]
ItemId = Annotated[str, InPath(pattern=r"^wit_[0-9A-Z]{26}$")]
FrameIndex = Annotated[int, InPath(ge=0, le=100_000)]

SIDE_PIXELS_MAX = 512
SLICED = (Plane.AXIAL, Plane.CORONAL, Plane.SAGITTAL)
NO_STORE = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}

_HOT, _WARM = np.array((214.0, 40.0, 40.0)), np.array((255.0, 196.0, 0.0))
_FILL = 0.6


@router.get("/studies/{study_uid}/analyses/{workitem_id}/slice/{plane}")
def key_slice(
    request: Request, services: ServicesDep, principal: Reader, study_uid: Uid, workitem_id: ItemId, plane: Plane
) -> Response:
    """The slice through the middle of what was found, with the segments over it.

    Raises
    ------
    NoPlane
        If the analysis has no segments.
    """
    item, source = _opened(request, services, principal, study_uid, workitem_id)
    overlay = services.volumes.overlay(item, source)
    if overlay is None or plane not in SLICED:
        raise NoPlane("the analysis has no mask")
    volume = source.volume
    index = planes.middle(overlay.array, volume.affine)[plane]
    pixels, spacing = planes.cut(volume.array, volume.affine, plane, index)
    shown = planes.labelled(planes.cut(overlay.array, volume.affine, plane, index)[0], overlay.colours)
    return _png(planes.picture(pixels, spacing, planes.window_of(volume), shown))


@router.get("/studies/{study_uid}/analyses/{workitem_id}/frame/{index}")
def key_frame(
    request: Request, services: ServicesDep, principal: Reader, study_uid: Uid, workitem_id: ItemId, index: FrameIndex
) -> Response:
    """One planar image as it was analysed."""
    _, source = _opened(request, services, principal, study_uid, workitem_id)
    return _png(Image.fromarray(_grey(source, index)))


@router.get("/studies/{study_uid}/analyses/{workitem_id}/map/{index}")
def key_map(
    request: Request, services: ServicesDep, principal: Reader, study_uid: Uid, workitem_id: ItemId, index: FrameIndex
) -> Response:
    """One planar image with the analysis's first map over it: nothing where the map is 0, strongest where it is.

    Raises
    ------
    NoPlane
        If the analysis has no map.
    """
    item, source = _opened(request, services, principal, study_uid, workitem_id)
    grey = _grey(source, index)
    found = _map(services, item, source, index)
    return _png(Image.fromarray(_tinted(grey, found) if found is not None else grey))


def _opened(
    request: Request, services: Services, principal: Principal, study_uid: str, workitem_id: str
) -> tuple[Workitem, Source]:
    institution = institution_of(principal)
    item = services.workitems.workitem(institution, workitem_id)
    if item.study_uid != study_uid or item.state is not State.COMPLETED:
        raise WorkitemAbsent
    openings(request).opened(principal, study_uid, by_itself=True)
    pipeline = services.repertoire().pipelines.get(item.pipeline)
    views = pipeline.selector.image_views if pipeline else frozenset[str]()
    return item, services.volumes.source(institution, item.series_uid, item.input_digest, views)


def _grey(source: Source, index: int) -> npt.NDArray[np.uint8]:
    """A planar image without its padding, (rows, columns), 0 black."""
    if not source.grid.planar or not 0 <= index < len(source.volume.array):
        raise NoPlane
    rows, columns = source.grid.planes[index].size
    pixels = source.volume.array[index, :rows, :columns]
    most = int(np.iinfo(pixels.dtype).max)
    grey: npt.NDArray[np.uint8] = (pixels >> 8 if most > 255 else pixels).astype(np.uint8)
    return grey


def _map(services: Services, item: Workitem, source: Source, index: int) -> npt.NDArray[np.float32] | None:
    """The map's values over one image, (rows, columns); None where the map has no such frame, so is 0."""
    import pydicom

    reference = item.reference("map")
    row = services.archive.instance(item.institution, reference.sop_uid) if reference else None
    if row is None:
        raise NoPlane("the analysis has no map")
    dataset = pydicom.dcmread(io.BytesIO(read_verified(services.blobs, row.blob)))
    size = (int(dataset.Rows), int(dataset.Columns))
    values = np.frombuffer(dataset.FloatPixelData, "<f4").reshape(-1, *size)
    plane = source.grid.planes[index]
    for number, group in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        if _made_of(group) == (plane.row.sop_uid, plane.frame or 1):
            found: npt.NDArray[np.float32] = values[number, : plane.size[0], : plane.size[1]]
            return found
    return None


def _made_of(group: Any) -> tuple[str, int]:
    source = group.DerivationImageSequence[0].SourceImageSequence[0]
    number = source.get("ReferencedFrameNumber", 1)
    return str(source.ReferencedSOPInstanceUID), int(number if isinstance(number, int | float | str) else number[0])


def _tinted(grey: npt.NDArray[np.uint8], values: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """Values over an image: from nothing over amber to red, by the share of the largest value."""
    share = np.clip(values / max(float(values.max()), 1e-6), 0.0, 1.0)[..., None]
    colour = _WARM + (_HOT - _WARM) * share
    mixed = grey[..., None] + _FILL * share * (colour - grey[..., None])
    tinted: npt.NDArray[np.uint8] = np.clip(np.rint(mixed), 0, 255).astype(np.uint8)
    return tinted


def _png(shown: Image.Image) -> Response:
    if max(shown.size) > SIDE_PIXELS_MAX:
        shown.thumbnail((SIDE_PIXELS_MAX, SIDE_PIXELS_MAX), Image.Resampling.BILINEAR)
    return Response(planes.png(shown), media_type="image/png", headers=NO_STORE)
