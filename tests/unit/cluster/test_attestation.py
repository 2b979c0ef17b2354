"""Evidence holds once, for one cell, for a while, and only from whom the policy trusts."""

from dataclasses import replace
from pathlib import Path

import pytest

from bithive.clock import ManualClock
from bithive.ids import SeededIds
from bithive.keys import SigningKey
from bithive.limits import EVIDENCE_AGE_S, EVIDENCE_LIFETIME_S
from cluster.attestation import REASONS, SIMULATED, AppraisalPolicy, BadEvidence, Evidence, EvidenceRefused, Verifier
from cluster.attester_simulated import SimulatedAttester, measurement

CLOCK = ManualClock()
IDS = SeededIds(5, CLOCK)
CELL, OTHER = IDS.new("cel"), IDS.new("cel")
CELL_KEY, BOX = "ab" * 32, "cd" * 32
KEY, STRANGER = SigningKey(b"\x01" * 32), SigningKey(b"\x02" * 32)
OURS = measurement()
POLICY = AppraisalPolicy({SIMULATED: frozenset({KEY.public_hex})}, frozenset({OURS}), simulated=True)


@pytest.fixture
def verifier() -> Verifier:
    return Verifier(POLICY, CLOCK, IDS)


def evidence(verifier: Verifier, cell: str = CELL, key: SigningKey = KEY) -> Evidence:
    return SimulatedAttester(key, CLOCK).attest(verifier.challenge(cell), cell, CELL_KEY, BOX)


def refused(verifier: Verifier, shown: Evidence, cell: str = CELL, cell_key: str = CELL_KEY) -> str:
    with pytest.raises(EvidenceRefused) as caught:
        verifier.judge(shown, cell, cell_key)
    assert caught.value.reason in REASONS
    return caught.value.reason


def test_what_holds_counts_for_an_hour(verifier: Verifier) -> None:
    attested = verifier.judge(evidence(verifier), CELL, CELL_KEY)
    assert attested.until_ms - CLOCK.now_ms() == EVIDENCE_LIFETIME_S * 1000
    assert attested.evidence.simulated


def test_evidence_holds_once(verifier: Verifier) -> None:
    shown = evidence(verifier)
    verifier.judge(shown, CELL, CELL_KEY)
    assert refused(verifier, shown) == "nonce-unknown"


def test_a_failed_try_spends_the_nonce(verifier: Verifier) -> None:
    shown = evidence(verifier)
    assert refused(verifier, replace(shown, signature="00" * 64)) == "signature"
    assert refused(verifier, shown) == "nonce-unknown"


def test_a_second_question_voids_the_first(verifier: Verifier) -> None:
    shown = evidence(verifier)
    verifier.challenge(CELL)
    assert refused(verifier, shown) == "nonce-unknown"


def test_it_is_of_this_cell_and_its_key(verifier: Verifier) -> None:
    assert refused(verifier, evidence(verifier), cell=OTHER) == "other-cell"
    assert refused(verifier, evidence(verifier), cell_key="ff" * 32) == "other-cell"
    assert refused(verifier, evidence(verifier, OTHER)) == "other-cell"


def test_it_is_fresh(verifier: Verifier) -> None:
    late = evidence(verifier)
    clock = ManualClock(CLOCK.now_ms())
    clock.advance_s(EVIDENCE_AGE_S + 1)
    slow = Verifier(POLICY, clock, IDS)
    nonce = slow.challenge(CELL)
    assert refused(slow, replace(late, nonce=nonce).signed(KEY)) == "not-fresh"
    early = SimulatedAttester(KEY, clock).attest(verifier.challenge(CELL), CELL, CELL_KEY, BOX)
    assert refused(verifier, early) == "not-fresh"
    nonce = slow.challenge(CELL)
    clock.advance_s(EVIDENCE_AGE_S + 1)
    assert refused(slow, SimulatedAttester(KEY, clock).attest(nonce, CELL, CELL_KEY, BOX)) == "nonce-unknown"


@pytest.mark.parametrize("name", ["nonce", "cell", "cell_key", "measurement", "box_key", "at_ms"])
def test_every_member_is_signed(verifier: Verifier, name: str) -> None:
    shown = evidence(verifier)
    changes = {
        "nonce": verifier.challenge(CELL),
        "cell": OTHER,
        "cell_key": "00" * 32,
        "measurement": "00" * 32,
        "box_key": "00" * 32,
        "at_ms": shown.at_ms + 1,
    }
    if name != "nonce":
        shown = replace(shown, nonce=verifier.challenge(CELL)).signed(KEY)
    forged = replace(shown, **{name: changes[name]})
    reason = refused(verifier, forged, forged.cell if name == "cell" else CELL, forged.cell_key)
    assert reason == ("other-cell" if name == "cell" else "signature")


def test_only_trusted_attesters_and_software_count(verifier: Verifier) -> None:
    assert refused(verifier, evidence(verifier, key=STRANGER)) == "attester-unknown"
    assert refused(verifier, replace(evidence(verifier), measurement="00" * 32).signed(KEY)) == "measurement-unknown"
    renamed = replace(evidence(verifier), attester="sev-snp").signed(KEY)
    assert refused(verifier, renamed) == "attester-unknown"


def test_simulated_evidence_never_counts_where_patients_are_treated() -> None:
    production = Verifier(replace(POLICY, simulated=False), CLOCK, IDS)
    assert refused(production, evidence(production)) == "simulated"


def test_a_measurement_changes_with_any_file(tmp_path: Path) -> None:
    (tmp_path / "cluster").mkdir()
    (tmp_path / "cluster" / "a.py").write_text("1")
    one = measurement(tmp_path, ("cluster",))
    (tmp_path / "cluster" / "a.py").rename(tmp_path / "cluster" / "b.py")
    other = measurement(tmp_path, ("cluster",))
    (tmp_path / "cluster" / "b.py").write_text("2")
    assert len({one, other, measurement(tmp_path, ("cluster",))}) == 3


@pytest.mark.parametrize(
    "change",
    [
        {"nonce": "ab"},
        {"nonce": "AB" * 32},
        {"at_ms": -1},
        {"at_ms": True},
        {"at_ms": "1"},
        {"cell": ""},
        {"cell": "\n"},
        {"attester": "x" * 41},
        {"signature": None},
        {"more": 1},
    ],
)
def test_what_is_malformed_is_refused(verifier: Verifier, change: dict[str, object]) -> None:
    whole = evidence(verifier).to_json()
    assert Evidence.from_json(whole).to_json() == whole
    with pytest.raises(BadEvidence):
        Evidence.from_json(whole | change)
    with pytest.raises(BadEvidence):
        Evidence.from_json([])
    with pytest.raises(BadEvidence):
        Evidence.from_json({key: item for key, item in whole.items() if key != "nonce"})


def test_questions_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cluster.attestation.CHALLENGES_MAX", 3)
    crowded = Verifier(POLICY, CLOCK, IDS)
    shown = [evidence(crowded, IDS.new("cel")) for _ in range(4)]
    assert refused(crowded, shown[0], shown[0].cell) == "nonce-unknown"
    assert crowded.judge(shown[3], shown[3].cell, CELL_KEY)
