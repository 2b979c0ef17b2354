"""What a machine of a cell leaves on a computer, and how it is removed: by name, never by pattern.

Only what BitHive itself has put into a state folder is removed. Somebody may have given a folder with other things in it.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from cluster.errors import NotOurFolder

OURS = frozenset(
    {
        *("profile.json", "wish", "agent.lock", "control.sock", "wall.json"),
        *("keys", "tls", "models", "logs", "ray", "receipts", "first"),
    }
)
"""Everything that a node's life puts into its state folder."""

_HUB = frozenset({"hub.lock", "clinic.db", "network.db", "ledger.db", "accounts.db", "cell"})
_STOP_S = 20.0


def check_folder(state: Path) -> None:
    """Refuse a folder in which other things lie. Raises `NotOurFolder`."""
    strangers = sorted(_strangers(state))
    if _HUB & set(strangers):
        raise NotOurFolder("this is a hub's state folder; give the node one of its own")
    if strangers:
        raise NotOurFolder(
            f"other things lie in that folder ({', '.join(strangers[:3])}); give the node one of its own"
        )


def remove_folder(state: Path) -> Sequence[Path]:
    """Remove what is ours in a state folder, and the folder if nothing else was in it; what is left in it.

    Keys are overwritten first. That a journal, a copy-on-write filesystem or a drive keeps older blocks is beyond us: keys
    that must be worthless are revoked at the hub.
    """
    if not state.is_dir():
        return ()
    for key in (*(state / "keys").glob("*"), *(state / "tls").glob("*.key")):
        _overwrite(key)
    for name in sorted(OURS):
        path = state / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    left = [state / name for name in sorted(_strangers(state))]
    if not left:
        state.rmdir()
    return left


def remove_ray(folder: Path) -> None:
    """End what still runs with Ray's files there, and remove them."""
    mine = [process for process in psutil.process_iter() if _mentions(process, str(folder))]
    for process in mine:
        with suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(mine, timeout=_STOP_S)
    if folder.is_dir() and not folder.is_symlink():
        shutil.rmtree(folder, ignore_errors=True)


def _strangers(state: Path) -> Iterator[str]:
    if state.is_dir():
        for path in state.iterdir():
            if path.name not in OURS and not path.name.startswith((".wish.", ".profile.json.")):
                yield path.name


def _overwrite(path: Path) -> None:
    with suppress(OSError):
        size_bytes = path.lstat().st_size
        if path.is_file() and not path.is_symlink():
            with path.open("r+b") as file:
                file.write(bytes(size_bytes))
                file.flush()


def _mentions(process: psutil.Process, text: str) -> bool:
    """Whether a process of ours was started with that path: Ray's own are told their folder."""
    try:
        words = process.cmdline()
        return process.pid != psutil.Process().pid and any(
            word == text or f"{text}/" in word or word.endswith(f"={text}") for word in words
        )
    except (psutil.Error, OSError):
        return False
