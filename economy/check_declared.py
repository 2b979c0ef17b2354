"""The checker's view of what entries declare: assets, parties, policies, keys and periods, and who approved them.

It verifies approvals from the entry's text by rules of its own, and compares what the log declares with what is stored.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain
from typing import Any

import msgspec

from bithive.canonical import canonical
from bithive.errors import BadSignature
from bithive.keys import verify
from economy.book import EntryRow, KeyRow
from economy.check_fold import Body, Fold
from economy.entry import Party
from economy.findings import Fault, Notice
from economy.store import Snapshot

_PAGE = 5_000
_APPROVAL = re.compile(r"([0-9a-f]{64}):([0-9a-f]{128})")
_APPROVALS = ("approval-1", "approval-2")
_CONTEXT = b"bithive.approval.v1\x00"
_CONTROLLED = ("policy", "key", "period_closed_until_ms")


class Declarations:
    """Folds what entries declare.

    Parameters
    ----------
    fold
        Where findings go, and the closed period.
    snapshot
        What is stored.
    since
        Entries up to this one are taken as the tables have them.
    """

    def __init__(self, fold: Fold, snapshot: Snapshot, since: int = 0) -> None:
        self._fold, self._snapshot, self._since = fold, snapshot, since
        self.keys = {name: _as_of(row, since) for name, row in snapshot.signing_keys().items()}
        self.keys = {name: row for name, row in self.keys.items() if row.declared_seq <= since}
        self._assets: list[tuple[str, int, str, str | None]] = []
        self._policies: dict[tuple[str, int], tuple[int, str]] = {}
        self._parties = 0
        self._stored_parties = iter(()) if since else self._stream()
        self._late_parties: list[tuple[str, str]] = []
        self._single: list[int] = []
        self._readers = {
            "asset": self._asset,
            "policy": self._policy,
            "key": self._key,
            "period_closed_until_ms": self._period,
            "party": self._party,
        }

    def take(self, row: EntryRow, body: Body) -> None:
        """One entry that declares something."""
        try:
            items = msgspec.json.decode(body.declares, type=list[dict[str, Any]])
        except msgspec.MsgspecError:
            self._fold.report(Fault.BODY_MALFORMED, f"entry {row.seq}")
            return
        if any(name in item for item in items for name in _CONTROLLED):
            self._approved(row, items)
        for item in items:
            name = next((name for name in self._readers if name in item), None)
            try:
                if name is None or not self._readers[name](row, item):
                    self._fold.report(Fault.DECLARATION_MISMATCH, f"entry {row.seq}")
            except (KeyError, TypeError, ValueError):
                self._fold.report(Fault.BODY_MALFORMED, f"entry {row.seq}")

    def may_seal(self, public_key: str) -> bool:
        """Whether a key may seal now: any, as long as none is declared to."""
        sealing = [row for row in self.keys.values() if row.purpose == "seal"]
        return not sealing or any(row.public_key == public_key and row.revoked_seq is None for row in sealing)

    def finish(self) -> None:
        """Compare what the log declares with the tables."""
        report, snapshot = self._fold.report, self._snapshot
        self._finish_parties()
        for name in self.keys.keys() | (stored := snapshot.signing_keys()).keys():
            if self.keys.get(name) != stored.get(name):
                report(Fault.DECLARATION_MISMATCH, f"key {name}")
        if self._fold.closed_until_ms != snapshot.closed_until_ms() and not (
            self._since and not self._fold.closed_until_ms
        ):
            report(Fault.DECLARATION_MISMATCH, "period")
        self._finish_policies()
        if self._single:
            place = f"{len(self._single)} entries, {self._single[0]} to {self._single[-1]}"
            report(Notice.SINGLE_CONTROL, place)

    def _finish_policies(self) -> None:
        policies = {
            (item.kind, item.version): (item.effective_from_ms, item.content) for item in self._snapshot.policies()
        }
        names = self._policies.keys() if self._since else self._policies.keys() | policies.keys()
        for name in sorted(names):
            if self._policies.get(name) != policies.get(name):
                self._fold.report(Fault.DECLARATION_MISMATCH, f"policy {name[0]} {name[1]}")
        assets = {
            number: (item.code, item.scale, item.kind, item.caip19) for number, item in self._snapshot.assets().items()
        }
        first = len(assets) - len(self._assets) + 1 if self._since else 1
        said = dict(enumerate(self._assets, first))
        for number in sorted(said.keys() if self._since else said.keys() | assets.keys()):
            if said.get(number) != assets.get(number):
                self._fold.report(Fault.DECLARATION_MISMATCH, f"asset {number}")

    def _finish_parties(self) -> None:
        if not self._since:
            for number, _ in self._stored_parties:
                self._fold.report(Fault.DECLARATION_MISMATCH, f"party {number}")
            return
        after = self._snapshot.head().party_id - len(self._late_parties)
        stored = self._snapshot.parties(after_id=after)
        said = dict(enumerate(self._late_parties, after + 1))
        for number in said.keys() | stored.keys():
            if number not in stored or said.get(number) != (stored[number].party_id, stored[number].kind):
                self._fold.report(Fault.DECLARATION_MISMATCH, f"party {number}")

    def _stream(self) -> Iterator[tuple[int, Party]]:
        after = 0
        while page := self._snapshot.parties(after_id=after, limit=_PAGE):
            yield from page.items()
            after = max(page)

    def _asset(self, _: EntryRow, said: dict[str, Any]) -> bool:
        item = (said["asset"], said["scale"], said["kind"], said.get("caip19"))
        known = [asset for asset in self._assets if asset[0] == item[0]]
        if not known:
            self._assets.append(item)
        return known in ([], [item])

    def _party(self, _: EntryRow, said: dict[str, Any]) -> bool:
        if self._since:
            self._late_parties.append((said["party"], said["kind"]))
            return True
        number, stored = next(self._stored_parties, (0, None))
        if stored is not None and (stored.party_id, stored.kind) == (said["party"], said["kind"]):
            self._parties += 1
            return number == self._parties
        if stored is not None:
            self._stored_parties = chain([(number, stored)], self._stored_parties)
        before = self._snapshot.parties(ids=[said["party"]])
        return any(place <= self._parties and item.kind == said["kind"] for place, item in before.items())

    def _policy(self, _: EntryRow, said: dict[str, Any]) -> bool:
        name = (said["policy"], said["version"])
        item = (said["effective_from_ms"], canonical(said["content"]).decode())
        return self._policies.setdefault(name, item) == item

    def _key(self, row: EntryRow, said: dict[str, Any]) -> bool:
        name, known = said["key"], self.keys.get(said["key"])
        fresh = KeyRow(name, said["purpose"], said["party"], row.seq)
        if "revoked" not in said:
            if known is not None:
                return False
            self.keys[name] = fresh
            return True
        if known is None or known != fresh._replace(declared_seq=known.declared_seq):
            return False
        self.keys[name] = known._replace(revoked_seq=row.seq)
        return True

    def _period(self, row: EntryRow, said: dict[str, Any]) -> bool:
        until_ms, before_ms = int(said["period_closed_until_ms"]), self._fold.closed_until_ms
        self._fold.closed_until_ms = max(until_ms, before_ms)
        return until_ms > before_ms and until_ms * 1000 <= row.recorded_us

    def _officers(self, keys: dict[str, KeyRow]) -> set[str]:
        """Parties with an officer's key that is not revoked."""
        return {row.party_id for row in keys.values() if row.purpose == "officer" and row.revoked_seq is None}

    def _approved(self, row: EntryRow, items: list[dict[str, Any]]) -> None:
        """Whether two officers in office, of two parties, signed this very entry; and two are left after it."""
        place, dual = f"entry {row.seq}", len(self._officers(self.keys)) >= 2
        parties = self._approvers(row)
        if parties is None or (dual and len(set(parties)) < 2) or len(set(parties)) < len(parties):
            self._fold.report(Fault.NOT_APPROVED, place)
        if not dual:
            self._single.append(row.seq)
            return
        after = dict(self.keys)
        for item in items:
            if item.get("purpose") == "officer" and isinstance(name := item.get("key"), str):
                ended = row.seq if "revoked" in item else None
                after[name] = KeyRow(name, "officer", str(item.get("party")), row.seq, ended)
        if len(self._officers(after)) < 2:
            self._fold.report(Fault.OFFICERS_TOO_FEW, place)

    def _approvers(self, row: EntryRow) -> list[str] | None:
        """Parties of the officers who approved an entry; nothing when an approval does not hold."""
        body = msgspec.json.decode(row.content)
        facts = body.get("facts", {})
        given = [facts.pop(name) for name in _APPROVALS if name in facts]
        if not facts:
            body.pop("facts", None)
        message, parties = _CONTEXT + canonical(body), list[str]()
        for text in given:
            match = _APPROVAL.fullmatch(text) if isinstance(text, str) else None
            key = self.keys.get(match[1]) if match else None
            if match is None or key is None or key.purpose != "officer" or key.revoked_seq is not None:
                return None
            try:
                verify(match[1], message, match[2])
            except BadSignature:
                return None
            parties.append(key.party_id)
        return parties


def _as_of(row: KeyRow, seq: int) -> KeyRow:
    """A key as it was after an entry."""
    return row if row.revoked_seq is None or row.revoked_seq <= seq else row._replace(revoked_seq=None)
