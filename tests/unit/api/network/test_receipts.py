"""Counter-receipts over HTTP: a cell's own, page by page, and nobody else's."""

import pytest

from bithive.envelope import seal
from cluster import protocol
from cluster.chain import verify_chain
from cluster.counter import CounterReceipt
from tests.common.network import HandCell
from tests.common.network_requests import KEY, Ask, body_of, code, hello, lease, made, put
from tests.common.network_server import Hub


def hand_in(hub: Hub, ask: Ask, node: str, **changes: object) -> int:
    """One Attempt from Offer to answer; the answer's status."""
    item = made(hub)
    put(ask, item)
    grant = protocol.Grant.from_json(lease(ask, hub))
    by_hand = HandCell.__new__(HandCell)
    by_hand.key, by_hand.cell, by_hand.node = KEY, hub.cells["own"], node
    findings = by_hand.findings(grant, item.payload)
    receipt = by_hand.receipt(grant, item.payload, findings, **changes)
    content = b"".join(seal(grant.keys.payload_key, grant.fencing_token, findings))
    headers = {
        protocol.TOKEN_HEADER: str(grant.fencing_token),
        protocol.RECEIPT_HEADER: protocol.encode_receipt(receipt),
    }
    path = f"/attempts/{grant.attempt_id}/findings"
    return int(ask("own", "POST", path, content=content, headers=headers).status_code)


def test_a_cell_reads_its_chain_page_by_page(hub: Hub, ask: Ask) -> None:
    assert body_of(made(hub))
    node = ask("own", "POST", "/cells/hello", json=hello()).json()["nodes"][KEY.public_hex]
    assert [hand_in(hub, ask, node) for _ in range(3)] == [200, 200, 200]
    assert hand_in(hub, ask, node, work_units=10**6) == 422
    found, after = [], 0
    while page := ask("own", "GET", f"/counter-receipts?subject={node}&after={after}&limit=2").json()[
        "counter_receipts"
    ]:
        found += [CounterReceipt.from_json(item) for item in page]
        after = found[-1].sequence
    verified = verify_chain(found, hub.broker.network_key.public_hex)
    assert (verified.holds, verified.accepted, verified.refused) == (True, 3, 1)
    assert found[-1].verdict == "work-units-differ"


def test_no_cell_reads_anothers(hub: Hub, ask: Ask) -> None:
    node = ask("own", "POST", "/cells/hello", json=hello()).json()["nodes"][KEY.public_hex]
    for subject in (node, hub.cells["own"], "nod_nobody", ""):
        answer = ask("other", "GET", f"/counter-receipts?subject={subject}")
        assert code(answer) == (404, "attempt-absent")
    assert ask("institution", "GET", f"/counter-receipts?subject={node}").status_code == 403


@pytest.mark.parametrize(
    "query", ["", "?subject=x&after=-1", "?subject=x&limit=0", "?subject=x&limit=1001", f"?subject={'x' * 41}"]
)
def test_a_malformed_question(ask: Ask, query: str) -> None:
    assert ask("own", "GET", f"/counter-receipts{query}").status_code in (400, 422)
