import io
from dataclasses import replace

import numpy as np
import pydicom
import pytest

from clinic import part10
from clinic.refusals import MisplacedFrame
from clinic.writers import encode, seg
from clinic.writers.seg_frames import (
    GROUP_ELEMENTS_MAX,
    Frame,
    binary_frames,
    check_places,
    check_shared,
    group,
    label_map_frames,
    packed,
    packed_size_bytes,
)
from clinic.writers.seg_layers import Layers
from clinic.writers.source import Source
from tests.common.dicom_factory import make_series
from tests.common.written import SEGMENT, as_frames, context, findings_of, source_of

TILTED = {"modality": "CT", "positions": [(0, 0.3 * z, 2 * z) for z in range(8)]}


def series(**arguments):
    return make_series((8, 40, 30), (1.0, 1.0, 2.0), **arguments)


def checked(source, frames):
    groups = [group(frame, source) for frame in frames]
    check_places(encode.items(groups), groups, frames, source)


def test_frames_go_segment_by_segment_and_leave_empty_planes_out():
    held = [(), (1,), (1, 2), (), (2,)]
    assert binary_frames(held, 2) == [Frame(1, 1, 1), Frame(1, 2, 2), Frame(2, 2, 2), Frame(2, 4, 3)]
    assert label_map_frames(held) == [Frame(0, k, place) for place, k in enumerate((1, 2, 3, 4), start=1)]


def test_without_any_voxel_there_is_one_frame():
    assert binary_frames([(), (), ()], 2) == [Frame(1, 1, 1)]
    assert label_map_frames([(), (), ()]) == [Frame(0, 1, 1)]


@pytest.mark.parametrize("columns", [7, 8, 9, 16])
def test_bits_follow_one_another_without_gaps(columns):
    source = source_of(make_series((4, 3, columns)))
    mask = np.random.default_rng(columns).random((4, 3, columns)) > 0.5
    frames = [Frame(1, k, k + 1) for k in range(4)]
    layers = Layers.of([SEGMENT], findings_of(source, mask))
    content = b"".join(packed(frames, layers, source))
    assert content == np.packbits(mask.reshape(-1), bitorder="little").tobytes()
    assert len(content) == packed_size_bytes(frames, source)


@pytest.mark.parametrize("arguments", [{}, TILTED], ids=["even", "tilted"])
def test_a_plane_that_moves_is_noticed(arguments):
    source = source_of(series(**arguments))
    frames = [Frame(1, k, k + 1) for k in range(8)]
    checked(source, frames)
    for axis, millimetres in ((0, 0.6), (1, -0.6), (2, 1.2)):
        affine = source.volume.affine.copy()
        affine[axis, 3] += millimetres
        with pytest.raises(MisplacedFrame):
            checked(Source(replace(source.grid, affine=affine), replace(source.volume, affine=affine)), frames)


def test_a_cut_that_takes_other_voxels_is_noticed(monkeypatch):
    source = source_of(series(**TILTED))
    honest = Source.plane
    monkeypatch.setattr(Source, "plane", lambda self, array, k: honest(self, array, k)[::-1])
    with pytest.raises(MisplacedFrame):
        checked(source, [Frame(1, 3, 1)])
    monkeypatch.setattr(Source, "plane", lambda self, array, k: honest(self, array, k)[:, :-1])
    with pytest.raises(MisplacedFrame):
        checked(source, [Frame(1, 3, 1)])


def test_a_position_that_is_encoded_wrongly_is_noticed(monkeypatch):
    source = source_of(series())
    right = encode.decimals
    monkeypatch.setattr(encode, "decimals", lambda tag, values: right(tag, [values[0] + 0.01, *values[1:]]))
    with pytest.raises(MisplacedFrame):
        checked(source, [Frame(1, 3, 1)])


@pytest.mark.parametrize("kind", ["orientation", "spacing"])
def test_what_frames_share_has_to_be_the_planes_own(kind):
    source = source_of(series())
    made = pydicom.dcmread(io.BytesIO(seg.write([SEGMENT], source, findings_of(source), context()).content))
    shared = made.SharedFunctionalGroupsSequence[0]
    check_shared(shared, source)
    if kind == "spacing":
        shared.PixelMeasuresSequence[0].PixelSpacing = [1.0, 1.001]
    else:
        shared.PlaneOrientationSequence[0].ImageOrientationPatient = [0.9999, 0.0141, 0, -0.0141, 0.9999, 0]
    with pytest.raises(MisplacedFrame):
        check_shared(shared, source)


def test_frames_of_a_multi_frame_source_name_its_frames():
    source = source_of([as_frames(series())])
    assert [plane.frame for plane in source.grid.planes] == [8, 7, 6, 5, 4, 3, 2, 1]
    made = pydicom.dcmread(io.BytesIO(seg.write([SEGMENT], source, findings_of(source), context()).content))
    for item in made.PerFrameFunctionalGroupsSequence:
        image = item.DerivationImageSequence[0].SourceImageSequence[0]
        plane = source.grid.planes[8 - int(image.ReferencedFrameNumber)]
        assert list(item.PlanePositionSequence[0].ImagePositionPatient) == plane.position.tolist()
        assert image.ReferencedSOPInstanceUID == plane.row.sop_uid


def test_the_groups_of_a_frame_have_as_many_elements_as_is_said():
    source = source_of([as_frames(series())])
    header = part10.read(seg.write([SEGMENT], source, findings_of(source), context()).content).header

    def count(item):
        nested = [one for element in item.values() for one in element.get("Value", []) if isinstance(one, dict)]
        return len(item) + sum(1 + count(one) for one in nested)

    assert {1 + count(item) for item in header["52009230"]["Value"]} == {GROUP_ELEMENTS_MAX}
