"""Programs that tests run and that are not ours."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

_FOLDERS = ("/usr/sbin", "/usr/local/sbin")


def find(name: str) -> str | None:
    """Where a program lies: beside this Python, on the path, or where Debian hides servers. None when absent."""
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), reverse=True)
    folders = [Path(sys.executable).parent, *versions, *map(Path, _FOLDERS)]
    for folder in folders:
        if found := shutil.which(name, path=str(folder)):
            return found
    return shutil.which(name)


def external(name: str) -> str:
    """The path of a program; the test skips where it is absent (and fails in CI)."""
    found = find(name)
    if found is None:
        pytest.skip(f"the program {name} is not installed")
    return found
