"""The network side's pages with everything real behind them: broker on a database, ledger, accounts; cells by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from starlette.testclient import TestClient

from api.app import create_app
from bithive.offer import DataClass
from bithive.outbox import Relay
from cluster.data_classes import Terms
from cluster.errors import ReceiptRefused
from cluster.labels import Tier
from cluster.moves import Durations
from cluster.network_sql import open_broker
from cluster.register import Registration
from tests.common.network import HandCell, Made, make_offer, put_offer
from tests.common.page_house import PageHouse


class NetworkHouse:
    """A network with an institution of its own and, once they are asked for, cells of contributors.

    Parameters
    ----------
    folder
        For the state folder.
    """

    def __init__(self, folder: Path) -> None:
        self.house = PageHouse(folder)
        self.clock, self.ids = self.house.clock, self.house.services.ids
        self.institution = self.house.services.institution
        settings, durations = self.house.services.settings, Durations(retry_pause_s=0.0)
        self.broker = open_broker(settings, self.clock, self.ids, durations)
        self.services = replace(self.house.services, broker=self.broker)
        self.broker.watchers += [self.services.metrics, self.services.traces]
        self.economy = self.house.economy
        self.app = create_app(self.services)
        self._relay = Relay(self.broker.store.outbox, self.economy.booking.take)
        self._browsers: list[TestClient] = []
        self._cells = 0

    def close(self) -> None:
        """Let go of threads, browsers and databases."""
        for client in self._browsers:
            client.close()
        self.broker.close()
        self.house.close()

    def cell(self, tier: Tier = Tier.HOME, institution: str | None = None, operator: str = "") -> HandCell:
        """A cell that was admitted on these terms."""
        self._cells += 1
        made = HandCell(self.broker, self.ids, institution, seed=self._cells)
        record = self.broker.cells.cell(made.cell)
        assert record is not None
        highest = DataClass.P3 if institution else DataClass.P0
        operator = operator or f"operator-{self._cells}"
        terms = Terms(institution, False, tier, "DE", highest)
        record = replace(record, operator=operator, tier=tier, residency="DE", data_class_max=highest)
        self.broker.cells.greet(record, self.broker.cells.nodes(made.cell))
        self.broker.register.bind(Registration(made.cell, "00" * 32, terms, self.clock.now_ms(), 0, operator))
        return made

    def offer(self, **changes: object) -> Made:
        """An Offer of the institution's that any cell may have."""
        made = make_offer(self.ids, self.clock, self.institution, **{"data_class": DataClass.P0, **changes})
        put_offer(self.broker, made)
        return made

    def work(self, cell: HandCell, spent_s: float = 3.0, **lies: object) -> None:
        """One Attempt from the Offer to its end, and what the ledger makes of it."""
        made = self.offer()
        grant = cell.lease()
        cell.beat(grant)
        self.clock.advance_s(spent_s)
        try:
            cell.finish(grant, made.payload, **lies)
        except ReceiptRefused:
            self.broker.withdraw(self.institution, made.offer.offer_id)
        self._relay.drain()

    def browse(self, role: str, cell: str | None = None, institution: str | None = None) -> TestClient:
        """A browser signed in with a new account of a role."""
        client = TestClient(
            self.app, base_url="http://127.0.0.1", headers={"Accept": "text/html"}, follow_redirects=False
        )
        name = f"{role}.{len(self._browsers)}"
        account = self.services.accounts.add(name, role, institution, **({"cell": cell} if cell else {}))
        secret, _ = self.services.accounts.open_session(self.services.accounts.link(account))
        client.cookies.set("bithive", secret)
        self._browsers.append(client)
        return client

    def token(self, role: str) -> str:
        """A bearer token of a new account of a role."""
        return self.services.accounts.token(self.services.accounts.add(f"{role}.machine", role))
