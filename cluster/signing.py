"""Requests signed by a cell's key: HTTP Message Signatures (RFC 9421) over Ed25519, with the body by its digest (RFC 9530).

One signature a request, under the label `bithive`. It covers method, path and query (RFC 9421 sections 2.2.1, 2.2.6,
2.2.7), the digest of a body, and each of our own header fields that the request has. Only this profile is read: what
another signer may write is refused, not interpreted.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

from bithive.errors import BadSignature
from bithive.keys import SigningKey, verify
from cluster.errors import SignatureRefused, SignatureRequired

LABEL = "bithive"
SIGNATURE, INPUT, DIGEST = "Signature", "Signature-Input", "Content-Digest"

_ALWAYS = ("@method", "@path", "@query")
_WHERE_PRESENT = (
    "content-digest",
    "bithive-protocol",
    "bithive-fencing-token",
    "bithive-receipt",
    "bithive-stages",
    "range",
    "if-range",
)
_INPUT_FORM = re.compile(
    LABEL + r'=(\((?:"[@a-z-]{1,40}")(?: "[@a-z-]{1,40}"){0,19}\);created=([0-9]{1,12});nonce="([0-9A-Za-z_-]{16,64})"'
    r';keyid="([0-9a-f]{64})";alg="ed25519")'
)
_SIGNATURE_FORM = re.compile(LABEL + r"=:([A-Za-z0-9+/]{86}==):")
_DIGEST_FORM = re.compile(r"sha-256=:([A-Za-z0-9+/]{43}=):")


@dataclass(frozen=True, slots=True)
class Message:
    """What of a request is signed.

    Attributes
    ----------
    method, path, query
        As sent: path and query percent-encoded, the query without its question mark.
    headers
        By lower-case name; a field that was sent twice is no part of this profile.
    """

    method: str
    path: str
    query: str
    headers: Mapping[str, str]

    def components(self) -> tuple[str, ...]:
        """What a signature of this request must cover, in our order."""
        return _ALWAYS + tuple(name for name in _WHERE_PRESENT if name in self.headers)

    def value(self, component: str) -> str:
        """One component's value (RFC 9421 sections 2.1, 2.2)."""
        derived = {"@method": self.method, "@path": self.path, "@query": f"?{self.query}"}
        return derived[component] if component in derived else self.headers[component].strip()


@dataclass(frozen=True, slots=True)
class Signed:
    """A signature that holds.

    Attributes
    ----------
    key
        Who signed, Ed25519 in hexadecimal.
    created_s
        When, by the signer's clock: seconds since the epoch.
    nonce
        Never used twice with that key.
    """

    key: str
    created_s: int
    nonce: str


def sign(message: Message, key: SigningKey, created_s: int, nonce: str) -> dict[str, str]:
    """The two header fields that sign a request."""
    names = " ".join(f'"{name}"' for name in message.components())
    parameters = f'({names});created={created_s};nonce="{nonce}";keyid="{key.public_hex}";alg="ed25519"'
    signature = bytes.fromhex(key.sign(_base(message, message.components(), parameters)))
    return {
        INPUT: f"{LABEL}={parameters}",
        SIGNATURE: f"{LABEL}=:{base64.b64encode(signature).decode()}:",
    }


def check(message: Message) -> Signed:
    """Who signed a request.

    Raises
    ------
    SignatureRequired
        Nobody did.
    SignatureRefused
        It does not hold, covers less than it must, or is written in another form.
    """
    shown, signature = message.headers.get(INPUT.lower()), message.headers.get(SIGNATURE.lower())
    if shown is None or signature is None:
        raise SignatureRequired
    found, encoded = _INPUT_FORM.fullmatch(shown), _SIGNATURE_FORM.fullmatch(signature)
    if found is None or encoded is None:
        raise SignatureRefused("the signature is not of this profile")
    parameters, created_s, nonce, key = found.groups()
    names = tuple(re.findall(r'"([@a-z-]+)"', parameters.partition(")")[0]))
    if set(names) != set(message.components()) or len(names) != len(message.components()):
        raise SignatureRefused("the signature does not cover what it must")
    try:
        verify(key, _base(message, names, parameters), base64.b64decode(encoded.group(1)).hex())
    except BadSignature as error:
        raise SignatureRefused from error
    return Signed(key, int(created_s), nonce)


def content_digest(content: bytes | bytearray | memoryview) -> str:
    """The value of `Content-Digest` (RFC 9530)."""
    return digest_value(hashlib.sha256(content).digest())


def digest_value(sha256: bytes) -> str:
    """The value of `Content-Digest` for a SHA-256."""
    return f"sha-256=:{base64.b64encode(sha256).decode()}:"


def is_digest(value: str) -> bool:
    """Whether it is a `Content-Digest` of this profile: SHA-256 alone."""
    found = _DIGEST_FORM.fullmatch(value)
    try:
        return found is not None and len(base64.b64decode(found.group(1), validate=True)) == 32
    except binascii.Error:
        return False


def _base(message: Message, names: tuple[str, ...], parameters: str) -> bytes:
    """The signature base (RFC 9421 section 2.5)."""
    lines = [f'"{name}": {message.value(name)}' for name in names]
    return "\n".join([*lines, f'"@signature-params": {parameters}']).encode("ascii", "backslashreplace")
