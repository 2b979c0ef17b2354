"""What the viewer needs to know of planar images that are grey. Those in colour are shown as pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from clinic import elements
from clinic.geometry import SourcePlane
from clinic.instance import InstanceRow
from clinic.writers.source import Source


def in_colour(rows: Sequence[InstanceRow]) -> bool:
    """Whether any image of a series is in colour."""
    return any(not elements.text(row.header, "00280004").startswith("MONOCHROME") for row in rows)


def planar_geometry(source: Source, version: str) -> dict[str, Any]:
    """The members of `geometry` for planar images.

    Returns
    -------
    dict
        As for slices, `size` being columns, rows and frames; further `planar`; `frames`, the name of each; `sizes`, rows
        and columns of each, where they differ: the rest of a frame is padding.
    """
    planes, (_, rows, columns) = source.grid.planes, source.grid.shape
    white = float(np.iinfo(source.volume.array.dtype).max)
    x, y, _ = source.volume.spacing_mm
    return {
        "planar": True,
        "size": [columns, rows, len(planes)],
        "spacing_mm": [x, y, 1.0],
        "dtype": source.volume.array.dtype.name,
        "overlay": None,
        "labels": None,
        "segments": [],
        "windows": _windows(white),
        "low": 0.0,
        "high": white,
        "start": [columns // 2, rows // 2, 0],
        "version": version,
        "frames": [_name(plane) for plane in planes],
        "sizes": None if all(plane.size == (rows, columns) for plane in planes) else [plane.size for plane in planes],
        "caption": _caption(source),
    }


def _windows(white: float) -> list[dict[str, Any]]:
    """Parts of the range that is shown: what is white stays so but in the last."""
    parts = (
        ("As acquired", 0.5, 1.0),
        ("Strong contrast", 0.5, 0.5),
        ("Dark parts", 0.25, 0.5),
        ("Bright parts", 0.75, 0.5),
        ("Inverted", 0.5, -1.0),
    )
    return [{"name": name, "center": centre * white, "width": width * white} for name, centre, width in parts]


def _name(plane: SourcePlane) -> str:
    """What tells a frame from its neighbours: view, instance number, frame."""
    number = elements.integer(plane.row.header, "00200013")
    parts = (plane.view, f"image {number}" if number else "", f"frame {plane.frame}" if plane.frame else "")
    return ", ".join(part for part in parts if part)


def _caption(source: Source) -> str:
    frames, rows, columns = source.grid.shape
    planes = source.grid.planes
    even = all(plane.size == (rows, columns) for plane in planes)
    x, y, _ = source.volume.spacing_mm
    spacing = f" of {x:.3g} x {y:.3g} mm" if even and (x, y) != (1.0, 1.0) else ""
    count = "1 image" if frames == 1 else f"{frames} images"
    return f"{count} of {'' if even else 'up to '}{columns} x {rows} pixels{spacing}."
