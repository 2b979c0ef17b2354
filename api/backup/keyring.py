"""Keys in a backup: the folder `keys` of the state, encrypted under a passphrase.

AES-256-GCM (NIST SP 800-38D) under a key from scrypt (RFC 7914, N = 2^15, r = 8, p = 1), with a fresh salt and nonce.
A backup without its keys restores everything but the right to sign; a backup with them is worth as much as its
passphrase.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from api.backup.errors import KeysLocked
from bithive.errors import BadSettings

PASSPHRASE_LENGTH_MIN = 16
_SALT_BYTES, _NONCE_BYTES = 16, 12
_CONTEXT = b"bithive.backup.keys.v1"


def read_passphrase(path: Path) -> bytes:
    """The first line of a file.

    Raises
    ------
    BadSettings
        If others may read the file, or the line is too short.
    """
    if path.stat().st_mode & 0o077:
        raise BadSettings("the file with the passphrase is readable by others; set its mode to 600")
    line = path.read_bytes().partition(b"\n")[0].strip()
    if len(line) < PASSPHRASE_LENGTH_MIN:
        raise BadSettings(f"a passphrase has at least {PASSPHRASE_LENGTH_MIN} characters")
    return line


def lock(keys: Mapping[str, bytes], passphrase: bytes) -> bytes:
    """Encrypt keys by their path."""
    salt, nonce = os.urandom(_SALT_BYTES), os.urandom(_NONCE_BYTES)
    plain = json.dumps({name: content.hex() for name, content in sorted(keys.items())}).encode()
    return salt + nonce + AESGCM(_derive(passphrase, salt)).encrypt(nonce, plain, _CONTEXT)


def unlock(content: bytes, passphrase: bytes) -> dict[str, bytes]:
    """What `lock` encrypted.

    Raises
    ------
    KeysLocked
        If the passphrase is another, or the content has changed.
    """
    salt, nonce = content[:_SALT_BYTES], content[_SALT_BYTES : _SALT_BYTES + _NONCE_BYTES]
    try:
        plain = AESGCM(_derive(passphrase, salt)).decrypt(nonce, content[_SALT_BYTES + _NONCE_BYTES :], _CONTEXT)
    except (InvalidTag, ValueError):
        raise KeysLocked from None
    return {name: bytes.fromhex(key) for name, key in json.loads(plain).items()}


def of_state(state: Path) -> dict[str, bytes]:
    """The keys of a state folder by their path in it; a demonstration's secret is one of them.

    Not those whose purpose is to be destroyed (`cluster.duplicates.SightingKeys`): a copy would outlive them.
    """
    passing = (".", "seen-")
    found = [path for path in (state / "keys").rglob("*") if path.is_file() and not path.name.startswith(passing)]
    found += [path for path in (state / "secret",) if path.is_file()]
    return {str(path.relative_to(state)): path.read_bytes() for path in sorted(found)}


def write(state: Path, keys: Mapping[str, bytes]) -> None:
    """Put keys into a new state folder, readable by their owner alone."""
    for name, content in keys.items():
        path = (state / name).resolve()
        if state.resolve() not in path.parents:
            raise KeysLocked("a key of the backup would lie outside the state folder")
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())


def _derive(passphrase: bytes, salt: bytes) -> bytes:
    return Scrypt(salt=salt, length=32, n=2**15, r=8, p=1).derive(passphrase)
