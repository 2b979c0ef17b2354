"""The invariants of the economy, I1 to I15, and what checks each of them here.

A table and nothing more: `economy.check` looks at a stored ledger, the database and the planner refuse at the door, and
simulations check at every step. What no product needs yet names the product that will bring it.
"""

from __future__ import annotations

from typing import NamedTuple

from economy.findings import Fault


class Invariant(NamedTuple):
    """One rule that holds at every entry.

    Attributes
    ----------
    name
        I1 to I15.
    rule
        What holds.
    faults
        What the checker reports when it does not; empty when nothing here can break it.
    guard
        What keeps it from breaking in the first place, or the product that will bring it.
    """

    name: str
    rule: str
    faults: tuple[Fault, ...]
    guard: str

    @property
    def applies(self) -> bool:
        """Whether a product of today can break it."""
        return bool(self.faults)


INVARIANTS = (
    Invariant(
        "I1",
        "debits equal credits in every asset, posted and pending",
        (Fault.SUM_MISMATCH,),
        "a transfer has both sides",
    ),
    Invariant(
        "I2",
        "every account keeps its limit at every entry",
        (Fault.LIMIT_VIOLATED,),
        "planner; CHECK constraints of the table account",
    ),
    Invariant(
        "I3",
        "a pending transfer is resolved at most once, with at most its amount, and not after it expired",
        (
            Fault.PENDING_UNKNOWN,
            Fault.DOUBLE_RESOLUTION,
            Fault.EXCEEDS_PENDING,
            Fault.RESOLVED_AFTER_EXPIRY,
            Fault.EXPIRED_EARLY,
            Fault.NOT_EXPIRED,
        ),
        "planner; a unique index over what resolves",
    ),
    Invariant(
        "I4",
        "balances are the fold of all transfers, transfers the fold of all entries",
        (Fault.BALANCE_MISMATCH, Fault.TRANSFER_MISMATCH, Fault.UNKNOWN_ACCOUNT, Fault.ACCOUNT_OUT_OF_ORDER),
        "one transaction a batch",
    ),
    Invariant(
        "I5",
        "an entry's id is recorded once, with one content",
        (Fault.DUPLICATE_ENTRY, Fault.HASH_MISMATCH, Fault.BODY_MALFORMED, Fault.NOT_CANONICAL),
        "planner; UNIQUE",
    ),
    Invariant(
        "I6",
        "what is recorded never changes",
        (
            Fault.HASH_MISMATCH,
            Fault.SEAL_MISMATCH,
            Fault.SEAL_UNSIGNED,
            Fault.SEAL_KEY_UNKNOWN,
            Fault.COSIGNATURE_INVALID,
            Fault.SUBTREE_MISMATCH,
            Fault.DECLARATION_MISMATCH,
        ),
        "triggers; Merkle consistency, which witnesses check",
    ),
    Invariant(
        "I7",
        "time strictly increases, numbers have no gap, closed periods stay closed",
        (
            Fault.SEQUENCE_GAP,
            Fault.TIME_NOT_INCREASING,
            Fault.VALUE_DATE_MISMATCH,
            Fault.PERIOD_VIOLATED,
            Fault.TRIAL_BALANCE_MISMATCH,
        ),
        "planner",
    ),
    Invariant(
        "I8",
        "no more is issued than the emission schedule allows",
        (Fault.ISSUANCE_ABOVE_EMISSION, Fault.EPOCH_OUT_OF_ORDER),
        "economy.epoch; policies take two officers",
    ),
    Invariant("I9", "what is claimable on a chain is at most what the bridge holds", (), "the bridge"),
    Invariant("I10", "what is in escrow equals the vouchers on each channel", (), "the bridge"),
    Invariant(
        "I11",
        "what is distributed is the pool, its residue explicit, and claims are the credits",
        (Fault.POOL_NOT_EMPTY, Fault.CLAIMS_MISMATCH),
        "largest remainder",
    ),
    Invariant("I12", "a trade has both its legs", (), "assets: the order book"),
    Invariant(
        "I13",
        "nothing regulated moves, and no rule changes, without the decision it needs",
        (Fault.NOT_APPROVED, Fault.OFFICERS_TOO_FEW),
        "planner: economy.control; regulated assets come with their product",
    ),
    Invariant("I14", "voting power is at most the balance in the seal that is named", (), "governance"),
    Invariant("I15", "the categories' weights sum to 10,000, the institutions' never grows", (), "governance"),
)
