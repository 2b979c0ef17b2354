"""What identifies a patient stays on the clinical side: marked identifiers are looked for everywhere else."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import httpx2
import pytest

from tests.common.hub import Hub, family
from tests.common.studies import head_study, mark

pytestmark = pytest.mark.heavy

MARKER = "ZQXMARKED"
CHUNK_BYTES = 64 * 1024 * 1024


def test_no_identifier_leaves_the_clinical_side(live: Hub, tmp_path: Path) -> None:
    study = head_study(tmp_path / "study", "privacy", step=2)
    identifiers = mark(study, MARKER)
    assert len(identifiers) > 25
    wanted = [MARKER.encode(), *(text.encode() for text in identifiers if MARKER not in text)]

    assert live.stow(study.files).status_code == 200
    found: dict[str, bytes] = {}
    scanned = 0
    while not ended(live, study.study_uid):
        found |= search(files(outside(live.state)), wanted)
        scanned += 1
    assert scanned > 0, "it ended before anybody looked"
    found |= search(memory(cell_processes(live)), wanted)
    found |= search(files(outside(live.state)), wanted)
    found |= search(told(live, study.study_uid), wanted)
    assert found == {}

    clinical = search(files([live.state / "clinic.db", live.state / "clinic.db-wal"]), wanted)
    assert clinical, "the search finds what is there"


def ended(hub: Hub, study_uid: str) -> bool:
    """Whether its Workitem was completed; fails when it was canceled."""
    try:
        items = hub.study(study_uid)["workitems"]
    except httpx2.HTTPStatusError:
        return False
    assert all(item["state"] != "CANCELED" for item in items), items
    return any(item["state"] == "COMPLETED" for item in items)


def outside(state: Path) -> list[Path]:
    """Everything on disk that is not the clinical side's: broker, spool, ledger, cell, Ray, logs."""
    ours = [path for path in state.iterdir() if not path.name.startswith(("clinic", "blobs", "archive", "accounts"))]
    return [*ours, Path("/tmp/ray"), *Path("/tmp").glob("bithive-*")]


def files(places: Iterable[Path]) -> Iterator[tuple[str, bytes]]:
    """Every file below, by its path."""
    for place in places:
        for path in [place] if place.is_file() else place.rglob("*"):
            try:
                if path.is_file() and not path.is_symlink():
                    yield str(path), path.read_bytes()
            except OSError:
                continue


def cell_processes(hub: Hub) -> list[int]:
    """The cell and all of Ray: what the hub's process started."""
    assert hub.process is not None
    started = family(hub.process.pid)[1:]
    assert len(started) > 3, "the cell runs beside the hub"
    return started


def memory(pids: Iterable[int]) -> Iterator[tuple[str, bytes]]:
    """The writable memory of processes, piece by piece; what they share (Ray's object store) once."""
    shared: set[str] = set()
    for pid in pids:
        try:
            maps = Path(f"/proc/{pid}/maps").read_text().splitlines()
            with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as image:
                for line in maps:
                    span, mode, _, _, inode = line.split()[:5]
                    start, end = (int(text, 16) for text in span.split("-"))
                    if mode == "rw-p" or (mode == "rw-s" and inode not in shared):
                        yield from pieces(pid, image, start, end)
                    if mode == "rw-s":
                        shared.add(inode)
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue


def pieces(pid: int, image, start: int, end: int) -> Iterator[tuple[str, bytes]]:
    """One mapping, in chunks."""
    for place in range(start, end, CHUNK_BYTES):
        try:
            image.seek(place)
            content = image.read(min(CHUNK_BYTES, end - place))
        except (OSError, ValueError, OverflowError):
            return
        if content and content.strip(b"\0"):
            yield f"memory of {pid} at {place:x}", content


def told(hub: Hub, study_uid: str) -> Iterator[tuple[str, bytes]]:
    """The Receipt, and every form in which the ledger is exported."""
    (item,) = (item for item in hub.study(study_uid)["workitems"] if item["state"] == "COMPLETED")
    yield "receipt", json.dumps(item["receipt"]).encode()
    for form in ("log", "entries", "transfers", "accounts", "beancount"):
        place = hub.state.parent / f"export-{form}"
        command = [sys.executable, "-m", "bithive", "ledger", "export", form, "--to", str(place)]
        subprocess.run(command, env=hub.environment, check=True, capture_output=True)
        yield from files([place])


def search(places: Iterable[tuple[str, bytes]], wanted: Sequence[bytes]) -> dict[str, bytes]:
    """Where something identifying was found, and what."""
    return {name: text for name, content in places for text in wanted if text in content}
