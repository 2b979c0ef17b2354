"""Nothing is acknowledged before it is on disk: the hub's own system calls are the witness."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.common import trace
from tests.common.dicom_factory import write_series
from tests.common.hub import Hub

pytestmark = pytest.mark.heavy

INSTANCES = 6


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> list[trace.Call]:
    """The system calls of a hub that took one STOW-RS request."""
    from tests.common.external import external

    external("strace")
    folder = tmp_path_factory.mktemp("durability")
    hub = Hub(folder / "state")
    hub.token("pacs")
    hub.start(before=trace.command(folder / "trace"))
    try:
        answer = hub.stow(write_series(folder / "series", instances=INSTANCES))
        assert answer.status_code == 200, answer.text
    finally:
        hub.stop()
    return list(trace.calls(folder / "trace"))


def test_success_leaves_after_every_sync(traced: list[trace.Call]) -> None:
    answered = min(
        call.began
        for call in traced
        if call.name in SENDS and "HTTP/1.1 200 OK" in call.text and "dicom+json" in call.text
    )
    placed = [
        call for call in traced if call.name.startswith("rename") and "/blobs/" in call.text and call.ended < answered
    ]
    assert len(placed) == INSTANCES

    for call in placed:
        source, target = re.findall(r'"([^"]+)"', call.text)
        synced = _syncs(traced, lambda path, source=source: path == source)
        assert synced and min(item.ended for item in synced) < call.began, "a file was named before it was synced"
        folder = str(Path(target).parent)
        synced = _syncs(traced, lambda path, folder=folder: path == folder)
        assert any(call.ended < item.began and item.ended < answered for item in synced), "a folder was not synced"

    last = max(call.ended for call in placed)
    committed = _syncs(traced, lambda path: Path(path).name == "clinic.db-wal")
    assert any(last < item.began and item.ended < answered for item in committed), "the answer left before the commit"


SENDS = ("sendto", "sendmsg", "write", "writev")


def _syncs(calls: list[trace.Call], wanted: Callable[[str], bool]) -> list[trace.Call]:
    """The completed syncs of a path."""
    found = []
    for call in calls:
        if call.name in ("fsync", "fdatasync") and call.text.rstrip().endswith("= 0"):
            path = re.search(r"<([^>]*)>", call.text)
            if path and wanted(path.group(1)):
                found.append(call)
    return found
