"""The Ray processes of one machine: the raylet, and on a cell's head the GCS; ended with us, started anew by us.

Ray's own functions start them, as children that the kernel ends when the thread that started them does (prctl(2),
PR_SET_PDEATHSIG): everything here belongs to one thread that lives as long as the cell.

The GCS keeps its state in an embedded RocksDB. While it is away replicas go on; it comes back on the same port within
a second, and everything that was there before finds it again. A raylet that has died is dead for Ray for good: the next
one is another node to Ray, with the same labels, by which we know the machine.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import psutil
import ray
from ray._private.node import Node
from ray._private.parameter import RayParams

from bithive.clock import Clock
from bithive.errors import BadSettings
from bithive.limits import GIB, PAYLOAD_BYTES_MAX
from bithive.log import get
from cluster import measure
from cluster.errors import RunnerDied
from cluster.lent import VARIABLE, Lent

MACHINES = b"bithive-machines"
"""Namespace of the GCS's key-value store in which each machine says what it lends, by its label."""

NODE_LABEL = "bithive/node"

_CELL_KEY = b"cell-key"
_STORE_BYTES_MIN = 1 * GIB
_RESTARTS_MAX = 5
_RESTARTS_WITHIN_S = 120.0
_GCS, _RAYLET = "gcs_server", "raylet"
_GONE_S = 20.0
_REPLICA = "ray::ServeRepl"

_SYSTEM_CONFIG: dict[str, Any] = {
    # A payload is never written to disk in the clear.
    "automatic_object_spilling_enabled": False,
    # A machine that does not answer is dead after a quarter of a minute.
    "health_check_period_ms": 2000,
    "health_check_timeout_ms": 8000,
    "health_check_failure_threshold": 3,
    "gcs_storage": "rocksdb",
}


class Tended(StrEnum):
    """What was found when the processes were looked at."""

    WELL = "well"
    """All of them run."""
    GCS_ANEW = "gcs-anew"
    """The GCS had died and is back; nothing else was lost."""
    RAYLET_ANEW = "raylet-anew"
    """The raylet had died and there is another: its replicas are gone, and whoever was connected to it."""


@dataclass(frozen=True, slots=True)
class MachineSettings:
    """How the Ray processes of one machine are started.

    Attributes
    ----------
    folder
        Ray's own files; short, since sockets lie in it (at most about 40 characters).
    storage
        Where the GCS keeps its state; emptied at each start, on a head.
    lent
        What the machine lends.
    labels
        Of the Ray node; `bithive/node` names the machine.
    node_ip
        The machine's address, as its cell's machines reach it.
    head
        Address of the head's GCS; None where this machine is the head.
    gcs_port
        On which the head's GCS listens; 0 for any.
    environment
        Further variables of its processes.
    serves
        Whether replicas may run on it; a head may be told not to.
    cell_key
        The cell's own public key, hexadecimal, which a head tells the others: their Nodes prove themselves to it.
    """

    folder: Path
    storage: Path
    lent: Lent
    labels: Mapping[str, str]
    node_ip: str = "127.0.0.1"
    head: str | None = None
    gcs_port: int = 0
    environment: Mapping[str, str] = field(default_factory=dict)
    serves: bool = True
    cell_key: str = ""


class RayMachine:
    """The Ray processes of this machine. For one thread, which must outlive them.

    Parameters
    ----------
    settings
        How to start them.
    clock
        Counts restarts.

    Raises
    ------
    RunnerDied
        If they do not start.
    BadSettings
        If the folder is somebody else's.
    """

    def __init__(self, settings: MachineSettings, clock: Clock) -> None:
        self._settings, self._clock = settings, clock
        self._restarts: list[float] = []
        own_folder(settings.folder)
        lent_file = settings.folder / "lent.json"
        settings.lent.save(lent_file)
        if settings.head is None:
            shutil.rmtree(settings.storage, ignore_errors=True)
            own_folder(settings.storage)
        try:
            with _quiet():
                self._node = Node(_parameters(settings, lent_file), head=settings.head is None, shutdown_at_exit=False)
            self._introduce()
        except Exception as error:
            raise RunnerDied("Ray does not start") from error

    @property
    def address(self) -> str:
        """Of the GCS."""
        return str(self._node.gcs_address)

    @property
    def ray_node(self) -> str:
        """Ray's own name of this machine, another after each restart of its raylet."""
        return str(self._node.node_id)

    @property
    def node(self) -> Any:
        """Ray's own object, for a driver that connects to it."""
        return self._node

    def processes(self) -> dict[str, psutil.Process]:
        """The two without which a cluster is dead, as far as they run, by name."""
        found = {}
        for name in (_GCS, _RAYLET):
            for started in self._node.all_processes.get(name, ()):
                with suppress(psutil.NoSuchProcess):
                    found[name] = psutil.Process(started.process.pid)
        return found

    def stands(self) -> bool:
        """Whether the raylet runs at this moment; for any thread."""
        raylet = self.processes().get(_RAYLET)
        try:
            return raylet is not None and raylet.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    def tend(self) -> Tended:
        """Start anew what has died.

        Raises
        ------
        RunnerDied
            If it does not start, or has died too often.
        """
        dead = {name for name, _ in self._node.dead_processes()} & {_GCS, _RAYLET}
        if not dead:
            return Tended.WELL
        self._count()
        try:
            with _quiet():
                if _GCS in dead:
                    get().warning("ray.gcs_died")
                    self._node.kill_gcs_server(check_alive=False)
                    self._node.start_gcs_server()
                if _RAYLET in dead:
                    get().warning("ray.raylet_died")
                    self._raylet_anew()
                self._introduce()
        except Exception as error:
            raise RunnerDied("Ray does not start anew") from error
        return Tended.RAYLET_ANEW if _RAYLET in dead else Tended.GCS_ANEW

    def draining(self, deadline_ms: int) -> bool:
        """Ask the head to give this machine nothing more and to move its replicas; whether it agreed.

        The machine goes on until it is closed: Ray ends nothing at the deadline.

        Parameters
        ----------
        deadline_ms
            Until when, milliseconds since the epoch.
        """
        return drain_ray_node(self.address, self.ray_node, deadline_ms)

    def has_replicas(self) -> bool:
        """Whether a replica is left here. One that was told to end does so when it has done what it runs."""
        return any(process.name().startswith(_REPLICA) for process in _family(self.processes().values()))

    def close(self) -> None:
        """End every process of this machine, and what they started."""
        family = _family(self.processes().values())
        with suppress(Exception), _quiet():
            self._node.kill_all_processes(check_alive=False, allow_graceful=False, wait=True)
        _, alive = psutil.wait_procs(family, timeout=2)
        for process in alive:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(alive, timeout=_GONE_S)
        shutil.rmtree(self._settings.folder, ignore_errors=True)
        if self._settings.head is None:
            shutil.rmtree(self._settings.storage, ignore_errors=True)

    def _raylet_anew(self) -> None:
        node = self._node
        node.kill_raylet(check_alive=False)
        node._node_id = ray.NodeID.from_random().hex()  # noqa: SLF001 - a node that was declared dead stays dead
        for name in (node.raylet_socket_name, node.plasma_store_socket_name):
            Path(name).unlink(missing_ok=True)
        node.start_ray_processes()

    def _introduce(self) -> None:
        """Tell the cell what this machine lends."""
        settings = self._settings
        label, client = settings.labels.get(NODE_LABEL, "").encode(), self._node.get_gcs_client()
        if settings.head is None:
            client.internal_kv_put(_CELL_KEY, settings.cell_key.encode(), True, MACHINES)
        cell_key = (client.internal_kv_get(_CELL_KEY, MACHINES) or b"").decode()
        client.internal_kv_put(label, settings.lent.proven(cell_key).told(), True, MACHINES)

    def _count(self) -> None:
        now_s = self._clock.monotonic_s()
        self._restarts = [at_s for at_s in self._restarts if now_s - at_s < _RESTARTS_WITHIN_S] + [now_s]
        if len(self._restarts) > _RESTARTS_MAX:
            raise RunnerDied("Ray has died too often")


def drain_ray_node(address: str, ray_node: str, deadline_ms: int) -> bool:
    """Have a machine's replicas moved and nothing more placed on it; whether the GCS at `address` agreed."""
    from ray.core.generated import autoscaler_pb2

    reason = autoscaler_pb2.DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")
    try:
        gcs = ray._raylet.GcsClient(address=address)  # noqa: SLF001 - the only way but the dashboard's
        accepted, _why = gcs.drain_node(ray_node, reason, "the machine is leaving", deadline_ms)
    except Exception as error:  # noqa: BLE001 - Ray raises many; a GCS that is away is one of them
        get().warning("ray.not_drained", exc_info=error)
        return False
    return bool(accepted)


def own_folder(folder: Path) -> None:
    """A folder that nobody else can read or has prepared. Raises `BadSettings`."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise BadSettings("the folder for Ray's files belongs to somebody else")
    folder.chmod(0o700)


def store_bytes(slots: int) -> int:
    """Shared memory for one payload a slot, of what the machine has; taken only as it is used."""
    wanted = slots * (PAYLOAD_BYTES_MAX + _STORE_BYTES_MIN)
    free = os.statvfs("/dev/shm").f_bavail * os.statvfs("/dev/shm").f_frsize  # noqa: S108 - where Ray keeps objects
    return max(128 * 1024**2, min(wanted, measure.memory_bytes() // 8, free // 2))


def _parameters(settings: MachineSettings, lent_file: Path) -> RayParams:
    shape = settings.lent.shape
    head = settings.head is None
    resources = {shape.name: shape.slots} if settings.serves else {}
    config = {**_SYSTEM_CONFIG, "gcs_storage_path": str(settings.storage)} if head else None
    return RayParams(
        node_ip_address=settings.node_ip,
        gcs_address=settings.head,
        redis_address=settings.head,
        gcs_server_port=settings.gcs_port if head and settings.gcs_port else None,
        # The controller and what Serve starts beside replicas; replicas take slots alone.
        num_cpus=max(2, shape.slots),
        num_gpus=shape.gpus if shape.gpu_hundredths and settings.serves else 0,
        resources=resources,
        labels=dict(settings.labels),
        object_store_memory=store_bytes(shape.slots),
        include_dashboard=False if head else None,
        include_log_monitor=False,
        no_monitor=True,
        min_worker_port=0,
        max_worker_port=0,
        temp_dir=str(settings.folder),
        env_vars={**settings.environment, VARIABLE: str(lent_file)},
        _system_config=config,
    )


def _family(roots: Sequence[psutil.Process] | Any) -> list[psutil.Process]:
    found = []
    for root in list(roots):
        with suppress(psutil.NoSuchProcess):
            found += [root, *root.children(recursive=True)]
    return found


class _quiet:  # noqa: N801 - a context
    """Ray's start functions log to the root of their own; what matters we log ourselves."""

    def __enter__(self) -> None:
        self._level = logging.getLogger("ray").level
        logging.getLogger("ray").setLevel(logging.ERROR)

    def __exit__(self, *_of_it: object) -> None:
        logging.getLogger("ray").setLevel(self._level)
