"""Secondary capture (PS3.3 A.8): a preview of the masks over the image, for viewers that read neither SEG nor SR.

Three planes through the middle of what was found, each segment's outline in its colour, what was measured, and the
words NOT FOR DIAGNOSIS, burned in. Several segments have a legend below with their names and measured values. Planar
images are drawn by `sc_planar`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from clinic import elements, planes
from clinic.planes import Colour, Plane
from clinic.refusals import REMARKS
from clinic.statements import remarks_of, statements_of, values_of
from clinic.workitem import Statement
from clinic.writers import sc_planar
from clinic.writers.context import Context, Written, coded, file_of, stamp
from clinic.writers.seg_layers import Layers
from clinic.writers.source import Source
from inference.findings import Findings
from pipelines.outputs import Code, MeasurementOutput, PreviewOutput, RegionOutput, SegmentOutput

SECONDARY_CAPTURE_STORAGE = "1.2.840.10008.5.1.4.1.1.7"
STAMP = "NOT FOR DIAGNOSIS"
OUTSIDE = "OUTSIDE THE INTENDED POPULATION"
_HEIGHT, _MARGIN, _BAND, _TEXT = 384, 8, 64, 20
_ENTRY_WIDTH, _ENTRY_HEIGHT, _ENTRY_TEXT, _SWATCH = 260, 22, 15, 12
_AMBER = (255, 191, 64)
_SOURCE = Code("121322", "DCM", "Source image for image processing operation")
_ENTRY_VALUES, _ENTRIES_WIDE = 2, 20
_MARKS = {Plane.AXIAL: "R", Plane.CORONAL: "R", Plane.SAGITTAL: "A"}


def write(
    output: PreviewOutput,
    segments: Sequence[SegmentOutput],
    measured: Sequence[MeasurementOutput],
    source: Source,
    findings: Findings,
    context: Context,
) -> Written:
    """One preview.

    Parameters
    ----------
    output
        Its title.
    segments, measured
        Which masks are outlined, and which measurements are written beside them.
    source, findings, context
        What was analysed, what was found, the circumstances.
    """
    remarks = remarks_of(context.pipeline, source.age_years)
    stamped = f"{STAMP}, {OUTSIDE}" if remarks else STAMP
    boxed = {item.region for item in context.pipeline.outputs if isinstance(item, RegionOutput)}
    said = [
        item
        for item in statements_of(context.pipeline, findings, remarks)
        if item.key not in boxed or item.certainty is None
    ]
    if source.volume.planar:
        shown = sc_planar.draw(stamped, output, context.pipeline, said, measured, source, findings)
    else:
        shown = draw(
            output, segments, measured, source, findings, stamped, [item for item in said if item.frame is None]
        )
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = SECONDARY_CAPTURE_STORAGE, context.uids.uid("sc")
    dataset.SeriesInstanceUID, dataset.Modality = context.uids.uid("sc.series"), "OT"
    dataset.ConversionType, dataset.InstanceNumber = "WSD", 1
    dataset.ContentDate = dataset.ContentTime = ""
    dataset.ImageType = ["DERIVED", "SECONDARY"]
    dataset.PatientOrientation = dataset.Laterality = None
    dataset.BurnedInAnnotation = "YES"
    told = [f"{STAMP}.", *(REMARKS[remark] for remark in remarks), context.pipeline.intended_use, source.remark]
    dataset.ImageComments = " ".join(filter(None, told))[:10240]
    dataset.DerivationDescription = context.pipeline.title
    dataset.SourceImageSequence = [_reference(source)]
    _set_pixels(dataset, shown, source)
    stamp(dataset, "sc", output.title, source, context)
    return file_of("sc", dataset)


def draw(
    output: PreviewOutput,
    segments: Sequence[SegmentOutput],
    measured: Sequence[MeasurementOutput],
    source: Source,
    findings: Findings,
    stamped: str = STAMP,
    said: Sequence[Statement] = (),
) -> Image.Image:
    """The montage: axial, coronal and sagittal planes side by side, a band of text above, a legend below."""
    shown = _views(segments, source, findings)
    width = sum(view.width for view in shown) + _MARGIN * (len(shown) + 1)
    entries = _entries(segments, measured, findings, said) if len(segments) > 1 else []
    columns = max(1, (width - _MARGIN) // _ENTRY_WIDTH)
    below = -(-len(entries) // columns) * _ENTRY_HEIGHT
    montage = Image.new("RGB", (width, _HEIGHT + _BAND + 2 * _MARGIN + below))
    pen, font = ImageDraw.Draw(montage), ImageFont.load_default(_TEXT)
    pen.text((_MARGIN, _MARGIN), stamped, fill=_AMBER, font=font)
    sentence = output.title if entries else _sentence(output, measured, said, findings)
    pen.text((_MARGIN, _MARGIN + _TEXT + 8), sentence, fill="white", font=font)
    x = _MARGIN
    for plane, view in zip(planes.BODY_PLANES, shown, strict=True):
        montage.paste(view, (x, _BAND + _MARGIN))
        pen.text((x + 4, _BAND + _MARGIN + 4), _MARKS[plane], fill="white", font=font)
        x += view.width + _MARGIN
    _draw_legend(pen, entries, columns, _BAND + _HEIGHT + 2 * _MARGIN, (width - _MARGIN) // columns)
    return montage


def _views(segments: Sequence[SegmentOutput], source: Source, findings: Findings) -> list[Image.Image]:
    volume = source.volume
    there = [segment for segment in segments if segment.mask in findings.structures]
    layers = sorted(Layers.of(there, findings).layers, key=lambda layer: -np.count_nonzero(layer.array))
    colours = {number: segment.colour_rgb for number, segment in enumerate(there, start=1)}
    arrays = [layer.array for layer in layers] or [np.zeros(volume.array.shape, np.bool_)]
    window, indices = planes.window_of(volume), planes.middle(arrays[0], volume.affine, *arrays[1:])
    views = []
    for plane, index in indices.items():
        pixels, spacing = planes.cut(volume.array, volume.affine, plane, index)
        masks = [
            found
            for layer in layers
            for found in planes.labelled(
                np.take(layer.numbers, planes.cut(layer.array, volume.affine, plane, index)[0]), colours
            )
        ]
        view = planes.picture(pixels, spacing, window, masks, fill=0.0)
        size = (max(1, round(view.width * _HEIGHT / view.height)), _HEIGHT)
        views.append(view.resize(size, Image.Resampling.BILINEAR))
    return views


def _sentence(
    output: PreviewOutput, measured: Sequence[MeasurementOutput], said: Sequence[Statement], findings: Findings
) -> str:
    scored = (f"{item.label}: {item.text}" for item in said)
    return ", ".join([output.title, *values_of(measured, findings), *scored])


def _entries(
    segments: Sequence[SegmentOutput],
    measured: Sequence[MeasurementOutput],
    findings: Findings,
    said: Sequence[Statement] = (),
) -> list[tuple[Colour | None, str, str]]:
    """Of each segment its colour, name and first measured values; then what was measured or scored of the whole."""
    of_mask: dict[str, list[MeasurementOutput]] = {}
    for item in measured:
        of_mask.setdefault(item.mask, []).append(item)
    count = _ENTRY_VALUES if len(segments) <= _ENTRIES_WIDE else 1
    found: list[tuple[Colour | None, str, str]] = [
        (item.colour_rgb, item.label, ", ".join(values_of(of_mask.get(item.mask, ())[:count], findings)))
        for item in segments
    ]
    found += [(None, item.label, ", ".join(values_of([item], findings))) for item in of_mask.get("", ())]
    return found + [(None, item.label, item.text) for item in said]


def _draw_legend(
    pen: ImageDraw.ImageDraw, entries: Sequence[tuple[Colour | None, str, str]], columns: int, top: int, width: int
) -> None:
    """Entries in columns of that width, read downwards; a name that is too long is cut, a value never."""
    font = ImageFont.load_default(_ENTRY_TEXT)
    rows = -(-len(entries) // columns)
    for place, (colour, name, values) in enumerate(entries):
        x, y = _MARGIN + place // rows * width, top + place % rows * _ENTRY_HEIGHT
        if colour is not None:
            pen.rectangle((x, y + 3, x + _SWATCH, y + 3 + _SWATCH), fill=colour, outline="white")
        room = width - _SWATCH - 3 * _MARGIN - (font.getlength(values) + _MARGIN if values else 0)
        shown = name
        while font.getlength(shown) > room and len(shown) > 1:
            shown = shown.removesuffix("…")[:-1] + "…"
        pen.text((x + _SWATCH + _MARGIN, y), shown, fill="white", font=font)
        pen.text((x + width - 2 * _MARGIN, y), values, fill=_AMBER, font=font, anchor="ra")


def _reference(source: Source) -> Dataset:
    item, row = Dataset(), source.grid.rows[source.grid.shape[0] // 2]
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = row.sop_class, row.sop_uid
    item.PurposeOfReferenceCodeSequence = [coded(_SOURCE)]
    return item


def _set_pixels(dataset: Dataset, montage: Image.Image, source: Source) -> None:
    pixels = np.asarray(montage)
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PlanarConfiguration = 3, "RGB", 0
    dataset.Rows, dataset.Columns = pixels.shape[:2]
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation = 7, 0
    lossy = elements.text(source.head.header, "00282110") == "01"
    dataset.LossyImageCompression = "01" if lossy else "00"
    if lossy:
        dataset.LossyImageCompressionRatio = elements.values(source.head.header, "00282112") or None
        dataset.LossyImageCompressionMethod = elements.values(source.head.header, "00282114") or None
    content = pixels.tobytes()
    dataset[0x7FE00010] = DataElement(0x7FE00010, "OB", content + b"\x00" * (len(content) % 2))
