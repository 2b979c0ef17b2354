"""Drafts: entries that wait for two officers, as files that travel between them.

A draft is JSON: `{"entry": <body>, "format": "bithive-draft-1"}`. The body names the ledger it is meant for (fact
`ledger`), so that an officer of two ledgers never approves for both. It is written by whoever runs the hub, approved by
two officers on machines of their own, and submitted by anyone; the planner alone decides whether it is recorded.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

from bithive.keys import SigningKey
from bithive.limits import DRAFT_BYTES_MAX
from economy.book import KeyRow
from economy.control import approve, is_controlled, ledger_names, without_approvals
from economy.entry import Entry, Key, Party, Policy
from economy.entry_json import read_entry
from economy.errors import BadEntry, DraftElsewhere, DraftMalformed
from economy.rules import policy_entry, understood

FORMAT = "bithive-draft-1"


def addressed(entry: Entry, keys: Mapping[str, KeyRow]) -> Entry:
    """The same entry, meant for this ledger and no other; as it is while no key seals here."""
    names = ledger_names(keys)
    return replace(entry, facts={**entry.facts, "ledger": names[0]}) if names else entry


def draft_policy(policy: Policy, keys: Mapping[str, KeyRow]) -> Entry:
    """Propose a policy. Raises `BadPolicy` when this release could not decide by it."""
    return addressed(policy_entry(understood(policy)), keys)


def draft_key(public_key: str, purpose: str, party: Party, keys: Mapping[str, KeyRow]) -> Entry:
    """Propose a key; its holder is declared with it. Raises `BadEntry`."""
    declares = (party, Key(public_key, purpose, party.party_id))
    return addressed(Entry(f"key/{public_key}", "key.declared", declares=declares), keys)


def draft_revocation(public_key: str, keys: Mapping[str, KeyRow]) -> Entry:
    """Propose to end a key. Raises `BadEntry` when there is none such, or it is ended already."""
    row = keys.get(public_key)
    if row is None or row.revoked_seq is not None:
        raise BadEntry("no such key is in use")
    key = Key(row.public_key, row.purpose, row.party_id, revoked=True)
    return addressed(Entry(f"key/{public_key}/revoked", "key.revoked", declares=(key,)), keys)


def withdrawal(entry: Entry) -> Entry:
    """What takes a draft out of the world: its id recorded with nothing in it, so that it can never be recorded."""
    return Entry(entry.entry_id, "draft.withdrawn", facts={"draft": without_approvals(entry).request_hash})


def write_draft(entry: Entry) -> str:
    """A draft as the text of its file."""
    return json.dumps({"entry": entry.body(), "format": FORMAT}, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def read_draft(text: str | bytes) -> Entry:
    """Read a draft from its file.

    Raises
    ------
    DraftMalformed
        If it is none, is too large, or declares nothing that takes two officers.
    """
    if len(text) > DRAFT_BYTES_MAX:
        raise DraftMalformed("it is too large", bytes_max=DRAFT_BYTES_MAX)
    try:
        content = json.loads(text)
        if content["format"] != FORMAT or content.keys() != {"entry", "format"}:
            raise DraftMalformed(f"it is not of the form {FORMAT}")
        entry = read_entry(content["entry"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, BadEntry) as error:
        raise DraftMalformed from error
    if not is_controlled(entry.declares):
        raise DraftMalformed("it declares nothing that takes two officers")
    return entry


def approve_draft(entry: Entry, key: SigningKey, ledger: str | None = None) -> Entry:
    """Approve a draft as an officer.

    Parameters
    ----------
    ledger
        The ledger that the officer means, when there is more than one to choose from.

    Raises
    ------
    DraftElsewhere
        If it names no ledger, or another one than the officer means.
    NotApproved
        If this officer approved it already, or two others did.
    """
    said = entry.facts.get("ledger")
    if not isinstance(said, str) or ledger not in (None, said):
        raise DraftElsewhere(ledger=str(said))
    return approve(entry, key)


def described(entry: Entry) -> list[str]:
    """What a draft would do, in words: one line each."""
    lines = [f"entry {entry.entry_id} ({entry.kind}) for {entry.facts.get('ledger', 'any ledger')}"]
    for item in entry.declares:
        body = item.body()
        lines.append("  " + json.dumps(body, sort_keys=True, ensure_ascii=False))
    lines += [f"  {name}: {value}" for name, value in sorted(entry.facts.items()) if name != "ledger"]
    if entry.transfers:
        lines.append(f"  and {len(entry.transfers)} transfers")
    return lines
