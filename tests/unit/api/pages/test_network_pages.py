"""The network's page and a Node's own: who sees what, what it says, and that it names nobody."""

from __future__ import annotations

import json
import re

import pytest

from api.network_access import whose
from api.pages import network_node, network_node_view, network_overview, network_view, network_words
from api.pages.network_words import STATE_NOTES, STATES
from bithive.offer import Urgency
from bithive.outbox import Event
from cluster.attempt import AttemptState
from cluster.census import CellLine, NodeLine, StrikeLine, Whose
from cluster.chain import verify_chain
from cluster.counter import CounterReceipt
from cluster.duplicates import REPEATED
from cluster.labels import Tier
from cluster.protocol import NodeState
from cluster.protocol_node import NodeStanding
from economy.money import BTT
from tests.common.network import volume
from tests.common.network_house import NetworkHouse

OPERATOR = "Dr Jane Roe's basement"


@pytest.fixture
def network(tmp_path):
    made = NetworkHouse(tmp_path)
    yield made
    made.close()


def words_of(answer):
    assert answer.status_code == 200, answer.text
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", answer.text))


def test_an_empty_network_says_how_to_begin(network):
    said = words_of(network.browse("administrator").get("/network"))
    assert "No cell has joined yet" in said
    assert "bithive account invite" in said
    assert "Every Receipt held so far" in said


def test_a_busy_network(network):
    home, rack = network.cell(), network.cell(Tier.DATACENTER)
    network.work(home, 3)
    network.work(rack, 1, work_units=10**6)
    network.offer(urgency=Urgency.HIGH)
    grant = home.lease()
    home.beat(grant, "segmenting", 0.42)
    network.offer(urgency=Urgency.LOW)
    network.clock.advance_s(5)
    answer = network.browse("auditor").get("/network")
    said = words_of(answer)
    for text in ("Nodes up 2", "data centre, DE", "at work", "Segmenting on", "urgent", "when there is time 1"):
        assert text in said, text
    assert "The Receipt claims other work units" in said
    assert 'value="42"' in answer.text
    assert f"/network/nodes/{rack.node}" in answer.text


def test_the_part_that_moves_is_the_same_part(network):
    network.cell()
    client = network.browse("auditor")
    whole, part = client.get("/network").text, client.get("/network/state").text
    assert part.count("data-part=") == 4
    assert part.strip() in whole
    assert "<html" not in part


def test_a_contributor_sees_one_cell_and_nobody_elses(network):
    mine, other = network.cell(operator=OPERATOR), network.cell()
    network.work(mine)
    network.work(other)
    client = network.browse("contributor", cell=mine.cell)
    answer = client.get("/network")
    assert "Your machines" in words_of(answer)
    assert mine.node in answer.text
    assert other.node not in answer.text
    assert "Waiting for a node" not in answer.text
    assert client.get(f"/network/nodes/{mine.node}").status_code == 200
    for path in (f"/network/nodes/{other.node}", f"/network/nodes/{other.node}/counter-receipts.jsonl"):
        refused = client.get(path)
        assert refused.status_code == 404
        assert other.node not in refused.text.replace(path, "")
    assert client.get("/").headers["location"] == "/network"
    for path in ("/ledger", "/access-log", "/studies", "/metrics"):
        assert client.get(path).status_code in {403, 404}


def test_an_institution_sees_its_own_cells_and_its_own_work_elsewhere(network):
    own, foreign = network.cell(Tier.HOSPITAL, network.institution), network.cell()
    network.offer()
    grant = foreign.lease()
    foreign.beat(grant, "loading", 0.1)
    client = network.browse("institution", institution=network.institution)
    answer = client.get("/network")
    assert own.node in answer.text
    assert "Loading the model" in answer.text
    assert client.get(f"/network/nodes/{own.node}").status_code == 200
    assert client.get(f"/network/nodes/{foreign.node}").status_code == 404
    stranger = network.browse("institution", institution="ins_00000000000000000000000099")
    answer = stranger.get("/network")
    assert "Nothing is being computed" in answer.text
    assert own.node not in answer.text


@pytest.mark.parametrize("role", ["clinician", "pacs", "cell", "monitor"])
def test_others_see_nothing_of_it(network, role):
    cell = network.cell()
    client = network.browse(role)
    for path in ("/network", "/network/state", f"/network/nodes/{cell.node}"):
        assert client.get(path).status_code == 403
    assert "/network" not in client.get("/about").text


def test_without_signing_in_the_page_leads_there(network):
    client = network.browse("auditor")
    client.cookies.clear()
    assert client.get("/network").headers["location"] == "/sign-in?next=/network"
    answer = client.get("/network/state", headers={"Sec-Fetch-Mode": "cors"})
    assert answer.status_code == 401


def test_a_nodes_page_says_what_it_did_and_earned_and_why(network):
    cell = network.cell(operator=OPERATOR)
    for _ in range(3):
        network.work(cell)
    network.clock.advance_s(90_000)
    network.economy.epochs.close()
    network.work(cell)
    client = network.browse("contributor", cell=cell.cell)
    answer = client.get(f"/network/nodes/{cell.node}")
    said = words_of(answer)
    for text in ("Held back", "Work not paid yet 13.0000 reward units", "Where the rewards come from", "Epoch 1"):
        assert text in said, text
    for text in ("P0: public or synthetic", "And never will", "P3: images that identify", "holds", "All 4"):
        assert text in said, text
    statement = re.search(r'href="(/ledger/statements/pty_[0-9A-Z]{26})"', answer.text)[1]
    assert client.get(statement).status_code == 200
    for proof in re.findall(r'href="(/ledger/proofs/entry/[^"]+)"', answer.text):
        assert client.get(proof).status_code in {200, 409}


@pytest.mark.parametrize(
    ("lie", "code", "advice"),
    [
        ({"work_units": 10**6}, "work-units-differ", "Update the node"),
        ({"wall_ms": 10**7}, "wall-time-implausible", "Set the machine"),
        ({"attempt_id": "att_00000000000000000000000001"}, "receipt-replayed", "give the copy keys of its own"),
    ],
)
def test_a_lie_is_on_the_nodes_page_with_its_code_and_what_to_do(network, lie, code, advice):
    cell = network.cell()
    network.work(cell, **lie)
    answer = network.browse("contributor", cell=cell.cell).get(f"/network/nodes/{cell.node}")
    said = words_of(answer)
    assert f"/docs/errors/{code}" in answer.text
    assert "What to do." in said
    assert advice in said


def test_a_flag_is_no_strike_and_says_what_follows():
    shown = network_node_view.struck([StrikeLine("c", "n", REPEATED, 1, 5)])
    assert (shown[0].tone, shown[0].gravity) == ("warn", "flagged")
    assert "computed again" in shown[0].meaning


def test_counter_receipts_can_be_kept_and_checked_elsewhere(network):
    cell = network.cell()
    network.work(cell)
    network.work(cell, work_units=10**6)
    client = network.browse("contributor", cell=cell.cell)
    answer = client.get(f"/network/nodes/{cell.node}/counter-receipts.jsonl")
    counters = [CounterReceipt.from_json(json.loads(line)) for line in answer.text.splitlines()]
    proven = verify_chain(counters, network.broker.network_key.public_hex)
    assert (proven.holds, proven.accepted, proven.refused) == (True, 1, 1)
    assert "attachment" in answer.headers["content-disposition"]


def test_a_chain_that_was_tampered_with_shows(network, monkeypatch):
    cell = network.cell()
    for _ in range(3):
        network.work(cell)
    chain = network.broker.store.chain
    real = chain.counters

    def without_the_second(subject, after=0, limit=100):
        return [one for one in real(subject, after, limit) if one.sequence != 2]

    monkeypatch.setattr(chain, "counters", without_the_second)
    said = words_of(network.browse("auditor").get(f"/network/nodes/{cell.node}"))
    assert "broken" in said
    assert "Number 3 does not hold (gap)" in said


def test_a_long_chain_is_checked_from_a_known_place(network, monkeypatch):
    monkeypatch.setattr(network_node_view, "COUNTERS_CHECKED", 2)
    cell = network.cell()
    for _ in range(5):
        network.work(cell)
    assert "The last 2 were checked" in words_of(network.browse("auditor").get(f"/network/nodes/{cell.node}"))


def test_no_page_names_a_patient_an_operator_or_an_institution(network):
    cell = network.cell(operator=OPERATOR)
    network.work(cell)
    network.work(cell, work_units=10**6)
    for client in (network.browse("auditor"), network.browse("contributor", cell=cell.cell)):
        for path in ("/network", f"/network/nodes/{cell.node}"):
            text = client.get(path).text
            for secret in ("Jane", network.institution, "Grünwald", "4711", cell.cell):
                assert secret not in text, (path, secret)


@pytest.mark.parametrize("state", [*NodeState])
def test_each_state_that_a_cell_tells_is_shown(network, state):
    cell = network.cell()
    network.broker.presence.stand(cell.cell, [NodeStanding(cell.node, state)], anew=True)
    assert STATES[str(state)][1] in words_of(network.browse("auditor").get("/network"))
    assert STATE_NOTES[str(state)] in words_of(network.browse("auditor").get(f"/network/nodes/{cell.node}"))


def test_the_same_findings_for_two_inputs_show_as_flagged(network):
    cell = network.cell()
    findings = b""
    for seed in (1, 2):
        made = network.offer(image=volume(seed))
        findings = findings or bytes(cell.findings(None, made.payload))
        cell.finish(cell.lease(), made.payload, findings=findings)
        network.clock.advance_s(1)
    said = words_of(network.browse("contributor", cell=cell.cell).get(f"/network/nodes/{cell.node}"))
    assert "flagged" in said
    assert "will be computed again elsewhere" in said


def test_the_hours_that_were_kept(network):
    cell = network.cell()
    network.work(cell)
    hour_ms = network.clock.now_ms() // 3_600_000 * 3_600_000
    for back, kept_ms in ((1, 3_600_000), (2, 1_800_000), (400, 0)):
        from_ms = hour_ms - back * 3_600_000
        told = {"node": cell.node, "operator": "operator-1", "from_ms": from_ms, "to_ms": from_ms + 3_600_000}
        body = {**told, "declared_ms": 3_600_000, "kept_ms": kept_ms, "at_ms": hour_ms}
        network.economy.booking.take(Event("node.online", f"{cell.node}/{from_ms}", body))
    said = words_of(network.browse("contributor", cell=cell.cell).get(f"/network/nodes/{cell.node}"))
    assert "75 %" in said
    assert "1.5 h of 2.0 h" in said


def test_a_silent_cell_and_a_revoked_node(network):
    cell = network.cell()
    network.clock.advance_s(600)
    client = network.browse("auditor")
    assert "silent" in words_of(client.get(f"/network/nodes/{cell.node}"))
    record = network.broker.cells.node(cell.node)
    network.broker.cells.amend(type(record)(**{**fields_of(record), "revoked_ms": 5}))
    assert "Its key is void" in words_of(client.get(f"/network/nodes/{cell.node}"))


def fields_of(record):
    return {name: getattr(record, name) for name in record.__slots__}


def test_words_cover_every_state():
    assert set(STATES) == set(STATE_NOTES)
    assert {str(state) for state in NodeState} <= set(STATES)
    assert set(network_words.ENDS) == set(AttemptState)
    node = NodeLine("nod", "cel", "home", "DE", 8, 31_000_000_000, 2, "NVIDIA L4", 2, 0)
    assert network_words.hardware(node) == "8 threads, 31.0 GB, 2 GPUs (NVIDIA L4)"
    assert network_words.age(0, 50_000) == "50 s"
    assert network_words.age(0, 3_600_000) == "60 min"
    assert network_words.age(0, 86_400_000 * 5) == "5 days"
    assert network_words.tier("home") == "home machine"
    assert network_words.code("no-such-code") == "No such code"


def test_amounts_are_cut_not_rounded():
    assert network_view.coarse(10**BTT.scale - 1) == "0.99\N{NO-BREAK SPACE}BTT"
    assert network_view.coarse(1_234_567 * 10**BTT.scale).startswith("1\N{NARROW NO-BREAK SPACE}234")


def test_an_unknown_node_and_a_malformed_one(network):
    client = network.browse("auditor")
    for node in ("nod_00000000000000000000000001", "cel_00000000000000000000000001", "x", "%3Cscript%3E"):
        assert client.get(f"/network/nodes/{node}").status_code == 404
    assert network_overview.router.routes
    assert network_node.router.routes


def test_who_may_see_what():
    from api.auth import SCOPES, Principal

    def of(role, institution=None, cell=None):
        return whose(Principal("acc", role, role, SCOPES[role], institution, cell))

    assert of("auditor").everything
    assert of("administrator", "ins_1") == Whose(everything=True)
    assert of("institution", "ins_1") == Whose(institution="ins_1")
    assert of("contributor", None, "cel_1") == Whose(cell="cel_1")
    assert isinstance(CellLine("c", None, "", "", "", "P0", False, 0, 0), CellLine)
