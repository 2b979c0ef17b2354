"""The independent recomputation: a program that knows nothing of ours finds the same shares and roots, and lies."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bithive.outbox import Event
from economy.economy import Economy
from economy.entry import Account, Entry, move
from economy.epoch import claims_of, part_id
from economy.export import export
from economy.merkle import leaf_hash, root
from economy.store import MemoryStore
from tests.common.economy import Network

SCRIPT = Path(__file__).resolve().parents[3] / "examples" / "recompute_epoch.py"
HOURS = 3600


def recompute(log: str, folder: Path, *options: str) -> tuple[int, list[str]]:
    """Exit status and lines of the program, run without our packages or anybody's."""
    path = folder / "ledger.log"
    path.write_text(log)
    command = [sys.executable, "-I", "-S", str(SCRIPT), str(path), *options]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    return ended.returncode, (ended.stdout + ended.stderr).splitlines()


def event(topic: str, network: Network, node: str, **body: Any) -> Event:
    attempt = network.ids.new("att")
    said = {"node": node, "operator": "somebody", "at_ms": network.clock.now_ms(), **body}
    return Event(topic, attempt, said | ({"attempt_id": attempt} if topic == "node.caught" else {}))


def online(network: Network, node: str, declared_ms: int, kept_ms: int) -> Event:
    now_ms = network.clock.now_ms()
    times = {"from_ms": now_ms - declared_ms, "to_ms": now_ms, "declared_ms": declared_ms, "kept_ms": kept_ms}
    return event("node.online", network, node, **times)


def work(economy: Economy, network: Network, node: str, units: int, **more: int) -> None:
    accepted = network.accepted(network.ids.new("off"), work_units=units, node=node)
    economy.booking.take(Event(accepted.topic, accepted.key, {**accepted.body, **more}))


@pytest.fixture(scope="module")
def lived(tmp_path_factory):
    """Five epochs with all that changes a share: speed, quality, time online, nodes caught early and late, old work."""
    from bithive.clock import ManualClock
    from bithive.ids import SeededIds

    clock, chance = ManualClock(), random.Random(5)
    economy = Economy.on(MemoryStore(), tmp_path_factory.mktemp("keys"), clock, SeededIds(1, clock), epoch_s=3600)
    network = Network(clock)
    nodes = [network.ids.new("nod") for _ in range(7)]
    for number in range(5):
        for node in nodes[: 7 - number]:
            for _ in range(chance.randrange(1, 4)):
                quality_bp = chance.choice((5000, 10_000)) if node != nodes[5] else 0
                told = {"interval_ms": chance.choice((1, 900, 1000, 5000)), "quality_bp": quality_bp}
                work(economy, network, node, 1000, **(told if number else {}))
        if number == 0:
            _old_work(economy, nodes[6])
        if number == 1:
            economy.booking.take(online(network, nodes[0], 3000, 1000))
            economy.booking.take(online(network, nodes[1], 0, 0))
            economy.booking.take(event("node.caught", network, nodes[2], reason="disagrees"))
        clock.advance_s(HOURS)
        economy.booking.take(online(network, nodes[0], 600, 600))
        economy.epochs.close()
        if number == 1:
            for _ in range(100):
                work(economy, network, nodes[3], 10)
            economy.booking.take(event("node.caught", network, nodes[4], reason="forged"))
            economy.settlements.settle()
        if number == 3:
            clock.advance_s(72 * HOURS)
            economy.settlements.settle()
    clock.advance_s(HOURS)
    economy.epochs.close()
    yield economy
    economy.close()


def _old_work(economy: Economy, node: str) -> None:
    party, net = economy.parties.of("node", node), economy.parties.of("network")
    legs = (move(Account(net, "work-issue", "WU"), Account(party, "work", "WU"), 777),)
    economy.ledger.post(Entry("receipt/old", "work.measured", legs))


@pytest.fixture(scope="module")
def log(lived):
    return "".join(export(lived.ledger.store, "log"))


def test_a_stranger_finds_the_same_shares_and_roots(lived, log, tmp_path):
    status, lines = recompute(log, tmp_path)
    assert status == 0, lines
    roots = [line.split()[-1] for line in lines if line.startswith("epoch")]
    assert roots == [claims_of(lived.ledger.store, number).root for number in range(1, 7)]
    assert len(set(roots)) >= 3, "what is settled in between changes the claims"
    leaves = [leaf_hash(line.encode()) for line in log.splitlines()]
    assert lines[-1] == f"log of {len(leaves)} entries, root {root(leaves).hex()}"


def test_it_shows_each_share_and_claim_of_an_epoch(lived, log, tmp_path):
    status, lines = recompute(log, tmp_path, "--epoch", "6")
    claims = [line.split()[1:] for line in lines if line.startswith("claim ")]
    assert claims == [[claim.party, str(claim.cumulative)] for claim in claims_of(lived.ledger.store, 6).claims]
    status, lines = recompute(log, tmp_path, "--epoch", "2")
    assert status == 0
    shares = {line.split()[1]: [int(part) for part in line.split()[2:]] for line in lines if line.startswith("share ")}
    paid = {}
    for leg in json.loads(lived.ledger.get(part_id(2, 0)).content)["transfers"]:
        if ":earned:" in leg["credit"]:
            paid[leg["credit"].split(":")[0]] = leg["amount"]
    assert {party: share[2] for party, share in shares.items() if share[2]} == paid
    assert min(weight for _, weight, _ in shares.values()) == 0, "somebody was caught"
    assert any(0 < weight < units for units, weight, _ in shares.values()), "somebody was away"


def _change(log: str, kind: str, change: Any, which: int = 0) -> str:
    """The log with one entry of a kind changed, or left out."""
    rows = [json.loads(line) for line in log.splitlines()]
    chosen = [row for row in rows if row["body"]["kind"] == kind][which]
    change(chosen["body"])
    return "".join(json.dumps(row, sort_keys=True, separators=(",", ":"), ensure_ascii=False) + "\n" for row in rows)


def _one_more(body: Any) -> None:
    legs = [leg for leg in body["transfers"] if ":earned:" in leg["credit"]]
    legs[0]["amount"] += 1
    legs[1]["amount"] -= 1


def _friend_instead(body: Any) -> None:
    legs = [leg for leg in body["transfers"] if ":earned:" in leg["credit"]]
    legs[0]["credit"], legs[1]["credit"] = legs[1]["credit"], legs[0]["credit"]


def _at_once(body: Any) -> None:
    del next(leg for leg in body["transfers"] if "timeout_s" in leg)["timeout_s"]


LIES = {
    "a unit moved from one to another": ("epoch.paid", _one_more, 0),
    "two shares swapped": ("epoch.paid", _friend_instead, 1),
    "a reward paid at once": ("epoch.paid", _at_once, 0),
    "more than the schedule": ("epoch.opened", lambda body: body["facts"].update(pool=body["facts"]["pool"] + 1), 0),
    "an older rule": ("epoch.opened", lambda body: body["facts"].update(reward_rule=1), 0),
    "another root": ("claims.published", lambda body: body["facts"].update(root="0" * 64), 4),
    "another total": ("claims.published", lambda body: body["facts"].update(total="1"), 4),
    "units from nowhere": ("work.measured", lambda body: body["transfers"][0].update(amount=10**9), 0),
    "a speed beyond the rule's": ("work.measured", lambda body: body["facts"].update(speed_bp=20_000), 0),
    "another residue": ("epoch.closed", lambda body: body["facts"].update(residue=5), 0),
    "time kept that was not": ("node.online", lambda body: body["facts"].update(kept_ms=2000), 1),
    "settled without standing": ("reward.settled", lambda body: body["facts"].update(reason="time"), 0),
    "voided without cause": ("reward.voided", lambda body: body["facts"].update(node="pty_nobody"), 0),
    "work made greater": ("work.measured", lambda body: body["facts"].update(work_units=1001), 3),
}


@pytest.mark.parametrize("lie", LIES)
def test_every_lie_is_named(log, tmp_path, lie):
    status, lines = recompute(_change(log, *LIES[lie]), tmp_path)
    assert status == 1
    assert any(line.startswith("DIFFERS") for line in lines), lines


def test_an_entry_left_out_is_noticed(log, tmp_path):
    lines = log.splitlines(keepends=True)
    place = next(number for number, line in enumerate(lines) if '"node.caught"' in line)
    assert recompute("".join(lines[:place] + lines[place + 1 :]), tmp_path)[0] == 1


def test_it_is_short_and_imports_nothing_of_ours():
    lines = SCRIPT.read_text().splitlines()
    assert len(lines) < 200
    imported = {line.split()[1].split(".")[0] for line in lines if line.startswith(("import ", "from "))}
    assert imported <= sys.stdlib_module_names


def test_an_empty_log(tmp_path):
    assert recompute("", tmp_path)[0] == 0
