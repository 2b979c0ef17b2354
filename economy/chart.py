"""The chart of accounts: what each account code is for, and which limit holds for every account of that code.

An account is opened by the first transfer that names it. Its limit comes from here and never changes afterwards: the
same code means the same thing everywhere, so no entry can open an account with a laxer limit than its code has.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum


class Limit(IntEnum):
    """Which way an account may go. Pending amounts count as spent, and never as received."""

    CREDIT = 1
    """Debits, pending included, never pass the credits posted: wallets, pools, payables."""
    NONE = 0
    """Unlimited: issuers, and claims on somebody outside."""
    DEBIT = -1
    """Credits, pending included, never pass the debits posted."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One line of the chart.

    Attributes
    ----------
    limit
        Which way accounts of this code may go.
    nature
        The root under which a Beancount export files it.
    meaning
        One sentence for a statement's reader.
    """

    limit: Limit
    nature: str
    meaning: str


Chart = Mapping[str, Kind]

CHART: Chart = {
    "credit": Kind(Limit.CREDIT, "Liabilities", "What an institution may still spend: its credit line and prepayments"),
    "credit-issue": Kind(Limit.NONE, "Equity", "Credit lines granted"),
    "receivable": Kind(
        Limit.NONE, "Assets", "Charges beyond the hold or without funds; owed, and no study waited for it"
    ),
    "clearing": Kind(Limit.CREDIT, "Liabilities", "Charges on their way to those who earned them"),
    "payable": Kind(Limit.CREDIT, "Liabilities", "Shares of charges owed to a node or its operator"),
    "expense": Kind(
        Limit.NONE, "Expenses", "What the network pays for work of its own: tests and benchmarks of its cells"
    ),
    "revenue": Kind(Limit.CREDIT, "Income", "Shares of charges kept by the hub or the protocol"),
    "work-issue": Kind(Limit.NONE, "Equity", "Work units measured by receipts"),
    "work": Kind(Limit.CREDIT, "Liabilities", "A node's work units in the epoch under way"),
    "work-retired": Kind(Limit.CREDIT, "Liabilities", "Work units that a closed epoch has paid"),
    "issuance": Kind(Limit.NONE, "Equity", "BTT brought into being under the emission policy"),
    "pool": Kind(Limit.CREDIT, "Liabilities", "An epoch's BTT before it is shared out"),
    "earned": Kind(Limit.CREDIT, "Liabilities", "BTT that a node has earned"),
    "reserve": Kind(Limit.CREDIT, "Liabilities", "Emission that no work has claimed"),
}
