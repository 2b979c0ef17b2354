"""Requests of version 2 are the cell's own, once, and as they were signed."""

import asyncio
import json
from collections.abc import Generator
from pathlib import Path

import pytest

from api.network.versions import versions
from bithive.ids import RandomIds
from bithive.keys import SigningKey
from cluster import protocol
from cluster.protocol import NodeState
from cluster.signing import INPUT, SIGNATURE
from tests.common.network_requests import code, hello
from tests.common.network_server import Hub, network_hub
from tests.common.signed_cell import ROOT, SignedCell


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Generator[Hub]:
    with network_hub(tmp_path_factory.mktemp("hub")) as running:
        yield running


@pytest.fixture
def cell(hub: Hub) -> SignedCell:
    """A cell that the hub has not heard of."""
    account = hub.accounts.add(f"cell-{RandomIds(hub.clock).new('acc')[-8:]}", "cell", hub.institution)
    found = SignedCell(hub)
    found.cell, found.token = account.cell or "", hub.accounts.token(account)
    return found


def test_the_versions_are_told_to_everybody(hub: Hub, cell: SignedCell) -> None:
    assert cell.plain("GET", "/network/versions").json() == asyncio.run(versions()) == {"versions": ["1", "2"]}
    answer = cell.plain("POST", f"{ROOT}/cells/hello", headers={protocol.VERSION_HEADER: "1"})
    assert code(answer) == (415, "protocol-unsupported")
    assert answer.json()["context"] == {"protocol": "2", "spoken": "1, 2"}


def test_a_signed_hello_binds_the_key(cell: SignedCell) -> None:
    node = cell.greet()
    assert cell.greet() == node
    stranger = SigningKey(b"\x63" * 32)
    body = cell.hello(cell_key=stranger.public_hex)
    assert code(cell.post("/cells/hello", body, key=stranger)) == (401, "signature-refused")
    assert code(cell.post("/cells/hello", cell.hello(), key=stranger)) == (401, "signature-refused")
    assert code(cell.post("/cells/hello", body)) == (401, "signature-refused")


def test_the_first_hello_names_the_key_that_signs_it(cell: SignedCell) -> None:
    body = cell.hello(cell_key="a" * 64)
    assert code(cell.post("/cells/hello", body)) == (401, "signature-refused")
    assert code(cell.post("/cells/pulse", {"nodes": [], "beats": {}, "serial": 0})) == (404, "cell-unknown")


def test_a_cell_with_a_key_never_goes_back(hub: Hub, cell: SignedCell) -> None:
    headers = {protocol.VERSION_HEADER: "1", "Authorization": f"Bearer {cell.token}"}
    assert cell.plain("POST", f"{protocol.ROOT}/cells/hello", json=hello(), headers=headers).status_code == 200
    cell.greet()
    answer = cell.plain("POST", f"{protocol.ROOT}/cells/hello", json=hello(), headers=headers)
    assert code(answer) == (401, "signature-required")
    answer = cell.plain("POST", f"{ROOT}/cells/hello", json=cell.hello(), headers={**headers, "BitHive-Protocol": "2"})
    assert code(answer) == (401, "signature-required")


def test_a_signed_request_is_good_once(cell: SignedCell) -> None:
    request = cell.request("POST", "/cells/hello", json.dumps(cell.hello()).encode())
    assert cell.send(request).status_code == 200
    answer = cell.send(request)
    assert code(answer) == (401, "signature-replayed")
    assert abs(answer.json()["context"]["now_ms"] - cell.hub.clock.now_ms()) < 60_000


@pytest.mark.parametrize("away_s", [-70, 70, -100_000])
def test_a_signature_of_another_time_is_refused(cell: SignedCell, away_s: int) -> None:
    created_s = cell.hub.clock.now_ms() // 1000 + away_s
    assert code(cell.post("/cells/hello", cell.hello(), created_s=created_s)) == (401, "signature-replayed")


def test_nothing_that_was_signed_may_be_changed(cell: SignedCell) -> None:
    cell.greet()
    content = json.dumps(cell.hello()).encode()
    other = cell.request("POST", "/cells/hello", content, signed=content + b" ")
    assert code(cell.send(other)) == (401, "signature-refused")
    moved = cell.request("POST", "/cells/pulse", content)
    moved.url = moved.url.copy_with(path=f"{ROOT}/cells/hello")
    assert code(cell.send(moved)) == (401, "signature-refused")
    longer = cell.request("POST", "/cells/hello", content)
    longer.url = longer.url.copy_with(query=b"more=1")
    assert code(cell.send(longer)) == (401, "signature-refused")
    fenced = cell.request("GET", f"/attempts/{cell.hub.ids.new('att')}/payload", headers={"BitHive-Fencing-Token": "1"})
    fenced.headers["BitHive-Fencing-Token"] = "2"
    assert code(cell.send(fenced)) == (401, "signature-refused")
    added = cell.request("GET", f"/attempts/{cell.hub.ids.new('att')}/payload")
    added.headers["BitHive-Fencing-Token"] = "2"
    assert code(cell.send(added)) == (401, "signature-refused")


@pytest.mark.parametrize("change", ["", "x", "bithive=()", "other=:AA==:", 'bithive=();created=1;keyid="x"'])
def test_another_form_of_signature_is_refused(cell: SignedCell, change: str) -> None:
    for name in (INPUT, SIGNATURE):
        request = cell.request("POST", "/cells/hello", json.dumps(cell.hello()).encode())
        request.headers[name] = change
        assert code(cell.send(request)) == (401, "signature-refused")
        del request.headers[name]
        assert code(cell.send(request)) == (401, "signature-required")


def test_the_token_is_still_needed(cell: SignedCell) -> None:
    cell.greet()
    cell.token = ""
    assert code(cell.post("/cells/hello", cell.hello())) == (401, "unauthenticated")
    cell.token = cell.hub.tokens["institution"]
    assert code(cell.post("/cells/hello", cell.hello())) == (403, "forbidden")
    cell.token = cell.hub.tokens["other"]
    answer = cell.post("/leases", {"cell": cell.cell, "nodes": [], "wait_s": 0, "serial": 0})
    assert answer.status_code in (401, 403, 404)


@pytest.mark.parametrize("proof", ["", "0" * 128])
def test_a_node_without_proof_of_its_key_is_not_taken(cell: SignedCell, proof: str) -> None:
    assert code(cell.post("/cells/hello", cell.hello(proof=proof))) == (422, "key-unproven")
    elsewhere = cell.hello()
    elsewhere["nodes"][0]["proof"] = SignedCell(cell.hub, seed=40).hello()["nodes"][0]["proof"]
    assert code(cell.post("/cells/hello", elsewhere)) == (422, "key-unproven")


def test_a_revoked_cell_is_heard_no_more(hub: Hub, cell: SignedCell) -> None:
    node = cell.greet()
    hub.broker.registrar.revoke_cell(cell.cell)
    assert code(cell.post("/cells/hello", cell.hello())) == (422, "key-revoked")
    standing = cell.standing(node, NodeState.UP)
    assert code(cell.post("/leases", {"cell": cell.cell, "nodes": [standing], "wait_s": 0, "serial": 0})) == (
        422,
        "key-revoked",
    )


def test_signatures_from_before_a_restart_are_not_taken(tmp_path: Path) -> None:
    with network_hub(tmp_path) as hub:
        cell = SignedCell(hub)
        cell.greet()
        created_s = hub.clock.now_ms() // 1000 - 5
        assert code(cell.post("/cells/hello", cell.hello(), created_s=created_s)) == (401, "signature-replayed")
