"""Archived Segmentations as overlays: segment numbers in the Volume's geometry, names and colours.

What is read is one array of numbers, whatever the number of segments. Where segments overlap, the smaller lies on top.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from clinic import elements, part10
from clinic.planes import Colour
from clinic.writers.seg import LABEL_MAP_STORAGE, SEGMENTATION_STORAGE
from clinic.writers.source import Source

SEGMENTATIONS = frozenset({SEGMENTATION_STORAGE, LABEL_MAP_STORAGE})
_PLAIN: Colour = (64, 156, 255)


@dataclass(frozen=True, slots=True)
class Segment:
    """What a segment is called and how it is drawn."""

    number: int
    name: str
    colour_rgb: Colour


@dataclass(frozen=True, slots=True, eq=False)
class Overlay:
    """The segments of a Segmentation.

    Attributes
    ----------
    array
        uint8 or uint16, axes (z, y, x), in the Volume's geometry: the number of the segment, 0 for none.
    segments
        By number.
    """

    array: npt.NDArray[Any]
    segments: tuple[Segment, ...]

    @property
    def colours(self) -> dict[int, Colour]:
        """Colour of each segment number."""
        return {segment.number: segment.colour_rgb for segment in self.segments}


@dataclass(frozen=True, slots=True)
class _Frame:
    """A frame: its place in the object, its segment (0 in a label map) and the plane of the source it lies in."""

    index: int
    number: int
    k: int


def read_overlay(content: bytes, source: Source) -> Overlay:
    """A Segmentation that was written here, each frame put into the plane of the source that it refers to.

    Parameters
    ----------
    content
        A Part 10 file: BINARY or a label map, in the planes of the source.
    source
        The series it was made from.
    """
    file = part10.read(content)
    header = file.header
    size = (elements.integer(header, "00280010"), elements.integer(header, "00280011"))
    assert size == source.grid.stack_shape[1:], "our segmentations keep the source's matrix"
    assert file.pixel_offset is not None, "they have native pixels"
    assert file.pixel_length is not None, "they have native pixels"
    pixels = memoryview(content)[file.pixel_offset : file.pixel_offset + file.pixel_length]
    segments = tuple(_segment(item) for item in header["00620002"]["Value"] if elements.integer(item, "00620004"))
    frames = _frames(header, source)
    binary = elements.text(header, "00620001") == "BINARY"
    dtype = np.uint8 if len(segments) < 256 else np.uint16
    stack = np.zeros(source.grid.stack_shape, dtype)
    if binary:
        _draw(stack, frames, pixels, overlap=elements.text(header, "00620013") != "NO")
    else:
        stored = np.dtype(f"<u{elements.integer(header, '00280100') // 8}")
        planes = np.frombuffer(pixels, stored, count=len(frames) * size[0] * size[1]).reshape(-1, *size)
        for frame in frames:
            stack[frame.k] = planes[frame.index]
    return Overlay(source.to_volume(stack), segments)


def _frames(header: dict[str, Any], source: Source) -> list[_Frame]:
    places = {(plane.row.sop_uid, plane.frame): k for k, plane in enumerate(source.grid.planes)}
    found = []
    for index, group in enumerate(header["52009230"]["Value"]):
        image = _first(_first(group, "00089124"), "00082112")
        key = (elements.text(image, "00081155"), elements.integer(image, "00081160"))
        number = elements.integer(_first(group, "0062000A"), "0062000B") if "0062000A" in group else 0
        found.append(_Frame(index, number, places[key]))
    return found


def _draw(stack: npt.NDArray[Any], frames: list[_Frame], pixels: memoryview, *, overlap: bool) -> None:
    """Put frames of bits into the stack; the largest segment first where they overlap."""
    size = stack[0].size

    def bits(frame: _Frame) -> npt.NDArray[np.bool_]:
        start, stop = frame.index * size, (frame.index + 1) * size
        packed = np.frombuffer(pixels[start // 8 : -(-stop // 8)], np.uint8)
        first = start % 8
        return np.unpackbits(packed, bitorder="little")[first : first + size].view(np.bool_)

    if overlap:
        voxels: dict[int, int] = {}
        for frame in frames:
            voxels[frame.number] = voxels.get(frame.number, 0) + int(np.count_nonzero(bits(frame)))
        frames = sorted(frames, key=lambda frame: -voxels[frame.number])
    for frame in frames:
        stack[frame.k].reshape(-1)[bits(frame)] = frame.number


def _segment(item: dict[str, Any]) -> Segment:
    from highdicom.color import CIELabColor

    value = elements.values(item, "0062000D")
    colour = _PLAIN
    if len(value) == 3:
        red, green, blue = CIELabColor.from_dicom_value([int(part) for part in value]).to_rgb(clip=True)
        colour = (int(red), int(green), int(blue))
    return Segment(elements.integer(item, "00620004"), elements.text(item, "00620005"), colour)


def _first(item: dict[str, Any], tag: str) -> dict[str, Any]:
    found: dict[str, Any] = item[tag]["Value"][0]
    return found
