"""Joining with an invite, and keys that are replaced or revoked."""

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from bithive.clock import ManualClock
from bithive.keys import SigningKey
from bithive.offer import DataClass
from cluster.data_classes import Terms
from cluster.errors import NetworkRefused
from cluster.labels import Tier
from cluster.network_http import HttpNetwork
from cluster.protocol_join import Invite, Joined
from cluster.register_client import redeem, rotate_key
from cluster.register_proof import rotation
from tests.common.network_requests import code
from tests.common.network_server import Hub
from tests.common.signed_cell import SignedCell

TERMS = Terms(None, True, Tier.DATACENTER, "DE", DataClass.P1)


def invite(hub: Hub, name: str = "rack-7", terms: Terms = TERMS, lifetime_s: float = 60) -> Invite:
    account = hub.accounts.ensure(name, "cell", terms.institution)
    secret, expires_ms = hub.broker.registrar.invite(account.cell or "", name, terms, "racks inc", lifetime_s)
    return Invite(hub.url, "", secret, name, expires_ms)


def joined(hub: Hub, seed: int = 61) -> tuple[SignedCell, Joined]:
    """A cell that has joined."""
    cell = SignedCell(hub, seed=seed)
    found = redeem(invite(hub), cell.key)
    cell.cell, cell.token = found.cell, found.token
    return cell, found


def test_an_invite_makes_a_cell_with_its_terms(hub: Hub) -> None:
    cell, found = joined(hub)
    assert (found.terms, found.operator) == (TERMS, "racks inc")
    body = cell.hello(tier="hospital", residency="FR")
    welcome = cell.post("/cells/hello", {**body, "operator": "somebody else", "data_class_max": "P3"}).json()
    assert welcome["terms"] == TERMS.to_json()
    record = hub.broker.cells.cell(found.cell)
    assert record is not None
    assert (record.tier, record.residency, record.vetted) == (Tier.DATACENTER, "DE", True)
    assert (record.institution, record.operator, record.data_class_max) == (None, "racks inc", DataClass.P1)
    node = hub.broker.cells.nodes(found.cell)[0]
    assert (node.tier, node.residency, node.slots) == ("hospital", "FR", 4)


def test_the_contributor_signs_in_once_and_sees_its_own(hub: Hub) -> None:
    cell, found = joined(hub)
    secret = found.contributor_path.partition("token=")[2].partition("&")[0]
    _, principal = hub.accounts.open_session(secret)
    assert (principal.role, principal.cell) == ("contributor", found.cell)
    assert principal.scopes == {"nodes:own", "ledger:own"}
    network = HttpNetwork(hub.url, cell.token, key=cell.key)
    again = network.contributor_path()
    network.close()
    assert again.startswith("/enter#token=")
    assert again != found.contributor_path


def test_an_invite_is_good_once(hub: Hub) -> None:
    line = invite(hub)
    first, other = SigningKey(b"\x41" * 32), SigningKey(b"\x42" * 32)
    before = redeem(line, first)
    with pytest.raises(NetworkRefused) as caught:
        redeem(line, other)
    assert caught.value.answer == "invite-spent"
    again = redeem(line, first)
    assert (again.cell, again.terms) == (before.cell, before.terms)
    assert hub.accounts.by_token(before.token) is None
    assert hub.accounts.by_token(again.token) is not None
    hub.broker.registrar.revoke_cell(before.cell)
    for key in (first, other):
        with pytest.raises(NetworkRefused) as caught:
            redeem(line, key)
        assert caught.value.answer == "invite-spent"


def test_of_many_at_once_one_joins(hub: Hub) -> None:
    line, ends = invite(hub), []

    def join(number: int) -> None:
        try:
            redeem(line, SigningKey(bytes([number]) * 32))
            ends.append("joined")
        except NetworkRefused as error:
            ends.append(error.answer)

    threads = [threading.Thread(target=join, args=(number,)) for number in range(1, 7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(ends) == ["invite-spent"] * 5 + ["joined"]


def test_an_invite_that_was_replaced_or_is_too_old_is_none(hub: Hub) -> None:
    old, young = invite(hub), invite(hub)
    late = invite(hub, "rack-8", lifetime_s=0)
    for line in (old, late):
        with pytest.raises(NetworkRefused) as caught:
            redeem(line, SigningKey(b"\x43" * 32))
        assert caught.value.answer == "invite-spent"
    assert redeem(young, SigningKey(b"\x43" * 32)).cell


def test_the_key_that_is_named_must_sign(hub: Hub) -> None:
    cell = SignedCell(hub)
    cell.token = ""
    body = {"secret": invite(hub).secret, "cell_key": "a" * 64}
    assert code(cell.post("/cells/join", body)) == (401, "signature-refused")
    answer = cell.plain("POST", "/network/v2/cells/join", json=body, headers={"BitHive-Protocol": "2"})
    assert code(answer) == (401, "signature-required")
    for wrong in ({}, {**body, "secret": ""}, {**body, "more": 1}):
        assert code(cell.post("/cells/join", wrong)) == (400, "bad-message")


def test_a_join_that_somebody_saw_cannot_be_repeated(hub: Hub) -> None:
    cell = SignedCell(hub, seed=91)
    cell.token = ""
    body = {"secret": invite(hub).secret, "cell_key": cell.key.public_hex}
    request = cell.request("POST", "/cells/join", json.dumps(body).encode())
    assert cell.send(request).status_code == 201
    assert code(cell.send(request)) == (401, "signature-replayed")
    wrong = cell.request("POST", "/cells/join", json.dumps({**body, "secret": "x" * 43}).encode())
    for _ in range(2):
        assert code(cell.send(wrong)) == (401, "invite-spent")


def test_a_wrong_clock_is_put_right(hub: Hub) -> None:
    slow = ManualClock(hub.clock.now_ms() - 3_600_000)
    assert redeem(invite(hub), SigningKey(b"\x44" * 32), clock=slow).cell


def test_a_node_keeps_its_id_through_a_rotation(hub: Hub, tmp_path: Path) -> None:
    cell, found = joined(hub)
    node = cell.greet()
    path = tmp_path / "node.key"
    before = SigningKey.load_or_create(path)
    cell.node_key = before
    node = cell.greet()

    def opened(key: SigningKey | None) -> HttpNetwork:
        return HttpNetwork(hub.url, cell.token, key=key or cell.key)

    cell.node_key = rotate_key(opened, found.cell, path)
    assert cell.greet() == node
    assert SigningKey.load_or_create(path).public_hex == cell.node_key.public_hex != before.public_hex
    record = hub.broker.cells.node(node)
    assert record is not None
    assert (record.node_key, record.former_key) == (cell.node_key.public_hex, before.public_hex)
    assert record.former_until_ms > hub.clock.now_ms()
    cell.node_key = before
    assert code(cell.post("/cells/hello", cell.hello())) == (422, "key-revoked")


def test_the_cells_own_key_rotates_though_the_answer_is_lost(hub: Hub, tmp_path: Path) -> None:
    path = tmp_path / "cell.key"
    cell, found = joined(hub)
    path.write_bytes(b"\x3d" * 32)
    path.chmod(0o600)
    beside = SigningKey.load_or_create(tmp_path / "cell.key.next")
    network = HttpNetwork(hub.url, cell.token, key=cell.key)
    network.rotate(found.cell, cell.key, beside)
    network.close()
    assert code(cell.post("/cells/hello", cell.hello())) == (401, "signature-refused")
    cell.key = rotate_key(lambda key: HttpNetwork(hub.url, cell.token, key=key or cell.key), found.cell, path)
    assert cell.key.public_hex == beside.public_hex
    assert cell.greet()


def test_a_rotation_needs_both_keys(hub: Hub) -> None:
    cell, found = joined(hub)
    cell.greet()
    old, new, thief = cell.node_key, SigningKey(b"\x51" * 32), SigningKey(b"\x52" * 32)

    def body(first: SigningKey, second: SigningKey, of: str = found.cell) -> dict[str, Any]:
        keys = (old.public_hex, new.public_hex)
        return {
            "old_key": keys[0],
            "new_key": keys[1],
            "old_signature": rotation(first, of, *keys),
            "new_signature": rotation(second, of, *keys),
        }

    for wrong in (body(thief, new), body(old, thief), body(old, new, "cel_another")):
        assert code(cell.post("/cells/rotate", wrong)) == (401, "signature-refused")
    right = body(old, new)
    assert cell.post("/cells/rotate", right).status_code == 204
    assert cell.post("/cells/rotate", right).status_code == 204
    unknown = {**right, "old_key": "a" * 64}
    assert code(cell.post("/cells/rotate", unknown)) == (401, "signature-refused")


def test_a_revoked_node_works_no_more_and_the_others_do(hub: Hub) -> None:
    cell, found = joined(hub)
    node = cell.greet()
    assert code(cell.post("/cells/revoke", {"node": hub.ids.new("nod")})) == (404, "node-unknown")
    assert cell.post("/cells/revoke", {"node": node}).status_code == 204
    assert code(cell.post("/cells/hello", cell.hello())) == (422, "key-revoked")
    body = cell.hello()
    cell.node_key = SigningKey(b"\x53" * 32)
    body["nodes"] += cell.hello()["nodes"]
    welcome = cell.post("/cells/hello", body).json()
    assert list(welcome["nodes"]) == [cell.node_key.public_hex]
    asked = {"cell": found.cell, "nodes": [cell.standing(node, free=1)], "wait_s": 0, "serial": 0}
    assert cell.post("/leases", asked).json() == {"grants": []}


def test_nobody_touches_another_cells_node(hub: Hub) -> None:
    cell, _ = joined(hub)
    node = cell.greet()
    other = SignedCell(hub, "own", seed=81)
    other.greet()
    assert code(other.post("/cells/revoke", {"node": node})) == (404, "node-unknown")
