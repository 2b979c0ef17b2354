"""What the header says of each image of an instance: of one image, or of every frame (PS3.3 C.7.6.16).

Enhanced and legacy converted objects say once what all frames share (Shared Functional Groups), then what each has of
its own (Per-Frame Functional Groups), macro by macro. Here a frame's own word comes first, then the shared one, then
the rest of the header, so that whoever asks needs not know where a value stood.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping
from typing import Any

from clinic import elements, refusals
from clinic.instance import InstanceRow

Attributes = Mapping[str, Any]

FRAMES_MAX = 100_000
_FRAMES, _SHARED, _PER_FRAME = "00280008", "52009229", "52009230"
_UNASSIGNED = frozenset({"00209170", "00209171"})


def images(row: InstanceRow) -> list[tuple[int, Attributes]]:
    """The images of an instance.

    Returns
    -------
    list
        Frame number and attributes (DICOM JSON Model) of each: `(0, header)` for one image; for functional groups one
        pair a frame, numbered from 1.

    Raises
    ------
    MultiFrame
        If there are several frames and the header does not say of each where it lies.
    """
    header = row.header
    frames = elements.integer(header, _FRAMES)
    if _PER_FRAME not in header and _SHARED not in header:
        if frames > 1:
            raise refusals.MultiFrame
        return [(0, header)]
    groups = elements.values(header, _PER_FRAME)
    if not 1 <= max(frames, 1) == len(groups) <= FRAMES_MAX or not all(isinstance(item, Mapping) for item in groups):
        raise refusals.MultiFrame("the functional groups do not describe every frame")
    shared = _flat(next(iter(elements.values(header, _SHARED)), {}))
    return [(number, ChainMap(_flat(group), shared, header)) for number, group in enumerate(groups, start=1)]


def _flat(group: Any) -> dict[str, Any]:
    """The attributes of a group's macros; what a conversion left unassigned counts least."""
    found: dict[str, Any] = {}
    if not isinstance(group, Mapping):
        return found
    for tag in sorted(group, key=_UNASSIGNED.__contains__):
        items = elements.values(group, tag)
        if items and isinstance(items[0], Mapping):
            found |= {name: element for name, element in items[0].items() if name not in found}
    return found
