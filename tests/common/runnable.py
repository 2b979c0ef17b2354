"""Bundles of the zoo's form as installing leaves them, with a network that runs: what a node needs, without a store."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from models.bundle import Bundle
from tests.common.zoo import zoo_bundle

NETWORK = "models/model.ts"


def runnable(
    folder: Path,
    structures: int,
    *,
    roi: Sequence[int] = (48, 48, 48),
    overlap: float = 0.25,
    mode: str = "constant",
    change: Mapping[str, Any] | None = None,
    engines: Mapping[str, Any] | None = None,
    activation_bytes: int = 0,
    network: Any = None,
    **how: Any,
) -> Bundle:
    """Write a bundle and read it.

    Parameters
    ----------
    folder
        Where its own goes.
    structures
        How many its network tells apart, beside the background, by the intensity.
    roi, overlap, mode
        Of its windows.
    change, how
        As `tests.common.zoo.zoo_bundle` takes them.
    engines
        As the extension lists them; PyTorch alone when absent.
    activation_bytes
        Of its network; what the tiny one takes when 0.
    network
        A PyTorch module instead of the tiny one.
    """
    names = {number: f"structure {number}" for number in range(1, structures + 1)}
    windows = {"roi_size": list(roi), "sw_batch_size": 4, "overlap": overlap, "mode": mode}
    changes = {"inferer": {"_target_": "SlidingWindowInferer", **windows}, **(change or {})}
    centres = [number / structures for number in range(structures + 1)]
    name = f"tiny_{structures}"
    made = zoo_bundle(folder, name, labels=names, centres=centres, roi=(8, 8, 8), change=changes, **how)
    if network is not None:
        _traced(network, made / NETWORK)
    room = activation_bytes or 12 * (structures + 2) * int(np.prod(roi))
    row = {"input_shape": [1, 1, *roi], "output_channels": structures + 1, "activation_bytes": room}
    pinned = {"file": NETWORK, "sha256": "0" * 64, "size_bytes": (made / NETWORK).stat().st_size}
    extension = {
        "data_class": "P3",
        "licence": "Apache-2.0",
        "engines": engines or {"torch": {"precision": "f32"}},
        "networks": {NETWORK: row},
        "findings": {"structures": [{"label": n, "key": f"structure_{n}", "name": name} for n, name in names.items()]},
        "work_units": {"base": 100, "per_million_voxels": 100},
        "weights": [{**pinned, "source": {"kind": "installed", "bundle": name}}],
    }
    (made / "configs" / "bithive.json").write_text(json.dumps(extension))
    return Bundle.load(made)


def _traced(network: Any, path: Path) -> None:
    import torch

    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(network.eval(), torch.zeros(1, 1, 16, 16, 16)), str(path))
