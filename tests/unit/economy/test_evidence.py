from __future__ import annotations

import hashlib
import json

import pytest

from bithive.errors import BadSignature
from bithive.keys import SigningKey
from economy.checkpoints import Checkpoint
from economy.errors import NoteUnsigned, ProofMalformed
from economy.evidence import contradiction, evidence_name, evidence_text, read_evidence
from economy.merkle import consistency_proof, leaf_hash, root
from economy.notes import Algorithm, VerifierKey, parse_note
from tests.common.proving import KEY, signed

ORIGIN = "log.example/1"
TRUSTED = [VerifierKey(ORIGIN, Algorithm.ED25519, KEY.public_hex)]
LEAVES = [leaf_hash(bytes([number])) for number in range(20)]


def checkpoint(size=8, seal_id=3, time_ms=1_000, **more):
    made = Checkpoint(ORIGIN, size, root(LEAVES[:size]), 2, bytes(32), "0" * 64, seal_id, time_ms)
    return made._replace(**more)


def following(older, **more):
    previous = hashlib.sha256(older.text.encode()).hexdigest()
    return checkpoint(12, older.seal_id + 1, older.time_ms + 1, previous=previous)._replace(**more)


KNOWN = checkpoint()
NEXT = following(KNOWN)


@pytest.mark.parametrize(
    "seen",
    [
        KNOWN,
        NEXT,
        checkpoint(19, 9, 5_000),
        checkpoint(4, 1, 500, accounts=1),
        NEXT._replace(time_ms=KNOWN.time_ms),
        KNOWN._replace(origin="log.example/2", root=bytes(32)),
    ],
)
def test_what_an_honest_log_may_sign(seen):
    assert contradiction(KNOWN, seen) == contradiction(seen, KNOWN) == ""


@pytest.mark.parametrize(
    "seen",
    [
        KNOWN._replace(root=bytes(32)),
        KNOWN._replace(state_root=b"x" * 32),
        KNOWN._replace(time_ms=2_000),
        KNOWN._replace(seal_id=4),
        checkpoint(4, 4, 2_000),
        checkpoint(4, 3, 500),
        checkpoint(12, 2, 2_000),
        NEXT._replace(previous="1" * 64),
        NEXT._replace(time_ms=999),
        NEXT._replace(accounts=1),
        checkpoint(4, 1, 2_000),
    ],
)
def test_what_contradicts_itself(seen):
    assert contradiction(KNOWN, seen) == contradiction(seen, KNOWN) != ""


def test_evidence_convinces_whoever_knows_the_key():
    split = KNOWN._replace(root=bytes(32))
    text = evidence_text(parse_note(signed(KNOWN)), parse_note(signed(split)), [])
    found = read_evidence(text, TRUSTED)
    assert (found.known, found.seen, found.connected) == (KNOWN, split, False)
    assert found.reason == contradiction(KNOWN, split)
    assert evidence_name(text) == evidence_name(text)
    assert evidence_name(text) != evidence_name(text + " ")


def test_evidence_whose_two_checkpoints_agree_is_told_apart():
    steps = consistency_proof(LEAVES[:12], 8)
    for path, connected in ((steps, True), (steps[:-1], False)):
        text = evidence_text(parse_note(signed(KNOWN)), parse_note(signed(NEXT)), path)
        found = read_evidence(text.encode(), TRUSTED)
        assert (found.reason, found.connected) == ("", connected)


def test_what_the_log_did_not_sign_is_no_evidence():
    forged = parse_note(signed(KNOWN._replace(root=bytes(32)), SigningKey(b"f" * 32)))
    with pytest.raises(NoteUnsigned):
        read_evidence(evidence_text(parse_note(signed(KNOWN)), forged, []), TRUSTED)
    broken = forged._replace(signatures=parse_note(signed(KNOWN)).signatures)
    with pytest.raises(BadSignature):
        read_evidence(evidence_text(parse_note(signed(KNOWN)), broken, []), TRUSTED)


@pytest.mark.parametrize("members", [{"format": "x"}, {"known": 1}, {"seen": None}, {"path": "x"}, {"more": 1}])
def test_files_that_are_none(members):
    honest = json.loads(evidence_text(parse_note(signed(KNOWN)), parse_note(signed(NEXT)), []))
    with pytest.raises(ProofMalformed):
        read_evidence(json.dumps({**honest, **members}), TRUSTED)
