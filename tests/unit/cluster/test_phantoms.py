"""Images of nobody: the same from the same seed, different from any other, and such as bundles take."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from cluster.phantoms import BadSampleImage, head, trunk

SEED, OTHER = b"\x01" * 32, b"\x02" * 32


def nifti(path: Path, shape: tuple[int, int, int] = (12, 14, 16), **changes: int) -> Path:
    header = bytearray(352)
    struct.pack_into("<i", header, 0, changes.get("size", 348))
    struct.pack_into("<8h", header, 40, changes.get("axes", 3), *shape[::-1], 1, 1, 1, 1)
    struct.pack_into("<h", header, 70, changes.get("kind", 4))
    struct.pack_into("<f", header, 108, 352.0)
    struct.pack_into("<h", header, 254, 1)
    struct.pack_into("<12f", header, 280, 1, 0, 0, -8, 0, 1, 0, -7, 0, 0, 2, -12)
    values = np.random.default_rng(3).integers(0, 500, shape).astype("<i2")
    path.write_bytes(gzip.compress(bytes(header) + values.tobytes()))
    return path


def test_a_trunk_is_the_same_from_the_same_seed_alone() -> None:
    one, again, other = trunk(SEED), trunk(SEED), trunk(OTHER)
    assert one.to_bytes() == again.to_bytes()
    assert one.to_bytes() != other.to_bytes()
    assert one.unit == "HU"
    assert 1 << 20 < len(one.to_bytes()) < 32 << 20


def test_sizes_of_trunks_vary() -> None:
    assert len({trunk(bytes([number]) * 32).array.shape for number in range(8)}) > 4


def test_a_head_keeps_its_place_in_the_patient(tmp_path: Path) -> None:
    made = head(nifti(tmp_path / "head.nii.gz"), SEED)
    assert made.unit == "arbitrary"
    assert made.array.min() >= 0
    assert np.allclose(np.abs(np.diag(made.affine)[:3]), (1, 1, 2))
    assert head(tmp_path / "head.nii.gz", OTHER).to_bytes() != made.to_bytes()


@pytest.mark.parametrize("changes", [{"size": 540}, {"axes": 4}, {"kind": 128}])
def test_what_is_no_such_image_is_refused(tmp_path: Path, changes: dict[str, int]) -> None:
    with pytest.raises(BadSampleImage):
        head(nifti(tmp_path / "bad.nii.gz", **changes), SEED)


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    whole = nifti(tmp_path / "head.nii.gz").read_bytes()
    for size in (0, 10, len(whole) // 2):
        (tmp_path / "cut.nii.gz").write_bytes(whole[:size])
        with pytest.raises(BadSampleImage):
            head(tmp_path / "cut.nii.gz", SEED)
