"""Cells as processes of their own over real HTTP: killed, stopped, cut off; with Ray and without; never with DICOM."""

import subprocess
import sys
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import psutil
import pytest

from bithive.clock import SystemClock
from bithive.envelope import open_all
from cluster.broker import Durations
from cluster.listeners import standing
from inference.findings import Findings
from models.catalog import Catalog
from tests.common.cell import NO_DICOM, CellProcess, end_agents, local_cell, ray_cell
from tests.common.hub import MODEL_STORE, ROOT
from tests.common.namespaces import net_of, reachable
from tests.common.network import Made, make_offer, put_offer
from tests.common.network_server import Hub, network_hub
from tests.common.searching import holding, marked, places
from tests.common.servers import free_port, wait_until

SHORT = Durations(lease_s=1.5, heartbeat_s=0.3, retry_pause_s=0.05)


@pytest.fixture
def hub(tmp_path: Path) -> Generator[Hub]:
    with network_hub(tmp_path, SHORT) as running:
        yield running


Start = Callable[[str], CellProcess]


@pytest.fixture
def start(hub: Hub, tmp_path: Path) -> Generator[Start]:
    """Starts a cell that ends with the test."""
    started: list[CellProcess] = []

    def begin(program: str) -> CellProcess:
        started.append(CellProcess(tmp_path / "cell", hub.url, hub.tokens["own"], program))
        return started[-1]

    yield begin
    for cell in started:
        cell.stop()


def offer(hub: Hub, **changes: Any) -> Made:
    made = make_offer(hub.ids, hub.clock, hub.institution, **changes)
    put_offer(hub.broker, made)
    return made


def topics(hub: Hub, made: Made) -> list[str]:
    notices = hub.broker.notices(hub.institution, 0, 10_000)
    return [
        item.topic for item in notices if item.offer_id == made.offer.offer_id and item.topic != "attempt.progressed"
    ]


def stages(hub: Hub, made: Made) -> list[str]:
    notices = hub.broker.notices(hub.institution, 0, 10_000)
    return [item.body.get("stage", "") for item in notices if item.offer_id == made.offer.offer_id]


def wait_accepted(hub: Hub, made: Made, timeout_s: float = 60) -> None:
    wait_until(lambda: topics(hub, made)[-1] in ("attempt.accepted", "offer.exhausted"), timeout_s)
    assert topics(hub, made)[-1] == "attempt.accepted"
    assert topics(hub, made).count("attempt.accepted") == 1


def test_a_killed_cell_loses_its_lease_and_another_attempt_completes(hub: Hub, start: Start) -> None:
    cell = start(local_cell(slow_s=1.0))
    cell.wait_for("cell.connected")
    made = offer(hub)
    wait_until(lambda: "preparing" in stages(hub, made), 20)
    cell.kill()
    again = start(local_cell())
    wait_accepted(hub, made)
    assert topics(hub, made) == [
        "offer.opened",
        "attempt.leased",
        "attempt.expired",
        "attempt.leased",
        "attempt.accepted",
    ]
    assert again.stop() == 0


def test_a_cell_that_is_told_to_end_finishes_first(hub: Hub, start: Start) -> None:
    cell = start(local_cell(slow_s=1.0))
    cell.wait_for("cell.connected")
    made = offer(hub)
    wait_until(lambda: "preparing" in stages(hub, made), 20)
    after = offer(hub)
    assert cell.stop() == 0
    assert topics(hub, made)[-1] == "attempt.accepted"
    assert topics(hub, after) == ["offer.opened"]


def test_a_hub_that_goes_and_comes_loses_nothing(tmp_path: Path) -> None:
    port = free_port()
    with network_hub(tmp_path, SHORT, port=port) as first:
        cell = CellProcess(tmp_path / "cell", first.url, first.tokens["own"], local_cell(slow_s=1.0))
        cell.wait_for("cell.connected")
        made = offer(first)
        wait_until(lambda: "preparing" in stages(first, made), 20)
    try:
        first.broker.bell.__init__()  # type: ignore[misc]
        first.broker.recover()
        with network_hub(tmp_path, broker=first.broker, port=port, accounts=first.accounts) as second:
            wait_accepted(second, made)
            assert topics(second, made) == ["offer.opened", "attempt.leased", "attempt.accepted"]
            later = offer(second)
            wait_accepted(second, later)
    finally:
        assert cell.stop() == 0


def test_without_a_hub_a_cell_waits_and_ends_when_told(tmp_path: Path) -> None:
    cell = CellProcess(tmp_path, f"http://127.0.0.1:{free_port()}", "token", local_cell())
    try:
        cell.wait_for("network.lost", 60)
    finally:
        assert cell.stop() == 0


@pytest.mark.heavy
@pytest.mark.soak
def test_a_node_needs_no_dicom_library(hub: Hub, start: Start) -> None:
    head = real_head(hub)
    cell = start(local_cell(real=True))
    cell.wait_for("cell.connected")
    wait_accepted(hub, head, 120)
    check_volume(hub, head)


@pytest.mark.heavy
def test_everything_that_a_node_runs_imports_without_dicom() -> None:
    """MONAI takes pydicom where it finds it; nothing of ours asks for it, and nothing fails without."""
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", NO_DICOM + _IMPORT_ALL], capture_output=True, text=True, cwd=ROOT
    )
    assert ran.returncode == 0, ran.stderr


_IMPORT_ALL = """
import importlib, pkgutil
import bithive, cluster, inference, models
for package in (bithive, models, inference, cluster):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if ".migrations" not in module.name and module.name not in ("bithive.cli", "bithive.__main__"):
            importlib.import_module(module.name)
assert not {"pydicom", "highdicom", "pynetdicom"} & {name.partition(".")[0] for name in sys.modules}
"""


MARK: list[bytes] = []


def real_head(hub: Hub) -> Made:
    from tests.common.head import head_volume

    bundle = Catalog(MODEL_STORE).bundle("intracranial_t1")
    image, mark = marked(head_volume(), 7)
    MARK[:] = [mark]
    return offer(
        hub,
        image=image,
        bundle=bundle.name,
        bundle_version=bundle.version,
        bundle_sha256=bundle.sha256,
        work_units=bundle.reference_work_units(image.array.size),
    )


def check_volume(hub: Hub, made: Made) -> None:
    accepted = [item for item in hub.broker.notices(hub.institution, 0, 10_000) if item.topic == "attempt.accepted"]
    last = next(item for item in reversed(accepted) if item.offer_id == made.offer.offer_id)
    file = hub.broker.findings(hub.institution, last.body["attempt_id"])
    token = last.body["receipt"]["fencing_token"]
    plain = open_all(made.keys.payload_key, token, file.plain_size_bytes, [file.path.read_bytes()])
    findings = Findings.from_bytes(plain, (256, 256, 256))
    assert len(findings.masks) == 1
    volume_ml = findings.measurements[0].value
    assert volume_ml == pytest.approx(1394, rel=0.01), "what deepbet's own command measures"


def check_wall_of(cell: CellProcess) -> None:
    """Ray listens, in a namespace in which nobody else is; only the dialler stands outside it."""
    tables = {process.pid: standing(net_of(process.pid)) for process in cell.family()}
    outside = [pid for pid, found in tables.items() if found.interfaces != ("lo",)]
    assert ["cluster.dialler" in psutil.Process(pid).cmdline() for pid in outside] == [True]
    within = tables[cell.process.pid]
    places = [(str(listener.address), listener.port) for listener in within.listeners if listener.protocol == "tcp"]
    assert len(places) > 5, "Ray listens"
    for host in ("127.0.0.1", "::1"):
        assert reachable([(host, port) for _, port in places]) == []


@pytest.mark.heavy
def test_a_cell_with_ray_completes_is_killed_completes_again_and_outlives_its_gcs(
    hub: Hub, start: Start, tmp_path: Path
) -> None:
    began_s = SystemClock().now_ms() / 1000 - 1
    cell = start(ray_cell())
    first = real_head(hub)
    cell.wait_for("cell.connected", 240)
    wait_until(lambda: {"preparing", "locating", "segmenting"} & set(stages(hub, first)), 60)
    assert holding(MARK, places(tmp_path, since_s=began_s)) == [], "an image lies in the open while it is worked on"
    wait_accepted(hub, first, 60)
    check_volume(hub, first)
    check_wall_of(cell)
    assert {"downloading", "loading", "preparing", "locating", "segmenting", "measuring"} >= set(stages(hub, first)) - {
        "",
        "sealing",
    }
    killed = real_head(hub)
    wait_until(lambda: "locating" in stages(hub, killed) or "segmenting" in stages(hub, killed), 60)
    cell.kill()
    assert holding(MARK, places(tmp_path, since_s=began_s)) == [], "a killed cell leaves an image behind"
    again = start(ray_cell())
    wait_accepted(hub, killed, 240)
    check_volume(hub, killed)
    assert topics(hub, killed)[-3:] == ["attempt.expired", "attempt.leased", "attempt.accepted"]
    booked = [event.key for event in hub.broker.store.outbox.waiting() if event.topic == "attempt.accepted"]
    assert len(booked) == 2
    family = again.family()
    next(process for process in family if process.name().startswith("gcs_server")).kill()
    after = real_head(hub)
    wait_accepted(hub, after, 120)
    check_volume(hub, after)
    assert again.events().count("ray.gcs_died") == 1
    assert again.stop() == 0
    end_agents(family[1:], timeout_s=20)
