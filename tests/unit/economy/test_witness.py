from __future__ import annotations

import fcntl
import json
import multiprocessing
import threading
from base64 import b64encode
from pathlib import Path

import pytest

from bithive.clock import ManualClock
from bithive.errors import BadSettings, BadSignature
from bithive.keys import SigningKey
from economy.cosigning import accept_cosignature
from economy.errors import (
    LogRolledBack,
    LogSilent,
    LogSplit,
    LogUnknown,
    NoteMalformed,
    NoteUnsigned,
    ProofMalformed,
    WitnessStateBroken,
)
from economy.evidence import read_evidence
from economy.merkle import consistency_proof
from economy.notes import Algorithm, VerifierKey, note_line, parse_note
from economy.seal import checkpoint_of, make_seal
from economy.store import MemoryStore
from economy.verify import parse_proof, path_of, verify_checkpoint
from economy.witness import Witness, read_state, write_durably
from tests.common.proving import KEY, Sealed, signed

SECRET, NAME = SigningKey(b"w" * 32), "w.example/1"


class Shown:
    """A log as its operator shows it: honestly, unless told otherwise."""

    def __init__(self, sealed):
        self.sealed, self.text, self.steps, self.handed = sealed, None, None, []

    def checkpoint(self):
        return self.sealed.proofs.checkpoint() if self.text is None else self.text

    def consistency(self, old_size, new_size):
        if self.steps is not None:
            return self.steps
        return path_of(parse_proof(self.sealed.proofs.consistency(old_size, new_size)))

    def hand_back(self, text):
        self.handed.append(text)
        return "here"


@pytest.fixture
def sealed():
    sealed = Sealed(MemoryStore())
    sealed.grow(40)
    yield sealed
    sealed.close()


@pytest.fixture
def clock():
    return ManualClock(1_800_000_500_000)


@pytest.fixture
def witness(tmp_path, sealed, clock):
    return Witness(tmp_path / "state.json", SECRET, NAME, clock, sealed.keys)


def evidence_of(error, keys):
    return read_evidence(Path(error.value.context["evidence"]).read_text(), keys)


def test_a_log_that_grows_is_cosigned_again_and_again(witness, sealed, clock):
    shown = Shown(sealed)
    for count, grew in ((0, True), (0, False), (3, True), (300, True), (0, False)):
        if count:
            sealed.grow(count)
        observed = witness.observe(shown)
        assert observed.grew is grew
        opened = verify_checkpoint(observed.text, sealed.keys, [witness.verifier])
        assert opened.cosigned == ((NAME, clock.now_ms() // 1000),)
        assert witness.last() == opened.checkpoint == checkpoint_of(sealed.store._seals[-1])
        clock.advance_s(60)
    accepted = accept_cosignature(sealed.store, observed.text, [witness.verifier], clock)
    assert accepted[0].new


def test_what_is_remembered_outlives_the_witness(witness, sealed, tmp_path, clock):
    witness.observe(Shown(sealed))
    again = Witness(tmp_path / "state.json", SECRET, NAME, clock)
    assert not again.observe(Shown(sealed)).grew
    kept = read_state(tmp_path / "state.json")
    assert kept.log == sealed.keys


def test_only_the_logs_own_line_is_kept_below_what_is_handed_back(witness, sealed):
    stranger = note_line(parse_note(sealed.proofs.checkpoint()).text, "stranger", SigningKey(b"s" * 32))
    shown = Shown(sealed)
    shown.text = sealed.proofs.checkpoint() + str(stranger)
    note = parse_note(witness.observe(shown).text)
    assert [line.name for line in note.signatures] == [sealed.keys[0].name, NAME]


def test_a_log_that_shrank_is_refused_with_evidence(witness, sealed):
    old = sealed.proofs.checkpoint()
    sealed.grow(5)
    witness.observe(Shown(sealed))
    shown = Shown(sealed)
    shown.text = old
    with pytest.raises(LogRolledBack) as error:
        witness.observe(shown)
    found = evidence_of(error, sealed.keys)
    assert (found.known.size, found.seen.size, found.reason) == (46, 41, "")
    assert witness.last().size == 46


def test_a_rollback_that_is_sealed_again_convicts_itself(witness, sealed):
    """The operator restores yesterday's copy and goes on: the same numbers of seals, another history."""
    clone = Sealed(MemoryStore())
    clone.grow(40)
    sealed.grow(10)
    witness.observe(Shown(sealed))
    clone.grow(4, "other")
    with pytest.raises(LogRolledBack) as error:
        witness.observe(Shown(clone))
    found = evidence_of(error, sealed.keys)
    assert found.reason
    assert found.seen.size < found.known.size
    clone.grow(300, "more")
    with pytest.raises(LogSplit):
        witness.observe(Shown(clone))
    clone.close()


def test_two_histories_of_one_size_are_refused_with_evidence(witness, sealed):
    witness.observe(Shown(sealed))
    said = witness.last()
    for other in (
        said._replace(root=bytes(32)),
        said._replace(state_root=bytes(32)),
        said._replace(time_ms=said.time_ms + 1),
    ):
        shown = Shown(sealed)
        shown.text = signed(other)
        with pytest.raises(LogSplit) as error:
            witness.observe(shown)
        found = evidence_of(error, sealed.keys)
        assert found.reason.startswith("two different statements")
        assert found.seen == other
    assert not witness.observe(Shown(sealed)).grew


@pytest.mark.parametrize("steps", [[], [bytes(32)], [bytes(32)] * 6, None])
def test_a_longer_log_with_another_beginning_is_refused_with_evidence(witness, sealed, steps):
    witness.observe(Shown(sealed))
    other = Sealed(MemoryStore())
    other.grow(30, "other")
    other.grow(20)
    other.grow(20)
    shown = Shown(other)
    shown.steps = steps
    with pytest.raises(LogSplit) as error:
        witness.observe(shown)
    assert evidence_of(error, sealed.keys).connected is False
    assert witness.last().size == 41
    other.close()


def test_a_seal_that_forgets_its_predecessor_is_refused(witness, sealed):
    witness.observe(Shown(sealed))
    seal = sealed.grow(3)
    shown = Shown(sealed)
    shown.text = signed(checkpoint_of(seal)._replace(previous="1" * 64))
    with pytest.raises(LogSplit) as error:
        witness.observe(shown)
    assert "predecessor" in evidence_of(error, sealed.keys).reason


def test_the_same_evidence_is_kept_once(witness, sealed, tmp_path):
    witness.observe(Shown(sealed))
    shown = Shown(sealed)
    shown.text = signed(witness.last()._replace(root=bytes(32)))
    for _ in range(3):
        with pytest.raises(LogSplit):
            witness.observe(shown)
    assert len(list(tmp_path.glob("*evidence*"))) == 1


def test_what_is_no_checkpoint_of_this_log_changes_nothing(witness, sealed):
    witness.observe(Shown(sealed))
    said = witness.last()
    sealed.grow(1)
    shown = Shown(sealed)
    for text, error in (
        ("", NoteMalformed),
        ("x" * 100_000, NoteMalformed),
        (signed(said._replace(origin="other.example")), LogUnknown),
        (signed(said, SECRET), NoteUnsigned),
        (signed(said).replace("seal 1", "seal 2"), BadSignature),
    ):
        shown.text = text
        with pytest.raises(error):
            witness.observe(shown)
    assert witness.last() == said
    assert witness.observe(Shown(sealed)).grew


@pytest.mark.parametrize("error", [LogSilent, ProofMalformed])
def test_a_source_that_fails_changes_nothing(witness, sealed, error):
    witness.observe(Shown(sealed))
    sealed.grow(2)
    shown = Shown(sealed)
    shown.consistency = lambda *sizes: (_ for _ in ()).throw(error())
    with pytest.raises(error):
        witness.observe(shown)
    assert witness.last().size == 41


def test_the_first_look_needs_a_key(tmp_path, sealed, clock):
    with pytest.raises(BadSettings):
        Witness(tmp_path / "s", SECRET, NAME, clock).observe(Shown(sealed))
    other = VerifierKey("other.example", Algorithm.ED25519, KEY.public_hex)
    with pytest.raises(LogUnknown):
        Witness(tmp_path / "s", SECRET, NAME, clock, (*sealed.keys, other)).observe(Shown(sealed))
    assert not (tmp_path / "s").exists()


def test_a_key_that_follows_is_given_besides_the_old_one(witness, sealed, tmp_path, clock):
    witness.observe(Shown(sealed))
    sealed.record(2)
    fresh = SigningKey(b"n" * 32)
    seal = make_seal(sealed.store, fresh, sealed.clock)
    with pytest.raises(NoteUnsigned):
        witness.observe(Shown(sealed))
    key = VerifierKey(sealed.keys[0].name, Algorithm.ED25519, fresh.public_hex)
    shown = Shown(sealed)
    shown.text, told = seal.note, Witness(tmp_path / "state.json", SECRET, NAME, clock, (key,))
    shown.steps = path_of(json.loads(json.dumps({"path": proof_of(sealed, 41, 43)})))
    assert told.observe(shown).grew
    assert read_state(tmp_path / "state.json").log == (*sealed.keys, key)


def proof_of(sealed, old, new):
    leaves = [bytes.fromhex(row.leaf_hash) for row in sealed.store._entries[:new]]
    return [b64encode(step).decode() for step in consistency_proof(leaves, old)]


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "",
        lambda text: text[:-20],
        lambda text: text.replace("bithive-witness-1", "bithive-witness-2"),
        lambda text: text.replace("seal 1", "seal 2"),
        lambda text: json.dumps({**json.loads(text), "log": []}),
        lambda text: json.dumps({**json.loads(text), "log": 1}),
        lambda text: json.dumps({**json.loads(text), "log": [1]}),
        lambda text: json.dumps({**json.loads(text), "checkpoint": 1}),
        lambda text: json.dumps({**json.loads(text), "more": 1}),
        lambda text: text + " " * 1_000_000,
    ],
)
def test_a_state_that_cannot_be_read_is_not_taken_for_none(witness, sealed, tmp_path, damage):
    witness.observe(Shown(sealed))
    path = tmp_path / "state.json"
    path.write_text(damage(path.read_text()))
    with pytest.raises(WitnessStateBroken):
        witness.observe(Shown(sealed))
    with pytest.raises(WitnessStateBroken):
        witness.last()


def test_a_state_is_whole_or_as_it_was(tmp_path):
    path = tmp_path / "file"
    write_durably(path, "one")
    write_durably(path, "two")
    assert path.read_text() == "two"
    assert list(tmp_path.iterdir()) == [path]


def test_two_looks_at_once_never_forget_the_larger_log(witness, sealed, tmp_path, clock):
    texts = [sealed.proofs.checkpoint()]
    for _ in range(6):
        sealed.grow(3)
        texts.append(sealed.proofs.checkpoint())
    refused = []

    def look(text):
        shown = Shown(sealed)
        shown.text = text
        try:
            Witness(tmp_path / "state.json", SECRET, NAME, clock, sealed.keys).observe(shown)
        except LogRolledBack as error:
            refused.append(error)

    threads = [threading.Thread(target=look, args=(text,)) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert witness.last().size == 41 + 18
    assert len(refused) < len(texts)


def hold_lock(path, held, let_go):
    with Path(path).open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        held.set()
        let_go.wait()


def test_another_process_at_it_is_waited_for(witness, sealed, tmp_path):
    context = multiprocessing.get_context("spawn")
    held, let_go = context.Event(), context.Event()
    other = context.Process(target=hold_lock, args=(tmp_path / "state.json.lock", held, let_go))
    other.start()
    assert held.wait(30)
    done = threading.Event()
    looking = threading.Thread(target=lambda: (witness.observe(Shown(sealed)), done.set()))
    looking.start()
    assert not done.wait(0.2)
    let_go.set()
    assert done.wait(30)
    looking.join()
    other.join()
