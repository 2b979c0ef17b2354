"""Who has joined: the key that each cell signs with, what it was admitted for, and invites that were not used yet."""

from __future__ import annotations

from dataclasses import dataclass, replace

from cluster.data_classes import Terms


@dataclass(frozen=True, slots=True)
class Registration:
    """A cell that signs its requests. Once there is one, nothing unsigned is taken from that cell any more.

    Attributes
    ----------
    cell
        Its id.
    cell_key
        The Ed25519 public key (hexadecimal) that it signs with.
    terms
        What it was admitted for by its invite; None for a cell whose account alone says what it is.
    bound_ms
        Since when that key holds.
    revoked_ms
        When it was revoked; 0 while it holds.
    operator
        Who is paid for its work, by its invite; empty where the cell itself may say.
    """

    cell: str
    cell_key: str
    terms: Terms | None
    bound_ms: int
    revoked_ms: int = 0
    operator: str = ""

    def revoked(self, now_ms: int) -> Registration:
        """The same, revoked; the first time counts."""
        return self if self.revoked_ms else replace(self, revoked_ms=now_ms)


@dataclass(frozen=True, slots=True)
class InviteRecord:
    """An invite as the network side keeps it: the secret by its SHA-256 alone.

    Attributes
    ----------
    digest
        SHA-256 of the secret, hexadecimal.
    cell, account
        Who joins with it, and the name of the account that it signs in with.
    terms, operator
        What it is admitted for, and who is paid for its work.
    expires_ms
        Until when it may be used.
    cell_key
        Who used it; empty before. The same key may repeat a join whose answer was lost.
    """

    digest: str
    cell: str
    account: str
    terms: Terms
    operator: str
    expires_ms: int
    cell_key: str = ""
