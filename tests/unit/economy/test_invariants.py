from __future__ import annotations

from economy.findings import Fault
from economy.invariants import INVARIANTS


def test_there_are_fifteen_and_each_finding_belongs_to_one():
    assert [item.name for item in INVARIANTS] == [f"I{number}" for number in range(1, 16)]
    assert {fault for item in INVARIANTS for fault in item.faults} == set(Fault)
    assert [item.name for item in INVARIANTS if not item.applies] == ["I9", "I10", "I12", "I14", "I15"]
