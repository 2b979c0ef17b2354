"""What the ledger answers when it declines: each code has its page in `docs/errors/`."""

from __future__ import annotations

from bithive.errors import BadInput, Conflict, Fault, Forbidden, NotFound, Refused, Unavailable


class BadEntry(BadInput):
    code, title = "bad-entry", "The entry is malformed"


class BadPolicy(BadInput):
    code, title = "bad-policy", "The policy is malformed"


class EntryDiffers(Refused):
    code, title = "entry-differs", "An entry with this id and another content is already recorded"


class EntryRunning(Conflict):
    code, title = "entry-running", "An entry with this id is being recorded; ask again in a moment"


class PeriodClosed(Refused):
    code, title = "period-closed", "The entry's value date lies in a closed period"


class PeriodRunning(Refused):
    code, title = "period-running", "A period is closed only after it has ended"


class InsufficientFunds(Refused):
    code, title = "insufficient-funds", "The account's limit does not allow it"


class UnknownOwner(Refused):
    code, title = "unknown-owner", "The account names a party or an asset that is not declared"


class UnknownAccountCode(Refused):
    code, title = "unknown-account-code", "The chart of accounts has no such code"


class DeclarationDiffers(Refused):
    code, title = "declaration-differs", "What the entry declares is declared otherwise already"


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


class NoteMalformed(BadInput):
    code, title = "note-malformed", "The signed note cannot be read"


class NoteUnsigned(Forbidden):
    code, title = "note-unsigned", "None of the keys that are trusted signed the note"


class ProofMalformed(BadInput):
    code, title = "proof-malformed", "The proof cannot be read"


class ProofFails(Refused):
    code, title = "proof-fails", "The proof does not show what it says"


class SealKeyUnknown(Forbidden):
    code, title = "seal-key-unknown", "The key that would seal is not declared, or is revoked"


class SealUnknown(NotFound):
    code, title = "seal-unknown", "There is no such seal"


class NotSealed(NotFound):
    code, title = "not-sealed", "No seal covers it yet"


class AccountUnknown(NotFound):
    code, title = "account-unknown", "There is no such account"


class WitnessUnknown(Forbidden):
    code, title = "witness-unknown", "The cosignature is of no witness that is known here"


class CosignatureRefused(Refused):
    code, title = "cosignature-refused", "The cosignature does not belong to a seal of this ledger"


class LogUnknown(Refused):
    code, title = "log-unknown", "The checkpoint is of another log than the one that is watched"


class LogRolledBack(Refused):
    code, title = "log-rolled-back", "The log shows less than it had signed before"


class LogSplit(Refused):
    code, title = "log-split", "The log signed two histories that contradict each other"


class WitnessStateBroken(Fault):
    code, title = "witness-state-broken", "What the witness remembers cannot be read"


class LogSilent(Unavailable):
    code, title = "log-silent", "The log does not answer"


class NotApproved(Forbidden):
    code, title = "not-approved", "Two officers have not approved this very entry"


class OfficersTooFew(Refused):
    code, title = "officers-too-few", "The entry would leave fewer than two officers"


class WeakKey(Refused):
    code, title = "weak-key", "Anybody could sign for this public key"


class DraftMalformed(BadInput):
    code, title = "draft-malformed", "The draft of a controlled entry cannot be read"


class DraftElsewhere(Refused):
    code, title = "draft-elsewhere", "The draft was made for another ledger"


class BadPeriod(BadInput):
    code, title = "bad-period", "The period cannot be read"


class PartyUnknown(NotFound):
    code, title = "party-unknown", "There is no such party"


class StatementTooLong(Refused):
    code, title = "statement-too-long", "The statement has more lines than a PDF holds"


class BadClaim(BadInput):
    code, title = "bad-claim", "The claim or its proof is malformed, or there is none"


class EpochUnknown(NotFound):
    code, title = "epoch-unknown", "No epoch of this number has published its claims"


class LedgerNotEmpty(Conflict):
    code, title = "ledger-not-empty", "The database to move to holds another ledger"


class MoveDiffers(Fault):
    code, title = "move-differs", "What arrived is not what was sent; nothing was moved"


class LedgerMoved(Conflict):
    code, title = "ledger-moved", "This ledger was moved to another database"
