"""Who may see what of the ledger.

Auditors and administrators see every party. An institution sees its own statement, and the entries, proofs and balances
of its own accounts; anything else is answered as if it did not exist. Checkpoints, the log's public keys and proofs of
consistency are hashes and signatures and nothing else: they are open, so that anybody can be a witness.
"""

from __future__ import annotations

import json
from typing import Annotated

from fastapi import Depends

from api.auth import Principal, require
from api.services import Services
from economy.book import EntryRow
from economy.entry import Account
from economy.errors import AccountUnknown, EntryUnknown, PartyUnknown
from economy.store import Store

OWN = "own"
ReaderDep = Annotated[Principal, Depends(require("ledger:read"))]
OwnerDep = Annotated[Principal, Depends(require("ledger:own"))]
WriterDep = Annotated[Principal, Depends(require("ledger:write"))]


def own_party(services: Services, principal: Principal) -> str | None:
    """The party that stands for the caller's institution, or for its cell's operator, if the ledger has seen it."""
    if principal.role == "contributor":
        return _operator_party(services, principal.cell or "")
    if principal.institution is None:
        return None
    return services.economy.parties.find("institution", principal.institution)


def _operator_party(services: Services, cell: str) -> str | None:
    """By what the cell's invite says of it: a cell may call itself anything."""
    registration = services.broker.register.registration(cell)
    if registration is None or not registration.operator:
        return None
    return services.economy.parties.find("operator", registration.operator)


def own_parties(services: Services, principal: Principal) -> frozenset[str]:
    """Every party whose accounts are the caller's: `own_party`, and for a contributor each Node of its cell."""
    parties = [own_party(services, principal)]
    if principal.role == "contributor" and principal.cell is not None:
        nodes = services.broker.cells.nodes(principal.cell)
        parties += [services.economy.parties.find("node", node.node) for node in nodes]
    return frozenset(party for party in parties if party is not None)


def sees_all(principal: Principal) -> bool:
    """Whether every party's accounts are the caller's to see."""
    return "ledger:read" in principal.scopes


def visible_party(services: Services, principal: Principal, party: str) -> str:
    """The party asked for; `own` is the caller's. Raises `PartyUnknown` when it is not the caller's to see."""
    wanted = own_party(services, principal) if party == OWN else party
    if wanted is None or not (sees_all(principal) or wanted in own_parties(services, principal)):
        raise PartyUnknown
    return wanted


def visible_entry(services: Services, principal: Principal, entry_id: str) -> EntryRow:
    """A recorded entry. Raises `EntryUnknown` when there is none, or it touches no account of the caller's."""
    row = services.ledger.get(entry_id)
    if not sees_all(principal):
        store = services.ledger.store
        if not any(touches(store, row, own) for own in own_parties(services, principal)):
            raise EntryUnknown
    return row


def visible_account(services: Services, principal: Principal, name: str) -> Account:
    """An account by its name. Raises `BadEntry`, or `AccountUnknown` when it is not the caller's to see."""
    account = Account.parse(name)
    if not (sees_all(principal) or account.owner in own_parties(services, principal)):
        raise AccountUnknown
    return account


def touches(store: Store, row: EntryRow, party: str) -> bool:
    """Whether an entry moves, holds or releases something on an account of a party."""
    legs = json.loads(row.content).get("transfers", ())
    named = [leg for leg in legs if "debit" in leg]
    refs = [leg.get("post") or leg["void"] for leg in legs if "debit" not in leg]
    if refs:
        with store.reading() as snapshot:
            held = snapshot.find({entry_id for entry_id, _ in refs})
        said = {entry_id: json.loads(item.content)["transfers"] for entry_id, item in held.items()}
        named += [said[entry_id][leg] for entry_id, leg in refs]
    return any(Account.parse(leg[side]).owner == party for leg in named for side in ("debit", "credit"))
