"""Signed notes: text with the signatures of those who stand for it, as the C2SP specifications write them.

A note is text that ends in a newline, an empty line, and one line a signature::

    <text>

    — <key name> <base64 of key id and signature>

The key's name and its id say which key signed. Two kinds of Ed25519 key are known: one that signs the text itself
(a log's), and one that signs the text and a time (a witness's). Lines of other keys are ignored; a line of a known key
that does not hold condemns the whole note. Sources: c2sp.org/signed-note, c2sp.org/tlog-cosignature.
"""

from __future__ import annotations

import hashlib
import re
from base64 import b64decode, b64encode
from collections.abc import Iterable, Sequence
from enum import IntEnum
from typing import NamedTuple, Self

from bithive.errors import BadSignature
from bithive.keys import SigningKey, verify
from bithive.limits import NOTE_BYTES_MAX, NOTE_SIGNATURES_MAX
from economy.errors import NoteMalformed, NoteUnsigned

_DASH = "\u2014 "
_VERIFIER = re.compile(r"([^+]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/=]+)")
_KEY_BYTES, _SIGNATURE_BYTES, _TIME_BYTES = 32, 64, 8
_TIME_S_MAX = 2**63 - 1


class Algorithm(IntEnum):
    """What a key of a note signs; the byte that its id is made with."""

    ED25519 = 0x01
    """The text."""
    COSIGNATURE = 0x04
    """The text, and the time at which it was seen."""


class VerifierKey(NamedTuple):
    """A public key under a name, written `name+id+base64`.

    Attributes
    ----------
    name
        Whose; by convention an address without a scheme.
    public_key
        32 bytes of Ed25519, hexadecimal.
    """

    name: str
    algorithm: Algorithm
    public_key: str

    @property
    def key_id(self) -> bytes:
        """The first four bytes of SHA-256 over name, newline, algorithm and key: a name, not a proof."""
        material = bytes([self.algorithm]) + bytes.fromhex(self.public_key)
        return hashlib.sha256(self.name.encode() + b"\n" + material).digest()[:4]

    def __str__(self) -> str:
        material = bytes([self.algorithm]) + bytes.fromhex(self.public_key)
        return f"{self.name}+{self.key_id.hex()}+{b64encode(material).decode()}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what `str` wrote.

        Raises
        ------
        NoteMalformed
            If it is not such a key, or its id is not the id of its key.
        """
        found = _VERIFIER.fullmatch(text)
        material = from_base64(found[3]) if found else b""
        if found is None or len(material) != 1 + _KEY_BYTES or material[0] not in set(Algorithm):
            raise NoteMalformed("a verifier key is written name+id+base64 and holds an Ed25519 key")
        key = cls(checked_name(found[1]), Algorithm(material[0]), material[1:].hex())
        if key.key_id.hex() != found[2]:
            raise NoteMalformed("a verifier key's id is not the id of its key")
        return key


class NoteSignature(NamedTuple):
    """One line below a note."""

    name: str
    key_id: bytes
    signature: bytes

    def __str__(self) -> str:
        return f"{_DASH}{self.name} {b64encode(self.key_id + self.signature).decode()}\n"


class Note(NamedTuple):
    """Text and the signatures below it. Nothing is verified yet: see `signers`."""

    text: str
    signatures: tuple[NoteSignature, ...]

    def __str__(self) -> str:
        return f"{self.text}\n{''.join(map(str, self.signatures))}"


class Signed(NamedTuple):
    """A signature that holds.

    Attributes
    ----------
    at_s
        When a witness says it saw the note, in seconds since 1970; nothing for a plain signature.
    """

    key: VerifierKey
    at_s: int | None
    signature: NoteSignature


def parse_note(raw: str | bytes) -> Note:
    """Read a signed note.

    Raises
    ------
    NoteMalformed
        If it is too large, not valid UTF-8, holds control characters, or its signature lines are none.
    """
    text = _decoded(raw)
    body, separator, below = text.rpartition("\n\n")
    if not separator or not below.endswith("\n"):
        raise NoteMalformed("a note is text, an empty line and signatures")
    lines = below[:-1].split("\n")
    if len(lines) > NOTE_SIGNATURES_MAX:
        raise NoteMalformed("a note has too many signatures", signatures_max=NOTE_SIGNATURES_MAX)
    return Note(body + "\n", tuple(map(parse_signature, lines)))


def parse_signature(line: str) -> NoteSignature:
    """Read one signature line, without its newline. Raises `NoteMalformed`."""
    name, space, encoded = line.removeprefix(_DASH).partition(" ")
    signature = from_base64(encoded)
    if not (line.startswith(_DASH) and space and len(signature) > 4):
        raise NoteMalformed("a signature line is malformed")
    return NoteSignature(checked_name(name), signature[:4], signature[4:])


def signers(note: Note, keys: Iterable[VerifierKey]) -> list[Signed]:
    """Those of `keys` that signed a note.

    Raises
    ------
    BadSignature
        If a line under the name and id of one of the keys does not hold.
    """
    known = {(key.name, key.key_id): key for key in keys}
    found: dict[VerifierKey, Signed] = {}
    for line in note.signatures:
        key = known.get((line.name, line.key_id))
        if key is not None:
            signed = _verified(note.text, line, key)
            found.setdefault(key, signed)
    return list(found.values())


def require_signer(note: Note, keys: Sequence[VerifierKey]) -> VerifierKey:
    """The first of `keys` that signed a note. Raises `NoteUnsigned` if none did, `BadSignature` as `signers`."""
    found = signers(note, keys)
    if not found:
        raise NoteUnsigned
    return found[0].key


def note_line(text: str, name: str, key: SigningKey) -> NoteSignature:
    """Sign a note's text."""
    verifier = VerifierKey(checked_name(name), Algorithm.ED25519, key.public_hex)
    return NoteSignature(name, verifier.key_id, bytes.fromhex(key.sign(text.encode())))


def cosignature_line(text: str, name: str, key: SigningKey, at_s: int) -> NoteSignature:
    """Sign a note's text as a witness that saw it at `at_s`, in seconds since 1970."""
    assert 0 <= at_s <= _TIME_S_MAX, "a time of this age"
    verifier = VerifierKey(checked_name(name), Algorithm.COSIGNATURE, key.public_hex)
    signature = bytes.fromhex(key.sign(cosigned_bytes(text, at_s)))
    return NoteSignature(name, verifier.key_id, at_s.to_bytes(_TIME_BYTES, "big") + signature)


def cosigned_bytes(text: str, at_s: int) -> bytes:
    """What a witness signs: a fixed line, the time and the note's text."""
    return f"cosignature/v1\ntime {at_s}\n{text}".encode()


def checked_name(name: str) -> str:
    """A key's name without spaces, control characters and plus signs. Raises `NoteMalformed`."""
    if not name or "+" in name or any(char.isspace() or char < " " for char in name):
        raise NoteMalformed("a key's name has no spaces and no plus sign")
    return name


def from_base64(text: str) -> bytes:
    """Standard base64 in its one form: padded, without stray bits. Raises `NoteMalformed`."""
    try:
        content = b64decode(text.encode("ascii"), validate=True)
    except ValueError as error:
        raise NoteMalformed("this is not base64") from error
    if b64encode(content).decode() != text:
        raise NoteMalformed("base64 has one form")
    return content


def _decoded(raw: str | bytes) -> str:
    try:
        content = raw if isinstance(raw, bytes) else raw.encode()
        if len(content) > NOTE_BYTES_MAX:
            raise NoteMalformed("a note is too large", bytes_max=NOTE_BYTES_MAX)
        text = content.decode()
    except UnicodeError as error:
        raise NoteMalformed("a note is UTF-8") from error
    if any(char < " " and char != "\n" for char in text):
        raise NoteMalformed("a note holds no control characters")
    return text


def _verified(text: str, line: NoteSignature, key: VerifierKey) -> Signed:
    timed = key.algorithm is Algorithm.COSIGNATURE
    if len(line.signature) != _SIGNATURE_BYTES + (_TIME_BYTES if timed else 0):
        raise BadSignature("a signature has the wrong length")
    if not timed:
        verify(key.public_key, text.encode(), line.signature.hex())
        return Signed(key, None, line)
    at_s = int.from_bytes(line.signature[:_TIME_BYTES], "big")
    if at_s > _TIME_S_MAX:
        raise BadSignature("a cosignature's time is out of range")
    verify(key.public_key, cosigned_bytes(text, at_s), line.signature[_TIME_BYTES:].hex())
    return Signed(key, at_s, line)
