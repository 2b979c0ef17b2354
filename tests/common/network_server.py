"""The network protocol on a real HTTP server, in a thread of the test's process."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import uvicorn
from fastapi import FastAPI

from api import problems
from api.accounts import Accounts, MemoryAccountStore
from api.network import router
from bithive.clock import Clock, SystemClock
from bithive.ids import Ids, RandomIds
from bithive.settings import Settings
from cluster.broker import Broker, Durations
from cluster.network_traces import NetworkTraces
from cluster.spool import Spool
from cluster.store import MemoryStore


@dataclass(frozen=True)
class Hub:
    """A network side that answers.

    `tokens` are bearer tokens: of an institution, of a cell of its own, of a cell of a stranger.
    """

    url: str
    broker: Broker
    accounts: Accounts
    clock: Clock
    ids: Ids
    institution: str
    tokens: dict[str, str]
    cells: dict[str, str]


@contextmanager
def network_hub(
    folder: Path,
    durations: Durations | None = None,
    broker: Broker | None = None,
    port: int = 0,
    accounts: Accounts | None = None,
) -> Generator[Hub]:
    """A hub with only its network side; ends what is due ten times a second.

    With the `broker`, `accounts` and `port` of one that has ended, it is that hub started again.
    """
    clock = SystemClock()
    ids = RandomIds(clock)
    broker = broker or Broker(MemoryStore(), clock, ids, Spool(folder / "spool"), durations=durations)
    tokens: dict[str, str] = {}
    if accounts is None:
        accounts = Accounts(MemoryAccountStore(), clock, ids)
        accounts.add("own", "cell", accounts.institution())
        accounts.add("other", "cell")
        accounts.add("institution", "institution")
        tokens = {account.name: accounts.token(account) for account in accounts.all()}
    institution = accounts.institution()
    cells = {account.name: account.cell for account in accounts.all() if account.cell}
    traces = NetworkTraces(clock)
    broker.watchers.append(traces)
    app = FastAPI()
    problems.install(app)
    app.include_router(router)
    app.state.services = SimpleNamespace(
        settings=Settings(state=folder),
        clock=clock,
        ids=ids,
        accounts=accounts,
        broker=broker,
        traces=traces,
    )
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(64)
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=1))
    ended = threading.Event()

    def housekeeping() -> None:
        while not ended.wait(0.1):
            broker.expire()

    threads = [
        threading.Thread(target=lambda: asyncio.run(server.serve([listener])), daemon=True),
        threading.Thread(target=housekeeping, daemon=True),
    ]
    for thread in threads:
        thread.start()
    while not server.started:
        ended.wait(0.01)
    try:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        yield Hub(url, broker, accounts, clock, ids, institution, tokens, cells)
    finally:
        ended.set()
        broker.bell.close()
        server.should_exit = True
        for thread in threads:
            thread.join(10)
        listener.close()
