"""Secondary capture (PS3.3 A.8): a preview of the masks over the image, for viewers that read neither SEG nor SR.

Three planes through the middle of the mask, its outline, what was measured, and the words NOT FOR DIAGNOSIS, burned
in.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from clinic import elements, planes
from clinic.planes import Plane
from clinic.writers.context import Context, Written, coded, file_of, stamp
from clinic.writers.source import Source
from inference.findings import Findings
from pipelines.outputs import Code, MeasurementOutput, PreviewOutput, SegmentOutput

SECONDARY_CAPTURE_STORAGE = "1.2.840.10008.5.1.4.1.1.7"
STAMP = "NOT FOR DIAGNOSIS"
_HEIGHT, _MARGIN, _BAND, _TEXT = 384, 8, 64, 20
_AMBER = (255, 191, 64)
_SOURCE = Code("121322", "DCM", "Source image for image processing operation")
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
    montage = draw(output, segments, measured, source, findings)
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = SECONDARY_CAPTURE_STORAGE, context.uids.uid("sc")
    dataset.SeriesInstanceUID, dataset.Modality = context.uids.uid("sc.series"), "OT"
    dataset.ConversionType, dataset.InstanceNumber = "WSD", 1
    dataset.ContentDate = dataset.ContentTime = ""
    dataset.ImageType = ["DERIVED", "SECONDARY"]
    dataset.PatientOrientation = dataset.Laterality = None
    dataset.BurnedInAnnotation = "YES"
    dataset.ImageComments = f"{STAMP}. {context.pipeline.intended_use}"[:10240]
    dataset.DerivationDescription = context.pipeline.title
    dataset.SourceImageSequence = [_reference(source)]
    _set_pixels(dataset, montage, source)
    stamp(dataset, "sc", output.title, source, context)
    return file_of("sc", dataset)


def draw(
    output: PreviewOutput,
    segments: Sequence[SegmentOutput],
    measured: Sequence[MeasurementOutput],
    source: Source,
    findings: Findings,
) -> Image.Image:
    """The montage: axial, coronal and sagittal planes side by side, with a band of text above."""
    shown = [_view(plane, segments, source, findings) for plane in Plane]
    width = sum(view.width for view in shown) + _MARGIN * (len(shown) + 1)
    montage = Image.new("RGB", (width, _HEIGHT + _BAND + 2 * _MARGIN))
    pen, font = ImageDraw.Draw(montage), ImageFont.load_default(_TEXT)
    pen.text((_MARGIN, _MARGIN), STAMP, fill=_AMBER, font=font)
    pen.text((_MARGIN, _MARGIN + _TEXT + 8), _sentence(output, measured, findings), fill="white", font=font)
    x = _MARGIN
    for plane, view in zip(Plane, shown, strict=True):
        montage.paste(view, (x, _BAND + _MARGIN))
        pen.text((x + 4, _BAND + _MARGIN + 4), _MARKS[plane], fill="white", font=font)
        x += view.width + _MARGIN
    return montage


def _view(plane: Plane, segments: Sequence[SegmentOutput], source: Source, findings: Findings) -> Image.Image:
    volume = source.volume
    masks = [(findings.mask(segment.mask), segment.colour_rgb) for segment in segments]
    arrays = [(mask.array, colour) for mask, colour in masks if mask is not None]
    first = arrays[0][0] if arrays else np.zeros(volume.array.shape, np.bool_)
    index = planes.middle(first, volume.affine)[plane]
    pixels, spacing = planes.cut(volume.array, volume.affine, plane, index)
    bits = planes.cut(first, volume.affine, plane, index)[0] if arrays else None
    colour = arrays[0][1] if arrays else _AMBER
    view = planes.picture(pixels, spacing, planes.window_of(volume), bits, colour, fill=0.0)
    return view.resize((max(1, round(view.width * _HEIGHT / view.height)), _HEIGHT), Image.Resampling.BILINEAR)


def _sentence(output: PreviewOutput, measured: Sequence[MeasurementOutput], findings: Findings) -> str:
    found = [(item, findings.measurement(item.measurement)) for item in measured]
    values = [f"{value.value:.0f} {item.unit.value}" for item, value in found if value is not None]
    return ", ".join([output.title, *values])


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
