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
import numpy.typing as npt

from inference.config import audit, build
from inference.engine import Engine, Network, NetworkFile, choose
from inference.engine_numpy import NumpyEngine
from inference.errors import BundleRefused, EngineAbsent, EngineFault, UnsupportedVolume
from inference.findings import Findings
from inference.volume import CHANNELS_MAX, Volume, VolumeSet
from inference.windows import Windows
from inference.zoo import Wanted, ZooRun
from inference.zoo_detector import DetectorRun, detector_plan_of
from inference.zoo_plan import plan_of
from models import detector
from models.bundle import RULES, Bundle
from models.resolve import WANTED, resolved

Progress = Callable[[str, float], None]

_SHARE = {"preparing": 0.0, "locating": 0.1, "segmenting": 0.3, "measuring": 0.8}
_PLAIN_PARTS = ("preprocessing", "inferer", "postprocessing")
_FOUND = ("masks", "measurements", "scores", "labels", "maps", "classes", "regions")
_BATCH_AXES = {3: 2, 4: 0, 5: 0}
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
        `auto`, or the name of an engine that the bundle lists; see `inference.engine.choose`. A bundle without networks
        is run by `numpy`, whatever is asked for.
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

    def choice(files: Mapping[str, NetworkFile]) -> Engine:
        return choose(bundle, files, engine, threads, calibration)

    if bundle.form == "zoo":
        return _load_zoo(bundle, weights, choice)
    return _load_own(bundle, weights, choice, threads)


class Interpreter(Protocol):
    """What a bundle does with a Volume, with its networks in memory."""

    def run(self, volume: Volume | VolumeSet, progress: Progress) -> Findings:
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

    def run(self, volume: Volume | VolumeSet, progress: Progress = lambda _stage, _fraction: None) -> Findings:
        """Find what the bundle finds.

        Parameters
        ----------
        volume
            The source, or several on one grid for a network of several channels; not changed.
        progress
            Called with the stage (`preparing`, `locating`, `segmenting`, `measuring`) when it begins, and after each
            window of it; and with the share of the whole that lies behind.

        Returns
        -------
        Findings
            With masks, maps or a label map of the source's shape and stored axes.

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
    """A bundle of the bithive form: transforms, a network and transforms; or transforms alone.

    Parameters
    ----------
    parts
        As `inference.config.build` makes them. With a `network_def`, the inferer gives it the item's `network_input`:
        (x, y, z) as one image of one channel, four or five axes as they are; its answer becomes the item's `pred`.
    """

    def __init__(self, parts: Mapping[str, Any]) -> None:
        self._parts = parts

    def run(self, volume: Volume | VolumeSet, progress: Progress) -> Findings:
        """Pass the Volume through the transforms and the network; the item's findings are the answer."""
        if isinstance(volume, VolumeSet):
            raise UnsupportedVolume("this bundle takes one series, not several at once")
        steps = _Steps(progress)
        item = steps.through(self._parts["preprocessing"].transforms, {"image": volume})
        if "network_def" in self._parts:
            steps.enter("segmenting")
            item["pred"] = self._parts["inferer"](_batched(item["network_input"]), self._parts["network_def"])
        item = steps.through(self._parts["postprocessing"].transforms, item)
        return Findings(**{name: item[name] for name in _FOUND if name in item})


def _batched(inputs: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    if inputs.ndim not in _BATCH_AXES:
        raise BundleRefused("the network's input has other axes than networks take", axes=inputs.ndim)
    return inputs[(None,) * _BATCH_AXES[inputs.ndim]]


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
    bundle: Bundle, weights: Mapping[str, Path], choice: Callable[[Mapping[str, NetworkFile]], Engine], threads: int
) -> LoadedBundle:
    config = bundle.inference()
    names = audit(config)
    files = {name: NetworkFile.of(name, _pinned(bundle, weights, name)) for name in names}
    if not files and RULES not in bundle.engines:
        raise BundleRefused("the bundle has no network and does not list the engine of rules")
    engine = choice(files) if files else NumpyEngine(threads)
    networks = {name: _made(engine, files[name], bundle, name) for name in names}
    return LoadedBundle(engine, OwnRun(build(config, networks)), _memory_bytes(bundle, weights, names))


def _load_zoo(
    bundle: Bundle, weights: Mapping[str, Path], choice: Callable[[Mapping[str, NetworkFile]], Engine]
) -> LoadedBundle:
    """The network may lie there in several forms: the first that an engine of this node can run is taken."""
    config = bundle.inference()
    if bundle.regions:
        return _load_detector(bundle, weights, choice)
    parts = resolved(config, _PLAIN_PARTS)
    channels = _images(bundle)
    plan = plan_of({**parts, "channels": channels})
    absent: EngineAbsent | None = None
    for name, row in _declared(bundle).items():
        wanted, shape = Wanted.of(bundle, plan, row.get("output_channels", 0)), _shape(bundle, name)
        if shape[:2] != (1, channels) or shape[2:] != window_of(plan.windows, shape):
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


def _load_detector(
    bundle: Bundle, weights: Mapping[str, Path], choice: Callable[[Mapping[str, NetworkFile]], Engine]
) -> LoadedBundle:
    """Its network is made for each size of image that it is given, and is not warmed: one run takes minutes."""
    parts = detector.parts_of(bundle.inference())
    made = detector_plan_of(parts)
    name = next(iter(_declared(bundle)), "")
    if tuple(_shape(bundle, name)) != (1, 1, *made.window):
        raise BundleRefused("the bundle's network takes other windows than its inferer makes")
    definition = parts["network_def"] if name.endswith(".safetensors") else None
    file = NetworkFile.of(name, _pinned(bundle, weights, name), definition)
    engine = choice({name: file})
    run = DetectorRun(made, lambda shape: engine.network(file, shape), bundle.regions)
    return LoadedBundle(engine, run, _memory_bytes(bundle, weights, [name]))


def window_of(windows: Windows | None, shape: Sequence[int]) -> tuple[int, ...]:
    """What a network of a bundle of the zoo's form takes at once, without batch and channel."""
    if windows is None:
        return tuple(shape[2:]) if len(shape) == 5 else ()
    return tuple(size for axis, size in enumerate(windows.roi_size) if axis != windows.across)


def _images(bundle: Bundle) -> int:
    """How many images a network of the zoo's form takes at once, as its metadata says."""
    inputs = bundle.metadata.get("network_data_format", {}).get("inputs", {})
    count = max((row.get("num_channels", 1) for row in inputs.values() if isinstance(row, Mapping)), default=1)
    return count if type(count) is int and 1 <= count <= CHANNELS_MAX else 1


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
    if (
        not isinstance(shape, list)
        or len(shape) not in (4, 5)
        or not all(type(size) is int and size > 0 for size in shape)
    ):
        raise BundleRefused("the bundle does not declare what shape its networks take")
    return tuple(shape)


def _made(engine: Engine, file: NetworkFile, bundle: Bundle, name: str) -> Network:
    """A network, warm; cold where its bundle says that one run takes far longer than what the first adds to it."""
    shape = _shape(bundle, name)
    if _declared(bundle)[name].get("warm", True) is False:
        return engine.network(file, shape)
    return _warm(engine, file, shape)


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
