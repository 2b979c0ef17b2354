"""Key release: an Offer's keys wrapped so that one attested cell alone can open them.

X25519 (RFC 7748) with a fresh key of the sender's, HKDF-SHA-256 (RFC 5869) over the shared secret, AES-256-GCM. What is
bound: both public keys, the Offer and the Attempt. A wrapped key that is handed on, to another cell or for another
Attempt, does not open.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from bithive.errors import BadInput, Refused
from bithive.ids import Ids
from bithive.offer import DataClass, Offer, OfferKeys
from cluster.cell_record import CellRecord

_INFO = b"bithive.key-release.v1\x00"
_NONCE = bytes(12)
_SEALED_HEX = 2 * (64 + 16)


class BadWrappedKeys(BadInput):
    code, title = "bad-wrapped-keys", "The wrapped keys cannot be opened"


class KeyWithheld(Refused):
    code, title = "key-withheld", "The Offer's keys are released to an attested cell only"


@dataclass(frozen=True, slots=True)
class WrappedKeys:
    """The keys of an Offer as they travel.

    Attributes
    ----------
    box_key, sender_key
        X25519 public keys of whom they are for and of whom they are from, hexadecimal.
    sealed
        The two keys, encrypted, hexadecimal.
    """

    box_key: str
    sender_key: str
    sealed: str

    def __repr__(self) -> str:
        return "WrappedKeys(...)"

    def to_json(self) -> dict[str, str]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """Read what `to_json` wrote. Raises `BadWrappedKeys`."""
        lengths = {"box_key": 64, "sender_key": 64, "sealed": _SEALED_HEX}
        if not isinstance(value, dict) or set(value) != set(lengths):
            raise BadWrappedKeys("members are missing or unknown")
        for name, length in lengths.items():
            text = value[name]
            if not isinstance(text, str) or len(text) != length or set(text) - set("0123456789abcdef"):
                raise BadWrappedKeys(f"{name} is malformed")
        return cls(**value)


class BoxKey:
    """An X25519 private key that never leaves the process that made it.

    Parameters
    ----------
    seed
        32 random bytes.
    """

    def __init__(self, seed: bytes) -> None:
        self._key = X25519PrivateKey.from_private_bytes(seed)
        self.public_hex = self._key.public_key().public_bytes_raw().hex()

    def open(self, wrapped: WrappedKeys, offer_id: str, attempt_id: str) -> OfferKeys:
        """The keys of an Offer. Raises `BadWrappedKeys` if they are another's, or were changed."""
        if wrapped.box_key != self.public_hex:
            raise BadWrappedKeys("they are wrapped for another")
        cipher = AESGCM(_key(self._key, wrapped.sender_key, wrapped, offer_id, attempt_id))
        try:
            plain = cipher.decrypt(_NONCE, bytes.fromhex(wrapped.sealed), None)
        except InvalidTag:
            raise BadWrappedKeys("they were changed, or are of another Attempt") from None
        return OfferKeys(plain[:32], plain[32:])


def wrap(keys: OfferKeys, box_key: str, offer_id: str, attempt_id: str, ids: Ids) -> WrappedKeys:
    """Wrap an Offer's keys for one cell and one Attempt. Raises `BadWrappedKeys` if `box_key` is no key."""
    sender = X25519PrivateKey.from_private_bytes(ids.token(32))
    draft = WrappedKeys(box_key, sender.public_key().public_bytes_raw().hex(), "")
    cipher = AESGCM(_key(sender, box_key, draft, offer_id, attempt_id))
    # The key is used once: its sender's half is fresh, so a fixed nonce never meets it twice.
    sealed = cipher.encrypt(_NONCE, keys.payload_key + keys.digest_key, None)
    return WrappedKeys(draft.box_key, draft.sender_key, sealed.hex())


def must_wrap(offer: Offer, cell: CellRecord) -> bool:
    """Whether the keys of an Offer may go to a cell wrapped only: a head or genome at another institution's or nobody's."""
    return offer.data_class is DataClass.P2 and cell.institution != offer.institution


def releasable(offer: Offer, cell: CellRecord, now_ms: int) -> bool:
    """Whether a cell has shown what the keys of an Offer are released for: plain ones need nothing shown."""
    return not must_wrap(offer, cell) or bool(cell.box_key and cell.attested_ms > now_ms)


def released(offer: Offer, keys: OfferKeys, attempt_id: str, cell: CellRecord, now_ms: int, ids: Ids) -> WrappedKeys:
    """The keys of an Offer for an attested cell.

    Raises
    ------
    KeyWithheld
        If it has shown no evidence, or its evidence has run out.
    """
    if not cell.box_key or not releasable(offer, cell, now_ms):
        raise KeyWithheld
    return wrap(keys, cell.box_key, offer.offer_id, attempt_id, ids)


def _key(own: X25519PrivateKey, other: str, wrapped: WrappedKeys, offer_id: str, attempt_id: str) -> bytes:
    try:
        shared = own.exchange(X25519PublicKey.from_public_bytes(bytes.fromhex(other)))
    except ValueError as error:  # a malformed key, or one of low order (RFC 7748, section 6.1)
        raise BadWrappedKeys("a key is none") from error
    bound = f"{wrapped.box_key}\x00{wrapped.sender_key}\x00{offer_id}\x00{attempt_id}".encode()
    return HKDF(SHA256(), 32, salt=None, info=_INFO + bound).derive(shared)
