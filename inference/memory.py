"""How much memory a run will take, foretold from the bundle's declarations and the shape of the Volume.

Every array that a run makes has a size that follows from the plan: nothing is tried out, no engine is imported. What
cannot be known before (how far a crop to the foreground goes, how well labels compress) counts at its most. The
process, the libraries and what an engine needs for itself are measured constants; `benchmarks/bench_memory.py` and
`tests/unit/inference/test_memory.py` compare them with what processes really take.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bithive.errors import BitHiveError
from inference.windows import Windows, blending_bytes
from models.bundle import Bundle

Size = tuple[int, int, int]

PROCESS_BYTES = 200 << 20
"""Python, numpy, scipy, Ray and our own code in a replica that has loaded nothing."""

STACK_BYTES = {"torch": 200 << 20, "openvino": 200 << 20, "onnxruntime": 40 << 20, "numpy": 0}
"""What an engine's library adds. OpenVINO reads TorchScript by way of PyTorch, whose size is the greater part."""

MODULES_BYTES = 130 << 20
"""What MONAI's networks add, for a bundle whose weights are plain tensors."""

_WEIGHTS = 3
"""Copies of the weights at most: as read, as converted, as the engine arranged them."""

_FEATURES = 160
"""Float32 of each voxel of a window that a network is taken to need when its bundle does not say."""

_UNKNOWN = 16
"""Bytes for each voxel of the Volume where the plan cannot be read: the node will refuse it with the reason."""

_ENCODING = 0.1
"""Size of encoded labels or masks, and of their copy, as a share of what they take in memory."""

_HUB_BYTES = 320 << 20
_HUB_SLAB_BYTES = 96 << 20


@dataclass(frozen=True, slots=True)
class Prediction:
    """The most that a process will hold, by what holds it.

    Attributes
    ----------
    parts
        Bytes by name. `preparing`, `running` and `finishing` follow each other; only the largest of them counts. The
        others are held all the time.
    """

    parts: Mapping[str, int]

    @property
    def peak_bytes(self) -> int:
        """Resident, at the worst moment."""
        phases = [self.parts.get(name, 0) for name in _PHASES]
        return max(phases) + sum(size for name, size in self.parts.items() if name not in _PHASES)


_PHASES = ("preparing", "running", "finishing")


def predict(
    bundle: Bundle, shape: Sequence[int], spacing_mm: Sequence[float], itemsize: int, channels: int = 1
) -> Prediction:
    """What a replica that runs a bundle on one Volume will take, with nothing else loaded.

    Parameters
    ----------
    bundle
        Of either form.
    shape
        Of the Volume, (z, y, x).
    spacing_mm
        Of the Volume, along (x, y, z).
    itemsize
        Bytes of a voxel.
    channels
        Images of that shape: of a VolumeSet, all of them.

    Returns
    -------
    Prediction
        Always one: a bundle that could not run on the Volume is taken to hold it as float32 a few times.
    """
    voxels = math.prod(shape)
    held = {**_loaded(bundle), "payload": voxels * itemsize * channels}
    x, y, z = shape[2], shape[1], shape[0]
    if bundle.form != "zoo":
        return Prediction(held | _own(bundle, voxels))
    try:
        if bundle.regions:
            return Prediction(held | _detector(bundle, (x, y, z), spacing_mm))
        return Prediction(held | _zoo(bundle, (x, y, z), spacing_mm, channels))
    except BitHiveError:
        return Prediction(held | {"running": _UNKNOWN * voxels * channels})


def loaded_bytes(bundle: Bundle) -> int:
    """What a replica holds with a bundle loaded and nothing running."""
    return sum(_loaded(bundle).values())


def hub_peak(shape: Sequence[int], itemsize: int, structures: int) -> int:
    """What a process of the clinical side holds at most while it reads a Volume of that shape or writes its findings.

    Parameters
    ----------
    shape
        Of the Volume, (z, y, x).
    itemsize
        Bytes of a voxel.
    structures
        Of the findings.

    Returns
    -------
    int
        Bytes, resident. Reading holds the Volume and its container; writing the labels and a few planes of each object.
    """
    voxels = math.prod(shape)
    labels = voxels * (1 if structures <= 255 else 2)
    return _HUB_BYTES + _HUB_SLAB_BYTES + max(2 * voxels * itemsize, 2 * labels)


def _loaded(bundle: Bundle) -> dict[str, int]:
    """The process with its engine, one bundle's weights, and the room that engines keep for each network in use.

    A bundle of the zoo's form lists one network in several files, of which one is loaded; one of ours uses all of them.
    """
    declared = bundle.extension["networks"]
    stack = max(STACK_BYTES.get(name, STACK_BYTES["torch"]) for name in bundle.engines)
    modules = MODULES_BYTES if any(name.endswith(".safetensors") for name in declared) else 0
    rooms = [_activation(row) for row in declared.values()]
    return {
        "process": PROCESS_BYTES + stack + modules,
        "weights": _WEIGHTS * sum(pinned.size_bytes for pinned in bundle.weights),
        "activations": max(rooms, default=0) if bundle.form == "zoo" else sum(rooms),
    }


def _activation(row: Mapping[str, Any]) -> int:
    if declared := int(row.get("activation_bytes", 0)):
        return declared
    _, channels, *size = (int(item) for item in row["input_shape"])
    return 4 * math.prod(size) * (_FEATURES + channels + 2 * int(row.get("output_channels", 2)))


def _own(bundle: Bundle, voxels: int) -> dict[str, int]:
    """Of a bundle that takes networks' whole grids and gives masks: the grids, the answer, masks and what cleans them.

    `voxel_bytes` of its metadata is what its rules hold for each voxel of the Volume, masks included; `working_bytes` what
    its transforms and inferer hold whatever the Volume's size, such as the features of a brain's box.
    """
    grids = sum(4 * math.prod(row["input_shape"]) for row in bundle.extension["networks"].values())
    masks = len(bundle.extension["findings"].get("masks", ()))
    worked = voxels * int(bundle.extension.get("voxel_bytes", 0)) + int(bundle.extension.get("working_bytes", 0))
    return {"running": grids + worked, "finishing": grids + voxels * (masks + 2) + _encoded(masks * voxels)}


def _zoo(bundle: Bundle, size: Size, spacing_mm: Sequence[float], images: int) -> dict[str, int]:
    """Of a bundle of the zoo's form: image, blending and labels; the most of those phases counts."""
    from inference.zoo_plan import plan_of
    from models.resolve import resolved

    parts = resolved(bundle.inference(), ("preprocessing", "inferer", "postprocessing"))
    plan = plan_of({**parts, "channels": images})
    voxels = math.prod(size)
    grid, most = _grid(plan.preparation, size, spacing_mm)
    networks, named = bundle.extension["networks"].values(), len(bundle.structures) + 1
    channels = max((int(row.get("output_channels", named)) for row in networks), default=named)
    labels = voxels * (1 if len(bundle.structures) < 255 else 2)
    answer, image = plan.answer, 4 * math.prod(grid) * images
    on_grid = math.prod(grid) * (labels // voxels) if answer.on_grid else 0
    worked = (6 * math.prod(grid) if answer.on_grid else 0, 6 * voxels if answer.on_source else 0)
    return {
        "preparing": 4 * most + (image if images > 1 else 0),
        "running": image
        + labels
        + on_grid
        + labelling_bytes(grid, plan.windows, channels, interpolate=answer.interpolate)
        + _extra_inputs(grid, plan.windows, images),
        "finishing": image + labels + on_grid + max(*worked, _encoded(labels)),
    }


def _detector(bundle: Bundle, size: Size, spacing_mm: Sequence[float]) -> dict[str, int]:
    """Of a detector: image twice, filled up; the network's maps for what it is given at once; its answer over all of it."""
    from inference.zoo_detector import detector_plan_of
    from models.detector import parts_of

    plan = detector_plan_of(parts_of(bundle.inference()))
    grid, most = _grid(plan.preparation, size, spacing_mm)
    given, padded = plan.at_once(grid), plan.padded(grid)
    window = max(1, math.prod(plan.window))
    row = next(iter(bundle.extension["networks"].values()))
    answer = int(row.get("output_channels", 0)) * sum(
        math.prod(plan.level(tuple(map(max, padded, given)), number)) for number in range(len(plan.shapes))
    )
    return {
        "activations": math.ceil(_activation(row) * math.prod(given) / window),
        "preparing": 4 * most,
        "running": 4 * (math.prod(grid) + 2 * math.prod(map(max, padded, given)) + 4 * answer),
    }


def labelling_bytes(grid: Size, windows: Windows | None, channels: int, *, interpolate: bool) -> int:
    """What `inference.labels.label_volume` holds beside the image, the labels and the network."""
    scratch = (8 << 20) + 4 * channels * 32_768
    if windows is None:
        return scratch + 4 * channels * math.prod(grid)
    return scratch + blending_bytes(grid, windows, channels, margin=int(interpolate))


def _extra_inputs(grid: Size, windows: Windows | None, images: int) -> int:
    """What windows of several channels hold beyond those of one: the padded image and the batch of windows."""
    if images == 1 or windows is None:
        return 0
    roi = [wanted if wanted > 0 else voxels for wanted, voxels in zip(windows.roi_size, grid, strict=True)]
    padded = math.prod(max(wanted, voxels) for wanted, voxels in zip(roi, grid, strict=True))
    return 4 * (images * padded + (images - 1) * windows.batch * math.prod(roi))


def _encoded(size_bytes: int) -> int:
    return round(size_bytes * _ENCODING)


def _grid(steps: Sequence[Any], size: Size, spacing_mm: Sequence[float]) -> tuple[Size, int]:
    """Size of the network's grid at most, and the most voxels of float32 that are held on the way to it."""
    from inference.zoo_spatial import CropCentre, Pad, Resize, Space

    now, own, most = list(size), 0, 0
    for step in steps:
        before = own
        if isinstance(step, Space):
            now = [
                math.ceil(voxels * mm / wanted) if wanted > 0 else voxels
                for voxels, mm, wanted in zip(now, spacing_mm, step.pixdim, strict=True)
            ]
        elif isinstance(step, Resize):
            now = [wanted if wanted > 0 else voxels for voxels, wanted in zip(now, step.size, strict=True)]
        elif isinstance(step, CropCentre):
            now = [min(wanted, voxels) if wanted > 0 else voxels for voxels, wanted in zip(now, step.size, strict=True)]
            continue
        elif isinstance(step, Pad):
            now = _padded(step, now)
        else:
            continue
        own = math.prod(now)
        most = max(most, before + own)
    whole = math.prod(now)
    return (now[0], now[1], now[2]), max(most, whole if own == whole else own + whole)


def _padded(step: Any, size: Sequence[int]) -> list[int]:
    out = []
    for voxels, least, divisor, border in zip(size, step.size, step.divisible, step.border, strict=True):
        length = max(voxels, least)
        out.append((-(-length // divisor) * divisor if divisor > 0 else length) + 2 * border)
    return out
