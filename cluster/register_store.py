"""Where registrations and invites are kept: the port, and the store in memory."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Protocol

from cluster.register import InviteRecord, Registration


class RegisterStore(Protocol):
    """Keys of cells, and who may still join."""

    def registration(self, cell: str) -> Registration | None:
        """Of one cell."""

    def bind(self, registration: Registration) -> Registration:
        """Store a first registration, or give the one that is there already. Of several at once one is kept."""

    def amend(self, after: Registration, before: Registration) -> bool:
        """Replace a registration, if it is still as `before`; whether it was."""

    def forget(self, registration: Registration) -> None:
        """Delete a registration, if it is still as it was."""

    def issue(self, invite: InviteRecord) -> None:
        """Store an invite; earlier ones of that cell are void, used or not."""

    def redeem(self, digest: str, cell_key: str, now_ms: int) -> InviteRecord | None:
        """Use an invite for a key, and give it as it was before; that key may repeat it until it expires.

        Of several keys at once one is answered.
        """


class MemoryRegister:
    """Registrations and invites in dictionaries: for tests and simulations."""

    def __init__(self) -> None:
        self._registrations: dict[str, Registration] = {}
        self._invites: dict[str, InviteRecord] = {}
        self._lock = threading.Lock()

    def registration(self, cell: str) -> Registration | None:
        return self._registrations.get(cell)

    def bind(self, registration: Registration) -> Registration:
        with self._lock:
            return self._registrations.setdefault(registration.cell, registration)

    def amend(self, after: Registration, before: Registration) -> bool:
        with self._lock:
            if self._registrations.get(before.cell) != before:
                return False
            self._registrations[after.cell] = after
            return True

    def forget(self, registration: Registration) -> None:
        with self._lock:
            if self._registrations.get(registration.cell) == registration:
                del self._registrations[registration.cell]

    def issue(self, invite: InviteRecord) -> None:
        with self._lock:
            others = {digest: known for digest, known in self._invites.items() if known.cell != invite.cell}
            self._invites = {**others, invite.digest: invite}

    def redeem(self, digest: str, cell_key: str, now_ms: int) -> InviteRecord | None:
        with self._lock:
            known = self._invites.get(digest)
            if known is None or known.expires_ms <= now_ms or known.cell_key not in ("", cell_key):
                return None
            self._invites[digest] = replace(known, cell_key=cell_key)
            return known
