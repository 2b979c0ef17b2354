"""The policies in force, read from the ledger and nowhere else.

What two officers declare holds in every process at once, and a hub that was upgraded decides by the same policies as
before until its officers approve the new ones. Files that come with a release are only proposals once there are two
officers; before that they are declared by themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import overload

from economy.control import is_dual
from economy.entry import Entry, Policy
from economy.errors import BadPolicy
from economy.rates import RateCard
from economy.rewards import Emission, RewardRule
from economy.store import Snapshot, Store

_READERS: dict[str, Callable[[Policy], object]] = {
    "rate-card": RateCard.read,
    "emission": Emission.read,
    "reward-rule": RewardRule.read,
}


class Rules(Sequence[Policy]):
    """All policies that the ledger declares, as a list that is read again each time it is used.

    Parameters
    ----------
    store
        The ledger's.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def __iter__(self) -> Iterator[Policy]:
        return iter(self._read())

    def __len__(self) -> int:
        return len(self._read())

    @overload
    def __getitem__(self, index: int) -> Policy: ...

    @overload
    def __getitem__(self, index: slice) -> list[Policy]: ...

    def __getitem__(self, index: int | slice) -> Policy | list[Policy]:
        return self._read()[index]

    def _read(self) -> list[Policy]:
        with self._store.reading() as snapshot:
            return snapshot.policies()


def policy_entry(policy: Policy) -> Entry:
    """The entry that declares a policy, without approvals."""
    return Entry(f"policy/{policy.kind}/{policy.version}", "policy.declared", declares=(policy,))


def understood(policy: Policy) -> Policy:
    """A policy that this release can decide by.

    Raises
    ------
    BadPolicy
        If its kind is unknown here or its content is malformed: in force, it would stop every decision of its kind.
    """
    reader = _READERS.get(policy.kind)
    if reader is None:
        raise BadPolicy(f"no rule of the kind {policy.kind} is known; there are {', '.join(_READERS)}")
    reader(policy)
    return policy


def to_declare(snapshot: Snapshot, released: Sequence[Policy]) -> list[Policy]:
    """Policies of the release that are declared without asking: all while there are no two officers, then none.

    One that is declared already is named again in the first case, so that a file edited afterwards is refused.
    """
    return [] if is_dual(snapshot.signing_keys()) else list(released)


def waiting(snapshot: Snapshot, released: Sequence[Policy]) -> list[Policy]:
    """Policies of the release that differ from what the ledger declares, or that it does not know: proposals."""
    known = {(policy.kind, policy.version): policy for policy in snapshot.policies()}
    return [policy for policy in released if known.get((policy.kind, policy.version)) != policy]
