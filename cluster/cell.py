"""A cell: one Ray cluster of one operator, and the agent that pulls work for it."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from bithive.clock import SystemClock
from bithive.keys import SigningKey
from bithive.log import get
from bithive.offer import DataClass
from bithive.settings import Settings
from cluster import loading, measure
from cluster.agent import Agent, Identity
from cluster.errors import CellUnconfigured, RunnerDied
from cluster.network_http import HttpNetwork
from cluster.runner import Runner
from models.catalog import Catalog

EXIT_DRAINED = 0
EXIT_DIED = 70

_DRAIN_S = 10.0
_WATCH_S = 0.5

# Ray reads these when Python imports it, and its processes inherit them.
_RAY_ENVIRONMENT = {
    "RAY_AUTH_MODE": "token",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_SERVE_LOG_TO_STDERR": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # How long Serve looks for a replica that has the bundle loaded before it takes any: another loads it in seconds.
    "RAY_SERVE_MULTIPLEXED_MODEL_ID_MATCHING_TIMEOUT_S": "0.25",
}


def run_cell(settings: Settings, opened: Callable[[Settings], Runner] | None = None) -> int:
    """Run this machine's cell until it is told to end; the exit code.

    Starts the process anew, once, when Ray's environment is not set yet: Ray's token must be there before Python is.

    Parameters
    ----------
    settings
        Of the cell.
    opened
        Makes what runs bundles; Ray unless said otherwise.

    Raises
    ------
    CellUnconfigured
        Without an address or a token.
    """
    if settings.cell.hub_url is None or settings.cell.token is None:
        raise CellUnconfigured("set BITHIVE_CELL__HUB_URL and BITHIVE_CELL__TOKEN")
    if opened is None:
        _ensure_ray_environment()
    ended = threading.Event()
    network = HttpNetwork(settings.cell.hub_url, settings.cell.token.get_secret_value())
    try:
        runner = (opened or open_runner)(settings)
    except RunnerDied as error:
        get().error("cell.failed", code=error.code, exc_info=error.__cause__ or error)
        return EXIT_DIED
    _on_signals(ended)
    agent = Agent(network, runner, _identity(settings), SystemClock(), settings.cell.slots)
    agent.start()
    get().info("cell.ready", count=len(runner.bundles()))
    while not ended.wait(_WATCH_S):
        if not runner.healthy():
            get().error("cell.died")
            # Ray's own clean-up would wait for processes that are gone.
            os._exit(EXIT_DIED)
    agent.drain(_DRAIN_S)
    network.close()
    runner.close()
    shutil.rmtree(_ray_folder(settings), ignore_errors=True)
    return EXIT_DRAINED


def open_runner(settings: Settings) -> Runner:
    """Ray with replicas that can run every bundle of the catalogue whose weights can be had. Raises `RunnerDied`."""
    from cluster.replica_ray import Plan
    from cluster.runner_ray import RayRunner, RaySettings

    node_key = settings.state.absolute() / "keys" / "node.key"
    SigningKey.load_or_create(node_key)
    store, cell, clock = settings.model_store.absolute(), settings.cell, SystemClock()
    catalog = Catalog.of(settings)
    loading.fetch(catalog)
    stock = loading.Stock(lambda: Catalog.of(settings), store, clock)
    first, later = loading.in_order(stock.bundles())
    plan = Plan(
        store=str(store),
        trusted_keys=tuple(sorted(catalog.trusted())),
        first=first,
        later=later,
        engine=cell.engine,
        threads=cell.threads or max(1, measure.threads() // cell.slots),
        warm_max=cell.warm_max,
        memory_bytes=measure.slot_memory_bytes(cell.memory_bytes, cell.slots, measure.memory_bytes()),
        key_path=str(node_key),
        log_level=settings.log_level,
    )
    folder = _ray_folder(settings)
    shutil.rmtree(folder, ignore_errors=True)
    return RayRunner(RaySettings(folder, cell.slots, cell.memory_bytes, plan), stock, clock)


def _identity(settings: Settings) -> Identity:
    key = SigningKey.load_or_create(settings.state.absolute() / "keys" / "cell.key")
    return Identity(key.public_hex, settings.cell.operator, DataClass(settings.cell.data_class_max))


def _ray_folder(settings: Settings) -> Path:
    """A short path of this cell's own: a socket's path may have 107 characters."""
    name = hashlib.sha256(str(settings.state.absolute()).encode()).hexdigest()[:10]
    return Path(tempfile.gettempdir()) / f"bithive-ray-{os.getuid()}-{name}"


def _ensure_ray_environment() -> None:
    # These are Ray's, not settings of ours.
    wanted = {name: value for name, value in _RAY_ENVIRONMENT.items() if os.getenv(name) != value}
    if not os.getenv("RAY_AUTH_TOKEN"):
        wanted["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    if not wanted:
        return
    for name, value in wanted.items():
        os.putenv(name, value)
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - this very program, again


def _on_signals(ended: threading.Event) -> None:
    def end(_number: int, _frame: FrameType | None) -> None:
        ended.set()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
