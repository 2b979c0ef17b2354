from dataclasses import replace

import numpy as np
import pytest

from clinic.writers.seg_object import BINARY, LABEL_MAP, around, refer
from tests.common.dicom_factory import make_series
from tests.common.written import SEGMENT, as_frames, context, source_of

UINT8, UINT16 = np.dtype(np.uint8), np.dtype(np.uint16)


@pytest.fixture(scope="module")
def source():
    return source_of(make_series((6, 9, 8), (0.7, 0.9, 1.3)))


@pytest.mark.parametrize(("dtype", "bits"), [(UINT8, 8), (UINT16, 16)])
def test_a_label_map_declares_its_background_and_its_pixels(source, dtype, bits):
    dataset = around(LABEL_MAP, [SEGMENT, replace(SEGMENT, label="Other")], dtype, source, context())
    assert [item.SegmentNumber for item in dataset.SegmentSequence] == [0, 1, 2]
    assert dataset.SegmentSequence[0].SegmentedPropertyTypeCodeSequence[0].CodeValue == "125040"
    assert (dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit) == (bits, bits, bits - 1)
    assert (dataset.PixelPaddingValue, dataset.SegmentsOverlap, dataset.SegmentationType) == (0, "NO", "LABELMAP")
    assert dataset.DimensionOrganizationType == "3D"
    assert len(dataset.DimensionIndexSequence) == 1
    assert dataset.SOPClassUID == "1.2.840.10008.5.1.4.1.1.66.7"


def test_the_two_kinds_are_two_objects(source):
    binary, label_map = (around(kind, [SEGMENT], UINT8, source, context()) for kind in (BINARY, LABEL_MAP))
    assert binary.SOPInstanceUID != label_map.SOPInstanceUID
    assert len(binary.DimensionIndexSequence) == 2
    assert "DimensionOrganizationType" not in binary


@pytest.mark.parametrize(
    ("steps", "told"),
    [([2] * 10, 2.0), ([4] * 6 + [5.5] + [7] * 6, None)],
    ids=["tilted", "uneven"],
)
def test_spacing_is_that_of_the_planes_and_not_of_the_volume(steps, told):
    lean, depths = 0.2 if told else 0.0, np.cumsum([0, *steps])
    positions = [(0, lean * z, z) for z in depths]
    series = make_series((len(depths), 40, 30), (1, 1, 2), modality="CT", positions=positions)
    for k, image in enumerate(series):
        image.SliceThickness = steps[0] if k < len(depths) / 2 else steps[-1]
    source = source_of(series)
    assert source.grid.straightening is not None
    dataset = around(LABEL_MAP, [SEGMENT], UINT8, source, context())
    measures = dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert measures.get("SpacingBetweenSlices") == told
    assert (dataset.Rows, dataset.Columns) == (40, 30)
    assert "DimensionOrganizationType" not in dataset


def test_an_instance_of_many_frames_is_named_once():
    source = source_of([as_frames(make_series((6, 9, 8)))])
    dataset = around(BINARY, [SEGMENT], UINT8, source, context())
    refer(dataset, source, [1, 2, 3])
    (series,) = dataset.ReferencedSeriesSequence
    (item,) = series.ReferencedInstanceSequence
    assert item.ReferencedSOPInstanceUID == source.head.sop_uid
