"""A node's own papers: whole after a crash, checked without the hub."""

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bithive.keys import SigningKey
from cluster.counter import CounterReceipt
from cluster.errors import ReceiptRefused
from cluster.kept import Kept, verify_kept
from tests.common.network import Scene, scene, volume

OTHER = SigningKey(b"o" * 32)


@pytest.fixture
def stage(tmp_path: Path) -> Scene:
    return scene(tmp_path / "spool")


def fetch_of(stage: Scene) -> Callable[[str, int], list[dict[str, Any]]]:
    return lambda subject, after: [item.to_json() for item in stage.broker.counters(stage.cell.cell, subject, after, 2)]


def work(stage: Scene, seed: int) -> tuple[Any, dict[str, Any]]:
    made = stage.offer(image=volume(seed))
    grant = stage.cell.lease()
    stage.clock.advance_s(1)
    receipt = stage.cell.finish(grant, made.payload)
    counter = stage.broker.counter_of(stage.cell.cell, grant.attempt_id)
    assert counter is not None
    return receipt, counter.to_json()


def test_a_day_of_work_is_proven_offline(stage: Scene, tmp_path: Path) -> None:
    folder = tmp_path / "receipts"
    kept = Kept(folder)
    for seed in range(5):
        kept.keep(*work(stage, seed))
    (chain,) = verify_kept(folder)
    assert chain.holds
    assert (chain.subject, chain.receipts, chain.verified.accepted) == (stage.cell.node, 5, 5)
    assert chain.unanswered == ()
    assert not verify_kept(folder, OTHER.public_hex)[0].holds
    assert {path.stat().st_mode & 0o077 for path in folder.iterdir() if path.suffix == ".jsonl"} == {0}
    assert verify_kept(tmp_path / "absent") == ()


def test_lost_answers_and_refusals_are_fetched(stage: Scene, tmp_path: Path) -> None:
    folder = tmp_path / "receipts"
    kept = Kept(folder, fetch_of(stage))
    kept.keep(*work(stage, 0))
    receipt, _ = work(stage, 1)
    kept.keep(receipt, None)
    assert verify_kept(folder)[0].unanswered == (receipt.digest,)
    stage.offer(image=volume(2))
    grant = stage.cell.lease()
    with pytest.raises(ReceiptRefused):
        stage.cell.finish(grant, volume(2).to_bytes(), work_units=10**6)
    stage.clock.advance_s(10)
    stage.cell.finish(stage.cell.lease(), volume(2).to_bytes())
    kept.keep(*work(stage, 3))
    (chain,) = verify_kept(folder)
    assert chain.holds
    assert [item.verdict for item in chain.counters] == [
        "accepted",
        "accepted",
        "work-units-differ",
        "accepted",
        "accepted",
    ]
    assert kept.catch_up(stage.cell.node) == 0
    work(stage, 4)
    assert Kept(folder, fetch_of(stage)).catch_up(stage.cell.node) == 1


def test_answers_may_come_in_any_order_and_twice(stage: Scene, tmp_path: Path) -> None:
    folder = tmp_path / "receipts"
    kept = Kept(folder, fetch_of(stage))
    answers = [work(stage, seed) for seed in range(4)]
    threads = [threading.Thread(target=kept.keep, args=answer) for answer in (*reversed(answers), *answers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (chain,) = verify_kept(folder)
    assert chain.holds
    assert (len(chain.counters), chain.receipts) == (4, 4)


def _changed(counter: dict[str, Any]) -> dict[str, Any]:
    return {**counter, "work_units": 1}


def _of_another_hub(counter: dict[str, Any]) -> dict[str, Any]:
    return replace(CounterReceipt.from_json(counter), network_key=OTHER.public_hex).sign(OTHER).to_json()


def _nonsense(_: dict[str, Any]) -> dict[str, Any]:
    return {"subject": "../../etc/passwd"}


def _elsewhere(counter: dict[str, Any]) -> dict[str, Any]:
    return {**counter, "subject": "../x"}


@pytest.mark.parametrize("lie", [_changed, _of_another_hub, _nonsense, _elsewhere])
def test_a_hub_that_lies_is_not_believed(stage: Scene, tmp_path: Path, lie: Callable[..., dict[str, Any]]) -> None:
    folder = tmp_path / "receipts"
    kept = Kept(folder)
    kept.pin(stage.broker.network_key.public_hex)
    receipt, counter = work(stage, 0)
    kept.keep(receipt, lie(counter))
    (chain,) = verify_kept(folder)
    assert (chain.counters, chain.unanswered) == ((), (receipt.digest,))
    kept.keep(receipt, counter)
    assert verify_kept(folder)[0].verified.accepted == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["receipts", "spool"]


@pytest.mark.parametrize("torn", [b'{"subject": "nod', b"x" * 40_000])
def test_a_torn_line_is_cut_off(stage: Scene, tmp_path: Path, torn: bytes) -> None:
    folder = tmp_path / "receipts"
    Kept(folder).keep(*work(stage, 0))
    for path in folder.glob("*.jsonl"):
        path.write_bytes(path.read_bytes() + torn)
    assert verify_kept(folder)[0].holds
    Kept(folder).keep(*work(stage, 1))
    (chain,) = verify_kept(folder)
    assert chain.holds
    assert (len(chain.counters), chain.receipts) == (2, 2)


def test_what_was_tampered_with_shows(stage: Scene, tmp_path: Path) -> None:
    folder = tmp_path / "receipts"
    kept = Kept(folder)
    for seed in range(3):
        kept.keep(*work(stage, seed))
    counters, receipts = (next(folder.glob(f"*.{kind}.jsonl")) for kind in ("counters", "receipts"))
    lines = counters.read_bytes().splitlines(keepends=True)
    counters.write_bytes(lines[0] + lines[2])
    assert not verify_kept(folder)[0].holds
    counters.write_bytes(b"nonsense\n")
    assert not verify_kept(folder)[0].holds
    counters.write_bytes(b"".join(lines))
    rows = [json.loads(line) for line in receipts.read_bytes().splitlines()]
    rows[1]["wall_ms"] += 1
    receipts.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert len(verify_kept(folder)[0].forged) == 1
