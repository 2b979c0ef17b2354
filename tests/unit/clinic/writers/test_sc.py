import io
from dataclasses import replace

import numpy as np
import pydicom
import pytest

from clinic.writers import sc
from inference.findings import Findings, Mask
from tests.common.dicom_factory import make_series
from tests.common.written import MEASUREMENT, PREVIEW, SEGMENT, context, ellipsoid, findings_of, many, source_of


@pytest.fixture(scope="module")
def source():
    return source_of(make_series((20, 30, 24), (2.0, 1.5, 3.0)))


def written(source, findings=None) -> pydicom.Dataset:
    made = sc.write(PREVIEW, [SEGMENT], [MEASUREMENT], source, findings or findings_of(source), context())
    return pydicom.dcmread(io.BytesIO(made.content))


def test_a_preview_is_a_colour_picture_that_says_what_it_is(source):
    dataset = written(source)
    pixels = dataset.pixel_array
    assert (dataset.SOPClassUID, dataset.Modality) == (sc.SECONDARY_CAPTURE_STORAGE, "OT")
    assert pixels.shape == (dataset.Rows, dataset.Columns, 3)
    assert (dataset.BurnedInAnnotation, dataset.ConversionType) == ("YES", "WSD")
    assert list(dataset.ImageType) == ["DERIVED", "SECONDARY"]
    assert dataset.SeriesDescription == "Intracranial volume, preview"
    assert "NOT FOR DIAGNOSIS" in dataset.ImageComments
    assert dataset.SourceImageSequence[0].ReferencedSOPInstanceUID == source.grid.rows[10].sop_uid


def test_the_stamp_and_the_outline_are_in_the_pixels(source):
    pixels = written(source).pixel_array
    band = pixels[: sc._BAND]
    assert (np.abs(band.astype(int) - sc._AMBER).max(axis=2) < 10).sum() > 100
    outline = np.abs(pixels[sc._BAND :].astype(int) - SEGMENT.colour_rgb).max(axis=2) < 40
    assert outline.sum() > 200


def test_no_patient_is_burned_in(source):
    def picture(**arguments):
        return written(source_of(make_series((20, 30, 24), (2.0, 1.5, 3.0), **arguments))).PixelData

    assert picture() == picture(patient={"PatientName": "Somebody^Else", "PatientID": "X"}, description="Other")


def test_without_a_mask_the_middle_is_shown(source):
    image = sc.draw(PREVIEW, [SEGMENT], [MEASUREMENT], source, Findings())
    assert image.height == sc._HEIGHT + sc._BAND + 2 * sc._MARGIN


def test_writing_again_gives_the_same_bytes(source):
    first, second = (
        sc.write(PREVIEW, [SEGMENT], [MEASUREMENT], source, findings_of(source), context()) for _ in range(2)
    )
    assert first.content == second.content


def test_lossy_sources_are_told():
    lossy = {
        "LossyImageCompression": "01",
        "LossyImageCompressionRatio": 12.5,
        "LossyImageCompressionMethod": "ISO_10918_1",
    }
    dataset = written(source_of(make_series((4, 30, 24), **lossy)))
    assert (dataset.LossyImageCompression, float(dataset.LossyImageCompressionRatio)) == ("01", 12.5)


@pytest.mark.parametrize("count", [3, 25])
def test_every_segment_has_its_outline_and_its_entry(source, count):
    body = many(source, count)
    image = sc.draw(PREVIEW, body.segments, body.measured, source, body.findings)
    pixels = np.asarray(image).astype(int)
    top = sc._BAND + sc._HEIGHT + 2 * sc._MARGIN
    columns = (image.width - sc._MARGIN) // sc._ENTRY_WIDTH
    assert image.height == top + -(-count // columns) * sc._ENTRY_HEIGHT
    for segment in body.segments:
        assert (np.abs(pixels[top:] - segment.colour_rgb).max(axis=2) == 0).sum() > 50, segment.label
    drawn = [(np.abs(pixels[sc._BAND : top] - item.colour_rgb).max(axis=2) < 30).any() for item in body.segments]
    assert sum(drawn) >= min(count, 8)


def test_small_values_keep_their_figures_and_long_names_are_cut(source):
    body = many(source, 3)
    values = [
        replace(item, value=value)
        for item, value in zip(body.findings.measurements, (0.5432, 7.25, 1234.5), strict=True)
    ]
    findings = replace(body.findings, measurements=tuple(values))
    entries = sc._entries(body.segments, body.measured, findings)
    assert [shown for _, _, shown in entries] == ["0.54 mL", "7.2 mL", "1234 mL"]
    long = [replace(item, label="x" * 64) for item in body.segments]
    assert sc.draw(PREVIEW, long, body.measured, source, findings).height > sc._HEIGHT


def test_overlapping_masks_are_all_seen(source):
    small, large = ellipsoid(source.grid.shape, 0.15), ellipsoid(source.grid.shape, 0.8)
    outputs = [replace(SEGMENT, mask="a", colour_rgb=(255, 0, 0)), replace(SEGMENT, mask="b", colour_rgb=(0, 255, 0))]
    image = sc.draw(PREVIEW, outputs, [], source, Findings((Mask("a", small), Mask("b", large))))
    pixels = np.asarray(image)[sc._BAND + sc._MARGIN : sc._BAND + sc._HEIGHT].astype(int)
    for output in outputs:
        assert (np.abs(pixels - output.colour_rgb).max(axis=2) < 40).sum() > 50
