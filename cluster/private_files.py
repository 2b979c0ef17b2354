"""Small files that only their owner may read: credentials and what a machine was told."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from bithive.blobs import sync_folder
from bithive.errors import BadSettings

SIZE_BYTES_MAX = 64 * 1024


def write_private(path: Path, content: bytes) -> None:
    """Put a file there whole and durable, mode 0600, in place of what was there; its folder is made with mode 0700."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def read_private(path: Path) -> bytes | None:
    """What such a file holds; None if there is none.

    Raises
    ------
    BadSettings
        If others may read it, it is longer than 64 KiB, or no plain file.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError:
        raise BadSettings(f"{path.name} is not a file that can be read") from None
    with os.fdopen(handle, "rb") as file:
        if os.fstat(file.fileno()).st_mode & 0o077:
            raise BadSettings(f"{path.name} is readable by others; set its mode to 600")
        content = file.read(SIZE_BYTES_MAX + 1)
    if len(content) > SIZE_BYTES_MAX:
        raise BadSettings(f"{path.name} is too long")
    return content
