"""STOW-RS of the 384-instance study, durable, against Orthanc with its shipped storage settings."""

from __future__ import annotations

import tempfile
from pathlib import Path

import httpx2

from benchmarks.common import RUNS, alternate, console, copies, machine, show, stow, study_folder
from tests.common import servers
from tests.common.external import find
from tests.common.hub import Hub

TARGET = 1.0


def lacks() -> str:
    """What keeps it from running; empty when nothing does."""
    if not study_folder().is_dir():
        return "the shared data is not here"
    return "" if find("Orthanc") else "Orthanc is not installed"


def main() -> None:
    """Run and print."""
    with tempfile.TemporaryDirectory() as folder:
        hub = Hub(Path(folder) / "hub")
        hub.start()
        try:
            with servers.orthanc(Path(folder) / "orthanc") as rival, httpx2.Client(timeout=300) as client:
                _compare(hub, rival, client)
        finally:
            hub.stop()


def _compare(hub: Hub, rival: servers.Orthanc, client: httpx2.Client) -> None:
    console.print(f"STOW-RS ingest on {machine()}")
    each = list(copies(RUNS + 1))
    headers = hub.headers("pacs")
    compared = alternate(
        lambda number: stow(client, rival.dicomweb_url, each[number], {}),
        lambda number: stow(client, f"{hub.url}/dicomweb", each[number], headers),
    )
    show("STOW-RS, one request of 384 instances", ("Orthanc", "BitHive"), compared, TARGET, each[0].instances)
