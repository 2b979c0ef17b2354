"""One request for the whole cell: work for its free slots, and one sign of life."""

import json
import threading
import time
from typing import Any

import pytest

from bithive.envelope import PAYLOAD, Opener
from cluster.download import Download
from cluster.errors import NetworkUnreachable
from cluster.network_http import HttpNetwork
from cluster.protocol import Grant, NodeState
from tests.common.network import Made, put_offer, volume
from tests.common.network_requests import code, made
from tests.common.network_server import Hub
from tests.common.signed_cell import SignedCell


@pytest.fixture
def cell(hub: Hub) -> SignedCell:
    return SignedCell(hub)


def offer(hub: Hub, **changes: Any) -> Made:
    item = made(hub, **changes)
    put_offer(hub.broker, item)
    return item


def work(cell: SignedCell, nodes: list[dict[str, Any]], wait_s: float = 0) -> list[dict[str, Any]]:
    answer = cell.post("/leases", {"cell": cell.cell, "nodes": nodes, "wait_s": wait_s, "serial": 0})
    assert answer.status_code == 200, answer.text
    return list(answer.json()["grants"])


def test_as_many_as_there_are_free_slots(hub: Hub, cell: SignedCell) -> None:
    node = cell.greet()
    assert work(cell, [cell.standing(node, free=3)]) == []
    offers = [offer(hub) for _ in range(5)]
    grants = work(cell, [cell.standing(node, free=3)])
    assert len({grant["offer"]["offer_id"] for grant in grants} & {item.offer.offer_id for item in offers}) == 3
    assert all(grant["nodes"] == [node] for grant in grants)
    assert work(cell, [cell.standing(node, free=0)]) == []
    assert work(cell, [cell.standing("nod_nobodys", free=2)]) == []
    assert len(work(cell, [cell.standing(node, free=9)])) == 2


@pytest.mark.parametrize("state", [state for state in NodeState if state is not NodeState.UP])
def test_a_node_that_is_not_up_is_given_nothing(hub: Hub, cell: SignedCell, state: NodeState) -> None:
    node = cell.greet()
    offer(hub)
    assert work(cell, [cell.standing(node, state)]) == []
    assert hub.broker.presence.states(hub.clock.now_ms()) == {node: state}
    assert len(work(cell, [cell.standing(node)])) == 1


def test_a_change_of_mind_ends_the_request_that_waits(hub: Hub, cell: SignedCell) -> None:
    node = cell.greet()
    ended: list[tuple[float, list[dict[str, Any]]]] = []

    def wait() -> None:
        ended.append((0.0, work(SignedCell(hub), [cell.standing(node)], wait_s=20)))

    thread = threading.Thread(target=wait)
    began_s = time.perf_counter()
    thread.start()
    time.sleep(0.3)
    paused = {"nodes": [cell.standing(node, NodeState.PAUSED)], "beats": {}, "serial": 0}
    assert cell.post("/cells/pulse", paused).json() == {"expires_ms": {}, "lost": {}}
    offer(hub)
    thread.join(10)
    assert time.perf_counter() - began_s < 5
    assert ended == [(0.0, [])]


def test_who_asks_again_takes_the_place_of_the_first(hub: Hub, cell: SignedCell) -> None:
    node = cell.greet()
    first: list[list[dict[str, Any]]] = []
    thread = threading.Thread(target=lambda: first.append(work(SignedCell(hub), [cell.standing(node)], wait_s=20)))
    thread.start()
    time.sleep(0.3)
    second: list[list[dict[str, Any]]] = []
    other = threading.Thread(target=lambda: second.append(work(SignedCell(hub), [cell.standing(node)], wait_s=20)))
    other.start()
    thread.join(10)
    assert first == [[]]
    offer(hub)
    other.join(10)
    assert len(second[0]) == 1


def test_one_sign_of_life_for_all(hub: Hub, cell: SignedCell) -> None:
    node = cell.greet()
    items = [offer(hub) for _ in range(3)]
    grants = work(cell, [cell.standing(node, free=3)])
    hub.broker.withdraw(hub.institution, items[1].offer.offer_id)
    beat = {"fencing_token": 1, "stage": "segmenting", "fraction": 0.5, "node": node}
    beats = {grant["attempt_id"]: beat for grant in grants} | {hub.ids.new("att"): beat}
    renewed = cell.post("/cells/pulse", {"nodes": [cell.standing(node)], "beats": beats, "serial": 0}).json()
    assert set(renewed["expires_ms"]) == {grants[0]["attempt_id"], grants[2]["attempt_id"]}
    assert sorted(renewed["lost"].values()) == ["attempt-absent", "lease-lost"]
    wrong = {"nodes": [], "beats": {grants[0]["attempt_id"]: {**beat, "node": "nod_nobodys"}}, "serial": 0}
    assert code(cell.post("/cells/pulse", wrong)) == (400, "bad-message")


@pytest.mark.parametrize(
    "change",
    [
        {"nodes": None},
        {"nodes": [{"node": "x", "state": "asleep", "free": 1, "warm": []}]},
        {"nodes": [{"node": "x", "state": "up", "free": -1, "warm": []}]},
        {"nodes": [{"node": "x", "state": "up", "free": 201, "warm": []}]},
        {"nodes": [{"node": "x", "state": "up", "free": 1, "warm": []}] * 2},
        {"nodes": [{"node": "x", "state": "up", "free": 1, "warm": ["y"]}]},
        {"wait_s": 31},
        {"wait_s": "1"},
        {"wait_s": None},
        {"serial": -1},
        {"serial": None},
    ],
    ids=str,
)
def test_a_malformed_request_is_refused(cell: SignedCell, change: dict[str, Any]) -> None:
    cell.greet()
    body = {"cell": cell.cell, "nodes": [], "wait_s": 0, "serial": 0, **change}
    assert code(cell.post("/leases", body)) == (400, "bad-message")


def test_a_broken_download_goes_on(hub: Hub, cell: SignedCell) -> None:
    node = cell.greet()
    item = offer(hub, image=volume(3, (64, 64, 64)))
    grant = Grant.from_json(work(cell, [cell.standing(node)])[0], "2")
    path = f"/attempts/{grant.attempt_id}/payload"
    token = {"BitHive-Fencing-Token": "1"}
    whole = cell.send(cell.request("GET", path, headers=token))
    assert (whole.status_code, whole.content) == (200, item.sealed)
    tag = whole.headers["etag"]

    def part(asked: str, of: str = tag) -> Any:
        return cell.send(cell.request("GET", path, headers={**token, "Range": asked, "If-Range": of}))

    rest = part("bytes=1000-")
    assert (rest.status_code, rest.content) == (206, item.sealed[1000:])
    assert rest.headers["content-range"] == f"bytes 1000-{len(item.sealed) - 1}/{len(item.sealed)}"
    assert part("bytes=0-9").content == item.sealed[:10]
    assert part("bytes=5-999999999").content == item.sealed[5:]
    assert part(f"bytes={len(item.sealed)}-").status_code == 416
    for odd in ("bytes=5-3", "bytes=-5", "bytes=0-1,3-4", "lines=1-", "bytes=a-"):
        assert part(odd).status_code in (200, 416)
    assert part("bytes=1000-", '"another"').status_code == 200


class Breaking(Download):
    """Breaks off after some bytes, once."""

    left_bytes = 100_000
    taken: list[int]

    def take(self, piece: bytes) -> None:
        self.taken.append(len(piece))
        super().take(piece)
        if self.left_bytes and self.received_bytes > self.left_bytes:
            self.left_bytes = 0
            raise NetworkUnreachable


def test_the_client_goes_on_where_it_was(hub: Hub, cell: SignedCell) -> None:
    node = cell.greet()
    item = offer(hub, image=volume(3, (64, 64, 64)))
    grant = Grant.from_json(work(cell, [cell.standing(node)])[0], "2")
    network = HttpNetwork(hub.url, cell.token, key=cell.key)
    download = Breaking(lambda: Opener(item.keys.payload_key, PAYLOAD, len(item.payload)))
    download.taken = []
    with pytest.raises(NetworkUnreachable):
        network.payload(grant, download)
    network.payload(grant, download)
    assert download.finish() == item.payload
    assert sum(download.taken) == len(item.sealed)
    network.close()


def test_what_is_no_json_is_refused(cell: SignedCell) -> None:
    cell.greet()
    assert code(cell.send(cell.request("POST", "/leases", b"{"))) == (400, "bad-input")
    assert code(cell.post("/leases", json.loads("[]"))) == (400, "bad-message")
