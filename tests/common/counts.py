"""How long a test of many seeds goes on, and which seed it is told to try again.

`BITHIVE_TEST_SEED=123` tries that seed alone, in every test that draws seeds from here.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest


def seeds(name: str, first: int, count: int, terminal: pytest.CaptureFixture[str] | None = None) -> Iterator[int]:
    """The seeds from `first` on; says on the terminal how far it is, every twenty seconds."""
    if only := os.environ.get("BITHIVE_TEST_SEED"):
        yield int(only)
        return
    began = told = time.monotonic()
    for seed in range(first, first + count):
        yield seed
        now = time.monotonic()
        if now - told > 20:
            told = now
            tell(f"{name}: {seed - first + 1} of {count} seeds, {now - began:.0f} s", terminal)
    tell(f"{name}: {count} seeds in {time.monotonic() - began:.0f} s", terminal)


def tell(line: str, terminal: pytest.CaptureFixture[str] | None) -> None:
    """A line on the terminal, whatever pytest captures."""
    if terminal is not None:
        with terminal.disabled():
            print(f"\n{line}", end="", flush=True)
