from __future__ import annotations

import pytest

from bithive.errors import BadSettings, BadSignature
from bithive.keys import SigningKey
from economy.cosigning import accept_cosignature, witness_keys
from economy.errors import CosignatureRefused, NoteMalformed, SealUnknown, WitnessUnknown
from economy.notes import Algorithm, VerifierKey, cosignature_line, note_line, parse_note
from economy.proofs import checkpoint_text
from economy.seal import checkpoint_of
from economy.store import MemoryStore
from economy.verify import verify_checkpoint
from tests.common.proving import Sealed, seal_v1, signed

SECRETS = [SigningKey(bytes([number]) * 32) for number in (1, 2)]
NAMES = ("w.example/1", "w.example/2")
WITNESSES = tuple(
    VerifierKey(name, Algorithm.COSIGNATURE, key.public_hex) for name, key in zip(NAMES, SECRETS, strict=True)
)


@pytest.fixture
def sealed():
    sealed = Sealed(MemoryStore())
    sealed.grow(5)
    yield sealed
    sealed.close()


def cosigned(sealed, *witnesses, seal_id=None, late_s=1):
    text = checkpoint_text(sealed.store, seal_id)
    at_s = sealed.clock.now_ms() // 1000 + late_s
    return text + "".join(
        str(cosignature_line(parse_note(text).text, NAMES[number], SECRETS[number], at_s)) for number in witnesses
    )


def test_kept_once_and_shown_below_the_checkpoint(sealed):
    first = accept_cosignature(sealed.store, cosigned(sealed, 0), WITNESSES, sealed.clock)
    assert [(item.seal_id, item.witness, item.new) for item in first] == [(1, NAMES[0], True)]
    sealed.clock.advance_s(60)
    again = accept_cosignature(sealed.store, cosigned(sealed, 0), WITNESSES, sealed.clock)
    assert [(item.witnessed_ms, item.new) for item in again] == [(first[0].witnessed_ms, False)]
    both = accept_cosignature(sealed.store, cosigned(sealed, 0, 1).encode(), WITNESSES, sealed.clock)
    assert [item.new for item in both] == [False, True]
    shown = verify_checkpoint(checkpoint_text(sealed.store), sealed.keys, WITNESSES)
    assert {item.name for item in shown.cosigned} == set(NAMES)


def test_an_older_seal_is_cosigned_too(sealed):
    sealed.grow(3)
    accepted = accept_cosignature(sealed.store, cosigned(sealed, 0, seal_id=1), WITNESSES, sealed.clock)
    assert accepted[0].seal_id == 1
    assert checkpoint_text(sealed.store, 2) == checkpoint_text(sealed.store)


def test_lines_of_strangers_are_none(sealed):
    text = cosigned(sealed, 0)
    with pytest.raises(WitnessUnknown):
        accept_cosignature(sealed.store, text, WITNESSES[1:], sealed.clock)
    with pytest.raises(WitnessUnknown):
        accept_cosignature(sealed.store, text, (), sealed.clock)
    plain = VerifierKey(NAMES[0], Algorithm.ED25519, SECRETS[0].public_hex)
    signed_plainly = text + str(note_line(parse_note(text).text, NAMES[0], SECRETS[0]))
    with pytest.raises(WitnessUnknown):
        accept_cosignature(sealed.store, signed_plainly, (plain,), sealed.clock)


def test_a_false_line_is_refused_and_nothing_is_kept(sealed):
    text = cosigned(sealed, 0)
    body, lines = text.split("\n\n")
    good = lines.splitlines(keepends=True)[1]
    false = cosignature_line("other\n", NAMES[1], SECRETS[1], 1_800_000_000)
    for more in (good + str(false), str(false)):
        with pytest.raises(BadSignature):
            accept_cosignature(sealed.store, f"{body}\n\n{more}", WITNESSES, sealed.clock)
    with sealed.store.reading() as snapshot:
        assert snapshot.cosignatures() == []


def test_what_belongs_to_no_seal_of_this_ledger(sealed):
    with sealed.store.reading() as snapshot:
        said = checkpoint_of(snapshot.last_seal())
    at_s = sealed.clock.now_ms() // 1000
    for other, error in (
        (said._replace(seal_id=2), SealUnknown),
        (said._replace(seal_id=0), SealUnknown),
        (said._replace(root=bytes(32)), CosignatureRefused),
        (said._replace(origin="other.example"), CosignatureRefused),
        (said._replace(time_ms=said.time_ms + 1), CosignatureRefused),
    ):
        text = signed(other) + str(cosignature_line(other.text, NAMES[0], SECRETS[0], at_s))
        with pytest.raises(error):
            accept_cosignature(sealed.store, text, WITNESSES, sealed.clock)
    for text in ("", "x", "x" * 100_000, b"\xff", f"hello\n\n{cosignature_line('hello', NAMES[0], SECRETS[0], 1)}"):
        with pytest.raises(NoteMalformed):
            accept_cosignature(sealed.store, text, WITNESSES, sealed.clock)


@pytest.mark.parametrize("late_s", [400, -100_000, 2**62])
def test_times_at_which_it_cannot_have_been_seen(sealed, late_s):
    with pytest.raises(CosignatureRefused):
        accept_cosignature(sealed.store, cosigned(sealed, 0, late_s=late_s), WITNESSES, sealed.clock)


def test_seals_of_version_1_are_not_cosigned(sealed):
    sealed.record(1)
    seal_v1(sealed.store, sealed.key, sealed.clock.now_ms())
    said = checkpoint_of(sealed.store._seals[0])._replace(seal_id=2)
    text = signed(said) + str(cosignature_line(said.text, NAMES[0], SECRETS[0], sealed.clock.now_ms() // 1000))
    with pytest.raises(CosignatureRefused):
        accept_cosignature(sealed.store, text, WITNESSES, sealed.clock)


def test_the_settings_name_witnesses_by_their_verifier_keys():
    assert witness_keys([str(key) for key in WITNESSES]) == WITNESSES
    for text in ("x", str(WITNESSES[0])[:-1], str(WITNESSES[0]._replace(algorithm=Algorithm.ED25519))):
        with pytest.raises(BadSettings):
            witness_keys([text])
