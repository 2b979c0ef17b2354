"""Run a bundle: load it once on a node, then Volume in, Findings out.

Importing this file is cheap; PyTorch, MONAI and the engine are imported by `load`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from inference.config import audit, build
from inference.engine import choose
from inference.errors import BundleRefused, EngineFault
from inference.findings import Findings
from inference.volume import Volume
from models.bundle import Bundle

Progress = Callable[[str, float], None]

_SHARE = {"preparing": 0.0, "locating": 0.1, "segmenting": 0.3, "measuring": 0.8}


def load(bundle: Bundle, weights: Mapping[str, Path], engine: str = "auto", threads: int = 0) -> LoadedBundle:
    """Make a bundle ready to run.

    Parameters
    ----------
    bundle
        As the catalogue has it.
    weights
        Its verified files: `Catalog.weights(bundle)`.
    engine
        `auto`, `torch` or `openvino`; see `inference.engine.choose`.
    threads
        0 for all that this process may use.

    Raises
    ------
    BundleRefused
        If its configuration is not on the allow-list, or names a network that it does not pin.
    EngineAbsent, EngineFault
        If the engine is missing, or cannot run a network.
    """
    config = bundle.inference()
    files = audit(config)
    shapes = bundle.extension["networks"]
    if not all(file in weights and file in shapes for file in files):
        raise BundleRefused("inference.json loads a network that the bundle does not declare")
    runner = choose(engine, bundle.engines, threads)
    networks = {file: _network(runner, weights[file], tuple(shapes[file]["input_shape"])) for file in files}
    parts = build(config, networks)
    return LoadedBundle(
        runner.name,
        runner.version,
        runner.precision,
        runner.device,
        runner.threads,
        runner.deterministic,
        parts,
    )


def _network(runner: Any, path: Path, input_shape: tuple[int, ...]) -> Any:
    """A network that has run once: the first run takes its memory and is slow, and no study should wait for it."""
    import torch

    network = runner.network(path, input_shape)
    try:
        network(torch.zeros(input_shape))
    except RuntimeError as error:
        raise _cause(error) from error
    return network


class LoadedBundle:
    """A bundle with its networks in memory. One run at a time; others wait.

    Attributes
    ----------
    engine, engine_version, precision, device, threads, deterministic
        How it computes, as a Receipt says it.
    """

    def __init__(
        self,
        engine: str,
        engine_version: str,
        precision: str,
        device: str,
        threads: int,
        deterministic: bool,
        parts: Mapping[str, Any],
    ) -> None:
        self.engine, self.engine_version, self.precision = engine, engine_version, precision
        self.device, self.threads, self.deterministic = device, threads, deterministic
        self._parts = parts
        self._running = threading.Lock()

    def run(self, volume: Volume, progress: Progress = lambda _stage, _fraction: None) -> Findings:
        """Find what the bundle finds.

        Parameters
        ----------
        volume
            The source; it is not changed.
        progress
            Called with the stage that begins (`preparing`, `locating`, `segmenting`, `measuring`) and the share of
            the whole that lies behind.

        Returns
        -------
        Findings
            With masks of the source's shape and stored axes.

        Raises
        ------
        UnsupportedVolume, AnatomyAbsent, ImplausibleFindings
            When the bundle declines.
        EngineFault
            If the engine fails.
        """
        with self._running:
            steps = _Steps(progress)
            try:
                item = steps.through(self._parts["preprocessing"].transforms, {"image": volume})
                steps.enter("segmenting")
                item["pred"] = self._parts["inferer"](_batched(item["network_input"]), self._parts["network_def"])
                item = steps.through(self._parts["postprocessing"].transforms, item)
            except RuntimeError as error:
                raise _cause(error) from error
            progress("measuring", 1.0)
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


def _batched(array: Any) -> Any:
    import torch

    return torch.from_numpy(array)[None, None]


def _cause(error: BaseException) -> BaseException:
    return EngineFault("the engine failed while it ran a network", exc_type=type(error).__name__)
