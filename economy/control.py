"""Dual control: no policy, key or period close is recorded unless two officers of different parties signed that entry.

An approval is a fact of the entry, `approval-1` or `approval-2`: `<public key>:<signature>`, both hexadecimal, an Ed25519
signature (RFC 8032) over the text `bithive.approval.v1`, a zero byte and the canonical JSON of the entry's body without
these two facts. It therefore covers the entry's id: what was signed for one entry fits no other, and since an id is
recorded once, an approved entry takes effect once. A fact `ledger` names the ledger it is meant for and fits no other.

Until two officers are known one person alone decides (somebody has to declare the first two); the checker says so as a
notice. Once there were two there are never fewer again, so nobody leads the ledger back to that state.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace

from bithive.canonical import canonical
from bithive.errors import BadSignature
from bithive.keys import SigningKey, fingerprint, verify
from economy.book import KeyRow
from economy.entry import Declaration, Entry, Key, PeriodClose, Policy
from economy.errors import NotApproved, OfficersTooFew, WeakKey

OFFICERS_MIN = 2
FACTS = ("approval-1", "approval-2")
OFFICER, SEAL = "officer", "seal"

_CONTEXT = b"bithive.approval.v1\x00"
_APPROVAL = re.compile(r"([0-9a-f]{64}):([0-9a-f]{128})")
_NEUTRAL_SIGNATURE = "01" + "00" * 63


def is_controlled(declares: Iterable[Declaration]) -> bool:
    """Whether anything among the declarations takes two officers."""
    return any(isinstance(item, Policy | Key | PeriodClose) for item in declares)


def approval_bytes(entry: Entry) -> bytes:
    """The bytes that an officer signs: the entry without its approvals."""
    return _CONTEXT + canonical(without_approvals(entry).body())


def without_approvals(entry: Entry) -> Entry:
    """The same entry as it was before anybody approved it."""
    if not any(name in entry.facts for name in FACTS):
        return entry
    return replace(entry, facts={name: value for name, value in entry.facts.items() if name not in FACTS})


def approve(entry: Entry, key: SigningKey) -> Entry:
    """The same entry with one more approval.

    Raises
    ------
    NotApproved
        If this key approved it already, or two others did.
    """
    given = [str(entry.facts[name]) for name in FACTS if name in entry.facts]
    if len(given) == len(FACTS):
        raise NotApproved("it has two approvals already", reason="complete")
    if any(text.partition(":")[0] == key.public_hex for text in given):
        raise NotApproved("this officer has approved it already", reason="repeated")
    approvals = (*given, f"{key.public_hex}:{key.sign(approval_bytes(entry))}")
    bare = without_approvals(entry)
    return replace(bare, facts={**bare.facts, **dict(zip(FACTS, approvals, strict=False))})


def officers(keys: Mapping[str, KeyRow]) -> dict[str, KeyRow]:
    """Keys that may approve now, by public key."""
    return {name: row for name, row in keys.items() if row.purpose == OFFICER and row.revoked_seq is None}


def is_dual(keys: Mapping[str, KeyRow]) -> bool:
    """Whether two officers of different parties are known, so that one alone decides nothing any more."""
    return len({row.party_id for row in officers(keys).values()}) >= OFFICERS_MIN


def approvers(entry: Entry, keys: Mapping[str, KeyRow]) -> list[KeyRow]:
    """The officers who approved an entry.

    Raises
    ------
    NotApproved
        If an approval is malformed, of a key that is no officer's (any more), or does not cover this entry; or if both
        are of one key or one party.
    """
    found: list[KeyRow] = []
    known = officers(keys)
    for name in FACTS:
        text = entry.facts.get(name)
        if text is None and name not in entry.facts:
            continue
        match = _APPROVAL.fullmatch(text) if isinstance(text, str) else None
        if match is None:
            raise NotApproved("an approval is malformed", reason="malformed")
        row = known.get(match[1])
        if row is None:
            raise NotApproved("an approval is of no officer in office", reason="not-an-officer")
        try:
            verify(row.public_key, approval_bytes(entry), match[2])
        except BadSignature as error:
            raise NotApproved("an approval does not cover this entry", reason="does-not-cover") from error
        found.append(row)
    if len({row.party_id for row in found}) < len(found):
        raise NotApproved("one party approved twice", reason="one-party")
    return found


def require_approval(entry: Entry, keys: Mapping[str, KeyRow]) -> None:
    """Let an entry that declares a policy, key or period close pass only if two officers approved it.

    Parameters
    ----------
    entry
        What is to be recorded.
    keys
        All keys declared by the entries before it.

    Raises
    ------
    NotApproved
        If two officers are known and have not both approved; or if an approval that is there does not hold, however
        many officers are known.
    OfficersTooFew
        If it would leave fewer than two officers where there were two.
    WeakKey
        If a key it declares would let anybody sign.
    """
    given = approvers(entry, keys)
    names = ledger_names(keys)
    if names and entry.facts.get("ledger", names[0]) not in names:
        raise NotApproved("it was approved for another ledger", reason="other-ledger")
    if is_dual(keys):
        if len(given) < OFFICERS_MIN:
            raise NotApproved(approvals=len(given), needed=OFFICERS_MIN)
        if not is_dual(_afterwards(entry, keys)):
            raise OfficersTooFew
    for item in entry.declares:
        if isinstance(item, Key) and not item.revoked and is_weak(item.public_key):
            raise WeakKey


def ledger_names(keys: Mapping[str, KeyRow]) -> tuple[str, ...]:
    """What the fact `ledger` of an approved entry may say: names by the keys that seal or sealed, the oldest first."""
    rows = sorted((row for row in keys.values() if row.purpose == SEAL), key=lambda row: row.declared_seq)
    return tuple(f"bithive.ledger/{fingerprint(row.public_key)}" for row in rows)


def _afterwards(entry: Entry, keys: Mapping[str, KeyRow]) -> dict[str, KeyRow]:
    after = dict(keys)
    for item in entry.declares:
        if isinstance(item, Key):
            if item.revoked:
                after.pop(item.public_key, None)
            else:
                after[item.public_key] = KeyRow(item.public_key, item.purpose, item.party_id, 0)
    return after


def is_weak(public_hex: str) -> bool:
    """Whether a public key is a point of small order, for which anybody can sign (RFC 8032, section 7; RFC 7748, 6).

    Under such a key the signature made of the neutral element and zero holds for at least one message in eight, and
    under any other for none.
    """
    return any(_holds(public_hex, b"bithive.weak-key.%d" % number) for number in range(128))


def _holds(public_hex: str, message: bytes) -> bool:
    try:
        verify(public_hex, message, _NEUTRAL_SIGNATURE)
    except BadSignature:
        return False
    return True
