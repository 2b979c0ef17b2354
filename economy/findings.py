"""What the checker can find, by name, and what it says of a ledger as a whole."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Fault(StrEnum):
    """What can be wrong."""

    SEQUENCE_GAP = "sequence-gap"
    TIME_NOT_INCREASING = "time-not-increasing"
    HASH_MISMATCH = "hash-mismatch"
    BODY_MALFORMED = "body-malformed"
    NOT_CANONICAL = "not-canonical"
    VALUE_DATE_MISMATCH = "value-date-mismatch"
    DUPLICATE_ENTRY = "duplicate-entry"
    TRANSFER_MISMATCH = "transfer-mismatch"
    UNKNOWN_ACCOUNT = "unknown-account"
    ACCOUNT_OUT_OF_ORDER = "account-out-of-order"
    LIMIT_VIOLATED = "limit-violated"
    PENDING_UNKNOWN = "pending-unknown"
    DOUBLE_RESOLUTION = "double-resolution"
    EXCEEDS_PENDING = "exceeds-pending"
    RESOLVED_AFTER_EXPIRY = "resolved-after-expiry"
    EXPIRED_EARLY = "expired-early"
    NOT_EXPIRED = "not-expired"
    BALANCE_MISMATCH = "balance-mismatch"
    SUM_MISMATCH = "sum-mismatch"
    DECLARATION_MISMATCH = "declaration-mismatch"
    NOT_APPROVED = "not-approved"
    OFFICERS_TOO_FEW = "officers-too-few"
    PERIOD_VIOLATED = "period-violated"
    TRIAL_BALANCE_MISMATCH = "trial-balance-mismatch"
    SEAL_MISMATCH = "seal-mismatch"
    SEAL_UNSIGNED = "seal-unsigned"
    SEAL_KEY_UNKNOWN = "seal-key-unknown"
    COSIGNATURE_INVALID = "cosignature-invalid"
    SUBTREE_MISMATCH = "subtree-mismatch"
    ISSUANCE_ABOVE_EMISSION = "issuance-above-emission"
    EPOCH_OUT_OF_ORDER = "epoch-out-of-order"
    POOL_NOT_EMPTY = "pool-not-empty"
    CLAIMS_MISMATCH = "claims-mismatch"


class Notice(StrEnum):
    """What is allowed, and worth knowing."""

    SINGLE_CONTROL = "single-control"
    UNSEALED = "unsealed"


class Finding(NamedTuple):
    """One disagreement, or one notice: what, and at which entry, account or seal."""

    fault: Fault | Notice
    place: str


class Checked(NamedTuple):
    """What was looked at, and what was found.

    Attributes
    ----------
    entries, transfers, accounts, seals
        How many were looked at.
    findings
        What is wrong; a ledger without any adds up.
    notices
        What is allowed, and worth knowing.
    """

    entries: int
    transfers: int
    accounts: int
    seals: int
    findings: list[Finding]
    notices: list[Finding]
