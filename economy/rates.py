"""Rate cards: what work costs, and who gets which part of it. Pure data, interpreted here and nowhere else."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from economy.entry import AMOUNT_MAX, Policy
from economy.errors import BadPolicy
from economy.plan import split
from economy.policies import in_force

RECIPIENTS = ("node", "operator", "hub", "protocol")
_WHOLE_BP = 10_000


@dataclass(frozen=True, slots=True)
class RateCard:
    """One version of the prices.

    Attributes
    ----------
    version
        As declared in the ledger.
    currency
        Asset code of all amounts.
    credit_line
        What an institution may owe before charges become receivables, granted when it is first seen.
    prices
        By Bundle (`name@version`, or `name`, or `*` for all others): a fixed part and a price per 1,000 work units.
    split_bp
        Share of each recipient in hundredths of a percent, in the order of `RECIPIENTS`; they sum to 10,000.
    """

    version: int
    currency: str
    credit_line: int
    prices: dict[str, tuple[int, int]]
    split_bp: tuple[int, ...]

    @classmethod
    def read(cls, policy: Policy) -> Self:
        """Interpret a policy. Raises `BadPolicy`."""
        try:
            content: dict[str, Any] = json.loads(policy.content)
            prices = {
                name: (int(price["fixed"]), int(price["per_1000_work_units"]))
                for name, price in content["prices"].items()
            }
            shares = tuple(int(content["split_bp"][name]) for name in RECIPIENTS)
            card = cls(policy.version, content["currency"], int(content["credit_line"]), prices, shares)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise BadPolicy("a rate card is malformed") from error
        if sum(card.split_bp) != _WHOLE_BP or min(card.split_bp) < 0 or "*" not in prices:
            raise BadPolicy("a rate card's shares do not sum to 10,000, or it has no price for the rest")
        if any(fixed < 0 or rate < 0 for fixed, rate in prices.values()) or not 0 <= card.credit_line <= AMOUNT_MAX:
            raise BadPolicy("a rate card's amount is out of range")
        return card

    def price(self, bundle: str, bundle_version: str, work_units: int) -> int:
        """The charge for so much work, in the currency's smallest unit; parts of one unit are dropped."""
        names = (f"{bundle}@{bundle_version}", bundle, "*")
        fixed, rate = next(self.prices[name] for name in names if name in self.prices)
        return fixed + work_units * rate // 1000

    def shares(self, amount: int) -> dict[str, int]:
        """A charge by recipient, by largest remainder: the parts sum to it."""
        return dict(zip(RECIPIENTS, split(amount, self.split_bp), strict=True))


class Rates:
    """The rate cards of all times.

    Parameters
    ----------
    policies
        All policies; other kinds are passed over. They are looked at again at every question, so that a list that grows
        (`economy.rules.Rules`) is followed.
    """

    def __init__(self, policies: Sequence[Policy]) -> None:
        self._policies = policies
        self._cards: dict[Policy, RateCard] = {}
        for policy in self._known():
            self._card(policy)

    def at(self, ms: int) -> RateCard:
        """The card in force at a time. Raises `BadPolicy` when there is none."""
        return self._card(in_force(self._known(), "rate-card", ms))

    def version(self, version: int) -> RateCard:
        """One version. Raises `BadPolicy` when it is not known here."""
        for policy in self._known():
            if policy.version == version:
                return self._card(policy)
        raise BadPolicy(f"rate card {version} is not known here")

    def _known(self) -> list[Policy]:
        return [policy for policy in self._policies if policy.kind == "rate-card"]

    def _card(self, policy: Policy) -> RateCard:
        if policy not in self._cards:
            self._cards[policy] = RateCard.read(policy)
        return self._cards[policy]
