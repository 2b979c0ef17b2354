"""The signed manifest of an installed bundle: what was installed, what the audit found, who says so.

`manifest.json` is canonical JSON that names every file by SHA-256 and size; `manifest.sig` is an Ed25519 signature over
its bytes (RFC 8032). A bundle is used only while all of that holds.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from bithive import __version__
from bithive.canonical import canonical
from bithive.errors import BadSignature
from bithive.keys import SigningKey, verify
from bithive.limits import BUNDLE_ENTRIES_MAX, BUNDLE_FILE_BYTES_MAX
from models.bundle import MANIFEST, METADATA, SIGNATURE, read_object
from models.errors import BadBundle, BundleChanged, BundleUnsigned

_FORMAT = 1
_SIGNATURE_CHARS = 128


def sign(folder: Path, about: Mapping[str, Any], key: SigningKey, created_ms: int) -> dict[str, Any]:
    """Write the manifest of a bundle's folder, and its signature.

    Parameters
    ----------
    folder
        With every file in it; the last part of its path is the bundle's name.
    about
        `version`, `weights`, `licence`, `audit` and `origin`, as plain values.
    key, created_ms
        Who says so, and when.
    """
    manifest = {
        **about,
        "format": _FORMAT,
        "name": folder.name,
        "files": _listed(folder),
        "bithive": __version__,
        "created_ms": created_ms,
        "signer": key.public_hex,
    }
    content = canonical(manifest)
    (folder / MANIFEST).write_bytes(content)
    (folder / SIGNATURE).write_text(key.sign(content))
    return manifest


def read(folder: Path) -> dict[str, Any]:
    """The manifest as it stands, unchecked. Raises `BundleUnsigned` if there is none."""
    try:
        return read_object(folder / MANIFEST)
    except BadBundle:
        raise BundleUnsigned("the bundle has no manifest that can be read", bundle=folder.name) from None


def check(folder: Path, trusted: Collection[str], name: str) -> dict[str, Any]:
    """Verify a bundle's folder against its manifest.

    Parameters
    ----------
    folder
        Of the installed bundle.
    trusted
        Public keys, in hexadecimal.
    name
        What it is installed as.

    Raises
    ------
    BundleUnsigned
        If there is no manifest or signature, or its key is not trusted.
    BundleChanged
        If the signature does not hold, or a file is missing, added or another than was signed.
    """
    manifest = read(folder)
    signer = str(manifest.get("signer"))
    if signer not in trusted:
        raise BundleUnsigned("the key that signed the bundle is not trusted here", bundle=name)
    try:
        signature = (folder / SIGNATURE).read_text("ascii")[: _SIGNATURE_CHARS + 1]
        verify(signer, (folder / MANIFEST).read_bytes(), signature)
    except (OSError, ValueError):
        raise BundleUnsigned("the bundle has no signature", bundle=name) from None
    except BadSignature:
        raise BundleChanged("the manifest is not the one that was signed", bundle=name) from None
    if manifest.get("format") != _FORMAT or manifest.get("name") != name:
        raise BundleChanged("the manifest is of another bundle, or of another version of BitHive", bundle=name)
    if _listed(folder) != manifest.get("files"):
        raise BundleChanged("a file of the bundle is missing, added or changed", bundle=name)
    if json.loads((folder / METADATA).read_bytes()).get("version") != manifest.get("version"):
        raise BundleChanged("the manifest states another version", bundle=name)
    return manifest


def stamp(folder: Path) -> tuple[tuple[str, int, int, int], ...]:
    """What changes when a file of a folder does, as cheaply as can be told: name, inode, size and time of each."""
    rows = []
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        rows.append((path.relative_to(folder).as_posix(), status.st_ino, status.st_size, status.st_mtime_ns))
        if len(rows) > BUNDLE_ENTRIES_MAX:
            break
    return tuple(rows)


def _listed(folder: Path) -> dict[str, dict[str, Any]]:
    """Every file but the manifest and its signature. Raises `BundleChanged` if one is a link or too large."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if name in {MANIFEST, SIGNATURE} or (path.is_dir() and not path.is_symlink()):
            continue
        size = path.lstat().st_size
        if path.is_symlink() or size > BUNDLE_FILE_BYTES_MAX or not name.isascii():
            raise BundleChanged("the bundle's folder holds what is no declaration", bundle=folder.name)
        with path.open("rb") as file:
            found[name] = {"sha256": hashlib.file_digest(file, "sha256").hexdigest(), "size_bytes": size}
    return found
