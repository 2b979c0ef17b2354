"""Everything a stranger may put into a file is refused with a code, and nothing altered holds."""

from __future__ import annotations

import copy
import json
import random
import re
from base64 import b64decode, b64encode
from pathlib import Path

import pytest

from bithive.errors import BadSignature, BitHiveError
from bithive.keys import SigningKey
from bithive.limits import NOTE_BYTES_MAX, PROOF_BYTES_MAX, PROOF_STEPS_MAX
from economy.checkpoints import Checkpoint
from economy.errors import NoteMalformed, NoteUnsigned, ProofFails, ProofMalformed
from economy.merkle import leaf_hash, node_hash
from economy.notes import Algorithm, Note, VerifierKey, cosignature_line, note_line, parse_note
from economy.store import MemoryStore
from economy.verify import parse_plain, verify_checkpoint, verify_proof
from tests.common.proving import KEY, Sealed, signed

WITNESS = SigningKey(b"w" * 32)
WITNESS_KEY = VerifierKey("w.example/1", Algorithm.COSIGNATURE, WITNESS.public_hex)


@pytest.fixture(scope="module")
def sealed():
    sealed = Sealed(MemoryStore())
    for count in (5, 300, 40):
        sealed.grow(count)
    yield sealed
    sealed.close()


@pytest.fixture(scope="module")
def files(sealed):
    return {
        "entry": sealed.proofs.entry(77),
        "balance": sealed.proofs.balance(sealed.house.wallet(1)),
        "consistency": sealed.proofs.consistency(306),
        "from-root": sealed.proofs.consistency(100),
    }


KINDS = ("entry", "balance", "consistency", "from-root")


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_handed_out_holds(sealed, files, kind):
    verify_proof(files[kind], sealed.keys)
    verify_proof(files[kind].encode(), sealed.keys)
    verify_proof(json.dumps(json.loads(files[kind])), sealed.keys)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(4))
def test_no_file_with_an_altered_byte_says_anything_else(sealed, files, kind, seed):
    """A changed byte is noticed, or it changed the spelling of the file and nothing that it says."""
    honest, drawn = files[kind], random.Random(f"{kind} {seed}")
    shown = verify_proof(honest, sealed.keys)
    for _ in range(150):
        content = bytearray(honest.encode())
        place = drawn.randrange(len(content))
        content[place] = drawn.choice([content[place] ^ (1 << drawn.randrange(8)), drawn.randrange(256)])
        try:
            again = verify_proof(bytes(content), sealed.keys)
        except BitHiveError:
            continue
        assert again == shown


@pytest.mark.parametrize("kind", KINDS)
def test_no_part_of_a_file_says_anything(sealed, files, kind):
    text = files[kind]
    for end in range(0, len(text) - 2, 37):
        with pytest.raises((ProofMalformed, NoteMalformed)):
            verify_proof(text[:end], sealed.keys)


def changed(text, **members):
    return json.dumps({**json.loads(text), **members})


def step(place, text):
    proof = json.loads(text)
    proof["path"][place] = b64encode(b"x" * 32).decode()
    return json.dumps(proof)


def test_a_proof_of_something_else_fails(sealed, files):
    entry = json.loads(files["entry"])
    others = [
        changed(files["entry"], index=entry["index"] + 1),
        changed(files["entry"], index=0),
        changed(files["entry"], leaf=entry["leaf"].replace("fund/", "find/")),
        changed(files["entry"], leaf=entry["leaf"] + " "),
        changed(files["entry"], path=entry["path"][:-1]),
        changed(files["entry"], path=[*entry["path"], entry["path"][0]]),
        changed(files["entry"], path=entry["path"][::-1]),
        changed(files["entry"], path=[]),
        step(0, files["entry"]),
        step(-1, files["entry"]),
        changed(files["entry"], checkpoint=sealed.proofs.checkpoint(2)),
        changed(files["balance"], checkpoint=sealed.proofs.checkpoint(2)),
        step(0, files["balance"]),
        changed(files["balance"], leaf=json.loads(files["balance"])["leaf"].replace('"0"', '"1"')),
        step(2, files["consistency"]),
        changed(files["consistency"], path=[]),
        changed(files["consistency"], checkpoint=sealed.proofs.checkpoint(2)),
        changed(files["from-root"], **{"from": {"root": b64encode(b"x" * 32).decode(), "size": 100}}),
        changed(files["from-root"], **{"from": {**json.loads(files["from-root"])["from"], "size": 101}}),
        changed(files["from-root"], **{"from": {**json.loads(files["from-root"])["from"], "size": 0}}),
    ]
    for text in others:
        with pytest.raises(ProofFails):
            verify_proof(text, sealed.keys)


def test_an_entry_is_not_taken_for_a_balance_nor_an_inner_node_for_a_leaf(sealed, files):
    with pytest.raises(ProofFails):
        verify_proof(changed(files["entry"], kind="balance"), sealed.keys)
    with pytest.raises(ProofFails):
        verify_proof(changed(files["balance"], kind="entry"), sealed.keys)
    leaves = [leaf_hash(b"{}"), leaf_hash(b"[]")]
    said = Checkpoint.parse(parse_note(sealed.proofs.checkpoint()).text)
    inner = said._replace(size=1, root=node_hash(*leaves))
    forged = {
        "format": "bithive-proof-1",
        "kind": "entry",
        "checkpoint": signed(inner),
        "index": 0,
        "leaf": (b"\x01" + leaves[0] + leaves[1]).decode("latin-1"),
        "path": [],
    }
    with pytest.raises(ProofFails):
        verify_proof(json.dumps(forged), sealed.keys)


@pytest.mark.parametrize(
    "leaf",
    [
        '{"body":{"id":"a","kind":"b"},"recorded_us":1,"seq":2}',
        '{"body":{"id":"a","kind":"b"},"recorded_us":-1,"seq":1}',
        '{"body":{"id":"a","kind":"b"},"recorded_us":1.5,"seq":1}',
        '{"body":{"id":"a","id":"b","kind":"b"},"recorded_us":1,"seq":1}',
        '{"body":{"id":1,"kind":"b"},"recorded_us":1,"seq":1}',
        '{"body":[],"recorded_us":1,"seq":1}',
        '{"recorded_us":1,"seq":1}',
        "[1]",
        "[" * 100_000,
        "1" * 10_000,
        "NaN",
        "",
    ],
)
def test_a_log_that_signed_nonsense_is_refused_with_a_code(sealed, leaf):
    said = Checkpoint.parse(parse_note(sealed.proofs.checkpoint()).text)
    forged = {
        "format": "bithive-proof-1",
        "checkpoint": signed(said._replace(size=1, root=leaf_hash(leaf.encode()))),
        "index": 0,
        "leaf": leaf,
        "path": [],
    }
    with pytest.raises((ProofFails, ProofMalformed)):
        verify_proof(json.dumps({**forged, "kind": "entry"}), sealed.keys)
    forged["checkpoint"] = signed(said._replace(accounts=1, state_root=leaf_hash(leaf.encode())))
    with pytest.raises((ProofFails, ProofMalformed)):
        verify_proof(json.dumps({**forged, "kind": "balance"}), sealed.keys)


@pytest.mark.parametrize("total", ["-1", "1.0", "\u00b2", "", "9" * 20, "0x1", " 1"])
def test_a_balance_that_is_no_number_is_refused(sealed, total):
    names = ("credit_pending", "credit_posted", "debit_pending", "debit_posted")
    leaf = json.dumps({"account": "a:b:C", **dict.fromkeys(names, total)}, ensure_ascii=False)
    said = Checkpoint.parse(parse_note(sealed.proofs.checkpoint()).text)
    forged = {
        "format": "bithive-proof-1",
        "kind": "balance",
        "checkpoint": signed(said._replace(accounts=1, state_root=leaf_hash(leaf.encode()))),
        "index": 0,
        "leaf": leaf,
        "path": [],
    }
    with pytest.raises(ProofFails):
        verify_proof(json.dumps(forged), sealed.keys)


@pytest.mark.parametrize(
    "members",
    [
        {"format": "bithive-proof-2"},
        {"format": None},
        {"kind": "other"},
        {"kind": []},
        {"kind": None},
        {"more": 1},
        {"index": -1},
        {"index": True},
        {"index": "76"},
        {"index": 2**60},
        {"leaf": 1},
        {"leaf": "\ud800"},
        {"path": "x"},
        {"path": {}},
        {"path": [1]},
        {"path": ["AAAA"]},
        {"path": ["\u00f1"]},
        {"path": [b64encode(bytes(32)).decode()] * (PROOF_STEPS_MAX + 1)},
        {"checkpoint": 1},
        {"checkpoint": None},
    ],
)
def test_members_that_are_none(sealed, files, members):
    with pytest.raises(ProofMalformed):
        verify_proof(changed(files["entry"], **members), sealed.keys)


@pytest.mark.parametrize(
    "given", [1, None, [], {}, {"root": "x"}, {"size": 1}, {"checkpoint": 1}, {"checkpoint": "x", "size": 1}]
)
def test_an_older_tree_that_is_none(sealed, files, given):
    with pytest.raises(ProofMalformed):
        verify_proof(changed(files["consistency"], **{"from": given}), sealed.keys)


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "{}",
        '{"a":1,"a":2}',
        '{"a":1.5}',
        '{"a":NaN}',
        '{"a":' + "9" * 5000 + "}",
        '{"a":' + "[" * 200_000,
        " " * 10 + "{]",
        b"{\xff}",
        "{" + "x" * (PROOF_BYTES_MAX + 1),
        b" " * (PROOF_BYTES_MAX + 1),
        "x" * (NOTE_BYTES_MAX + 1),
    ],
)
def test_files_that_are_no_proofs(sealed, text):
    with pytest.raises(ProofMalformed):
        verify_proof(text, sealed.keys)


@pytest.mark.parametrize("text", ["", "x", "[]", b"\xff", b"\x00" * 1000])
def test_files_that_are_no_checkpoints(sealed, text):
    with pytest.raises(NoteMalformed):
        verify_proof(text, sealed.keys)


def test_a_proof_is_of_the_log_whose_key_is_given(sealed, files):
    own = sealed.keys[0]
    stranger = SigningKey(b"q" * 32)
    for keys in (
        [],
        [own._replace(public_key=stranger.public_hex)],
        [own._replace(name="other.example/log")],
        [own._replace(algorithm=Algorithm.COSIGNATURE)],
    ):
        with pytest.raises(NoteUnsigned):
            verify_proof(files["entry"], keys)
    verify_proof(files["entry"], [own._replace(public_key=stranger.public_hex), own])
    forged = copy.deepcopy(json.loads(files["entry"]))
    note = parse_note(forged["checkpoint"])
    broken = note.signatures[0]._replace(signature=bytes(64))
    with pytest.raises(BadSignature):
        verify_proof(changed(files["entry"], checkpoint=str(Note(note.text, (broken,)))), sealed.keys)


def test_a_key_of_one_log_does_not_sign_for_another(sealed):
    """The same key under two origins: the note of one is not a checkpoint of the other."""
    said = Checkpoint.parse(parse_note(sealed.proofs.checkpoint()).text)
    other = said._replace(origin="other.example/log")
    line = parse_note(signed(other)).signatures[0]
    mixed = str(Note(other.text, (line,)))
    with pytest.raises(NoteUnsigned):
        verify_checkpoint(mixed, sealed.keys)
    verify_checkpoint(mixed, [VerifierKey("other.example/log", Algorithm.ED25519, KEY.public_hex)])


def test_two_logs_are_not_connected(sealed, files):
    older = json.loads(files["consistency"])["from"]["checkpoint"]
    moved = Checkpoint.parse(parse_note(older).text)._replace(origin="other.example/log")
    key = VerifierKey("other.example/log", Algorithm.ED25519, KEY.public_hex)
    text = changed(files["consistency"], **{"from": {"checkpoint": signed(moved)}})
    with pytest.raises(ProofFails):
        verify_proof(text, [*sealed.keys, key])


def test_an_older_checkpoint_must_be_signed_too(sealed, files):
    older = Checkpoint.parse(parse_note(json.loads(files["consistency"])["from"]["checkpoint"]).text)
    text = changed(files["consistency"], **{"from": {"checkpoint": signed(older, WITNESS)}})
    with pytest.raises(NoteUnsigned):
        verify_proof(text, sealed.keys)


def test_cosignatures_count_only_of_the_witnesses_given(sealed):
    text = sealed.proofs.checkpoint()
    line = cosignature_line(parse_note(text).text, WITNESS_KEY.name, WITNESS, 1_800_000_000)
    cosigned = text + str(line)
    assert verify_checkpoint(cosigned, sealed.keys).cosigned == ()
    assert verify_checkpoint(cosigned, sealed.keys, [WITNESS_KEY]).cosigned == ((WITNESS_KEY.name, 1_800_000_000),)
    assert verify_proof(cosigned, sealed.keys, [WITNESS_KEY]).cosigned == ((WITNESS_KEY.name, 1_800_000_000),)
    with pytest.raises(NoteUnsigned):
        verify_checkpoint(str(Note(parse_note(text).text, (line,))), sealed.keys, [WITNESS_KEY])
    false = text + str(line._replace(signature=bytes(72)))
    verify_checkpoint(false, sealed.keys)
    with pytest.raises(BadSignature):
        verify_checkpoint(false, sealed.keys, [WITNESS_KEY])


def test_a_path_takes_no_more_than_the_tree_is_deep(sealed, files):
    path = json.loads(files["entry"])["path"]
    assert len(path) == 9
    assert all(len(b64decode(step)) == 32 for step in path)


def test_the_published_examples_hold():
    """docs/proofs.md, word for word."""
    page = (Path(__file__).parents[3] / "docs" / "proofs.md").read_text()
    lines = re.findall(r"^ {4}([^ \n]+\+[0-9a-f]{8}\+[^ \n]+)$", page, re.MULTILINE)
    log, witness = map(VerifierKey.parse, lines)
    blocks = re.findall(r"^```(?:json)?\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    shown = [verify_proof(block, [log], [witness]) for block in blocks]
    assert [item.kind for item in shown] == ["checkpoint", "entry", "balance", "consistency"]
    assert shown[0].cosigned == ((witness.name, 1_800_000_200),)


CLAIM = '{"account":"pty_1:earned:BTT","asset":"BTT","cumulative":"60"}'
OTHER_CLAIM = '{"account":"pty_2:earned:BTT","asset":"BTT","cumulative":"61"}'
CLAIMS_ROOT = node_hash(leaf_hash(CLAIM.encode()), leaf_hash(OTHER_CLAIM.encode())).hex()
CLAIM_PATH = [b64encode(leaf_hash(OTHER_CLAIM.encode())).decode()]


def claim_file(sealed, body=None, facts=None, claim=None):
    """A claim in a log of one entry, as its operator would sign it."""
    said = Checkpoint.parse(parse_note(sealed.proofs.checkpoint()).text)
    entry = {"id": "epoch/1/claims", "kind": "claims.published", "facts": {"root": CLAIMS_ROOT, "count": 2}}
    entry["facts"] |= facts or {}
    leaf = json.dumps({"body": {**entry, **(body or {})}, "recorded_us": 1, "seq": 1})
    members = {
        "format": "bithive-proof-1",
        "kind": "claim",
        "checkpoint": signed(said._replace(size=1, root=leaf_hash(leaf.encode()))),
        "entry": {"index": 0, "leaf": leaf, "path": []},
        "claim": {"index": 0, "leaf": CLAIM, "path": CLAIM_PATH, "size": 2, **(claim or {})},
    }
    return json.dumps(members)


def test_a_claim_holds(sealed):
    assert verify_proof(claim_file(sealed), sealed.keys).said == {
        "account": "pty_1:earned:BTT",
        "asset": "BTT",
        "cumulative": 60,
        "entry": "epoch/1/claims",
        "seq": 1,
    }


@pytest.mark.parametrize(
    "altered",
    [
        {"body": {"kind": "claims.retracted"}},
        {"body": {"facts": None}},
        {"body": {"facts": []}},
        {"facts": {"count": 3}},
        {"facts": {"count": "2"}},
        {"facts": {"root": "0" * 64}},
        {"facts": {"root": "xy"}},
        {"facts": {"root": "\u0661" * 64}},
        {"claim": {"size": 3}},
        {"claim": {"index": 1}},
        {"claim": {"leaf": CLAIM.replace("60", "61")}},
        {"claim": {"path": []}},
    ],
)
def test_a_claim_that_the_entry_does_not_publish_fails(sealed, altered):
    with pytest.raises(ProofFails):
        verify_proof(claim_file(sealed, **altered), sealed.keys)


@pytest.mark.parametrize("cumulative", [None, True, -1, "", "-1", "\u00b2", "1" * 30, [], {}])
def test_a_claim_of_no_amount_fails(sealed, cumulative):
    leaf = json.dumps({"account": "a", "asset": "B", "cumulative": cumulative})
    facts = {"root": leaf_hash(leaf.encode()).hex(), "count": 1}
    with pytest.raises(ProofFails):
        verify_proof(claim_file(sealed, facts=facts, claim={"leaf": leaf, "path": [], "size": 1}), sealed.keys)


@pytest.mark.parametrize("claim", [{"more": 1}, {"size": True}, {"leaf": 1}, {"path": None}])
def test_members_of_a_claim_that_are_none(sealed, claim):
    with pytest.raises((ProofMalformed, ProofFails)):
        verify_proof(claim_file(sealed, claim=claim), sealed.keys)


def test_a_trusted_log_signs_for_itself_alone(sealed):
    said = Checkpoint.parse(parse_note(sealed.proofs.checkpoint()).text)
    other = said._replace(origin="other.example/log")
    line = note_line(other.text, said.origin, KEY)
    with pytest.raises(NoteUnsigned):
        verify_checkpoint(str(Note(other.text, (line,))), sealed.keys)


def test_a_witnesss_line_is_not_the_logs(sealed):
    """Not even under the log's own name and key."""
    said = Checkpoint.parse(parse_note(sealed.proofs.checkpoint()).text)
    line = cosignature_line(said.text, said.origin, KEY, 1_800_000_000)
    seeming = VerifierKey(said.origin, Algorithm.COSIGNATURE, KEY.public_hex)
    with pytest.raises(NoteUnsigned):
        verify_checkpoint(str(Note(said.text, (line,))), [seeming])


@pytest.mark.parametrize(
    "text", ['{"a":1.0}', '{"a":1e3}', '{"a":NaN}', '{"a":Infinity}', '{"a":{"b":1,"b":1}}', "[]", "1"]
)
def test_what_is_read_has_one_meaning(text):
    with pytest.raises(ProofMalformed):
        parse_plain(text)
