"""Reads TorchScript, the one form of PyTorch network that is neither a pickle nor source code."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch


def load_script(path: Path, device: str) -> Any:
    """A frozen TorchScript module on a device.

    Raises
    ------
    RuntimeError, ValueError
        If the file is no TorchScript.
    """
    with deprecation_accepted():
        return torch.jit.freeze(torch.jit.load(str(path), map_location=device).eval())


@contextmanager
def deprecation_accepted() -> Iterator[None]:
    """PyTorch calls TorchScript deprecated; the published weights are TorchScript all the same."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r".*torch\.jit.*deprecated.*", category=DeprecationWarning)
        yield
