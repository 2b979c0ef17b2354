"""The vectors are public: Go's note package, sum.golang.org's own checkpoint, and the examples of the C2SP pages."""

from __future__ import annotations

from base64 import b64decode, b64encode

import pytest

from bithive.errors import BadSignature
from bithive.keys import SigningKey
from bithive.limits import NOTE_BYTES_MAX, NOTE_SIGNATURES_MAX
from economy.errors import NoteMalformed, NoteUnsigned
from economy.notes import (
    Algorithm,
    Note,
    NoteSignature,
    VerifierKey,
    cosignature_line,
    cosigned_bytes,
    note_line,
    parse_note,
    parse_signature,
    require_signer,
    signers,
)

NEUMANN = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
NEUMANN_SECRET = b64decode("AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz")[1:]
NEUMANN_TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
NEUMANN_LINE = (
    "\u2014 PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)
SUM = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8"
SUM_NOTE = (
    "go.sum database tree\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n\u2014 sum.golang.org"
    " Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"
)
FOO = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
FOO_NOTE = (
    "This is an example message.\n\n\u2014 example.com/foo"
    " Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
)
SOFA_WITNESS = (
    "\u2014 witness.example.com/w1"
    " jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA=="
)
OURS = SigningKey(b"o" * 32)
TEXT = "some text\n"


def verifier(name="ours.example/log", key=OURS, algorithm=Algorithm.ED25519):
    return VerifierKey(name, algorithm, key.public_hex)


def test_gos_note_is_signed_byte_for_byte():
    line = note_line(NEUMANN_TEXT, "PeterNeumann", SigningKey(NEUMANN_SECRET))
    assert str(line) == NEUMANN_LINE
    note = parse_note(f"{NEUMANN_TEXT}\n{NEUMANN_LINE}")
    assert note.text == NEUMANN_TEXT
    assert str(require_signer(note, [VerifierKey.parse(NEUMANN)])) == NEUMANN


@pytest.mark.parametrize(("key", "raw"), [(SUM, SUM_NOTE), (FOO, FOO_NOTE), (FOO, FOO_NOTE.encode())])
def test_published_notes_hold_and_no_altered_one(key, raw):
    trusted = VerifierKey.parse(key)
    note = parse_note(raw)
    text = raw if isinstance(raw, str) else raw.decode()
    assert str(note) == text
    assert str(trusted) == key
    assert require_signer(note, [trusted]) == trusted
    with pytest.raises(BadSignature):
        require_signer(note._replace(text="x" + note.text), [trusted])


def test_the_frame_of_the_published_cosignature():
    line = parse_signature(SOFA_WITNESS)
    assert str(line) == SOFA_WITNESS + "\n"
    assert (line.name, int.from_bytes(line.signature[:8], "big"), len(line.signature)) == (
        "witness.example.com/w1",
        1679315147,
        72,
    )


def test_what_a_witness_signs_is_the_specifications_message():
    text = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
    assert cosigned_bytes(text, 1679315147) == b"cosignature/v1\ntime 1679315147\n" + text.encode()


def test_a_cosignature_holds_for_its_text_time_name_and_key_alone():
    line = cosignature_line(TEXT, "w.example/1", OURS, 1_700_000_000)
    key = verifier("w.example/1", algorithm=Algorithm.COSIGNATURE)
    found = signers(Note(TEXT, (line,)), [key])
    assert [(item.key, item.at_s) for item in found] == [(key, 1_700_000_000)]
    assert signers(Note(TEXT, (line,)), [verifier("w.example/1")]) == []
    assert signers(Note(TEXT, (line,)), [verifier("w.example/2", algorithm=Algorithm.COSIGNATURE)]) == []
    later = (1_700_000_001).to_bytes(8, "big") + line.signature[8:]
    for changed in (line._replace(signature=later), line._replace(signature=line.signature[:-1])):
        with pytest.raises(BadSignature):
            signers(Note(TEXT, (changed,)), [key])
    with pytest.raises(BadSignature):
        signers(Note("other text\n", (line,)), [key])
    for at_s in (2**63, 2**64 - 1):
        beyond = at_s.to_bytes(8, "big") + bytes.fromhex(OURS.sign(cosigned_bytes(TEXT, at_s)))
        with pytest.raises(BadSignature):
            signers(Note(TEXT, (line._replace(signature=beyond),)), [key])


def test_lines_of_unknown_keys_are_ignored_and_a_false_line_of_a_known_one_condemns_the_note():
    good = note_line(TEXT, "ours.example/log", OURS)
    stranger = note_line(TEXT, "stranger.example", SigningKey(b"s" * 32))
    impostor = note_line(TEXT, "ours.example/log", SigningKey(b"s" * 32))
    forged = impostor._replace(key_id=good.key_id)
    trusted = [verifier()]
    assert require_signer(Note(TEXT, (stranger, impostor, good, good)), trusted) == verifier()
    for lines in ((forged,), (good, forged), (forged, good)):
        with pytest.raises(BadSignature):
            signers(Note(TEXT, lines), trusted)
    for keys in ([], [verifier("stranger.example")]):
        with pytest.raises(NoteUnsigned):
            require_signer(Note(TEXT, (stranger, good)), keys)


@pytest.mark.parametrize(
    "raw",
    [
        "",
        "text",
        "text\n",
        "text\n\n",
        "text\n\n\n",
        NEUMANN_TEXT + NEUMANN_LINE,
        f"{NEUMANN_TEXT}\n{NEUMANN_LINE}"[:-1],
        f"{NEUMANN_TEXT}\n{NEUMANN_LINE}\n",
        f"{NEUMANN_TEXT}\n- {NEUMANN_LINE[2:]}",
        f"{NEUMANN_TEXT}\n{NEUMANN_LINE[:-3]}\n",
        f"{NEUMANN_TEXT}\n\u2014 PeterNeumann\n",
        f"{NEUMANN_TEXT}\n\u2014 Peter+Neumann AAAAAAA=\n",
        f"{NEUMANN_TEXT}\n\u2014  AAAAAAA=\n",
        f"{NEUMANN_TEXT}\n\u2014 name x08gow==\n",
        f"{NEUMANN_TEXT}\n\u2014 name x08go9==\n",
        f"{NEUMANN_TEXT}\n\u2014 name \u00f1\u00f1\u00f1\u00f1\n",
        f"a\x01b\n\n{NEUMANN_LINE}",
        f"a\r\n\n{NEUMANN_LINE}",
        b"\xff\n\n" + NEUMANN_LINE.encode(),
        "a\ud800\n\n" + NEUMANN_LINE,
        f"{'x' * NOTE_BYTES_MAX}\n\n{NEUMANN_LINE}",
        f"{TEXT}\n{NEUMANN_LINE * (NOTE_SIGNATURES_MAX + 1)}",
    ],
)
def test_what_is_no_note(raw):
    with pytest.raises(NoteMalformed):
        parse_note(raw)


def test_empty_lines_within_the_text_and_many_signatures_are_allowed():
    note = parse_note(f"one\n\ntwo\n\n{NEUMANN_LINE * 16}")
    assert (note.text, len(note.signatures)) == ("one\n\ntwo\n", 16)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a+b",
        NEUMANN + "=",
        NEUMANN.replace("c74f20a3", "c74f20a4"),
        NEUMANN.replace("c74f20a3", "C74F20A3"),
        NEUMANN.replace("PeterNeumann", "Peter Neumann"),
        NEUMANN[:-4],
        "k+00000000+\u00f1",
        f"k+00000000+{b64encode(bytes([2]) + bytes(32)).decode()}",
    ],
)
def test_what_is_no_verifier_key(text):
    with pytest.raises(NoteMalformed):
        VerifierKey.parse(text)


def test_a_verifier_key_whose_base64_has_plus_signs():
    key = VerifierKey("k.example", Algorithm.ED25519, "fb" * 32)
    assert "+" in str(key).split("+", 2)[2]
    assert VerifierKey.parse(str(key)) == key


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\nb", "a\u00a0b"])
def test_names_that_would_break_the_line_are_not_signed_with(name):
    with pytest.raises(NoteMalformed):
        note_line(TEXT, name, OURS)


def test_a_line_is_written_as_it_is_read():
    line = NoteSignature("n", b"\x01\x02\x03\x04", b"abc")
    assert parse_signature(str(line)[:-1]) == line
