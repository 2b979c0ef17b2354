"""One line with which a further machine of the same operator joins a cell, and the code that opens it.

What is in it lets a machine run code on every other one of the cell (Ray's token), so it is sealed: AES-256-GCM under a
key that scrypt (RFC 7914) makes from an 80-bit code. The line may go by mail, the code by another way. Nobody can take
back a line that was opened: a machine that must go is put out by a new token (`bithive cell invite --new-token`).
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from bithive.ids import Ids
from bithive.limits import CELL_INVITE_CHARS_MAX
from bithive.offer import DataClass
from cluster.errors import BadCellInvite, CellInviteExpired
from cluster.labels import Tier

PREFIX = "bithive-cell-1"

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_CODE_BYTES = 10
_SALT_BYTES = 16
_NONCE_BYTES = 12
_SCRYPT = {"n": 2**14, "r": 8, "p": 1}


@dataclass(frozen=True, slots=True)
class CellInvite:
    """What a further machine must know.

    Attributes
    ----------
    gcs_address
        `host:port` of the cell's head in the operator's network.
    ray_token
        What Ray's processes of the cell show each other.
    network, address
        The operator's network (CIDR) and the new machine's address in it; empty when it brings its own.
    operator, tier, residency, data_class_max
        As for a profile; the machine may say less, never more.
    institution, vetted
        Whose own cell it is (empty for nobody's), and whether its operator was vetted: what the head was admitted for.
    version, ray
        Of BitHive and Ray on the head: the members of a Ray cluster have the same.
    authority, certificate, key
        PEM: the operator's authority, and this machine's certificate by it with its key; all empty without TLS.
    expires_ms
        Until when it may be opened, in milliseconds since the epoch.
    """

    gcs_address: str
    ray_token: str
    network: str
    address: str
    operator: str
    tier: str
    residency: str
    data_class_max: str
    institution: str
    vetted: bool
    version: str
    ray: str
    authority: str
    certificate: str
    key: str
    expires_ms: int

    @property
    def tls(self) -> bool:
        """Whether the cell's Ray processes talk TLS."""
        return bool(self.authority)

    def seal(self, ids: Ids) -> tuple[str, str]:
        """The line, and the code that opens it."""
        code, salt, nonce = _code(ids.token(_CODE_BYTES)), ids.token(_SALT_BYTES), ids.token(_NONCE_BYTES)
        sealed = AESGCM(_key(code, salt)).encrypt(nonce, json.dumps(asdict(self)).encode(), PREFIX.encode())
        line = f"{PREFIX}.{base64.urlsafe_b64encode(salt + nonce + sealed).decode().rstrip('=')}"
        assert len(line) <= CELL_INVITE_CHARS_MAX, "an invite is short"
        return line, code

    @classmethod
    def open(cls, line: str, code: str, now_ms: int) -> Self:
        """Read a line.

        Raises
        ------
        BadCellInvite
            If it is none, is damaged, or the code is another's.
        CellInviteExpired
            If it may not be opened any more.
        """
        content = _content(line.strip())
        salt, nonce = content[:_SALT_BYTES], content[_SALT_BYTES : _SALT_BYTES + _NONCE_BYTES]
        sealed = content[_SALT_BYTES + _NONCE_BYTES :]
        try:
            plain = AESGCM(_key(_typed(code), salt)).decrypt(nonce, sealed, PREFIX.encode())
        except (InvalidTag, ValueError):
            raise BadCellInvite("the code does not open this invite, or the line is damaged") from None
        invite = cls._read(plain)
        if invite.expires_ms <= now_ms:
            raise CellInviteExpired("ask for a new one")
        return invite

    @classmethod
    def _read(cls, plain: bytes) -> Self:
        """What was sealed came from whoever knows the code; another version may still have other members."""
        try:
            value = json.loads(plain)
        except ValueError:
            raise BadCellInvite("what is sealed is no JSON") from None
        names = {field.name for field in fields(cls)}
        if not isinstance(value, dict) or set(value) != names or not all(_fits(*item) for item in value.items()):
            raise BadCellInvite("another version made it")
        return cls(**value)


def is_cell_invite(line: str) -> bool:
    """Whether a line is one of these, by its beginning."""
    return line.strip().startswith(f"{PREFIX}.")


def _fits(name: str, value: Any) -> bool:
    words: dict[str, set[str]] = {"tier": set(Tier), "data_class_max": set(DataClass)}
    if name == "expires_ms":
        return type(value) is int and 0 <= value < 2**53
    if name == "vetted":
        return type(value) is bool
    return isinstance(value, str) and (name not in words or value in words[name])


def _content(line: str) -> bytes:
    prefix, _, text = line.partition(".")
    if prefix != PREFIX or len(line) > CELL_INVITE_CHARS_MAX:
        raise BadCellInvite("the line is no invite to a cell")
    try:
        content = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise BadCellInvite("the line is damaged") from None
    if len(content) <= _SALT_BYTES + _NONCE_BYTES:
        raise BadCellInvite("the line is truncated")
    return content


def _key(code: str, salt: bytes) -> bytes:
    return Scrypt(salt=salt, length=32, **_SCRYPT).derive(code.encode())


def _code(chance: bytes) -> str:
    number = int.from_bytes(chance, "big")
    letters = "".join(_ALPHABET[(number >> shift) & 31] for shift in range(len(chance) * 8 - 5, -1, -5))
    return "-".join(letters[place : place + 4] for place in range(0, len(letters), 4))


def _typed(code: str) -> str:
    """A code as somebody typed it: any case, with blanks or without hyphens, O for 0, I or L for 1 (Crockford)."""
    plain = code.upper().replace("O", "0").replace("I", "1").replace("L", "1")
    letters = "".join(letter for letter in plain if letter in _ALPHABET)
    return "-".join(letters[place : place + 4] for place in range(0, len(letters), 4))
