"""What BitHive must know of a zoo bundle, derived from its own declarations once, when it is installed.

Rules, all on the safe side, until part of it is measured on a node (`inference/calibration.py`):

- A network's window is the inferer's `roi_size`; of a network that takes the image whole, the stated `spatial_shape`.
- Activations of one window: four bytes for each voxel and channel of input, of ten feature maps of the first level's
  width (the deeper levels of an encoder together hold a third of the first, a decoder as much again, skips and the
  workspace of a convolution the rest), and of two copies of the answer.
- One work unit stands for a megabyte of activations computed, near a millisecond of the reference engine on two cores;
  the windows in a million voxels follow from `roi_size` and `overlap`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from models.channels import kinds_of
from models.errors import BadBundle, BundleNeeds
from models.structures import Structure, from_channels, key_of

PARITY = {"reference": "torch", "measure": "labels", "least": 0.999}
DATA_CLASS = "P3"

_SIDE_MAX = 1_024
_WINDOWED = ("SlidingWindowInferer", "SliceInferer")
_LEVELS = 10
_WIDTHS = ("channels", "features", "filters", "init_filters", "feature_size", "n_filters", "hidden_channels")
_WIDTH_UNKNOWN = 32
_WIDTH_MAX = 512
_ACTIVATION_BYTES_MIN = 32 << 20
_DETECTOR_EDGES = 6
_DETECTOR_MAPS = 80
"""Float32 of each voxel of a detector's input that its network holds at once, measured (`docs/adr/0104-*`)."""
_ENGINES: Mapping[str, Mapping[str, Any]] = {
    "torchscript": {
        "openvino": {"precision": "f32", "parity": PARITY},
        "onnxruntime": {"precision": "f32", "parity": PARITY},
        "torch": {"precision": "f32"},
    },
    "onnx": {
        "openvino": {"precision": "f32", "parity": {**PARITY, "reference": "onnxruntime"}},
        "onnxruntime": {"precision": "f32"},
    },
}


@dataclass(frozen=True, slots=True)
class Shape:
    """What goes into a network at once, and what comes out.

    Attributes
    ----------
    window
        Voxels along (x, y, z).
    overlap
        Share of neighbouring windows that they have in common, along each axis.
    channels_in, channels_out
        Of the network.
    width
        Channels of its first feature map.
    across
        The axis, 0 to 2 for x to z, that a network of two dimensions does not have; its window is one voxel thick there.
    detects
        Whether it answers with maps of boxes.
    """

    window: tuple[int, int, int]
    overlap: tuple[float, float, float]
    channels_in: int
    channels_out: int
    width: int
    across: int | None = None
    detects: bool = False

    @property
    def input_shape(self) -> list[int]:
        """Batch, channels, and the axes that the network has."""
        return [1, self.channels_in, *(size for axis, size in enumerate(self.window) if axis != self.across)]

    @property
    def activation_bytes(self) -> int:
        """By the rule above; of a detector, whose maps are smaller than its image, what was measured."""
        if self.detects:
            return max(_ACTIVATION_BYTES_MIN, 4 * math.prod(self.window) * _DETECTOR_MAPS)
        maps = self.channels_in + _LEVELS * self.width + 2 * self.channels_out
        return max(_ACTIVATION_BYTES_MIN, 4 * math.prod(self.window) * maps)

    @property
    def work_units(self) -> dict[str, int]:
        """By the rule above: one window at least, and then by the image's size."""
        window = -(-self.activation_bytes // 1_000_000)
        step = math.prod(max(1.0, size * (1 - share)) for size, share in zip(self.window, self.overlap, strict=True))
        return {"base": window, "per_million_voxels": math.ceil(1_000_000 / step * window)}


def shape_of(metadata: Mapping[str, Any], parts: Mapping[str, Any]) -> Shape:
    """The shape of a bundle's network.

    Parameters
    ----------
    metadata
        `configs/metadata.json`.
    parts
        The resolved `inferer`, and `network_def` where it was resolved.

    Raises
    ------
    BadBundle
        If a declaration is malformed.
    BundleNeeds
        If the network has no fixed window of three axes, or of two and passes over slices.
    """
    if "detector" in parts:
        return _detector_shape(parts)
    image, answer = image_of(metadata), answer_of(metadata)
    inferer = parts["inferer"]
    size = inferer.get("roi_size") if inferer["_target_"] in _WINDOWED else image.get("spatial_shape")
    across = inferer.get("spatial_dim", 0) if inferer["_target_"] == "SliceInferer" else None
    if across is not None:
        size = _slice(size, across)
    network = parts.get("network_def", {})
    channels = _channels(answer)
    overlap = _overlap(inferer.get("overlap", 0.25))
    return Shape(_window(size), overlap, len(kinds_of(image)) or 1, channels, _width(network, channels), across)


def _detector_shape(parts: Mapping[str, Any]) -> Shape:
    network, windows = parts["network_def"], parts["detector"].get("sliding_window_inferer", {})
    kinds, classes = network.get("num_anchors"), network.get("num_classes")
    if not isinstance(kinds, int) or not isinstance(classes, int) or not _is_count(kinds * classes, 1_024):
        raise BadBundle("inference.json does not say how many anchors and classes the detector has")
    overlap = _overlap(windows.get("overlap", 0.5))
    channels = kinds * (classes + _DETECTOR_EDGES)
    return Shape(_window(windows.get("roi_size")), overlap, 1, channels, _WIDTH_UNKNOWN, detects=True)


def structures_of(metadata: Mapping[str, Any], parts: Mapping[str, Any]) -> tuple[Structure, ...]:
    """The structures that a bundle segments: its channels, but for the background.

    Where each channel is decided by a threshold of its own, channel 0 is a structure unless it is called background, and
    channel k is label k + 1 then.

    Raises
    ------
    BadBundle
        If the channels are not named, or not all of them.
    """
    answer = answer_of(metadata)
    channels = answer.get("channel_def")
    if not isinstance(channels, Mapping) or not channels:
        raise BadBundle("metadata.json does not name the channels of the network's answer")
    if not _decides_by_argmax(parts) and key_of(str(channels.get("0", ""))) != "background":
        if not all(str(number).isdecimal() for number in channels):
            raise BadBundle("channel_def of metadata.json is malformed")
        channels = {str(int(number) + 1): name for number, name in channels.items()}
    found = from_channels(channels)
    if len(found) not in {_channels(answer), _channels(answer) - 1} or not found:
        raise BadBundle("metadata.json does not name each channel of the network's answer")
    return found


def extension_of(
    files: Mapping[str, str],
    weights: Sequence[Mapping[str, Any]],
    shape: Shape,
    structures: Sequence[Structure],
    licence: str,
    regions: Sequence[str] = (),
) -> dict[str, Any]:
    """The content of `configs/bithive.json`.

    Parameters
    ----------
    files
        Format (`torchscript`, `onnx`, `safetensors`) of each network file, the preferred first.
    weights
        Declarations of the files, as `PinnedFile` reads them.
    shape, structures, licence, regions
        As derived; a detector has regions, the keys of what its boxes hold, and no structures.
    """
    kinds = ["onnx" if kind == "onnx" else "torchscript" for kind in files.values()]
    engines = dict(_ENGINES["onnx"]) if set(kinds) == {"onnx"} else dict(_ENGINES["torchscript"])
    if regions:
        engines = {"torch": {"precision": "f32"}}
    network = {
        "input_shape": shape.input_shape,
        "output_channels": shape.channels_out,
        "activation_bytes": shape.activation_bytes,
    }
    return {
        "data_class": DATA_CLASS,
        "engines": engines,
        "networks": dict.fromkeys(files, network),
        "findings": {
            "structures": [asdict(item) for item in structures],
            **({"regions": list(regions)} if regions else {}),
        },
        "work_units": shape.work_units,
        "weights": list(weights),
        "licence": licence,
    }


def image_of(metadata: Mapping[str, Any]) -> Mapping[str, Any]:
    """The one image that the network takes. Raises `BadBundle`, or `BundleNeeds` when it takes several."""
    return _only(metadata, "inputs")


def answer_of(metadata: Mapping[str, Any]) -> Mapping[str, Any]:
    """The one answer that the network gives. Raises as `image_of`."""
    return _only(metadata, "outputs")


def _only(metadata: Mapping[str, Any], side: str) -> Mapping[str, Any]:
    data_format = metadata.get("network_data_format")
    rows = data_format.get(side) if isinstance(data_format, Mapping) else None
    if not isinstance(rows, Mapping) or not rows or not all(isinstance(row, Mapping) for row in rows.values()):
        raise BadBundle("network_data_format of metadata.json is malformed")
    if len(rows) != 1:
        raise BundleNeeds(f"the network has several {side}: {', '.join(map(str, rows))}"[:200])
    only: Mapping[str, Any] = next(iter(rows.values()))
    return only


def _channels(answer: Mapping[str, Any]) -> int:
    channels = answer.get("num_channels")
    if not isinstance(channels, int) or not _is_count(channels, 65_536):
        raise BadBundle("metadata.json does not say how many channels the network answers with")
    return channels


def _slice(size: Any, across: Any) -> list[Any]:
    sizes = [size] * 2 if _is_count(size, _SIDE_MAX) else size
    if type(across) is not int or across not in (0, 1, 2) or not isinstance(sizes, Sequence) or len(sizes) != 2:
        raise BundleNeeds("a network of two dimensions whose window has no two fixed sides")
    return [*sizes[:across], 1, *sizes[across:]]


def _window(size: Any) -> tuple[int, int, int]:
    sizes = [size] * 3 if _is_count(size, _SIDE_MAX) else size
    if not isinstance(sizes, Sequence) or len(sizes) != 3 or not all(_is_count(side, _SIDE_MAX) for side in sizes):
        raise BundleNeeds("a network whose window has no fixed size along three axes")
    return sizes[0], sizes[1], sizes[2]


def _overlap(share: Any) -> tuple[float, float, float]:
    shares = share if isinstance(share, Sequence) and len(share) == 3 else [share] * 3
    if not all(isinstance(item, int | float) and 0 <= item < 1 for item in shares):
        raise BadBundle("the overlap of windows is no share")
    return float(shares[0]), float(shares[1]), float(shares[2])


def _width(network: Mapping[str, Any], channels_out: int) -> int:
    if network.get("_target_") == "Convolution":
        return channels_out
    for name in _WIDTHS:
        value = network.get(name)
        first = value[0] if isinstance(value, list) and value else value
        if isinstance(first, int) and _is_count(first, _WIDTH_MAX):
            return first
    return _WIDTH_UNKNOWN


def _decides_by_argmax(parts: Mapping[str, Any]) -> bool:
    transforms = parts["postprocessing"].get("transforms", [])
    steps = [item for item in transforms if isinstance(item, Mapping) and item.get("_target_") == "AsDiscreted"]
    return any(item.get("argmax") in (True, [True]) for item in steps)


def _is_count(value: Any, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= most
