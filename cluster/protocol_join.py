"""How a cell joins and how its keys change: the invite that it was given, and the messages of version 2 for both."""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import asdict, dataclass
from typing import Any, Self
from urllib.parse import urlsplit

from bithive.limits import INVITE_CHARS_MAX
from cluster.data_classes import Terms
from cluster.errors import BadInvite, BadMessage
from cluster.protocol_words import digits, members, text, whole

_FORM = "bithive-invite-1."


@dataclass(frozen=True, slots=True)
class Invite:
    """One line that lets one cell join, once.

    Attributes
    ----------
    hub_url
        Where the network side is.
    fingerprint
        SHA-256 of the hub's certificate (DER), hexadecimal, where the system's authorities do not vouch for it; else
        empty.
    secret
        32 random bytes, base64url: whoever has it may join.
    cell
        The name under which the cell was invited.
    expires_ms
        Until when it may be used.
    """

    hub_url: str
    fingerprint: str
    secret: str
    cell: str
    expires_ms: int

    def __repr__(self) -> str:
        return f"Invite({self.hub_url}, {self.cell})"

    def line(self) -> str:
        """The line that is handed over."""
        content = json.dumps(asdict(self), separators=(",", ":")).encode()
        return _FORM + base64.urlsafe_b64encode(content).rstrip(b"=").decode()

    @classmethod
    def from_line(cls, line: str) -> Self:
        """Read what `line` wrote, blanks and line breaks of a mail program aside. Raises `BadInvite`."""
        plain = "".join(line.split())
        if not plain.startswith(_FORM) or len(plain) > INVITE_CHARS_MAX:
            raise BadInvite(f"an invite is one line that begins with {_FORM}")
        encoded = plain.removeprefix(_FORM)
        try:
            content = base64.b64decode(encoded + "=" * (-len(encoded) % 4), altchars=b"-_", validate=True)
            value = members(json.loads(content), {"hub_url", "fingerprint", "secret", "cell", "expires_ms"})
            invite = cls(
                text(value["hub_url"], 500),
                digits(value["fingerprint"]) if value["fingerprint"] != "" else "",
                text(value["secret"], 64),
                text(value["cell"], 64),
                whole(value["expires_ms"]),
            )
            address = urlsplit(invite.hub_url)
        except (binascii.Error, ValueError, RecursionError, BadMessage) as error:
            raise BadInvite("it was cut or changed on its way") from error
        if address.scheme not in ("http", "https") or not address.hostname:
            raise BadInvite("it names no address of a hub")
        return invite


@dataclass(frozen=True, slots=True)
class JoinRequest:
    """A cell uses its invite. The request is signed by `cell_key`, which proves that it is held."""

    secret: str
    cell_key: str

    def __repr__(self) -> str:
        return f"JoinRequest({self.cell_key})"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """Read what `to_json` wrote. Raises `BadMessage`."""
        message = members(value, {"secret", "cell_key"})
        return cls(text(message["secret"], 64), digits(message["cell_key"]))


@dataclass(frozen=True, slots=True)
class Joined:
    """What a cell gets for its invite.

    Attributes
    ----------
    cell
        Its id, for ever.
    token
        Its bearer token; earlier ones are void.
    terms, operator
        What it was admitted for, and who is paid for its work.
    network_key
        The network side's own public key; empty where it has none.
    contributor_path
        One-time path on the hub that signs its contributor in, in a browser.
    """

    cell: str
    token: str
    terms: Terms
    operator: str
    network_key: str
    contributor_path: str

    def __repr__(self) -> str:
        return f"Joined({self.cell})"

    def to_json(self) -> dict[str, Any]:
        return {
            "cell": self.cell,
            "token": self.token,
            "terms": self.terms.to_json(),
            "operator": self.operator,
            "network_key": self.network_key,
            "contributor_path": self.contributor_path,
        }

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """Read what `to_json` wrote. Raises `BadMessage`, `BadTerms`."""
        message = members(value, {"cell", "token", "terms", "operator", "network_key", "contributor_path"})
        key = message["network_key"]
        return cls(
            text(message["cell"], 40),
            text(message["token"], 200),
            Terms.from_json(message["terms"]),
            text(message["operator"], 64),
            digits(key) if key != "" else "",
            text(message["contributor_path"], 400, empty=True),
        )


@dataclass(frozen=True, slots=True)
class Rotation:
    """A new key in the place of an old one: of a Node, or of the cell itself.

    Attributes
    ----------
    old_key, new_key
        Ed25519 public keys, hexadecimal.
    old_signature, new_signature
        Of both keys over the same statement (`cluster.register_proof.rotation`).
    """

    old_key: str
    new_key: str
    old_signature: str
    new_signature: str

    def to_json(self) -> dict[str, str]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """Read what `to_json` wrote. Raises `BadMessage`."""
        message = members(value, {"old_key", "new_key", "old_signature", "new_signature"})
        return cls(
            digits(message["old_key"]),
            digits(message["new_key"]),
            digits(message["old_signature"], 128),
            digits(message["new_signature"], 128),
        )
