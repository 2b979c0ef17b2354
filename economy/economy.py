"""The economy of one hub, put together: what `api.wiring` and the command line open."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from bithive.clock import Clock
from bithive.database_sql import Database
from bithive.errors import BitHiveError
from bithive.ids import Ids
from bithive.keys import SigningKey, derive
from bithive.settings import Settings
from economy import policies
from economy.booking import Booking
from economy.entry import Entry, Policy
from economy.epoch import Epochs
from economy.ledger import Ledger
from economy.money import ASSETS
from economy.parties import Parties
from economy.rates import Rates
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
    epochs
        `tick` belongs into the network side's housekeeping.
    parties
        Who stands for whom.
    key
        Signs seals.
    """

    ledger: Ledger
    booking: Booking
    epochs: Epochs
    parties: Parties
    key: SigningKey

    @classmethod
    def open(cls, settings: Settings, clock: Clock, ids: Ids) -> Self:
        """Open the ledger that the settings name, bring it up to date, and declare what is new.

        Raises
        ------
        BitHiveError
            If the database cannot be reached, or a policy that was in force has been edited.
        """
        from economy.store_sql import SqlStore

        store = SqlStore(Database(settings.database_url("ledger")))
        return cls.on(store, settings.state / "keys", clock, ids, settings.network.epoch_s)

    @classmethod
    def on(cls, store: Store, keys: Path, clock: Clock, ids: Ids, epoch_s: float) -> Self:
        """The same on a store that is open already; `keys` is a folder of secrets."""
        key = SigningKey.load_or_create(keys / "ledger.key")
        linking = SigningKey.load_or_create(keys / "parties.key")
        ledger, rules = Ledger(store, clock), policies.load()
        declare(ledger, rules)
        parties = Parties(ledger, ids, derive(bytes.fromhex(linking.sign(b"bithive.parties.v1")), "parties"))
        booking = Booking(ledger, Rates(rules), parties)
        return cls(ledger, booking, Epochs(ledger, parties, rules, key, clock, epoch_s), parties, key)

    def close(self) -> None:
        """Record what is waiting and let go of the database."""
        self.ledger.close()


def declare(ledger: Ledger, rules: list[Policy]) -> None:
    """Make assets and policies known to the ledger; what is known already is left as it is."""
    entries = [Entry(f"asset/{asset.code}", "asset.declared", declares=(asset,)) for asset in ASSETS]
    entries += [Entry(f"policy/{rule.kind}/{rule.version}", "policy.declared", declares=(rule,)) for rule in rules]
    for answer in ledger.post_all(entries):
        if isinstance(answer, BitHiveError):
            raise answer
