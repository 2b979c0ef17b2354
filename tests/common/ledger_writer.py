"""Processes that write into a ledger until they are killed: `python -m tests.common.ledger_writer`.

It imports everything once and forks a writer for each line of standard input, so that a kill costs milliseconds::

    {"url": "...", "seed": 7, "parties": ["pty_...", ...], "answers": "<file>", "delay_s": 0.05, "delayed": "start"}

The writer posts from several threads and adds a line to `answers` after each acknowledgement: `<entry id> <seq>`, or
`seal <digest>`. `delay_s` after it began (`"delayed": "start"`) or after its first answer (`"delayed": "answer"`) it gets
SIGKILL; a line on standard output says that it is gone. With `"count"` it writes so many entries, one after the other,
and ends by itself.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bithive.clock import SystemClock
from bithive.database_sql import Database
from bithive.errors import BitHiveError
from bithive.keys import SigningKey
from economy.entry import Account, Entry, PendingRef, hold, move, settle
from economy.errors import EntryRunning
from economy.ledger import Ledger, Recorded
from economy.seal import make_seal, seal_digest
from economy.store_sql import SqlStore

THREADS = 4
SEAL_KEY = SigningKey(b"k" * 32)
_BULK_EVERY, _BULK_LEGS = 7, 40


def entry_of(seed: int, number: int, count: int, parties: Sequence[str]) -> Entry:
    """What thread `number` of writer `seed` posts as its `count`-th: always the same."""
    source = Account(parties[0], "issuance", "COIN")
    one, two = (Account(parties[1 + (number + step) % 2], "credit", "COIN") for step in (0, 1))
    name = f"w{seed:05}/{number}/{count:06}"
    if count % _BULK_EVERY == _BULK_EVERY - 1:
        return Entry(name, "test.bulk", tuple(move(source, one, 1 + leg % 3) for leg in range(_BULK_LEGS)))
    legs = (
        (move(source, one, 7), move(source, two, 3)),
        (hold(source, two, 5, None),),
        (settle(PendingRef(f"w{seed:05}/{number}/{count - 1:06}", 0), 3), move(source, two, 1)),
    )
    return Entry(name, "test.done", legs[count % 3] if count % _BULK_EVERY else legs[0])


def parsed(name: str) -> tuple[int, int, int]:
    """Seed, thread and count of an entry's id."""
    seed, number, count = name[1:].split("/")
    return int(seed), int(number), int(count)


class _Writer:
    def __init__(self, asked: dict[str, Any]) -> None:
        self._seed, self._parties = asked["seed"], asked["parties"]
        self._answers = os.open(asked["answers"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._ledger = Ledger(SqlStore(Database(asked["url"])), SystemClock())

    def say(self, line: str) -> None:
        os.write(self._answers, f"{line}\n".encode())

    def write(self, number: int, count: int) -> None:
        entry = entry_of(self._seed, number, count, self._parties)
        answer = self._ledger.post_all([entry], bulk=entry.kind == "test.bulk")[0]
        if isinstance(answer, Recorded):
            self.say(f"{entry.entry_id} {answer.seq}")
        elif not isinstance(answer, BitHiveError) or isinstance(answer, EntryRunning):
            self.say(f"wrong {entry.entry_id} {answer!r}")

    def write_some(self, count: int) -> None:
        for number in range(count):
            self.write(0, number)
        self._ledger.close()

    def write_for_ever(self) -> None:
        for number in range(THREADS):
            threading.Thread(target=self._write_on, args=(number,), daemon=True).start()
        while True:
            time.sleep(0.01)
            seal = make_seal(self._ledger.store, SEAL_KEY, SystemClock())
            if seal is not None:
                self.say(f"seal {seal_digest(seal)}")

    def _write_on(self, number: int) -> None:
        for count in range(10**6):
            self.write(number, count)


def _fork(asked: dict[str, Any]) -> int:
    process = os.fork()
    if process:
        return process
    try:
        writer = _Writer(asked)
        if count := asked.get("count"):
            writer.write_some(count)
        else:
            writer.write_for_ever()
    except BaseException as error:
        with Path(asked["answers"]).open("a", encoding="utf-8") as answers:
            answers.write(f"wrong {error!r}\n")
    os._exit(0)


def _serve() -> None:
    for line in sys.stdin:
        asked = json.loads(line)
        process = _fork(asked)
        if not asked.get("count"):
            if asked["delayed"] == "answer":
                _await_answer(Path(asked["answers"]))
            time.sleep(asked["delay_s"])
            os.kill(process, signal.SIGKILL)
        _, status = os.waitpid(process, 0)
        print(json.dumps({"pid": process, "status": status}), flush=True)


def _await_answer(path: Path) -> None:
    for _ in range(20_000):
        if path.exists() and path.stat().st_size:
            return
        time.sleep(0.001)


if __name__ == "__main__":
    _serve()
