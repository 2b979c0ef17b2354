import json
import math
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bithive.limits import VOLUME_AXIS_VOXELS_MAX
from inference.errors import BadVolume
from inference.volume import DTYPES, MAGIC, Volume, VolumeSet, read_payload

AFFINE = np.array([[0.9, 0.1, 0, -90.5], [-0.1, 0.8, 0, 12.25], [0, 0, 1.2, 3.0], [0, 0, 0, 1]])


def volume(dtype="int16", shape=(3, 4, 5)):
    array = np.arange(math.prod(shape)).reshape(shape).astype(dtype)
    return Volume(array, AFFINE.copy(), "arbitrary")


def container(header, raw=b"", magic=MAGIC):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    start = struct.pack("<8sI", magic, len(text)) + text
    return start + b" " * (-len(start) % 64) + raw


def header(**changes):
    plain = {"affine": AFFINE.tolist(), "dtype": "int16", "shape": [1, 2, 3], "unit": "HU"}
    return plain | changes


@pytest.mark.parametrize("dtype", DTYPES)
def test_it_comes_back_as_it_was(dtype):
    given_volume = volume(dtype)
    read = Volume.from_bytes(given_volume.to_bytes())
    assert read.array.dtype == np.dtype(dtype)
    assert np.array_equal(read.array, given_volume.array)
    assert np.array_equal(read.affine, given_volume.affine)
    assert read.unit == "arbitrary"
    assert read.to_bytes() == given_volume.to_bytes()


def test_reading_copies_nothing_and_cannot_write():
    content = bytearray(volume().to_bytes())
    read = Volume.from_bytes(content)
    assert not read.array.flags.writeable
    assert not read.array.flags.owndata
    content[-2:] = (999).to_bytes(2, "little")
    assert read.array[-1, -1, -1] == 999


def test_every_bit_of_the_affine_survives():
    affine = AFFINE * (1 + 1e-15)
    affine[3] = (0, 0, 0, 1)
    affine[0, 3] = math.pi * 1e-9
    read = Volume.from_bytes(Volume(np.zeros((1, 1, 1), np.uint8), affine, "HU").to_bytes())
    assert read.affine.tobytes() == affine.tobytes()


def test_spacing_and_the_volume_of_a_voxel():
    made = Volume(np.zeros((2, 2, 2), np.int16), np.diag([0.5, 2.0, 4.0, 1.0]), "HU")
    assert made.spacing_mm == (0.5, 2.0, 4.0)
    assert made.voxel_ml == pytest.approx(0.004)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 400))
def test_each_truncation_is_refused(length):
    content = volume().to_bytes()
    if length < len(content):
        with pytest.raises(BadVolume):
            Volume.from_bytes(content[:length])


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_noise_is_refused(noise):
    for content in (noise, container(noise), MAGIC + noise):
        with pytest.raises(BadVolume):
            Volume.from_bytes(content)


@pytest.mark.parametrize(
    "content",
    [
        volume().to_bytes() + b"\0",
        b"BHFIND01" + volume().to_bytes()[8:],
        container(header(), b"\0" * 12, magic=b"BHVOLUM2"),
        container(header(shape=[10**6, 10**6, 10**6]), b"\0" * 12),
        container(header(shape=[VOLUME_AXIS_VOXELS_MAX + 1, 1, 1]), b"\0" * 12),
        container(header(shape=[16000, 16000, 16000]), b"\0" * 12),
        container(header(shape=[0, 2, 3])),
        container(header(shape=[-1, -2, 3]), b"\0" * 12),
        container(header(shape=[True, 2, 3]), b"\0" * 12),
        container(header(shape=[1.0, 2, 3]), b"\0" * 12),
        container(header(shape=[6]), b"\0" * 12),
        container(header(shape="123"), b"\0" * 12),
        container(header(dtype="object"), b"\0" * 12),
        container(header(dtype=">i2"), b"\0" * 12),
        container(header(dtype=["int16"]), b"\0" * 12),
        container(header(unit="Gy"), b"\0" * 12),
        container(header(unit=["HU"]), b"\0" * 12),
        container(header(extra=1), b"\0" * 12),
        container({"shape": [1, 2, 3]}, b"\0" * 12),
        container(b"[]", b"\0" * 12),
        container(b"[" * 100_000, b"\0" * 12),
        container(b"\xff\xfe", b"\0" * 12),
        container(json.dumps(header()).replace("0.9", "NaN").encode(), b"\0" * 12),
        container(json.dumps(header()).replace("0.9", "1e999").encode(), b"\0" * 12),
        container(json.dumps(header()).replace('"unit"', '"dtype"').encode(), b"\0" * 12),
        container(header(affine=[[1, 0, 0, 0]] * 4), b"\0" * 12),
        container(header(affine=np.diag([1.0, 1.0, 0.0, 1.0]).tolist()), b"\0" * 12),
        container(header(affine=np.diag([1.0, 1.0, 1e9, 1.0]).tolist()), b"\0" * 12),
        container(header(affine=np.diag([1.0, 1.0, 1.0, 2.0]).tolist()), b"\0" * 12),
        container(header(affine=[[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]), b"\0" * 12),
        container(header(affine=[["1"] * 4] * 4), b"\0" * 12),
        container(header(affine=None), b"\0" * 12),
    ],
)
def test_hostile_containers_are_refused(content):
    with pytest.raises(BadVolume):
        Volume.from_bytes(content)


def test_dirty_padding_is_refused():
    content = bytearray(volume().to_bytes())
    length = struct.unpack_from("<8sI", content)[1]
    assert content[12 + length] == ord(" ")
    content[12 + length] = 0
    with pytest.raises(BadVolume):
        Volume.from_bytes(content)


@pytest.mark.parametrize(
    ("array", "affine"),
    [
        (np.zeros((2, 2), np.int16), AFFINE),
        (np.zeros((2, 2, 2), np.float64), AFFINE),
        (np.zeros((2, 2, 2), ">i2"), AFFINE),
        (np.zeros((2, 3, 4), np.int16).transpose(), AFFINE),
        (np.zeros((0, 2, 2), np.int16), AFFINE),
        (np.zeros((2, 2, 2), np.int16), np.full((4, 4), np.nan)),
        (np.zeros((2, 2, 2), np.int16), AFFINE.astype(np.float32)),
        (np.zeros((2, 2, 2), np.int16), AFFINE[:3]),
    ],
)
def test_nothing_else_is_a_volume(array, affine):
    with pytest.raises(BadVolume):
        Volume(array, affine, "HU")


PLANAR = np.diag((0.2, 0.3, 1.0, 1.0))


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_planar_images_travel_like_volumes(dtype):
    given_volume = Volume(np.arange(60).reshape(3, 4, 5).astype(dtype), PLANAR, "display")
    read = Volume.from_bytes(given_volume.to_bytes())
    assert read.planar
    assert read.spacing_mm == (0.2, 0.3, 1.0)
    assert np.array_equal(read.array, given_volume.array)
    assert not volume().planar


@pytest.mark.parametrize(
    ("dtype", "affine"),
    [
        ("int16", PLANAR),
        ("float32", PLANAR),
        ("uint8", AFFINE),
        ("uint8", np.diag((0.2, 0.3, 2.0, 1.0))),
        ("uint8", np.diag((-0.2, 0.3, 1.0, 1.0))),
        ("uint8", PLANAR + np.array([[0, 0, 0, 5], [0] * 4, [0] * 4, [0] * 4])),
    ],
)
def test_planar_images_are_unsigned_and_lie_nowhere(dtype, affine):
    array = np.zeros((1, 4, 5), dtype)
    with pytest.raises(BadVolume):
        Volume(array, affine, "display")
    with pytest.raises(BadVolume):
        Volume.from_bytes(
            container(
                {"affine": affine.tolist(), "dtype": dtype, "shape": [1, 4, 5], "unit": "display"}, array.tobytes()
            )
        )


def volume_set(count=3):
    arrays = [np.arange(24, dtype=np.int16).reshape(2, 3, 4) + number for number in range(count)]
    return VolumeSet(tuple(Volume(array, np.diag([1.0, 2.0, 3.0, 1.0]), "arbitrary") for array in arrays))


def test_a_set_travels_and_knows_what_it_is():
    made = volume_set()
    content = made.to_bytes()
    read = read_payload(bytearray(content))
    assert isinstance(read, VolumeSet)
    assert (read.channels, read.voxels, read.to_bytes()) == (3, 24, content)
    for one, other in zip(read.volumes, made.volumes, strict=True):
        assert np.array_equal(one.array, other.array)
        assert np.array_equal(one.affine, other.affine)
    assert isinstance(read_payload(made.first.to_bytes()), Volume)


def test_a_damaged_set_is_refused():
    content = volume_set().to_bytes()
    for length in (*range(0, 200, 7), len(content) - 1):
        with pytest.raises(BadVolume):
            read_payload(content[:length])
    for other in (
        content + b"\0",
        content.replace(b'"channels": 3', b'"channels": 9'),
        content.replace(b'"channels":3', b'"channels":2'),
    ):
        if other != content:
            with pytest.raises(BadVolume):
                read_payload(other)
    with pytest.raises(BadVolume):
        Volume.from_bytes(content)


def test_a_set_is_of_one_grid():
    first = volume_set().first
    others = [
        Volume(first.array.astype(np.float32), first.affine, "arbitrary"),
        Volume(first.array, np.eye(4), "arbitrary"),
        Volume(first.array, first.affine, "HU"),
        Volume(np.zeros((2, 3, 5), np.int16), first.affine, "arbitrary"),
    ]
    for wrong in ((first,), (first,) * 9, *((first, other) for other in others)):
        with pytest.raises(BadVolume):
            VolumeSet(wrong)
    planar = Volume(np.zeros((1, 2, 2), np.uint8), np.eye(4), "display")
    with pytest.raises(BadVolume):
        VolumeSet((planar, planar))
