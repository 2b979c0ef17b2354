"""Segmentation in the planes of the source: BINARY (PS3.3 A.51) up to 20 segments, a label map (A.51, Supplement 243) above.

A BINARY object has one frame of bits for each segment and plane that holds it; a label map has one frame of segment
numbers a plane, which is smaller and quicker for many segments, but cannot hold segments that overlap and is refused by
archives that are older than it. Segment numbers are those of the declared order among what is present, from 1 without
gaps, in both.

highdicom writes the object around the frames; the frames themselves, hundreds of equal little groups, are encoded
here, and pixels are written plane by plane as they are cut out of the Findings. Empty frames are left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bithive.limits import HEADER_ELEMENTS_MAX, INSTANCE_BYTES_MAX
from clinic.refusals import SegmentationTooLarge
from clinic.writers import encode
from clinic.writers.context import Context, Piece, Written, file_of, stamp
from clinic.writers.seg_frames import (
    GROUP_ELEMENTS_MAX,
    Frame,
    binary_frames,
    check_places,
    check_shared,
    group,
    label_map_frames,
    numbered,
    packed,
    packed_size_bytes,
)
from clinic.writers.seg_layers import Layers
from clinic.writers.seg_object import BINARY, LABEL_MAP, PER_FRAME, PIXEL_DATA, around, refer
from clinic.writers.source import Source
from inference.findings import Findings
from pipelines.outputs import SegmentOutput

SEGMENTATION_STORAGE = "1.2.840.10008.5.1.4.1.1.66.4"
LABEL_MAP_STORAGE = "1.2.840.10008.5.1.4.1.1.66.7"
BINARY_SEGMENTS_MAX = 20
"""More than that, and a label map is preferred where it is taken and no two segments overlap."""

_REST_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, eq=False)
class _Plan:
    """How a Segmentation is to be written: its kind, its frames, the size and type of its pixels."""

    kind: str
    frames: list[Frame]
    size_bytes: int
    vr: str
    overlap: bool

    @property
    def fits(self) -> bool:
        """Whether our own archive would take it."""
        elements = len(self.frames) * GROUP_ELEMENTS_MAX
        return self.size_bytes + _REST_BYTES <= INSTANCE_BYTES_MAX and elements <= HEADER_ELEMENTS_MAX


def write(outputs: Sequence[SegmentOutput], source: Source, findings: Findings, context: Context) -> Written:
    """Masks and structures as one Segmentation.

    Parameters
    ----------
    outputs
        Which, and what they are called; segment numbers follow their order. The findings have all of them.
    source, findings, context
        What was analysed, what was found, the circumstances. Arrays have the Volume's shape.

    Raises
    ------
    MisplacedFrame
        If a frame or a voxel would not lie where it was found; our defect.
    SegmentationTooLarge
        If it goes over what an archive takes as one instance.
    """
    layers = Layers.of(outputs, findings)
    assert all(layer.array.shape == source.grid.shape for layer in layers.layers), "findings are checked before"
    plan = _plan(layers, source, context)
    dataset = around(plan.kind, outputs, layers.dtype, source, context)
    refer(dataset, source, sorted({frame.k for frame in plan.frames}))
    dataset.NumberOfFrames = len(plan.frames)
    dataset.SegmentsOverlap = "YES" if plan.overlap else "NO"
    check_shared(dataset.SharedFunctionalGroupsSequence[0], source)
    groups = [group(frame, source) for frame in plan.frames]
    content = encode.items(groups)
    check_places(content, groups, plan.frames, source)
    stamp(dataset, "seg", f"{context.pipeline.title} [SEG]", source, context)
    return file_of("seg", dataset, _last(plan, content, layers, source))


def _plan(layers: Layers, source: Source, context: Context) -> _Plan:
    """The kind that suits, of those that fit."""
    in_planes = layers.in_planes(source)
    overlap = layers.overlap(source)
    frames = binary_frames(in_planes, layers.count)
    binary = _Plan(BINARY, frames, packed_size_bytes(frames, source), "OB", overlap)
    plans = [binary]
    if context.label_maps and not overlap:
        frames = label_map_frames(in_planes)
        _, rows, columns = source.grid.stack_shape
        size_bytes = len(frames) * rows * columns * layers.dtype.itemsize
        label_map = _Plan(LABEL_MAP, frames, size_bytes, "OB" if layers.dtype.itemsize == 1 else "OW", overlap)
        plans = [binary, label_map] if layers.count <= BINARY_SEGMENTS_MAX else [label_map]
    for plan in plans:
        if plan.fits:
            return plan
    raise SegmentationTooLarge(segments=layers.count, frames=len(plans[-1].frames), size_bytes=plans[-1].size_bytes)


def _last(plan: _Plan, content: bytes, layers: Layers, source: Source) -> Iterator[Piece]:
    """The elements that follow everything else, piece by piece: per-frame groups and pixels."""
    pixels = packed(plan.frames, layers, source) if plan.kind == BINARY else numbered(plan.frames, layers, source)
    yield encode.element(PER_FRAME, "SQ", content)
    yield encode.head(PIXEL_DATA, plan.vr, plan.size_bytes + plan.size_bytes % 2)
    yield from pixels
    yield b"\x00" * (plan.size_bytes % 2)
