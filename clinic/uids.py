"""UIDs of what BitHive writes: made from what was analysed, by what, with what outcome.

A repeated Attempt with the same outcome repeats the same objects; another outcome is another object. The site key keeps
anyone else from foretelling or linking them.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass

from bithive.keys import derive


def site_key(secret: str) -> bytes:
    """The key of this site's UIDs, 32 bytes, from the hub's secret setting."""
    return derive(secret.encode(), "uids")


@dataclass(frozen=True, slots=True)
class ResultUids:
    """The UIDs of one outcome.

    Attributes
    ----------
    key
        The site key.
    input_digest
        SHA-256 over the instances that were analysed (`clinic.headers.input_digest`), hexadecimal.
    bundle_sha256
        What analysed them.
    output_digest
        SHA-256 of the plain Findings, hexadecimal.
    """

    key: bytes
    input_digest: str
    bundle_sha256: str
    output_digest: str

    def uid(self, kind: str) -> str:
        """The UID of one object, `2.25.` and 128 bits (PS3.5 B.2); at most 44 characters.

        Parameters
        ----------
        kind
            Which object: `seg`, `seg.series`, `sr`, `map.<key>`, `map.series`, `kos`, ...
        """
        return _uid(self.key, self.input_digest, self.bundle_sha256, self.output_digest, kind)

    def device(self, node: str) -> str:
        """The UID of a Node as the device that observed: the same for everything it does here."""
        return _uid(self.key, "device", node)


def _uid(key: bytes, *parts: str) -> str:
    mac = hmac.new(key, "\x00".join(parts).encode(), hashlib.sha256).digest()
    return f"2.25.{int.from_bytes(mac[:16], 'big')}"


def successor(key: bytes, sop_uid: str, kind: str) -> str:
    """The UID of what follows from an object that was written: its verified version, its rejection note.

    Parameters
    ----------
    key
        The site key.
    sop_uid
        What it follows from.
    kind
        How.
    """
    return _uid(key, "successor", sop_uid, kind)
