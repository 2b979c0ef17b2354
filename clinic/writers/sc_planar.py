"""The preview of planar images: what was found in words, the frames that show it best, and a map tinted beside them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from clinic.statements import best_frames, percent, values_of
from clinic.workitem import Statement
from clinic.writers.source import Source
from inference.findings import Findings
from pipelines.outputs import ClassOutput, MapOutput, MeasurementOutput, PreviewOutput
from pipelines.spec import Pipeline

TILES_MAX = 6
_EDGE, _WIDTH_MIN, _WIDTH_MAX, _MARGIN, _TEXT, _SMALL = 448, 560, 1400, 8, 20, 15
_LINE, _CAPTION = 28, 22
_AMBER = (255, 191, 64)
_TINT = (255, 64, 0)
_STRENGTH = 0.65

_Tile = tuple[Image.Image, str]


def draw(
    stamped: str,
    output: PreviewOutput,
    pipeline: Pipeline,
    said: Sequence[Statement],
    measured: Sequence[MeasurementOutput],
    source: Source,
    findings: Findings,
) -> Image.Image:
    """Lines of text above, then the frames, each with its caption, and each map beside the frame it is of.

    Parameters
    ----------
    stamped
        The first line: NOT FOR DIAGNOSIS, and whether the patient is outside the intended population.
    output
        Its title is the second line.
    pipeline, said, measured
        What is written and shown: statements about all frames, and measurements of the image as a whole.
    source, findings
        What was analysed, and what was found.
    """
    lines = [output.title, *_lines(said, measured, findings)]
    rows = _rows(_tiles(pipeline, source, findings))
    font, small = ImageFont.load_default(_TEXT), ImageFont.load_default(_SMALL)
    widths = [sum(tile.width + _MARGIN for tile, _ in row) for row in rows]
    texts = [font.getlength(line) for line in (stamped, *lines)]
    width = min(round(max(_WIDTH_MIN, *widths, *texts)) + 2 * _MARGIN, _WIDTH_MAX)
    top = _MARGIN + _LINE * (1 + len(lines))
    heights = [max(tile.height for tile, _ in row) + _CAPTION + _MARGIN for row in rows]
    montage = Image.new("RGB", (width, top + sum(heights) + _MARGIN))
    pen = ImageDraw.Draw(montage)
    pen.text((_MARGIN, _MARGIN), stamped, fill=_AMBER, font=font)
    for place, line in enumerate(lines, start=1):
        pen.text((_MARGIN, _MARGIN + place * _LINE), line, fill="white", font=font)
    y = top
    for row, height in zip(rows, heights, strict=True):
        x = _MARGIN
        for tile, caption in row:
            montage.paste(tile, (x, y))
            pen.text((x, y + tile.height + 2), caption, fill="white", font=small)
            x += tile.width + _MARGIN
        y += height
    return montage


def _lines(said: Sequence[Statement], measured: Sequence[MeasurementOutput], findings: Findings) -> list[str]:
    whole = [(item, values_of([item], findings)) for item in measured if not item.mask]
    lines = [f"{item.label}: {item.text}" for item in said if item.frame is None]
    return lines + [f"{item.label}: {values[0]}" for item, values in whole if values]


def _tiles(pipeline: Pipeline, source: Source, findings: Findings) -> list[list[_Tile]]:
    """Frames, each with its maps, and captions: of classified ones the best of each class, else the first of the stack."""
    chosen: dict[int, str] = {}
    for output in pipeline.outputs:
        if isinstance(output, ClassOutput):
            best = best_frames(output, findings.classified(output.classification))
            for item in sorted(best, key=lambda item: -item.found.certainty):
                caption = f"{item.option.label}, {percent(item.found.certainty)}"
                known = chosen.get(item.found.frame)
                chosen[item.found.frame] = f"{known}; {caption}" if known else caption
    maps = [output for output in pipeline.outputs if isinstance(output, MapOutput)]
    count = len(source.grid.planes)
    frames = sorted(list(chosen or range(count))[: max(1, TILES_MAX // (1 + len(maps)))])
    groups: list[list[_Tile]] = []
    for k in frames:
        number = f"Frame {k + 1} of {count}" if count > 1 else ""
        grey = _grey(source, k)
        groups.append([(grey, ": ".join(filter(None, (number, chosen.get(k, "")))))])
        for output in maps:
            found = findings.map(output.map)
            assert found is not None, "findings are checked before they are written"
            groups[-1].append((_tinted(grey, source, found.array, k), ": ".join(filter(None, (number, output.label)))))
    return groups


def _rows(groups: Sequence[Sequence[_Tile]]) -> list[list[_Tile]]:
    """Frames side by side as far as the width reaches; a map stays beside its frame."""
    rows: list[list[_Tile]] = [[]]
    taken = _MARGIN
    for group in groups:
        wide = sum(tile.width + _MARGIN for tile, _ in group)
        if rows[-1] and taken + wide > _WIDTH_MAX:
            rows.append([])
            taken = _MARGIN
        rows[-1] += group
        taken += wide
    return rows


def _grey(source: Source, k: int) -> Image.Image:
    """One frame without its padding, black to white, within a square of `_EDGE` pixels."""
    rows, columns = source.grid.planes[k].size
    pixels = source.volume.array[k, :rows, :columns]
    if pixels.dtype == np.uint16:
        pixels = (pixels >> 8).astype(np.uint8)
    return Image.fromarray(pixels).resize(_size(source, k), Image.Resampling.BILINEAR, reducing_gap=2.0).convert("RGB")


def _tinted(grey: Image.Image, source: Source, array: npt.NDArray[np.float32], k: int) -> Image.Image:
    """The same with a map over it, as strong as its number is of the map's largest; what is not positive is not tinted."""
    rows, columns = source.grid.planes[k].size
    largest = float(array.max())
    part = Image.fromarray(np.ascontiguousarray(array[k, :rows, :columns]))
    spread = np.asarray(part.resize(_size(source, k), Image.Resampling.BILINEAR, reducing_gap=2.0))
    weight = np.clip(spread / (largest if largest > 0 else 1.0), 0.0, 1.0)[..., None] * _STRENGTH
    plain = np.asarray(grey, np.float32)
    return Image.fromarray((plain + weight * (np.array(_TINT, np.float32) - plain)).astype(np.uint8))


def _size(source: Source, k: int) -> tuple[int, int]:
    """Width and height of a frame with square pixels."""
    plane = source.grid.planes[k]
    height, width = plane.size[0] * plane.spacing_mm[0], plane.size[1] * plane.spacing_mm[1]
    scale = _EDGE / max(height, width)
    return max(1, round(width * scale)), max(1, round(height * scale))
