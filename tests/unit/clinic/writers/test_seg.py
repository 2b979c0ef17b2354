import io
from dataclasses import replace

import highdicom as hd
import numpy as np
import pydicom
import pytest

from clinic.refusals import MisplacedFrame, SegmentationTooLarge
from clinic.writers import seg, seg_object
from clinic.writers.source import Source, neutral_dataset
from inference.findings import Findings, Mask
from tests.common.dicom_factory import AXIAL, CORONAL, SAGITTAL, make_series
from tests.common.written import SEGMENT, context, ellipsoid, findings_of, many, source_of

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
        segment_descriptions=[seg_object._description(1, SEGMENT, context())],
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


@pytest.mark.parametrize(
    ("count", "label_maps", "sop_class"),
    [
        (20, True, seg.SEGMENTATION_STORAGE),
        (21, True, seg.LABEL_MAP_STORAGE),
        (21, False, seg.SEGMENTATION_STORAGE),
        (300, True, seg.LABEL_MAP_STORAGE),
    ],
)
def test_many_segments_are_a_label_map_where_it_is_taken(count, label_maps, sop_class):
    source = source_of(series(shape=(12, 30, 28)))
    body = many(source, count, label_maps=label_maps)
    made = seg.write(body.segments, source, body.findings, body.context)
    assert made.sop_class == sop_class
    dataset = pydicom.dcmread(io.BytesIO(made.content))
    assert dataset.SOPClassUID == sop_class
    volume = hd.seg.Segmentation.from_dataset(dataset).get_volume(combine_segments=True)
    assert np.array_equal(np.unique(volume.array), np.arange(count + 1))
    assert (volume.array != 0).sum() == (body.findings.labels.array != 0).sum()


def test_the_frames_of_a_label_map_are_those_that_highdicom_would_write():
    source = source_of(series(shape=(12, 30, 28)))
    body = many(source, 25)
    ours = pydicom.dcmread(io.BytesIO(seg.write(body.segments, source, body.findings, body.context).content))
    theirs = hd.seg.Segmentation(
        source_images=[neutral_dataset(source, z) for z in range(12)],
        pixel_array=body.findings.labels.array,
        segmentation_type="LABELMAP",
        segment_descriptions=[
            seg_object._description(number, output, body.context)
            for number, output in enumerate(body.segments, start=1)
        ],
        series_instance_uid="2.25.1",
        series_number=1,
        sop_instance_uid="2.25.2",
        instance_number=1,
        manufacturer="",
        manufacturer_model_name="",
        software_versions="",
        device_serial_number="",
    )
    assert ours.NumberOfFrames == theirs.NumberOfFrames == 12
    assert ours.SegmentSequence == theirs.SegmentSequence
    assert str(ours.SharedFunctionalGroupsSequence) == str(theirs.SharedFunctionalGroupsSequence)
    for name in (
        "PixelPaddingValue",
        "BitsAllocated",
        "SegmentsOverlap",
        "DimensionOrganizationType",
        "SegmentationType",
    ):
        assert ours[name].value == theirs[name].value

    def place(group) -> tuple[float, ...]:
        return tuple(float(item) for item in group.PlanePositionSequence[0].ImagePositionPatient)

    frames = {
        place(group): (frame, group)
        for frame, group in zip(theirs.pixel_array, theirs.PerFrameFunctionalGroupsSequence, strict=True)
    }
    for frame, group in zip(ours.pixel_array, ours.PerFrameFunctionalGroupsSequence, strict=True):
        expected, known = frames[place(group)]
        assert np.array_equal(frame, expected)
        assert group.DerivationImageSequence == known.DerivationImageSequence
        assert group.keys() == known.keys()


def test_overlapping_segments_are_never_a_label_map():
    source = source_of(series())
    outputs = [replace(SEGMENT, mask=f"m{number}") for number in range(21)]
    masks = tuple(Mask(output.mask, ellipsoid(SHAPE, 0.9 - 0.01 * number)) for number, output in enumerate(outputs))
    made = seg.write(outputs, source, Findings(masks), context())
    assert made.sop_class == seg.SEGMENTATION_STORAGE
    assert pydicom.dcmread(io.BytesIO(made.content)).SegmentsOverlap == "YES"


def test_what_an_archive_does_not_take_is_not_written(monkeypatch):
    source = source_of(series(shape=(12, 30, 28)))
    body = many(source, 25, label_maps=False)
    monkeypatch.setattr(seg, "HEADER_ELEMENTS_MAX", 1000)
    with pytest.raises(SegmentationTooLarge):
        seg.write(body.segments, source, body.findings, body.context)
    allowed = replace(body.context, label_maps=True)
    assert seg.write(body.segments, source, body.findings, allowed).sop_class == seg.LABEL_MAP_STORAGE
    few = many(source, 20)
    assert seg.write(few.segments, source, few.findings, few.context).sop_class == seg.LABEL_MAP_STORAGE
    monkeypatch.setattr(seg, "INSTANCE_BYTES_MAX", 1 << 20)
    with pytest.raises(SegmentationTooLarge):
        seg.write(body.segments, source, body.findings, allowed)


@pytest.mark.parametrize("count", [3, 25])
def test_of_a_tilted_source_frames_lie_in_its_planes(count):
    positions = [(-10, 0.3 * z, 2 * z) for z in range(10)]
    source = source_of(make_series((10, 40, 31), (1, 1, 2), modality="CT", positions=positions))
    body = many(source, count)
    dataset = pydicom.dcmread(io.BytesIO(seg.write(body.segments, source, body.findings, body.context).content))
    assert (dataset.Rows, dataset.Columns) == (40, 31)
    places = {tuple(plane.position.tolist()) for plane in source.grid.planes}
    for group in dataset.PerFrameFunctionalGroupsSequence:
        assert tuple(float(item) for item in group.PlanePositionSequence[0].ImagePositionPatient) in places
    held = sum(np.count_nonzero(source.plane(body.findings.labels.array, k)) for k in range(10))
    assert np.count_nonzero(dataset.pixel_array) == held


@pytest.mark.parametrize("count", [3, 25])
def test_writing_many_again_gives_the_same_bytes(count):
    source = source_of(series(shape=(12, 30, 28)))
    body = many(source, count)
    first, second = (seg.write(body.segments, source, body.findings, body.context) for _ in range(2))
    assert first.content == second.content
