"""No payload ever reaches a machine that may not have it: not with all gates, and not with any one of them alone.

Random cells with random accounts, which lie in every hello, greet again under other labels, lose Leases, fail and come
back. What must hold is written here once more, in other words than the product's.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bithive.keys import SigningKey
from bithive.offer import DataClass, Offer
from clinic.data_class import Leaving
from cluster.cell_record import CellRecord, NodeRecord
from cluster.data_classes import Terms
from cluster.errors import LeaseLost
from cluster.filters import admits, reached, terms_of
from cluster.labels import Tier
from cluster.protocol import Grant, Hello, NodeGreeting
from cluster.protocol_lease import WorkRequest
from cluster.protocol_node import NodeStanding, NodeState
from cluster.register import Registration
from cluster.register_proof import prove
from tests.common.network import SHA256, Scene, make_offer, put_offer, scene

GATES = ("clinic", "broker", "agent")
ALONE = [frozenset({gate}) for gate in GATES]
COUNTRIES = ("", "DE", "FR", "US")
SHOULD_HOLD = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

terms = st.builds(
    Terms,
    institution=st.sampled_from([None, "other", "own", None]),
    vetted=st.booleans(),
    tier=st.sampled_from(list(Tier)),
    residency=st.sampled_from(COUNTRIES),
    data_class_max=st.just(DataClass.P3),
)
lies = st.tuples(st.sampled_from(["", "rubbish", *Tier]), st.sampled_from(COUNTRIES), st.sampled_from(list(DataClass)))
wishes = st.tuples(st.sampled_from(list(DataClass)), st.sampled_from([(), ("DE",), ("DE", "FR")]))
steps = st.lists(
    st.one_of(
        st.tuples(st.just("offer"), wishes),
        st.tuples(st.just("offer"), wishes),
        st.tuples(st.just("greet"), st.tuples(st.integers(0, 3), lies)),
        st.tuples(st.just("lease"), st.permutations(range(4))),
        st.tuples(st.just("wait"), st.sampled_from([1.0, 20.0, 400.0])),
        st.tuples(st.just("fail"), st.integers(0, 3)),
    ),
    min_size=6,
    max_size=24,
)


@dataclass
class Party:
    """A cell: what its account says (`terms`), and what it says of itself."""

    cell: str
    key: SigningKey
    terms: Terms
    said: tuple[str, str, DataClass] = ("", "", DataClass.P3)
    node: str = ""


class House:
    """A broker, cells with accounts, and the agents of those cells."""

    def __init__(self, folder: Path, accounts: list[Terms], gates: frozenset[str]) -> None:
        self.scene: Scene = scene(folder)
        self.gates = gates
        self.names = {"own": self.scene.institution, "other": self.scene.ids.new("ins"), None: None}
        self.parties = [self._party(number, account) for number, account in enumerate(accounts)]
        self.held: list[tuple[Party, Grant]] = []
        self.true: dict[str, tuple[DataClass, tuple[str, ...]]] = {}

    def _party(self, number: int, account: Terms) -> Party:
        account = replace(account, institution=self.names[account.institution])
        party = Party(self.scene.ids.new("cel"), SigningKey(bytes([number + 1]) * 32), account)
        broker, now_ms = self.scene.broker, self.scene.clock.now_ms()
        broker.register.bind(Registration(party.cell, party.key.public_hex, account, now_ms))
        self.greet(party, party.said)
        return party

    def greet(self, party: Party, said: tuple[str, str, DataClass]) -> None:
        party.said = said
        node = NodeGreeting(party.key.public_hex, 2, 8 << 30, 0, {}, 8 << 30, tier=said[0], residency=said[1])
        hello = Hello(
            party.key.public_hex,
            "operator",
            said[2],
            (replace(node, proof=prove(party.key, party.key.public_hex)),),
            (SHA256,),
        )
        welcome = self.scene.broker.hello(party.cell, party.terms.institution, hello, party.key.public_hex)
        party.node = welcome.nodes[party.key.public_hex]

    def offer(self, data_class: DataClass, countries: tuple[str, ...]) -> None:
        """As the clinical side makes it; without its gate it addresses everybody everywhere."""
        leaving = Leaving(residency=countries)
        addressed = {
            "residency": leaving.countries(data_class),
            "audience": leaving.audience(data_class, self.scene.institution),
        }
        if "clinic" not in self.gates:
            addressed["audience"] = ("any",)
        made = make_offer(self.scene.ids, self.scene.clock, self.scene.institution, data_class=data_class, **addressed)
        put_offer(self.scene.broker, made)
        self.true[made.offer.offer_id] = data_class, leaving.countries(data_class)

    def lease(self, party: Party) -> Iterator[tuple[Party, str]]:
        """What of an Offer's payload this cell comes to hold."""
        broker = self.scene.broker
        standing = (NodeStanding(party.node, NodeState.UP, free=2),)
        turn = broker.stand(party.cell, standing, anew=True)
        for grant in broker.work(WorkRequest(party.cell, standing), turn) or ():
            self.held.append((party, grant))
            own = party.terms.narrowed(*party.said)
            if "agent" in self.gates and admits(own, Offer.from_json(grant.offer.to_json())) is not None:
                broker.fail(party.cell, grant.attempt_id, grant.fencing_token, "data-class-refused")
            else:
                yield party, grant.offer.offer_id

    def fail(self, party: Party) -> None:
        for whose, grant in self.held:
            if whose is party:
                with suppress(LeaseLost):  # it may have lost it meanwhile: that is the point
                    self.scene.broker.fail(party.cell, grant.attempt_id, grant.fencing_token, "runner-died")

    def may(self, party: Party, offer_id: str) -> bool:
        """What must hold, in the words of DESIGN section 6."""
        data_class, countries = self.true[offer_id]
        account, (tier, country, _) = party.terms, party.said
        home = account.tier is Tier.HOME or tier in ("home", "rubbish")
        own = account.institution == self.scene.institution
        where = account.residency or (country if account.institution else "")
        if account.residency and country not in ("", account.residency):
            where = ""
        if countries and where not in countries:
            return False
        return {
            DataClass.P0: True,
            DataClass.P1: not home and (own or account.vetted),
            DataClass.P2: not home and own,
            DataClass.P3: not home and own,
        }[data_class]

    def run(self, story: list[tuple[str, object]]) -> None:
        for word, argument in story:
            taken = self._step(word, argument)
            for party, offer_id in taken:
                assert self.may(party, offer_id), (party, self.true[offer_id])

    def _step(self, word: str, argument: object) -> list[tuple[Party, str]]:
        if word == "offer":
            self.offer(*argument)  # type: ignore[misc]
        elif word == "greet":
            number, said = argument  # type: ignore[misc]
            self.greet(self.parties[number], said)
        elif word == "wait":
            self.scene.clock.advance_s(argument)  # type: ignore[arg-type]
            self.scene.broker.expire()
        elif word == "fail":
            self.fail(self.parties[argument])  # type: ignore[call-overload]
        else:
            return [held for number in argument for held in self.lease(self.parties[number])]  # type: ignore[attr-defined]
        return []


def play(folder: Path, accounts: list[Terms], story: list[tuple[str, object]], gates: frozenset[str]) -> None:
    """A story in a house where only these gates stand."""
    house = House(folder, accounts, gates)
    with pytest.MonkeyPatch.context() as patched:
        if "broker" not in gates:  # its table is gone; whom an Offer is addressed to is the clinical side's gate
            for place in ("cluster.order.why_not", "cluster.desk_work.why_not"):
                patched.setattr(place, _addressed_only)
        house.run(story)


def _addressed_only(cell: CellRecord, offer: Offer, node: NodeRecord | None = None, now_ms: int = 0) -> str | None:
    return None if reached(terms_of(cell, node), _unbound(offer), attested=cell.attested_ms > now_ms) else "elsewhere"


def _unbound(offer: Offer) -> Offer:
    """An Offer that is addressed to anybody is not kept in its countries by its address either."""
    return replace(offer, residency=()) if "any" in offer.audience else offer


@pytest.mark.parametrize("gates", [frozenset(GATES), *ALONE], ids=lambda gates: "+".join(sorted(gates)))
@SHOULD_HOLD
@given(accounts=st.lists(terms, min_size=4, max_size=4), story=steps)
def test_no_payload_reaches_whom_it_may_not(
    tmp_path_factory: pytest.TempPathFactory,
    gates: frozenset[str],
    accounts: list[Terms],
    story: list[tuple[str, object]],
) -> None:
    play(tmp_path_factory.mktemp("house"), accounts, story, gates)


def test_without_any_gate_it_would(tmp_path: Path) -> None:
    """The test can fail: with all three knocked out a stranger's home gets everything."""
    accounts = [Terms()] * 4
    story: list[tuple[str, object]] = [("offer", (DataClass.P3, ())), ("lease", (0,))]
    with pytest.raises(AssertionError):
        play(tmp_path, accounts, story, frozenset())


def test_who_may_have_it_gets_it(tmp_path: Path) -> None:
    """Nothing is refused to those who may: every class to an institution's own cell, in the right country."""
    own = Terms("own", vetted=False, tier=Tier.HOSPITAL, residency="DE", data_class_max=DataClass.P3)
    house = House(tmp_path, [own] * 4, frozenset(GATES))
    for data_class, countries in itertools.product(DataClass, [(), ("DE",)]):
        house.offer(data_class, countries)
        assert list(house.lease(house.parties[0]))


def test_a_liar_gains_nothing(tmp_path: Path) -> None:
    """A home that says it is the hospital's, in the right country, is given what a home is given."""
    house = House(tmp_path, [Terms(data_class_max=DataClass.P3)] * 4, frozenset(GATES))
    liar = house.parties[0]
    house.greet(liar, ("hospital", "DE", DataClass.P3))
    for data_class in (DataClass.P1, DataClass.P2, DataClass.P3):
        house.offer(data_class, ())
    assert list(house.lease(liar)) == []
    house.offer(DataClass.P0, ())
    assert len(list(house.lease(liar))) == 1
