"""What the ledger answers when it declines: each code has its page in `docs/errors/`."""

from __future__ import annotations

from bithive.errors import BadInput, Fault, NotFound, Refused, Unavailable


class BadEntry(BadInput):
    code, title = "bad-entry", "The entry is malformed"


class BadPolicy(BadInput):
    code, title = "bad-policy", "The policy is malformed"


class EntryDiffers(Refused):
    code, title = "entry-differs", "An entry with this id and another content is already recorded"


class InsufficientFunds(Refused):
    code, title = "insufficient-funds", "The account's limit does not allow it"


class UnknownOwner(Refused):
    code, title = "unknown-owner", "The account names a party or an asset that is not declared"


class UnknownAccountCode(Refused):
    code, title = "unknown-account-code", "The chart of accounts has no such code"


class DeclarationDiffers(Refused):
    code, title = "declaration-differs", "An asset, party or policy of this name is declared otherwise"


class PendingUnknown(Refused):
    code, title = "pending-unknown", "There is no such pending transfer"


class PendingResolved(Refused):
    code, title = "pending-resolved", "The pending transfer is already posted, voided or expired"


class ExceedsPending(Refused):
    code, title = "exceeds-pending", "The amount is above the pending transfer's"


class AmountOverflow(Refused):
    code, title = "amount-overflow", "An account's total would pass the largest integer kept"


class EntryUnknown(NotFound):
    code, title = "entry-unknown", "There is no such entry"


class LedgerUnavailable(Unavailable):
    code, title = "ledger-unavailable", "The ledger does not take entries right now"


class LedgerFault(Fault):
    code, title = "ledger-fault", "The ledger's database refused what its planner had accepted"


class SealConflict(Unavailable):
    code, title = "seal-conflict", "Another seal was written at the same time"
