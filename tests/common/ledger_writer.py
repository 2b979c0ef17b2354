"""A process that writes into a ledger until it is killed: `python -m tests.common.ledger_writer URL SEED`.

After each entry that the ledger has acknowledged it writes the entry's id, on a line of its own, to standard output.
"""

from __future__ import annotations

import os
import sys
import threading

from bithive.clock import SystemClock
from bithive.database_sql import Database
from economy.entry import Account, Entry, PendingRef, hold, move, settle
from economy.ledger import Ledger
from economy.store_sql import SqlStore

THREADS = 4


def main(url: str, seed: str, parties: list[str]) -> None:
    ledger = Ledger(SqlStore(Database(url)), SystemClock())
    source = Account(parties[0], "issuance", "COIN")

    def write(number: int) -> None:
        one, two = (Account(parties[1 + (number + step) % 2], "credit", "COIN") for step in (0, 1))
        for count in range(1_000_000):
            name = f"{seed}/{number}/{count}"
            legs = (
                (move(source, one, 7),),
                (hold(source, two, 5, None),),
                (settle(PendingRef(f"{seed}/{number}/{count - 1}", 0), 3), move(source, two, 1)),
            )
            ledger.post(Entry(f"{name}", "test.done", legs[count % 3]))
            os.write(1, f"{name}\n".encode())

    threads = [threading.Thread(target=write, args=(number,), daemon=True) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
