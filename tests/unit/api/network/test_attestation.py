"""Attestation over HTTP: who has shown its software gets a head's keys wrapped, and nobody else gets them at all."""

from dataclasses import replace
from typing import Any

import httpx2
import pytest

from bithive.clock import ManualClock
from bithive.keys import SigningKey
from bithive.limits import EVIDENCE_AGE_S, EVIDENCE_LIFETIME_S
from bithive.offer import DataClass
from bithive.settings import Mode, NetworkSettings, Settings
from cluster.agent import Agent
from cluster.agent_view import Identity
from cluster.attestation import Evidence, Verifier
from cluster.attester_simulated import SimulatedAttester, policy_of
from cluster.attesting import Attesting
from cluster.data_classes import Terms
from cluster.key_release import BoxKey, WrappedKeys
from cluster.labels import Tier
from cluster.network_http import HttpNetwork
from cluster.protocol_join import Invite
from cluster.register_client import redeem
from cluster.runner import LocalRunner
from tests.common.network import Made, put_offer, warm
from tests.common.network_requests import code, made
from tests.common.network_server import Hub
from tests.common.signed_cell import SignedCell

TERMS = Terms(None, True, Tier.DATACENTER, "DE", DataClass.P2)
ATTESTER, BOX = SigningKey(b"\x0a" * 32), BoxKey(b"\x0b" * 32)


def trusting(hub: Hub, mode: Mode = Mode.DEMO) -> Hub:
    """The hub, told to take simulated evidence."""
    settings = Settings(mode=mode, network=NetworkSettings(simulated_attesters=(ATTESTER.public_hex,)))
    hub.broker.verifier = Verifier(policy_of(settings), hub.clock, hub.ids)
    return hub


def foreign(hub: Hub, seed: int = 71) -> SignedCell:
    """A vetted cell in a data centre, of no institution."""
    name = f"rack-{seed}"
    account = hub.accounts.ensure(name, "cell", None)
    secret, expires_ms = hub.broker.registrar.invite(account.cell or "", name, TERMS, "racks inc", 60)
    cell = SignedCell(hub, seed=seed)
    found = redeem(Invite(hub.url, "", secret, name, expires_ms), cell.key)
    cell.cell, cell.token = found.cell, found.token
    return cell


def head(hub: Hub) -> Made:
    item = made(hub, data_class=DataClass.P2)
    put_offer(hub.broker, item)
    return item


def evidence(hub: Hub, cell: SignedCell) -> Evidence:
    answer = cell.post("/cells/challenge", {})
    assert answer.status_code == 200, answer.text
    attester = SimulatedAttester(ATTESTER, hub.clock)
    return attester.attest(answer.json()["nonce"], cell.cell, cell.key.public_hex, BOX.public_hex)


def show(cell: SignedCell, shown: Evidence) -> httpx2.Response:
    return cell.post("/cells/evidence", shown.to_json())


def refused(answer: httpx2.Response) -> str:
    assert code(answer)[1] == "evidence-refused", answer.text
    return str(answer.json()["context"]["reason"])


def grants(cell: SignedCell, node: str) -> list[dict[str, Any]]:
    body = {"cell": cell.cell, "nodes": [cell.standing(node)], "wait_s": 0, "serial": 0}
    answer = cell.post("/leases", body)
    assert answer.status_code == 200, answer.text
    return list(answer.json()["grants"])


def attested_ms(hub: Hub, cell: SignedCell) -> int:
    record = hub.broker.cells.cell(cell.cell)
    assert record is not None
    return record.attested_ms


def test_an_attested_cell_of_others_gets_a_head_wrapped_and_finishes_it(hub: Hub) -> None:
    cell = foreign(trusting(hub))
    item = head(hub)
    network = HttpNetwork(hub.url, cell.token, key=cell.key)
    identity = Identity(cell.key.public_hex, "racks inc", DataClass.P2, TERMS, "datacenter", node_keys=(cell.node_key,))
    runner = LocalRunner([warm()], cell.node_key, hub.clock)
    attester = SimulatedAttester(ATTESTER, hub.clock)
    attesting = Attesting(attester, network, cell.key.public_hex, hub.clock, b"\x0c" * 32)
    given = []
    work = network.work
    network.work = lambda request: given.extend(found := work(request)) or found  # type: ignore[method-assign,func-returns-value]
    agent = Agent(network, runner, identity, hub.clock, 1, 1.0, attesting=attesting)
    assert agent.tick()
    assert [grant.wrapped is not None for grant in given] == [True]
    assert item.keys.payload_key.hex() not in str(given[0].to_json("2"))
    topics = [notice.topic for notice in hub.broker.notices(hub.institution, 0)]
    assert topics[-1] == "attempt.accepted"
    network.close()


def test_what_travels_holds_no_plain_key(hub: Hub) -> None:
    cell = foreign(trusting(hub))
    node = cell.greet()
    answer = show(cell, evidence(hub, cell))
    assert answer.status_code == 200, answer.text
    assert 0 < answer.json()["attested_ms"] - hub.clock.now_ms() <= EVIDENCE_LIFETIME_S * 1000
    item = head(hub)
    (grant,) = grants(cell, node)
    assert "keys" not in grant
    wrapped = WrappedKeys.from_json(grant["wrapped"])
    assert BOX.open(wrapped, item.offer.offer_id, grant["attempt_id"]) == item.keys


def test_who_has_shown_nothing_gets_nothing(hub: Hub) -> None:
    cell = foreign(trusting(hub))
    node = cell.greet()
    head(hub)
    assert grants(cell, node) == []


def test_an_institutions_own_cell_gets_plain_keys_without_evidence(hub: Hub) -> None:
    cell = SignedCell(trusting(hub))
    node = cell.greet()
    item = head(hub)
    (grant,) = grants(cell, node)
    assert grant["keys"] == item.keys.to_json()
    assert "wrapped" not in grant


def test_evidence_runs_out(hub: Hub) -> None:
    cell = foreign(trusting(hub))
    node = cell.greet()
    assert show(cell, evidence(hub, cell)).status_code == 200
    hub.broker.cells.attest(cell.cell, BOX.public_hex, hub.clock.now_ms())  # its hour is over
    head(hub)
    assert grants(cell, node) == []


def test_a_new_hello_voids_what_was_shown(hub: Hub) -> None:
    cell = foreign(trusting(hub))
    cell.greet()
    assert show(cell, evidence(hub, cell)).status_code == 200
    node = cell.greet()
    head(hub)
    assert grants(cell, node) == []


def test_replayed_evidence_is_refused_and_voids_what_holds(hub: Hub) -> None:
    cell = foreign(trusting(hub))
    cell.greet()
    shown = evidence(hub, cell)
    assert show(cell, shown).status_code == 200
    assert attested_ms(hub, cell) > 0
    assert refused(show(cell, shown)) == "nonce-unknown"
    assert attested_ms(hub, cell) == 0


def test_evidence_of_another_cell_is_refused(hub: Hub) -> None:
    one, other = foreign(trusting(hub)), foreign(hub, seed=81)
    one.greet()
    other.greet()
    assert refused(show(other, evidence(hub, one))) == "other-cell"
    mine = evidence(hub, other)
    swapped = replace(mine, cell=one.cell, cell_key=one.key.public_hex).signed(ATTESTER)
    assert refused(show(other, swapped)) == "other-cell"
    assert (attested_ms(hub, one), attested_ms(hub, other)) == (0, 0)


def test_old_changed_and_untrusted_evidence_is_refused(hub: Hub) -> None:
    cell = foreign(trusting(hub))
    cell.greet()
    old = ManualClock(hub.clock.now_ms() - round(EVIDENCE_AGE_S * 1000) - 5000)
    nonce = evidence(hub, cell).nonce
    late = SimulatedAttester(ATTESTER, old).attest(nonce, cell.cell, cell.key.public_hex, BOX.public_hex)
    assert refused(show(cell, late)) == "not-fresh"
    assert refused(show(cell, replace(evidence(hub, cell), box_key="ab" * 32))) == "signature"
    assert refused(show(cell, evidence(hub, cell).signed(SigningKey(b"\x0d" * 32)))) == "attester-unknown"
    assert refused(show(cell, replace(evidence(hub, cell), measurement="ab" * 32).signed(ATTESTER))) == (
        "measurement-unknown"
    )
    assert code(cell.post("/cells/evidence", {}))[1] == "bad-evidence"
    assert attested_ms(hub, cell) == 0


@pytest.mark.parametrize("mode", [None, Mode.PRODUCTION])
def test_where_patients_are_treated_simulated_evidence_is_refused(hub: Hub, mode: Mode | None) -> None:
    """Also where the setting came in past the check at the start."""
    cell = foreign(hub if mode is None else trusting(hub, mode))
    node = cell.greet()
    assert refused(show(cell, evidence(hub, cell))) == "simulated"
    head(hub)
    assert grants(cell, node) == []


def test_the_routes_are_for_signed_cells_alone(hub: Hub) -> None:
    cell = foreign(hub)
    headers = {"Authorization": f"Bearer {cell.token}", "BitHive-Protocol": "2"}
    assert code(cell.plain("POST", "/network/v2/cells/challenge", json={}, headers=headers))[1] == "signature-required"
    assert cell.plain("POST", "/network/v1/cells/challenge", json={}, headers=headers).status_code == 404
    assert code(cell.post("/cells/challenge", {}))[1] == "cell-unknown"
