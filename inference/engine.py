"""The engine port: what runs a network on this node. Preparation and measurement are the same under every engine."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from inference.errors import BundleRefused, EngineAbsent

if TYPE_CHECKING:
    import torch

    Network = Callable[[torch.Tensor], torch.Tensor]


class Engine(Protocol):
    """Runs networks that were saved as TorchScript.

    Attributes
    ----------
    name, version, precision, device, threads, deterministic
        What a Receipt says about how it was computed.
    """

    name: str
    version: str
    precision: str
    device: str
    threads: int
    deterministic: bool

    def network(self, path: Path, input_shape: tuple[int, ...]) -> Network:
        """Make a network ready to be called with a float32 tensor of that shape (batch, channel, x, y, z).

        What it returns may be a view that holds until its next call.

        Raises
        ------
        EngineFault
            If the file is no network, or the network cannot be run by this engine.
        """


def threads_of(wanted: int) -> int:
    """How many threads to use: those wanted, or for 0 as many as this process may."""
    return wanted or len(os.sched_getaffinity(0))


def choose(wanted: str, listed: Sequence[str], threads: int) -> Engine:
    """The engine for a bundle on this node.

    Parameters
    ----------
    wanted
        `auto`, or an engine's name. `auto` takes PyTorch on a node with a CUDA device, else the first listed engine
        that is installed.
    listed
        Engines whose parity the bundle has shown, the fastest on a processor first.
    threads
        0 for all.

    Raises
    ------
    BundleRefused
        If the bundle does not list the wanted engine.
    EngineAbsent
        If it is not installed.
    """
    if wanted != "auto" and wanted not in listed:
        raise BundleRefused("the bundle does not list this engine", engine=wanted)
    names = [wanted] if wanted != "auto" else _by_preference(listed)
    for name in names:
        if name in _MAKERS and find_spec(name) is not None:
            return _MAKERS[name](threads_of(threads))
    raise EngineAbsent("none of the engines that the bundle lists is installed")


def _by_preference(listed: Sequence[str]) -> list[str]:
    if "torch" in listed and find_spec("torch") is not None:
        import torch

        if torch.cuda.is_available():
            return ["torch", *listed]
    return list(listed)


def _torch(threads: int) -> Engine:
    from inference.engine_torch import TorchEngine

    return TorchEngine(threads)


def _openvino(threads: int) -> Engine:
    from inference.engine_openvino import OpenVinoEngine

    return OpenVinoEngine(threads)


_MAKERS: dict[str, Callable[[int], Engine]] = {"torch": _torch, "openvino": _openvino}
