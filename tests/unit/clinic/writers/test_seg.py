import io
from dataclasses import replace

import highdicom as hd
import numpy as np
import pydicom
import pytest

from clinic.refusals import MisplacedFrame
from clinic.writers import seg
from clinic.writers.source import Source, neutral_dataset
from inference.findings import Findings, Mask
from tests.common.dicom_factory import AXIAL, CORONAL, SAGITTAL, make_series
from tests.common.written import SEGMENT, context, ellipsoid, findings_of, source_of

OBLIQUE = (0.9990321764, -0.0217883752, 0.0382096472, 0.0265194769, 0.9914138703, -0.128043958)
SHAPE = (9, 11, 7)


def series(orientation=AXIAL, shape=SHAPE, **arguments):
    return make_series(shape, (0.7, 0.9, 1.3), orientation, origin=(-33.3, 12.125, 7), **arguments)


def written(source, findings=None, outputs=(SEGMENT,)) -> pydicom.Dataset:
    made = seg.write(outputs, source, findings or findings_of(source), context())
    return pydicom.dcmread(io.BytesIO(made.content))


@pytest.mark.parametrize("orientation", [AXIAL, SAGITTAL, CORONAL, OBLIQUE])
def test_highdicom_reads_the_mask_back_in_its_place(orientation):
    source = source_of(series(orientation))
    dataset = written(source)
    volume = hd.seg.Segmentation.from_dataset(dataset).get_volume(combine_segments=True)
    mask = findings_of(source).masks[0].array
    for index in np.argwhere(mask)[[0, len(np.argwhere(mask)) // 2, -1]]:
        place = source.volume.affine @ (*index[::-1], 1)
        theirs = np.linalg.inv(volume.affine) @ place
        assert theirs[:3] == pytest.approx(np.round(theirs[:3]), abs=1e-3)
        z, y, x = np.round(theirs[:3]).astype(int)
        assert volume.array[z, y, x] == 1
    assert volume.array.sum() == mask.sum()


def test_the_frames_are_those_that_highdicom_would_write():
    source = source_of(series())
    mask = findings_of(source).masks[0].array
    ours = written(source)
    theirs = hd.seg.Segmentation(
        source_images=[neutral_dataset(source, z) for z in range(SHAPE[0])],
        pixel_array=mask,
        segmentation_type="BINARY",
        segment_descriptions=[seg._description(1, SEGMENT, context())],
        series_instance_uid="2.25.1",
        series_number=1,
        sop_instance_uid="2.25.2",
        instance_number=1,
        manufacturer="",
        manufacturer_model_name="",
        software_versions="",
        device_serial_number="",
    )
    assert ours.NumberOfFrames == theirs.NumberOfFrames
    assert len(ours.PixelData) == len(theirs.PixelData)
    known = by_position(theirs)
    for position, (bits, frame) in by_position(ours).items():
        expected_bits, expected = known[position]
        assert np.array_equal(bits, expected_bits)
        assert frame.DerivationImageSequence == expected.DerivationImageSequence
    assert ours.SegmentSequence == theirs.SegmentSequence
    assert (
        ours.DimensionIndexSequence[1].DimensionIndexPointer == theirs.DimensionIndexSequence[1].DimensionIndexPointer
    )


def by_position(dataset) -> dict:
    """Each frame's bits and functional groups; highdicom counts along the normal from the other end."""
    count, size = int(dataset.NumberOfFrames), dataset.Rows * dataset.Columns
    bits = np.unpackbits(np.frombuffer(dataset.PixelData, np.uint8), count=count * size, bitorder="little")
    frames = zip(bits.reshape(count, size), dataset.PerFrameFunctionalGroupsSequence, strict=True)
    return {str(frame.PlanePositionSequence[0].ImagePositionPatient): (bits, frame) for bits, frame in frames}


def test_only_filled_slices_become_frames():
    source = source_of(series())
    mask = np.zeros(SHAPE, np.bool_)
    mask[2, 3, 4] = mask[6, 0, 0] = True
    dataset = written(source, findings_of(source, mask))
    frames = dataset.PerFrameFunctionalGroupsSequence
    assert dataset.NumberOfFrames == len(frames) == 2
    assert [list(frame.FrameContentSequence[0].DimensionIndexValues) for frame in frames] == [[1, 1], [1, 2]]
    referenced = [frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID for frame in frames]
    assert referenced == [source.grid.rows[z].sop_uid for z in (2, 6)]
    named = dataset.ReferencedSeriesSequence[0].ReferencedInstanceSequence
    assert [item.ReferencedSOPInstanceUID for item in named] == referenced


def test_several_segments_may_overlap():
    source = source_of(series())
    one, other = ellipsoid(SHAPE, 0.6), ellipsoid(SHAPE, 0.2)
    outputs = (SEGMENT, replace(SEGMENT, mask="inner", label="Inner", colour_rgb=(255, 0, 0)))
    findings = Findings((Mask("intracranial", one), Mask("inner", other)))
    dataset = written(source, findings, outputs)
    assert dataset.SegmentsOverlap == "YES"
    assert [item.SegmentLabel for item in dataset.SegmentSequence] == ["Intracranial volume", "Inner"]
    volume = hd.seg.Segmentation.from_dataset(dataset).get_volume()
    assert volume.array[..., 0].sum() == one.sum()
    assert volume.array[..., 1].sum() == other.sum()
    apart = Findings((Mask("intracranial", one & ~other), Mask("inner", other)))
    assert written(source, apart, outputs).SegmentsOverlap == "NO"


@pytest.mark.parametrize("columns", [7, 8, 9, 16])
def test_frames_whose_bits_end_inside_a_byte(columns):
    source = source_of(series(shape=(5, 3, columns)))
    generator = np.random.default_rng(columns)
    mask = generator.random((5, 3, columns)) > 0.5
    mask[2] = False
    volume = hd.seg.Segmentation.from_dataset(written(source, findings_of(source, mask))).get_volume(
        combine_segments=True
    )
    assert volume.array.sum() == mask.sum()


def test_what_a_segment_says_of_itself():
    dataset = written(source_of(series()))
    (segment,) = dataset.SegmentSequence
    assert (segment.SegmentAlgorithmType, segment.SegmentAlgorithmName) == ("AUTOMATIC", "intracranial_t1")
    assert segment.SegmentedPropertyTypeCodeSequence[0].CodeValue == "1101003"
    algorithm = segment.SegmentationAlgorithmIdentificationSequence[0]
    assert algorithm.AlgorithmVersion == "1.0.0+" + "b" * 12
    assert (dataset.SegmentationType, dataset.BitsAllocated) == ("BINARY", 1)
    assert dataset.FrameOfReferenceUID == "1.2.3.100.9"
    assert dataset.SeriesDescription.endswith("[SEG]")


def test_lossy_sources_are_told():
    lossy = {
        "LossyImageCompression": "01",
        "LossyImageCompressionRatio": 12.5,
        "LossyImageCompressionMethod": "ISO_10918_1",
    }
    dataset = written(source_of(series(**lossy)))
    assert (dataset.LossyImageCompression, float(dataset.LossyImageCompressionRatio)) == ("01", 12.5)
    assert written(source_of(series())).LossyImageCompression == "00"


def test_writing_again_gives_the_same_bytes():
    source = source_of(series())
    first, second = (seg.write((SEGMENT,), source, findings_of(source), context()) for _ in range(2))
    assert first.content == second.content


def test_a_frame_out_of_place_is_a_defect_and_not_a_result():
    source = source_of(series())
    moved = replace(source.volume, affine=source.volume.affine.copy())
    moved.affine[2, 3] += 0.05
    assert written(source) is not None
    with pytest.raises(MisplacedFrame):
        written(Source(replace(source.grid, affine=moved.affine), replace(moved)))


def test_an_affine_of_another_plane_is_noticed():
    source = source_of(series())
    turned = source.volume.affine.copy()
    turned[:3, [0, 1]] = turned[:3, [1, 0]]
    with pytest.raises(MisplacedFrame):
        written(Source(source.grid, replace(source.volume, affine=turned)))
