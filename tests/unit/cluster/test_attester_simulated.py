"""The simulated attester says what it is wherever it shows."""

from bithive.clock import ManualClock
from bithive.keys import SigningKey, verify
from cluster.attester_simulated import SimulatedAttester, measurement


def test_it_says_simulated_under_its_own_signature() -> None:
    made = SimulatedAttester(SigningKey(b"\x07" * 32), ManualClock()).attest("00" * 32, "cel_x", "11" * 32, "22" * 32)
    assert made.attester == "simulated"
    assert made.simulated
    verify(made.attester_key, made.signed_bytes(), made.signature)
    assert b'"attester":"simulated"' in made.signed_bytes()


def test_the_measurement_is_that_of_the_files_here() -> None:
    assert measurement() == measurement()
    assert len(measurement()) == 64
