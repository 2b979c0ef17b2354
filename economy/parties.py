"""Who owns accounts: a random id for each institution, operator, node and for the network itself.

The ledger never sees their ids elsewhere, let alone a name: it keeps a digest under a secret key, beside the log, by
which the same one is found again. Destroying the digest unlinks the party from whoever it was.
"""

from __future__ import annotations

import threading

from bithive.ids import Ids
from bithive.keys import keyed_digest
from economy.entry import Entry, Party
from economy.errors import LedgerFault
from economy.ledger import Ledger

NETWORK, HUB, PROTOCOL = "network", "hub", "protocol"
KINDS = ("institution", "operator", "node", NETWORK, HUB, PROTOCOL)


class Parties:
    """Finds the party that stands for someone, and makes it on first sight.

    Parameters
    ----------
    ledger
        Where parties are declared.
    ids
        Makes their ids.
    key
        32 secret bytes; another key knows nobody.
    """

    def __init__(self, ledger: Ledger, ids: Ids, key: bytes) -> None:
        assert len(key) >= 32, "a key has at least 32 bytes"
        self._ledger, self._ids, self._key = ledger, ids, key
        self._known: dict[tuple[str, str], str] = {}
        self._lock = threading.Lock()

    def of(self, kind: str, ref: str = "") -> str:
        """Id of the party of this kind that stands for `ref`, an id or name used elsewhere."""
        assert kind in KINDS, f"no party is a {kind}"
        digest = keyed_digest(self._key, f"{kind}\x00{ref}".encode())
        with self._lock:
            if (kind, digest) not in self._known:
                self._known[kind, digest] = self._find(kind, digest) or self._declare(kind, digest)
            return self._known[kind, digest]

    def find(self, kind: str, ref: str = "") -> str | None:
        """As `of`, but nobody is made: nothing when the ledger has never seen them."""
        assert kind in KINDS, f"no party is a {kind}"
        digest = keyed_digest(self._key, f"{kind}\x00{ref}".encode())
        with self._lock:
            known = self._known.get((kind, digest))
        return known or self._find(kind, digest)

    def _find(self, kind: str, digest: str) -> str | None:
        return self._ledger.store.party(kind, digest)

    def _declare(self, kind: str, digest: str) -> str:
        party = Party(self._ids.new("pty"), kind, digest)
        try:
            self._ledger.post(Entry(f"party/{party.party_id}", "party.declared", declares=(party,)))
        except LedgerFault:
            found = self._find(kind, digest)
            if found is None:
                raise
            return found
        return party.party_id
