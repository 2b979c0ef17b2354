"""What a Lease costs beyond the work: from the first byte of an Offer until the network side has accepted the findings.

A real hub (network side, durable SQLite) and the cell as it is shipped (Ray, wall, bundle process) on loopback. The work
is what the Node's own Receipt says it took; everything else is overhead, and is told step by step. There is no rival to
run beside it: BOINC, Golem and io.net publish no such figure.
"""

from __future__ import annotations

import sqlite3
import statistics
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from benchmarks.common import console, machine
from bithive.clock import SystemClock
from bithive.envelope import PAYLOAD, seal, sealed_size_bytes
from bithive.ids import RandomIds
from bithive.keys import keyed_digest
from bithive.offer import DataClass, Offer, OfferKeys, Urgency
from bithive.receipt import Receipt
from clinic.network import NetworkEvent
from clinic.network_http import HttpNetwork
from inference.volume import Volume
from models.bundle import Bundle
from models.catalog import Catalog
from tests.common.body_phantom import BODY, LUNGS, phantom
from tests.common.hub import MODEL_STORE, Cell, Hub
from tests.common.servers import wait_until

RUNS_SMALL, RUNS_LARGE = 60, 5
TARGET_MS = 50.0
STEPS = ("offer and payload in", "until leased", "download and dispatch", "work", "findings in and checked", "told")
_STARTED_S = 240.0


@dataclass(frozen=True, slots=True)
class Load:
    """What is offered again and again.

    Attributes
    ----------
    name
        As printed.
    bundle, volume
        What runs on what.
    runs
        How often it is measured.
    """

    name: str
    bundle: Bundle
    volume: Volume
    runs: int


@dataclass(frozen=True, slots=True)
class Run:
    """Milliseconds of each step, in the order of `STEPS`."""

    steps_ms: tuple[float, ...]

    @property
    def overhead_ms(self) -> float:
        """From the Offer's first byte until the hub has accepted, but the work."""
        return sum(self.steps_ms[: STEPS.index("told")]) - self.steps_ms[STEPS.index("work")]


class Listener(threading.Thread):
    """Hears the institution's events, and when each came."""

    def __init__(self, network: HttpNetwork, clock: SystemClock) -> None:
        super().__init__(daemon=True)
        self._network, self._clock, self._after = network, clock, 0
        self._heard: dict[tuple[str, str], tuple[NetworkEvent, int]] = {}
        self._news, self.ended = threading.Condition(), threading.Event()

    def run(self) -> None:
        while not self.ended.is_set():
            for event in self._network.events(self._after, 5.0):
                self._after = event.seq
                with self._news:
                    self._heard.setdefault((event.offer_id, event.topic), (event, self._clock.now_ms()))
                    self._news.notify_all()

    def wait(self, offer_id: str, topic: str, timeout_s: float) -> tuple[NetworkEvent, int]:
        """The first event of that topic, and when it was heard."""
        ends = {topic, "offer.exhausted"}
        with self._news:
            assert self._news.wait_for(lambda: any((offer_id, end) in self._heard for end in ends), timeout_s), topic
            assert (offer_id, topic) in self._heard, self._heard[offer_id, "offer.exhausted"]
            return self._heard[offer_id, topic]


def lacks() -> str | None:
    """What keeps it from running."""
    from benchmarks.common import study_folder

    return None if study_folder().is_dir() else "the T1 study is not here"


def main(runs: int | None = None) -> None:
    """Measure both payloads and print where the time goes."""
    console.print(f"[bold]A Lease, from Offer to accepted[/bold]  {machine()}\n")
    with tempfile.TemporaryDirectory() as folder:
        hub = Hub(Path(folder) / "hub", BITHIVE_ROLE="network")
        cell = None
        try:
            hub.start()
            institution = hub.headers("institution")["Authorization"].split()[1]
            cell = Cell(hub, Path(folder) / "cell")
            cell.start()
            log = cell.state / "cell.log"
            wait_until(lambda: '"cell.ready"' in log.read_text(), _STARTED_S, cell.process)
            for load in _loads(runs):
                _show(load, _measure(hub, institution, load))
        finally:
            if cell is not None:
                cell.stop()
            hub.stop()


def _loads(runs: int | None) -> Sequence[Load]:
    catalog = Catalog(MODEL_STORE)
    return (
        Load("a phantom's chest, lungs_ct, 1 MB", catalog.bundle("lungs_ct"), _megabyte(), runs or RUNS_SMALL),
        Load("t1-head, intracranial_t1, 81 MB", catalog.bundle("intracranial_t1"), _head(), runs or RUNS_LARGE),
    )


def _megabyte() -> Volume:
    return phantom((*BODY, *LUNGS), (56, 95, 94), (4.5, 4.5, 5.0)).volume


def _head() -> Volume:
    """The study's own Volume."""
    from benchmarks.common import study_folder
    from tests.golden.conftest import read_series

    return read_series(study_folder())


def _institution(hub: Hub) -> str:
    """The hub's own institution."""
    with sqlite3.connect(f"file:{hub.state}/accounts.db?mode=ro", uri=True) as connection:
        (found,) = connection.execute("SELECT institution FROM account WHERE role = 'institution'").fetchone()
    return str(found)


def _measure(hub: Hub, token: str, load: Load) -> list[Run]:
    clock = SystemClock()
    ids = RandomIds(clock)
    institution = _institution(hub)
    asking, hearing = HttpNetwork(hub.url, token), HttpNetwork(hub.url, token)
    listener = Listener(hearing, clock)
    listener.start()
    content = load.volume.to_bytes()
    try:
        _once(asking, listener, clock, ids, institution, load, content)
        return [_once(asking, listener, clock, ids, institution, load, content) for _ in range(load.runs)]
    finally:
        listener.ended.set()
        listener.join(10)
        asking.close()
        hearing.close()


def _once(
    network: HttpNetwork,
    listener: Listener,
    clock: SystemClock,
    ids: RandomIds,
    institution: str,
    load: Load,
    content: bytes,
) -> Run:
    keys = OfferKeys(ids.token(), ids.token())
    offer = _offer(clock.now_ms(), ids, institution, keys, load, content)
    begun_ms = clock.now_ms()
    network.offer(offer, keys, sealed_size_bytes(len(content)))
    network.upload(offer.offer_id, seal(keys.payload_key, PAYLOAD, content), sealed_size_bytes(len(content)))
    leased, _ = listener.wait(offer.offer_id, "attempt.leased", 60)
    accepted, heard_ms = listener.wait(offer.offer_id, "attempt.accepted", 120)
    opened, _ = listener.wait(offer.offer_id, "offer.opened", 1)
    network.acknowledge(offer.offer_id)
    receipt = Receipt.from_json(accepted.receipt)
    worked_ms = receipt.started_ms + receipt.wall_ms
    points = (begun_ms, opened.at_ms, leased.at_ms, receipt.started_ms, worked_ms, accepted.at_ms, heard_ms)
    return Run(tuple(float(after - before) for before, after in pairwise(points)))


def _offer(now_ms: int, ids: RandomIds, institution: str, keys: OfferKeys, load: Load, content: bytes) -> Offer:
    members: dict[str, Any] = {
        "offer_id": ids.new("off"),
        "institution": institution,
        "bundle": load.bundle.name,
        "bundle_version": load.bundle.version,
        "bundle_sha256": load.bundle.sha256,
        "data_class": DataClass.P0,
        "urgency": Urgency.HIGH,
        "payload_size_bytes": len(content),
        "payload_digest": keyed_digest(keys.digest_key, content),
        "voxels": load.volume.voxels,
        "work_units": load.bundle.reference_work_units(load.volume.voxels),
        "memory_bytes": 2 << 30,
        "created_ms": now_ms,
        "deadline_ms": now_ms + 600_000,
    }
    return Offer(**members)


def _show(load: Load, runs: Sequence[Run]) -> None:
    size_mb = len(load.volume.to_bytes()) / 1e6
    table = Table("", "p50 ms", "p90 ms", "worst ms", title=f"{load.name} ({size_mb:.1f} MB, {len(runs)} runs)")
    rows = [(name, [run.steps_ms[place] for run in runs]) for place, name in enumerate(STEPS)]
    for name, values in [*rows, ("overhead: until accepted, but the work", [run.overhead_ms for run in runs])]:
        ordered = sorted(values)
        shown = (statistics.median(ordered), float(np.quantile(ordered, 0.9)), ordered[-1])
        table.add_row(name, *(f"{value:.1f}" for value in shown))
    console.print(table)
    overhead_ms = statistics.median(run.overhead_ms for run in runs)
    if size_mb < 2:
        verdict = "reached" if overhead_ms < TARGET_MS else "MISSED"
        console.print(f"overhead p50 {overhead_ms:.1f} ms; target below {TARGET_MS:.0f} ms: {verdict}\n")
    else:
        console.print(f"overhead p50 {overhead_ms:.0f} ms, {size_mb / overhead_ms * 1000:.0f} MB/s of payload\n")


if __name__ == "__main__":
    started_s = time.perf_counter()
    main()
    console.print(f"{time.perf_counter() - started_s:.0f} s in all")
