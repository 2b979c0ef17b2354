"""Attestation as the cell does it: after each hello, and again before its evidence runs out; and what it is for, opening keys."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

from bithive.clock import Clock
from bithive.errors import BitHiveError
from bithive.log import get
from cluster.attestation import Evidence
from cluster.key_release import BoxKey
from cluster.protocol import Grant

_AGAIN_MS = 60_000
_EARLY = 6


class Attester(Protocol):
    """Who can vouch for this cell's software."""

    def attest(self, nonce: str, cell: str, cell_key: str, box_key: str) -> Evidence:
        """Signed evidence."""


class EvidenceSide(Protocol):
    """What of the network side attestation needs. Raises as `cluster.network_port.NetworkSide` does."""

    def challenge(self) -> str:
        """A nonce."""

    def evidence(self, evidence: Evidence) -> int:
        """Hand in evidence; until when it counts (milliseconds since the epoch)."""


class Attesting:
    """One process's key for wrapped keys, and whether the network side has taken its evidence.

    Parameters
    ----------
    attester, network
        Who vouches, and to whom.
    cell_key
        The cell's Ed25519 public key, hexadecimal.
    clock
        Time.
    seed
        32 random bytes, for the key that never leaves this process.
    """

    def __init__(self, attester: Attester, network: EvidenceSide, cell_key: str, clock: Clock, seed: bytes) -> None:
        self._attester, self._network, self._cell_key, self._clock = attester, network, cell_key, clock
        self._box = BoxKey(seed)
        self._until_ms, self._due_ms = 0, 0

    @property
    def attested(self) -> bool:
        """Whether evidence was taken and counts still."""
        return self._until_ms > self._clock.now_ms()

    def greeted(self) -> None:
        """The cell has said hello: what it had shown before is void."""
        self._until_ms, self._due_ms = 0, 0

    def keep(self, cell: str) -> None:
        """Attest if that is due; work that needs none goes on where it fails, and it is tried again in a minute."""
        now_ms = self._clock.now_ms()
        if now_ms < self._due_ms:
            return
        self._due_ms = now_ms + _AGAIN_MS
        try:
            shown = self._attester.attest(self._network.challenge(), cell, self._cell_key, self._box.public_hex)
            self._until_ms = self._network.evidence(shown)
        except BitHiveError as error:
            self._until_ms = 0
            get().warning("attestation.refused", cell=cell, code=getattr(error, "answer", error.code))
            return
        self._due_ms = max(self._due_ms, self._until_ms - (self._until_ms - now_ms) // _EARLY)
        get().info("cell.attested", cell=cell, kind=shown.attester)

    def opened(self, grant: Grant) -> Grant:
        """The same Grant with its keys open. Raises `BadWrappedKeys`."""
        if grant.wrapped is None:
            return grant
        return replace(grant, released=self._box.open(grant.wrapped, grant.offer.offer_id, grant.attempt_id))
