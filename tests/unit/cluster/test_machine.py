"""This machine, measured; and machines that are refused."""

from dataclasses import replace
from pathlib import Path

import pytest

from bithive.limits import GIB
from cluster.errors import MachineUnfit
from cluster.gpu_nvml import Gpu
from cluster.machine import RAY_VERSION, Machine, check, measured, zone

GOOD = Machine("Linux 6.18 x86_64", (3, 11, 7), RAY_VERSION, 4, 8 * GIB, (), 100 * GIB, "UTC")


def test_this_machine_is_fit(tmp_path: Path) -> None:
    found = measured(tmp_path / "not" / "there" / "yet")
    check(found)
    assert found.threads >= 1 and found.memory_bytes > GIB and found.disk_bytes > 0
    assert len(found.lines()) >= 3 and found.accelerator


@pytest.mark.parametrize(
    ("members", "word"),
    [
        ({"system": "Darwin 25"}, "Linux"),
        ({"python": (3, 10, 9)}, "Python"),
        ({"ray": ""}, "not installed"),
        ({"ray": "2.40.0"}, RAY_VERSION),
        ({"memory_bytes": 2 * GIB}, "memory"),
        ({"disk_bytes": GIB}, "free"),
    ],
)
def test_what_is_not_fit_is_refused_in_words(members: dict[str, object], word: str) -> None:
    check(GOOD)
    with pytest.raises(MachineUnfit) as refused:
        check(replace(GOOD, **members))  # type: ignore[arg-type]
    assert word in refused.value.detail


def test_a_gpu_is_named() -> None:
    with_gpu = replace(GOOD, gpus=(Gpu(0, "NVIDIA L4", "GPU-1", 24 * GIB),))
    assert with_gpu.accelerator == "NVIDIA L4" and "NVIDIA L4, 24 GiB" in with_gpu.lines()[-1]
    assert GOOD.accelerator == "cpu"


@pytest.mark.parametrize(
    ("target", "name"),
    [
        ("usr/share/zoneinfo/Europe/Berlin", "Europe/Berlin"),
        ("usr/share/zoneinfo/posix/America/St_Johns", "America/St_Johns"),
        ("usr/share/zoneinfo/Etc/UTC", "UTC"),
        ("etc/somewhere", "UTC"),
    ],
)
def test_the_zone_is_where_the_clock_points(tmp_path: Path, target: str, name: str) -> None:
    path = tmp_path / target
    path.parent.mkdir(parents=True)
    path.touch()
    (tmp_path / "localtime").symlink_to(path)
    assert zone(tmp_path / "localtime") == name
    assert zone(tmp_path / "absent") == "UTC"
