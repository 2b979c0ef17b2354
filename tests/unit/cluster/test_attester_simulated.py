"""The simulated attester says what it is wherever it shows."""

from bithive.clock import ManualClock
from bithive.keys import SigningKey, verify
from bithive.settings import Mode, NetworkSettings, Settings
from cluster.attestation import NOBODY
from cluster.attester_simulated import SimulatedAttester, measurement, policy_of


def test_it_says_simulated_under_its_own_signature() -> None:
    made = SimulatedAttester(SigningKey(b"\x07" * 32), ManualClock()).attest("00" * 32, "cel_x", "11" * 32, "22" * 32)
    assert made.attester == "simulated"
    assert made.simulated
    verify(made.attester_key, made.signed_bytes(), made.signature)
    assert b'"attester":"simulated"' in made.signed_bytes()


def test_it_counts_in_a_demonstration_that_names_its_key() -> None:
    named = NetworkSettings(simulated_attesters=("ab" * 32,))
    policy = policy_of(Settings(mode=Mode.DEMO, network=named))
    assert (policy.simulated, policy.attesters) == (True, {"simulated": frozenset({"ab" * 32})})
    assert policy.measurements == {measurement()}
    assert policy_of(Settings(mode=Mode.PRODUCTION, network=named)) == NOBODY
    assert policy_of(Settings(mode=Mode.DEMO)) == NOBODY
    assert not NOBODY.simulated


def test_the_measurement_is_that_of_the_files_here() -> None:
    assert measurement() == measurement()
    assert len(measurement()) == 64
