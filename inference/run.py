"""Run a bundle: load it once on a node, then Volume in, Findings out.

Importing this file is cheap, and neither PyTorch nor MONAI is needed: the engine that `load` chooses imports what it
runs networks with.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from inference.config import audit, build
from inference.engine import Engine, Network, NetworkFile, choose
from inference.errors import BundleRefused, EngineAbsent, EngineFault
from inference.findings import Findings
from inference.volume import Volume
from inference.zoo import Wanted, ZooRun
from inference.zoo_plan import plan_of
from models.bundle import Bundle
from models.resolve import WANTED, resolved

Progress = Callable[[str, float], None]

_SHARE = {"preparing": 0.0, "locating": 0.1, "segmenting": 0.3, "measuring": 0.8}
_PLAIN_PARTS = ("preprocessing", "inferer", "postprocessing")
_COPIES = 2


def load(
    bundle: Bundle,
    weights: Mapping[str, Path],
    engine: str = "auto",
    threads: int = 0,
    calibration: Path | None = None,
) -> LoadedBundle:
    """Make a bundle ready to run.

    Parameters
    ----------
    bundle
        As the catalogue has it.
    weights
        Its verified files: `Catalog.weights(bundle)`.
    engine
        `auto`, or the name of an engine that the bundle lists; see `inference.engine.choose`.
    threads
        0 for all that this process may use.
    calibration
        Folder that keeps what was measured of the engines; None keeps it in this process.

    Raises
    ------
    BundleRefused
        If its configuration is not on the allow-list, or names a network that it does not pin.
    TransformUnsupported
        If it asks for a transform that is not carried out here.
    EngineAbsent, EngineUnfit, EngineFault
        If the engine is missing, shows no parity, or cannot run a network.
    """
    make = _load_zoo if bundle.form == "zoo" else _load_own
    return make(bundle, weights, lambda files: choose(bundle, files, engine, threads, calibration))


class Interpreter(Protocol):
    """What a bundle does with a Volume, with its networks in memory."""

    def run(self, volume: Volume, progress: Progress) -> Findings:
        """Find what the bundle finds."""


class LoadedBundle:
    """A bundle with its networks in memory. One run at a time; others wait.

    Parameters
    ----------
    engine
        What runs its networks.
    interpreter
        What it does.
    memory_bytes
        About what it keeps in memory between runs: its weights as read and as the engine arranged them, and the room
        of the network that takes most.

    Attributes
    ----------
    engine, engine_version, precision, device, threads, deterministic, tf32, bf16
        How it computes, as a Receipt says it.
    """

    def __init__(self, engine: Engine, interpreter: Interpreter, memory_bytes: int) -> None:
        self.engine, self.engine_version, self.precision = engine.name, engine.version, engine.precision
        self.device, self.threads, self.deterministic = engine.device, engine.threads, engine.deterministic
        self.tf32, self.bf16 = engine.tf32, engine.bf16
        self.memory_bytes = memory_bytes
        self._interpreter = interpreter
        self._running = threading.Lock()

    def run(self, volume: Volume, progress: Progress = lambda _stage, _fraction: None) -> Findings:
        """Find what the bundle finds.

        Parameters
        ----------
        volume
            The source; it is not changed.
        progress
            Called with the stage (`preparing`, `locating`, `segmenting`, `measuring`) when it begins, and after each
            window of it; and with the share of the whole that lies behind.

        Returns
        -------
        Findings
            With masks or a label map of the source's shape and stored axes.

        Raises
        ------
        UnsupportedVolume, AnatomyAbsent, ImplausibleFindings
            When the bundle declines.
        EngineFault
            If the engine fails.
        """
        with self._running:
            try:
                findings = self._interpreter.run(volume, progress)
            except (RuntimeError, MemoryError) as error:
                raise EngineFault("the engine failed while it ran a network", exc_type=type(error).__name__) from error
            progress("measuring", 1.0)
            return findings


class OwnRun:
    """A bundle of the bithive form.

    Parameters
    ----------
    parts
        As `inference.config.build` makes them.
    """

    def __init__(self, parts: Mapping[str, Any]) -> None:
        self._parts = parts

    def run(self, volume: Volume, progress: Progress) -> Findings:
        """Pass the Volume through the transforms and the network."""
        steps = _Steps(progress)
        item = steps.through(self._parts["preprocessing"].transforms, {"image": volume})
        steps.enter("segmenting")
        item["pred"] = self._parts["inferer"](item["network_input"][None, None], self._parts["network_def"])
        item = steps.through(self._parts["postprocessing"].transforms, item)
        return Findings(item.get("masks", ()), item.get("measurements", ()), item.get("scores", ()))


class _Steps:
    """Passes an item through transforms and says which stage it has come to."""

    def __init__(self, progress: Progress) -> None:
        self._progress, self._stage = progress, ""

    def enter(self, stage: str) -> None:
        if stage != self._stage:
            self._stage = stage
            self._progress(stage, _SHARE[stage])

    def through(self, transforms: Iterable[Callable[[Any], Any]], item: dict[str, Any]) -> dict[str, Any]:
        for transform in transforms:
            stage = getattr(transform, "stage", "preparing")
            if _SHARE[stage] >= _SHARE.get(self._stage, 0.0):
                self.enter(stage)
            item = transform(item)
        return item


def _load_own(
    bundle: Bundle, weights: Mapping[str, Path], choice: Callable[[Mapping[str, NetworkFile]], Engine]
) -> LoadedBundle:
    config = bundle.inference()
    names = audit(config)
    files = {name: NetworkFile.of(name, _pinned(bundle, weights, name)) for name in names}
    engine = choice(files)
    networks = {name: _warm(engine, files[name], _shape(bundle, name)) for name in names}
    return LoadedBundle(engine, OwnRun(build(config, networks)), _memory_bytes(bundle, weights, names))


def _load_zoo(
    bundle: Bundle, weights: Mapping[str, Path], choice: Callable[[Mapping[str, NetworkFile]], Engine]
) -> LoadedBundle:
    """The network may lie there in several forms: the first that an engine of this node can run is taken."""
    config = bundle.inference()
    parts = resolved(config, _PLAIN_PARTS)
    plan = plan_of(parts)
    absent: EngineAbsent | None = None
    for name, row in _declared(bundle).items():
        wanted, shape = Wanted.of(bundle, plan, row.get("output_channels", 0)), _shape(bundle, name)
        if shape[:2] != (1, 1) or (plan.windows is not None and plan.windows.roi_size != shape[2:]):
            raise BundleRefused("the bundle's network takes other windows than its inferer makes")
        definition = resolved(config, WANTED)["network_def"] if name.endswith(".safetensors") else None
        file = NetworkFile.of(name, _pinned(bundle, weights, name), definition)
        try:
            engine = choice({name: file})
        except EngineAbsent as error:
            absent = error
            continue
        network = _warm(engine, file, shape)
        return LoadedBundle(engine, ZooRun(plan, network, wanted, shape), _memory_bytes(bundle, weights, [name]))
    raise absent or BundleRefused("the bundle declares no network")


def _pinned(bundle: Bundle, weights: Mapping[str, Path], name: str) -> Path:
    if name not in weights or name not in _declared(bundle):
        raise BundleRefused("inference.json loads a network that the bundle does not declare")
    return weights[name]


def _declared(bundle: Bundle) -> Mapping[str, Mapping[str, Any]]:
    networks = bundle.extension.get("networks")
    if not isinstance(networks, Mapping) or not all(isinstance(row, Mapping) for row in networks.values()):
        raise BundleRefused("the bundle does not declare its networks")
    return networks


def _shape(bundle: Bundle, name: str) -> tuple[int, ...]:
    shape = _declared(bundle)[name].get("input_shape")
    if not isinstance(shape, list) or len(shape) != 5 or not all(type(size) is int and size > 0 for size in shape):
        raise BundleRefused("the bundle does not declare what shape its networks take")
    return tuple(shape)


def _warm(engine: Engine, file: NetworkFile, input_shape: tuple[int, ...]) -> Network:
    """A network that has run once: the first run takes its memory and is slow, and no study should wait for it."""
    network = engine.network(file, input_shape)
    try:
        network(np.zeros(input_shape, dtype=np.float32))
    except RuntimeError as error:
        raise EngineFault("the engine failed while it ran a network", exc_type=type(error).__name__) from error
    return network


def _memory_bytes(bundle: Bundle, weights: Mapping[str, Path], names: Sequence[str]) -> int:
    declared = _declared(bundle)
    room = max((int(declared[name].get("activation_bytes", 0)) for name in names), default=0)
    return _COPIES * sum(weights[name].stat().st_size for name in names) + room
