"""Ed25519 keys (RFC 8032) and HMAC digests: who signed it, and which bytes they were.

Outside the clinical side no plain image digest exists: inputs and outputs are named by HMAC-SHA256 (RFC 2104) under a
key derived for one Offer; destroying that key unlinks the record from the image.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from bithive.blobs import sync_folder
from bithive.errors import BadSettings, BadSignature


class SigningKey:
    """An Ed25519 private key.

    Parameters
    ----------
    seed
        The 32 bytes of the private key.
    """

    def __init__(self, seed: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.public_hex = self._key.public_key().public_bytes_raw().hex()

    @classmethod
    def load_or_create(cls, path: Path) -> SigningKey:
        """Read the key at `path`, or make one there, readable by its owner alone.

        Raises
        ------
        BadSettings
            If the file is not 32 bytes of key, or others may read it.
        """
        return cls(load_or_create_secret(path))

    def sign(self, message: bytes) -> str:
        """The signature of `message`, in hexadecimal."""
        return self._key.sign(message).hex()


def load_or_create_secret(path: Path) -> bytes:
    """The 32 bytes at `path`, made at random if there are none, readable by their owner alone.

    Raises
    ------
    BadSettings
        If the file is not 32 bytes long, or others may read it.
    """
    if not path.exists():
        _create_secret(path, secrets.token_bytes(32))
    if path.stat().st_mode & 0o077:
        raise BadSettings("a private key is readable by others; set its mode to 600")
    content = path.read_bytes()
    if len(content) != 32:
        raise BadSettings("a private key file does not hold 32 bytes")
    return content


def _create_secret(path: Path, content: bytes) -> None:
    """Make a file whole and durable, or leave the one that another process made first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
    sync_folder(path.parent)


def verify(public_hex: str, message: bytes, signature_hex: str) -> None:
    """Check a signature.

    Raises
    ------
    BadSignature
        If it does not hold, or key or signature are malformed.
    """
    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(public_hex))
        key.verify(bytes.fromhex(signature_hex), message)
    except (InvalidSignature, ValueError) as error:
        raise BadSignature from error


def fingerprint(public_hex: str) -> str:
    """A short name of a public key: the first 20 hexadecimal digits of its SHA-256."""
    return hashlib.sha256(bytes.fromhex(public_hex)).hexdigest()[:20]


def keyed_digest(key: bytes, content: bytes | bytearray | memoryview) -> str:
    """HMAC-SHA256 of `content` under `key`, in hexadecimal."""
    return hmac.new(key, content, hashlib.sha256).hexdigest()


def derive(key: bytes, purpose: str) -> bytes:
    """A 32-byte key for one purpose, from another key."""
    return hmac.new(key, b"bithive/" + purpose.encode(), hashlib.sha256).digest()
