"""A Ray cluster of several machines on one: a head in this process, members in processes of their own.

Ray's environment must be there before Python is, so a scenario runs in a process of its own: `python -m
tests.common.ray_cells head FOLDER SCENARIO` prints one JSON object, `... member FOLDER HEAD SLOTS GPUS` lends a machine.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bithive.clock import SystemClock
from bithive.keys import SigningKey, keyed_digest
from bithive.limits import GIB
from tests.common.tree import ROOT

CELL_KEY = "c" * 64
DIGEST_KEY = b"d" * 32
BUNDLE = "composition_ct"
MEMORY = 2 * GIB


def ray_environment() -> dict[str, str]:
    """As `cluster.cell_start` sets it, with a token of its own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("BITHIVE_", "RAY_"))}
    return kept | {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_SERVE_LOG_TO_STDERR": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "PYTHONPATH": str(ROOT),
    }


def performed(scenario: str, folder: Path, timeout_s: float = 240) -> dict[str, Any]:
    """What a scenario of `tests.common.ray_scenarios` found."""
    command = [sys.executable, "-X", "faulthandler", "-m", "tests.common.ray_cells", "head", str(folder), scenario]
    log = folder / "log"
    with log.open("wb") as errors:
        ended = subprocess.run(
            command, cwd=ROOT, env=ray_environment(), stdout=subprocess.PIPE, stderr=errors, timeout=timeout_s
        )
    assert ended.returncode == 0, (ended.returncode, log.read_text()[-6000:])
    return json.loads(ended.stdout.splitlines()[-1])


def machine(folder: Path, head: str | None, slots: int, gpus: int) -> Any:
    """How the Ray processes of a machine with that state folder are started."""
    from cluster import labels
    from cluster.cluster_ray import MachineSettings
    from cluster.lent import Lent, shape_of
    from cluster.plan import Plan
    from cluster.protocol_node import NodeGreeting
    from models.catalog import Catalog

    store = folder / "models"
    (store / "sha256").mkdir(parents=True, exist_ok=True)
    (store / "sha256" / "targets").write_text("{}")
    key_path = folder / "keys" / "node.key"
    key = SigningKey.load_or_create(key_path)
    sha256 = Catalog(store).bundles()[BUNDLE].sha256
    plan = Plan(str(store), (), (sha256,), (), "auto", 1, 2, MEMORY, str(key_path))
    shape = shape_of(slots, gpus, 8 * GIB, 10_000)
    greeting = NodeGreeting(key.public_hex, slots, MEMORY, gpus, {}, 8 * GIB, slots=slots)
    told = labels.node_labels(labels.Tier.HOSPITAL, "DE", "operator", "cpu", key.public_hex)
    # Sockets lie in it: short.
    short = Path("/tmp") / f"bh-ray-{os.getpid()}-{folder.name}"
    cell_key = CELL_KEY if head is None else ""
    return MachineSettings(short, folder / "ray", Lent(greeting, shape, plan), told, head=head, cell_key=cell_key)


@dataclass
class Told:
    """What an Attempt's progress was: its Node, and when."""

    nodes: list[str] = field(default_factory=list)
    stages: list[str] = field(default_factory=list)

    def __call__(self, stage: str, _fraction: float) -> None:
        self.stages.append(stage)

    def node(self, node_key: str) -> None:
        self.nodes.append(node_key)


class RayCell:
    """A head, and as many members as join."""

    def __init__(self, folder: Path, slots: int = 1, gpus: int = 0, replicas_min: int | None = None) -> None:
        from cluster.loading import Stock
        from cluster.runner_ray import RayRunner, RaySettings
        from models.catalog import Catalog
        from tests.common.body_phantom import BODY, LUNGS, TRACHEA, phantom

        self.folder = folder
        settings = machine(folder / "head", None, slots, gpus)
        store = Path(settings.lent.plan.store)
        self.bundle = Catalog(store).bundles()[BUNDLE]
        self.runner = RayRunner(
            RaySettings(settings, replicas_min), Stock(lambda: Catalog(store), store, SystemClock()), SystemClock()
        )
        volume = phantom((*BODY, *LUNGS, *TRACHEA)).volume
        self.payload, self.voxels = volume.to_bytes(), volume.voxels
        self.members: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def address(self) -> str:
        return self.runner._keeper._machine.address

    def join(self, name: str, slots: int = 1, gpus: int = 0) -> None:
        command = [sys.executable, "-m", "tests.common.ray_cells", "member", str(self.folder / name), self.address]
        (self.folder / name).mkdir(exist_ok=True)
        self.members[name] = subprocess.Popen([*command, str(slots), str(gpus)], cwd=ROOT, env=os.environ)

    def key(self, name: str) -> str:
        return SigningKey.load_or_create(self.folder / name / "keys" / "node.key").public_hex

    def until(self, so: Callable[[], bool], timeout_s: float = 60) -> float:
        """Seconds until it was so."""
        began = time.monotonic()
        while not so():
            assert time.monotonic() - began < timeout_s, "it does not come to pass"
            time.sleep(0.1)
        return round(time.monotonic() - began, 1)

    def serving(self, *names: str) -> Callable[[], bool]:
        """Whether these machines, and no others, have replicas that answer."""
        wanted = {self.key(name) for name in names}
        return lambda: {state.node_key for state in self.runner.replicas()} == wanted

    def attempt(
        self, number: int, allowed: Mapping[str, str] | None = None, deadline_s: float = 60
    ) -> tuple[Any, Told]:
        """Run one; the Receipt, and what was told meanwhile."""
        from cluster.work import Assignment

        nodes = allowed or {node.node_key: f"nod_{node.node_key[:6]}" for node in self.runner.nodes()}
        told = Told()
        assignment = Assignment(
            f"att_{number}",
            f"off_{number}",
            1,
            "cel_1",
            dict(nodes),
            self.bundle.sha256,
            keyed_digest(DIGEST_KEY, self.payload),
            self.voxels,
            self.bundle.reference_work_units(self.voxels),
            GIB,
            DIGEST_KEY,
            SystemClock().now_ms() + round(deadline_s * 1000),
        )
        finished = self.runner.run(assignment, bytearray(self.payload), told)
        assert keyed_digest(DIGEST_KEY, finished.findings) == finished.receipt.output_digest
        return finished.receipt, told

    def close(self) -> None:
        for member in self.members.values():
            if member.poll() is None:
                member.terminate()
        for member in self.members.values():
            member.wait(60)
        self.runner.close()


@dataclass
class Stream:
    """Attempts one after the other in several threads, until the block ends."""

    cell: RayCell
    nodes: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    count: int = 0

    def begin(self, threads: int) -> None:
        self.ended = threading.Event()
        self.threads = [threading.Thread(target=self._loop, args=(number,)) for number in range(threads)]
        for thread in self.threads:
            thread.start()

    def end(self) -> None:
        self.ended.set()
        for thread in self.threads:
            thread.join(120)

    def more(self, count: int, timeout_s: float = 60) -> float:
        """Seconds until so many more have been finished."""
        goal = self.count + count
        return self.cell.until(lambda: self.count >= goal, timeout_s)

    def _loop(self, number: int) -> None:
        from bithive.errors import BitHiveError

        attempt = number * 10_000
        while not self.ended.is_set():
            attempt += 1
            try:
                receipt, told = self.cell.attempt(attempt)
            except BitHiveError as error:
                self.failures[getattr(error, "failure", error.code)] += 1
                time.sleep(0.2)
                continue
            except Exception as error:
                self.failures[repr(error)[:300]] += 1
                time.sleep(0.2)
                continue
            if told.nodes[-1:] != [receipt.node_key]:
                self.wrong.append(receipt.attempt_id)
            self.nodes[receipt.node_key] += 1
            self.count += 1


@contextmanager
def stream(cell: RayCell, threads: int = 3) -> Any:
    going = Stream(cell)
    going.begin(threads)
    try:
        yield going
    finally:
        going.end()


class Contributor:
    """What the contributor of a member wants: until SIGTERM it lends."""

    def __init__(self) -> None:
        self.ended = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: self.ended.set())

    def state(self) -> Any:
        from cluster.protocol_node import NodeState

        return NodeState.UP

    def finished(self) -> bool:
        return False

    def attend(self) -> None:
        pass


def main() -> int:
    from bithive.log import configure

    configure("info")
    what, folder, *rest = sys.argv[1:]
    if what == "member":
        from cluster.member_ray import Member

        contributor = Contributor()
        head, slots, gpus = rest
        settings = machine(Path(folder), head, int(slots), int(gpus))
        return Member(settings, SystemClock()).serve(contributor, contributor.ended)
    from tests.common import ray_scenarios

    found = getattr(ray_scenarios, rest[0])(Path(folder))
    print(json.dumps(found), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
