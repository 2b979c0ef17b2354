"""Graphics processors as NVML tells of them: a library that answers as NVML does stands in for the driver."""

from dataclasses import dataclass, field
from typing import Any

import pytest

from bithive.clock import ManualClock
from cluster import gpu_nvml, measure
from cluster.gpu_nvml import Gpu, GpuMeter, gpus, visible


class NVMLError(Exception):
    pass


@dataclass
class Sample:
    pid: int
    timeStamp: int  # noqa: N815 - NVML's names
    smUtil: int  # noqa: N815


@dataclass
class Row:
    pid: int
    usedGpuMemory: int | None  # noqa: N815


@dataclass
class Memory:
    total: int


@dataclass
class Driver:
    """Two processors; what processes do on the first is set by the test."""

    names: tuple[str | bytes, ...] = (b"NVIDIA A", "NVIDIA B")
    absent: bool = False
    blind: bool = False
    samples: list[Sample] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    sessions: int = 0
    NVMLError: type[Exception] = NVMLError

    def nvmlInit(self) -> None:  # noqa: N802
        if self.absent:
            raise NVMLError("no driver")
        self.sessions += 1

    def nvmlShutdown(self) -> None:  # noqa: N802
        self.sessions -= 1

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return len(self.names)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        return index

    def nvmlDeviceGetName(self, handle: int) -> str | bytes:  # noqa: N802
        return self.names[handle]

    def nvmlDeviceGetUUID(self, handle: int) -> str:  # noqa: N802
        return f"GPU-{handle}abc"

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> Memory:  # noqa: N802
        return Memory((handle + 1) << 30)

    def nvmlDeviceGetComputeRunningProcesses(self, _handle: int) -> list[Row]:  # noqa: N802
        return self.rows

    def nvmlDeviceGetProcessUtilization(self, _handle: int, since: int) -> list[Sample]:  # noqa: N802
        if self.blind:
            raise NVMLError("not supported")
        return [sample for sample in self.samples if sample.timeStamp > since]


FIRST, SECOND = Gpu(0, "NVIDIA A", "GPU-0abc", 1 << 30), Gpu(1, "NVIDIA B", "GPU-1abc", 2 << 30)


def test_what_there_is() -> None:
    driver = Driver()
    assert gpus(driver) == (FIRST, SECOND)
    assert driver.sessions == 0


def test_without_a_driver_or_a_binding_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    assert gpus(Driver(absent=True)) == ()
    monkeypatch.setattr(gpu_nvml, "_MODULE", "no_such_binding")
    assert gpus() == ()
    assert measure.gpus() == 0


@pytest.mark.parametrize(
    ("mentioned", "expected"),
    [
        ("", ()),
        ("0", (FIRST,)),
        ("1,0", (SECOND, FIRST)),
        (" 1 ", (SECOND,)),
        ("GPU-1", (SECOND,)),
        ("7,0", ()),
        ("0,7,1", (FIRST,)),
        ("-1", ()),
    ],
)
def test_which_are_a_process_s_own(mentioned: str, expected: tuple[Gpu, ...]) -> None:
    assert visible(mentioned, Driver()) == expected


def meter(driver: Driver, clock: ManualClock) -> GpuMeter:
    return GpuMeter(FIRST, 42, clock, driver)


def test_time_of_use_and_the_most_memory_are_of_that_process_alone() -> None:
    clock, driver = ManualClock(), Driver()
    began_us = clock.now_ms() * 1000
    driver.samples = [Sample(42, began_us - 1_000_000, 100), Sample(7, began_us + 500_000, 100)]
    driver.rows = [Row(42, 3 << 20), Row(7, 9 << 30), Row(42, None)]
    made = meter(driver, clock)
    driver.samples += [Sample(42, began_us + 1_000_000, 50), Sample(42, began_us + 1_500_000, 100)]
    made.sample()
    driver.rows = [Row(42, 5 << 20)]
    made.sample()
    driver.rows = [Row(42, 1 << 20)]
    assert made.read(4000) == ("NVIDIA A", 1000, 5 << 20)
    assert driver.sessions == 0


@pytest.mark.parametrize(("share", "wall_ms", "expected"), [(100, 600, 600), (250, 2000, 1000), (-5, 2000, 0)])
def test_no_more_than_the_elapsed_time(share: int, wall_ms: int, expected: int) -> None:
    clock, driver = ManualClock(), Driver()
    made = meter(driver, clock)
    driver.samples = [Sample(42, clock.now_ms() * 1000 + 1_000_000, share)]
    assert made.read(wall_ms)[1] == expected


@pytest.mark.parametrize("driver", [Driver(blind=True), Driver(absent=True), Driver()], ids=("blind", "absent", "idle"))
def test_where_it_cannot_say_the_elapsed_time_counts(driver: Driver) -> None:
    assert meter(driver, ManualClock()).read(700) == ("NVIDIA A", 700, 0)


def test_the_real_binding_is_asked_the_same_way(monkeypatch: pytest.MonkeyPatch) -> None:
    driver: Any = Driver()
    monkeypatch.setattr(gpu_nvml, "library", lambda: driver)
    assert len(gpus()) == measure.gpus() == 2
