"""What the machine has, and what work takes."""

import gc
import threading

import numpy as np
import pytest

from bithive.clock import SystemClock
from cluster import measure
from cluster.measure import Meter


def test_time_and_memory_are_measured() -> None:
    meter = Meter(SystemClock())
    array = np.ones(64 * 1024 * 1024, np.uint8)
    threading.Event().wait(0.05)
    total = sum(int(array[:: 1 << 16].sum()) for _ in range(50))
    found = meter.read(on_gpu=False)
    assert total == 50 * 1024
    assert found.wall_ms >= 50
    assert found.gpu_ms == 0
    assert found.cpu_ms >= 0
    assert found.peak_memory_bytes >= array.nbytes
    assert meter.read(on_gpu=True).gpu_ms >= found.wall_ms


def test_the_peak_is_of_this_attempt_alone() -> None:
    array = np.ones(256 * 1024 * 1024, np.uint8)
    before = measure.peak_memory_bytes()
    del array
    gc.collect()
    Meter(SystemClock())
    assert measure.peak_memory_bytes() < before - 200 * 1024 * 1024


def test_nothing_takes_no_time_at_all() -> None:
    assert Meter(SystemClock()).read(on_gpu=False).wall_ms >= 1


def test_the_machine_is_described() -> None:
    assert measure.threads() >= 1
    assert measure.memory_bytes() > 1 << 28
    assert measure.gpus() >= 0


@pytest.mark.gpu
def test_gpus_are_counted() -> None:
    if measure.gpus() == 0:
        pytest.skip("no GPU")
    assert measure.gpus() >= 1
