"""Runs bundles on a Ray cluster of this machine, by Ray Serve.

Ray gives every member of a cluster the right to run code on every other; so one cluster is one operator's, listens on
loopback, and has a token of its own that is made at each start. Serve gives replicas that stay warm, restart when they
die and drain when they are told to, and are chosen by what they have loaded. The broker, not Ray, owns order.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import ray
from ray import serve
from ray.serve.schema import LoggingConfig

from bithive.clock import Clock
from bithive.errors import BadSettings
from bithive.keys import SigningKey
from bithive.limits import GIB, PAYLOAD_BYTES_MAX
from bithive.log import get
from bithive.receipt import Receipt
from cluster import measure
from cluster.errors import RunnerDied, WorkFailed
from cluster.loading import Stock
from cluster.protocol import NodeGreeting
from cluster.replica_ray import Plan, Replica
from cluster.runner import greeting
from cluster.shelves import ShelfState, Shelves
from cluster.work import Assignment, Finished, Progress

_APPLICATION = "bithive"
_STORE_BYTES_MIN = 1 * GIB
_POLL_S = 2.0
_POLL_TIMEOUT_S = 2.0


@dataclass(frozen=True, slots=True)
class RaySettings:
    """How a cluster is started.

    Attributes
    ----------
    folder
        Ray's own files; short, since sockets lie in it (at most about 40 characters).
    replicas
        How many Attempts run at once.
    memory_bytes
        As in the settings.
    plan
        What each replica loads.
    """

    folder: Path
    replicas: int
    memory_bytes: int
    plan: Plan


class RayRunner:
    """A Ray cluster with one Serve deployment. Only one in a process.

    Parameters
    ----------
    settings
        How to start it.
    stock
        What this machine can run.
    clock
        Says when to ask the replicas again.

    Raises
    ------
    RunnerDied
        If a replica does not become ready.
    """

    def __init__(self, settings: RaySettings, stock: Stock, clock: Clock) -> None:
        self._settings, self._stock, self._clock = settings, stock, clock
        self._shelves, self._polled_s, self._running = Shelves(), -_POLL_S, 0
        self._lock = threading.Lock()
        _own_folder(settings.folder)
        cpus = max(1, settings.plan.threads) * settings.replicas
        ray.init(
            address="local",
            num_cpus=cpus,
            object_store_memory=_store_bytes(settings.replicas),
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.WARNING,
            _node_ip_address="127.0.0.1",
            _temp_dir=str(settings.folder),
            # A payload is never written to disk in the clear.
            _system_config={"automatic_object_spilling_enabled": False},
        )
        self._processes = _ray_processes()
        logging.getLogger("ray.serve").setLevel(logging.WARNING)
        quiet = LoggingConfig(log_level="WARNING", enable_access_log=False)
        serve.start(proxy_location="Disabled", logging_config=quiet)
        deployment = serve.deployment(
            name="replica",
            num_replicas=settings.replicas,
            max_ongoing_requests=1,
            ray_actor_options={"num_cpus": max(1, settings.plan.threads)},
            graceful_shutdown_timeout_s=5.0,
            logging_config=quiet,
        )(Replica)
        try:
            handle = serve.run(deployment.bind(settings.plan), name=_APPLICATION, route_prefix=None)
            self._all: Any = handle
            self._handle: Any = handle.options(stream=True)
        except Exception as error:
            raise RunnerDied("a replica does not become ready") from error

    def nodes(self) -> Sequence[NodeGreeting]:
        key = SigningKey.load_or_create(Path(self._settings.plan.key_path))
        return [greeting(key, self._settings.memory_bytes, self._settings.replicas)]

    def bundles(self) -> Sequence[str]:
        return self._shelves.runnable(self._stock.bundles(), self._stock.changes)

    def warm(self) -> Sequence[str]:
        with self._lock:
            # A replica that runs would answer when it has done.
            due = self._running == 0 and self._clock.monotonic_s() - self._polled_s >= _POLL_S
            if due:
                self._polled_s = self._clock.monotonic_s()
        if due:
            try:
                self._poll()
            except (TimeoutError, ray.exceptions.RayError, serve.exceptions.RayServeException):
                self._shelves.forget()
        return self._shelves.warm()

    def run(self, assignment: Assignment, payload: bytearray, progress: Progress) -> Finished:
        with self._lock:
            self._running += 1
        try:
            return self._run(assignment, payload, progress)
        except RunnerDied:
            self._shelves.forget()
            raise
        finally:
            with self._lock:
                self._running -= 1

    def _run(self, assignment: Assignment, payload: bytearray, progress: Progress) -> Finished:
        response = None
        try:
            reference = ray.put(np.frombuffer(payload, np.uint8))
            del payload
            handle = self._handle.options(multiplexed_model_id=assignment.bundle_sha256)
            response = handle.run.remote(assignment, reference)
            del reference
            for item in response:
                if item[0] == "finished":
                    return Finished(Receipt.from_json(item[1]), item[2])
                if item[0] == "failed":
                    raise WorkFailed(item[1])
                if item[0] == "shelf":
                    self._learn(item[1])
                    continue
                _tell(progress, response, item[1], item[2])
        except ray.exceptions.ObjectStoreFullError:
            raise WorkFailed("out-of-memory") from None
        except (ray.exceptions.RayError, serve.exceptions.RayServeException) as error:
            raise RunnerDied from error
        raise RunnerDied("the replica ended without an answer")

    def _poll(self) -> None:
        for state in self._all.broadcast("state").results(timeout_s=_POLL_TIMEOUT_S):
            self._learn(state)

    def _learn(self, state: ShelfState) -> None:
        """Take what a replica says, and log what is new of it: Serve keeps what replicas themselves log."""
        known, news = self._stock.bundles(), self._shelves.learn(state)
        for event, told in (("bundle.loaded", news.loaded), ("bundle.dropped", news.dropped)):
            for sha256 in told:
                get().info(event, bundle=known[sha256].name if sha256 in known else "")
        for sha256, code in state.unloadable:
            get().warning("bundle.unloadable", bundle=known[sha256].name if sha256 in known else "", code=code)

    def healthy(self) -> bool:
        return ray.is_initialized() and all(
            process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in self._processes
        )

    def close(self) -> None:
        # Serve would drain its replicas; the agent has drained already, and Ray ends every process it started.
        ray.shutdown()


def _tell(progress: Progress, response: Any, stage: str, fraction: float) -> None:
    """Pass progress on; when that says stop, the replica stops too."""
    try:
        progress(stage, fraction)
    except Exception:
        response.cancel()
        raise


def _ray_processes() -> list[psutil.Process]:
    """The two processes without which a cluster is dead."""
    children = psutil.Process().children()
    return [process for process in children if process.name().startswith(("gcs_server", "raylet"))]


def _store_bytes(replicas: int) -> int:
    """Shared memory for one payload a replica, of what the machine has; taken only as it is used."""
    wanted = replicas * (PAYLOAD_BYTES_MAX + _STORE_BYTES_MIN)
    free = os.statvfs("/dev/shm").f_bavail * os.statvfs("/dev/shm").f_frsize  # noqa: S108 - where Ray keeps objects
    return max(128 * 1024**2, min(wanted, measure.memory_bytes() // 8, free // 2))


def _own_folder(folder: Path) -> None:
    """A folder that nobody else can read or has prepared. Raises `BadSettings`."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise BadSettings("the folder for Ray's files belongs to somebody else")
    folder.chmod(0o700)
