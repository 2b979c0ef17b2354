"""An epoch's close and its settlement, killed at any moment: whoever comes next finishes it, and nobody is paid twice."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bithive.clock import ManualClock
from bithive.database_sql import Database
from bithive.ids import SeededIds
from economy.check import check
from economy.economy import Economy
from economy.entry import Account, Entry, Party, move
from economy.epoch import claims_of, read_opened
from economy.store_sql import SqlStore

ROOT = Path(__file__).resolve().parents[2]
NODES, START_MS = 3_000, 1_800_000_000_000
PROGRAM = """
import sys
from tests.property.test_epoch_killed import opened
economy = opened(sys.argv[1], int(sys.argv[2]))
print("ready", flush=True)
economy.epochs.tick()
economy.settlements.settle()
economy.close()
"""


def opened(folder: str, after_s: int) -> Economy:
    clock = ManualClock(START_MS + after_s * 1000)
    store = SqlStore(Database(f"sqlite:///{folder}/ledger.db"))
    return Economy.on(store, Path(folder) / "keys", clock, SeededIds(after_s, clock), epoch_s=3600)


def earn(economy: Economy) -> None:
    ids, network = SeededIds(7, ManualClock(START_MS)), economy.parties.of("network")
    for start in range(0, NODES, 500):
        parties = [Party(ids.new("pty"), "node") for _ in range(500)]
        legs = [
            move(Account(network, "work-issue", "RU"), Account(party.party_id, "work", "RU"), start + number + 1)
            for number, party in enumerate(parties)
        ]
        economy.ledger.post(Entry(f"fill/{start}", "work.measured", tuple(legs), declares=tuple(parties)))


def killed(folder: Path, after_s: int, wait_s: float) -> bool:
    """Run a hub's round and kill it so long after it began; whether it was still at it."""
    command = [sys.executable, "-c", PROGRAM, str(folder), str(after_s)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as hub:
        assert hub.stdout is not None
        assert hub.stdout.readline() == b"ready\n"
        time.sleep(wait_s)
        hub.send_signal(signal.SIGKILL)
        hub.wait()
        return hub.returncode == -signal.SIGKILL


@pytest.mark.parametrize("kills", [2, pytest.param(60, marks=pytest.mark.soak)])
def test_killed_at_any_moment(tmp_path, kills):
    chance = random.Random(kills)
    economy = opened(str(tmp_path), 0)
    earn(economy)
    economy.close()
    hit = [killed(tmp_path, 3600, chance.uniform(0, 0.3)) for _ in range(kills)]
    hit += [killed(tmp_path, 3600 + 73 * 3600, chance.uniform(0, 0.3)) for _ in range(kills)]
    economy = opened(str(tmp_path), 3600 + 74 * 3600)
    economy.epochs.tick()
    economy.settlements.settle()
    net = {
        code: sum(item.net for item in economy.ledger.balances() if item.account.code == code)
        for code in ("work", "earned")
    }
    with economy.ledger.store.reading() as snapshot:
        epochs = [row.entry_id for row in snapshot.log(kind="epoch.closed")]
        assert not any(balance.credit_pending for balance in snapshot.accounts(code="earned"))
    assert epochs[0] == "epoch/1/end"
    pool = read_opened(economy.ledger.get("epoch/1/open")).pool
    assert pool == pytest.approx(10**12 * 3600 / 86_400, abs=1)
    assert net == {"work": 0, "earned": pool}
    assert claims_of(economy.ledger.store, 1).claims == []
    assert check(economy.ledger.store).findings == []
    assert any(hit), "nothing was hit; make the waits shorter"
    economy.close()
