"""The economy of one hub, put together: what `api.wiring` and the command line open."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from bithive.clock import Clock
from bithive.database_sql import Database
from bithive.errors import BitHiveError
from bithive.ids import Ids
from bithive.keys import SigningKey, derive
from bithive.log import get
from bithive.settings import Settings
from economy import policies
from economy.booking import Booking
from economy.control import SEAL
from economy.entry import Entry, Key, Policy
from economy.epoch import Epochs
from economy.ledger import Ledger
from economy.money import ASSETS
from economy.parties import HUB, Parties
from economy.rules import Rules, policy_entry, to_declare, waiting
from economy.settlement import Settlements
from economy.store import Store


@dataclass(frozen=True, slots=True)
class Economy:
    """The ledger and the products on it.

    Attributes
    ----------
    ledger
        The kernel.
    booking
        Takes the network's outbox: `Relay(outbox, economy.booking.take)`.
    epochs, settlements
        What `tick` does.
    parties
        Who stands for whom.
    key
        Signs seals.
    rules
        The policies that the ledger declares, always as they are now.
    waiting
        Policies of this release that wait for two officers.
    """

    ledger: Ledger
    booking: Booking
    epochs: Epochs
    settlements: Settlements
    parties: Parties
    key: SigningKey
    rules: Rules
    waiting: tuple[Policy, ...] = ()

    @classmethod
    def open(cls, settings: Settings, clock: Clock, ids: Ids) -> Self:
        """Open the ledger that the settings name, bring it up to date, and declare what is new.

        Raises
        ------
        BitHiveError
            If the database cannot be reached, or, before there are two officers, a policy that was in force has been
            edited.
        """
        from economy.moving_sql import refuse_moved
        from economy.store_sql import SqlStore

        database = Database(settings.database_url("ledger"))
        refuse_moved(database)
        store = SqlStore(database)
        return cls.on(store, settings.state / "keys", clock, ids, settings.network.epoch_s)

    @classmethod
    def on(cls, store: Store, keys: Path, clock: Clock, ids: Ids, epoch_s: float) -> Self:
        """The same on a store that is open already; `keys` is a folder of secrets."""
        key = SigningKey.load_or_create(keys / "ledger.key")
        linking = SigningKey.load_or_create(keys / "parties.key")
        ledger, released = Ledger(store, clock), policies.load()
        with store.reading() as snapshot:
            unasked = to_declare(snapshot, released)
        declare(ledger, unasked)
        rules = Rules(store)
        parties = Parties(ledger, ids, derive(bytes.fromhex(linking.sign(b"bithive.parties.v1")), "parties"))
        declare_seal_key(ledger, parties, key.public_hex)
        with store.reading() as snapshot:
            proposals = waiting(snapshot, released)
        if proposals:
            names = [f"{policy.kind} {policy.version}" for policy in proposals]
            get().warning("policies.waiting", count=len(proposals), policies=", ".join(names))
        booking = Booking(ledger, rules, parties)
        epochs = Epochs(ledger, parties, rules, key, clock, epoch_s)
        settlements = Settlements(ledger, parties, rules, clock)
        return cls(ledger, booking, epochs, settlements, parties, key, rules, tuple(proposals))

    def tick(self) -> float:
        """End what is due, close the epoch whose time has come, settle what has stood; seconds until the next.

        A large epoch takes minutes: call it from a loop of its own, which holds up neither leases nor booking.
        """
        return min(self.epochs.tick(), self.settlements.tick())

    def close(self) -> None:
        """Record what is waiting and let go of the database."""
        self.ledger.close()


def declare(ledger: Ledger, rules: Sequence[Policy]) -> None:
    """Make assets and policies known to the ledger; what is known already is left as it is."""
    entries = [Entry(f"asset/{asset.code}", "asset.declared", declares=(asset,)) for asset in ASSETS]
    for answer in ledger.post_all([*entries, *map(policy_entry, rules)]):
        if isinstance(answer, BitHiveError):
            raise answer


def declare_seal_key(ledger: Ledger, parties: Parties, public_key: str) -> None:
    """Declare the first key that seals; any other key takes two officers, and seals nothing before that."""
    with ledger.store.reading() as snapshot:
        keys = snapshot.signing_keys()
    if not any(row.purpose == SEAL for row in keys.values()):
        key = Key(public_key, SEAL, parties.of(HUB))
        ledger.post(Entry(f"key/{public_key}", "key.declared", declares=(key,)))
