from __future__ import annotations

import pytest

from benchmarks import bench_epoch
from benchmarks.__main__ import ALL
from bithive.limits import BULK_TRANSFERS_MAX
from economy.claims import PROOF_BYTES_MAX


def test_it_measures_a_small_epoch_as_it_would_a_large_one(tmp_path, capsys):
    assert "bench_epoch" in ALL
    assert bench_epoch.lacks() == ""
    split = bench_epoch.split_and_tree(300)
    assert 0 < split.proof_bytes < PROOF_BYTES_MAX
    bench_epoch.fill(str(tmp_path), 1100)
    booked = bench_epoch.close(str(tmp_path), 1100)
    steps = (booked.opened_s, booked.paid_s, booked.claims_s, booked.sealed_s)
    assert min(steps) >= 0
    assert sum(steps) == pytest.approx(booked.total_s)
    assert booked.entries == -(-1100 * 2 // BULK_TRANSFERS_MAX)
    assert booked.waits_ms
    bench_epoch.show_split(split)
    bench_epoch.show_booked(1100, booked)
    printed = " ".join(capsys.readouterr().out.split())
    assert "claim proof" in printed
    assert "p99" in printed
