"""A cell attests after each hello and again before its hour ends, and goes on with other work where it is refused."""

from dataclasses import replace
from pathlib import Path

import pytest

from bithive.clock import ManualClock
from bithive.keys import SigningKey
from bithive.limits import EVIDENCE_LIFETIME_S
from bithive.offer import DataClass
from cluster.attestation import SIMULATED, AppraisalPolicy, Evidence, Verifier
from cluster.attester_simulated import SimulatedAttester, measurement
from cluster.attesting import Attesting
from cluster.broker import Broker
from cluster.key_release import BadWrappedKeys, wrap
from cluster.protocol import Grant
from cluster.register import Registration
from tests.common.network import HandCell, make_offer, scene

KEY = SigningKey(b"\x01" * 32)


class Wire:
    """The network side of one cell, that counts."""

    def __init__(self, broker: Broker, cell: str) -> None:
        self.broker, self.cell, self.taken = broker, cell, 0

    def challenge(self) -> str:
        return self.broker.challenge(self.cell)

    def evidence(self, evidence: Evidence) -> int:
        until_ms = self.broker.attest(self.cell, evidence)
        self.taken += 1
        return until_ms


class House:
    def __init__(self, folder: Path, *, trusted: bool = True) -> None:
        self.stage = scene(folder)
        self.clock: ManualClock = self.stage.clock
        broker, cell = self.stage.broker, self.stage.cell
        keys = frozenset({KEY.public_hex} if trusted else ())
        policy = AppraisalPolicy({SIMULATED: keys}, frozenset({measurement()}), simulated=True)
        broker.verifier = Verifier(policy, self.clock, self.stage.ids)
        broker.register.bind(Registration(cell.cell, cell.key.public_hex, None, 0))
        self.wire, self.cell = Wire(broker, cell.cell), cell
        attester = SimulatedAttester(KEY, self.clock)
        self.attesting = Attesting(attester, self.wire, cell.key.public_hex, self.clock, b"\x02" * 32)

    def keep(self) -> int:
        self.attesting.keep(self.cell.cell)
        return self.wire.taken


def test_once_and_again_before_the_hour_ends_and_after_each_hello(tmp_path: Path) -> None:
    house = House(tmp_path)
    assert not house.attesting.attested
    assert [house.keep() for _ in range(3)] == [1, 1, 1]
    assert house.attesting.attested
    house.clock.advance_s(EVIDENCE_LIFETIME_S * 0.8)
    assert house.keep() == 1
    house.clock.advance_s(EVIDENCE_LIFETIME_S * 0.1)
    assert house.keep() == 2
    assert house.attesting.attested
    house.attesting.greeted()
    assert not house.attesting.attested
    assert house.keep() == 3
    house.clock.advance_s(EVIDENCE_LIFETIME_S)
    assert not house.attesting.attested


def test_where_it_is_refused_it_asks_again_in_a_minute(tmp_path: Path) -> None:
    house = House(tmp_path, trusted=False)
    assert house.keep() == 0
    assert not house.attesting.attested
    asked = house.wire.challenge()
    house.keep()
    assert asked in house.stage.broker.verifier._asked, "it has not asked anew"
    house.clock.advance_s(61)
    house.keep()
    assert asked not in house.stage.broker.verifier._asked


def test_keys_are_opened_that_are_for_this_process(tmp_path: Path) -> None:
    house = House(tmp_path)
    house.keep()
    record = house.stage.broker.cells.cell(house.cell.cell)
    assert record is not None
    ids = house.stage.ids
    item = make_offer(ids, house.clock, ids.new("ins"), data_class=DataClass.P2)
    sealed = wrap(item.keys, record.box_key, item.offer.offer_id, "att_1", ids)
    grant = Grant("att_1", 1, 2, item.offer, sealed)
    assert house.attesting.opened(grant).keys == item.keys
    assert house.attesting.opened(replace(grant, released=item.keys)).keys == item.keys
    with pytest.raises(BadWrappedKeys):
        house.attesting.opened(replace(grant, attempt_id="att_2"))
    other = Attesting(SimulatedAttester(KEY, house.clock), house.wire, "", house.clock, b"\x03" * 32)
    with pytest.raises(BadWrappedKeys):
        other.opened(grant)


def test_a_cell_without_a_key_of_its_own_shows_nothing(tmp_path: Path) -> None:
    house = House(tmp_path)
    stranger = HandCell(house.stage.broker, house.stage.ids, None, seed=9)
    house.wire.cell = stranger.cell  # it has no key of its own: nothing that it says is signed
    assert house.keep() == 0
