"""Detectors of boxes in the form of the zoo: a RetinaNet, its anchors, and how boxes are chosen, as plain values.

The zoo's `lung_nodule_ct_detection` sets its detector by calls of methods (`detector_ops`) and resamples only when
`whether_raw_luna16` says that images come as scanners make them. Here they always do: the member is read as true. The
bundle's own README tells its users the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from models.errors import BundleNeeds
from models.resolve import resolved, settings
from models.structures import key_of

PARTS = ("network_def", "anchor_generator", "detector", "preprocessing", "inferer", "postprocessing")

_RAW = "whether_raw_luna16"
_SETTERS = ("set_target_keys", "set_box_selector_parameters", "set_sliding_window_inferer")
_ELSEWHERE = {
    "detector": {"network": "@network", "anchor_generator": "@anchor_generator"},
    "inferer": {"detector": "@detector"},
}
_ONE_CLASS = "nodule"


def is_detector(config: Mapping[str, Any]) -> bool:
    """Whether a configuration is that of a detector."""
    return all(
        _target(config, part) == name
        for part, name in (("network_def", "RetinaNet"), ("detector", "RetinaNetDetector"))
    )


def parts_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """The interpreted parts of a detector.

    Parameters
    ----------
    config
        `configs/inference.json`, as read.

    Returns
    -------
    dict
        `PARTS` as `models.resolve.resolved` gives them; `detector` with the values that its setters are given
        (`target_keys`, `box_selector_parameters`, `sliding_window_inferer`), `inferer` without the detector.

    Raises
    ------
    BundleNeeds
        If the parts are put together in another way than the zoo's, or images are not brought to a fixed voxel size.
    ExpressionRefused, TargetRefused, DirectiveRefused, BadBundle
        As `models.resolve.resolved`.
    """
    read = {**config, **({_RAW: True} if _RAW in config else {})}
    for part, references in _ELSEWHERE.items():
        if not isinstance(config.get(part), dict) or not references.items() <= config[part].items():
            raise BundleNeeds(f"it needs a detector whose {part} is made in another way")
        read[part] = {key: value for key, value in config[part].items() if key not in references}
    found = resolved(read, PARTS)
    for holder, setter, values in settings(config, "detector_ops"):
        if holder != "detector" or setter not in _SETTERS:
            raise BundleNeeds("it needs a detector that is set in another way")
        found["detector"][setter.removeprefix("set_")] = values
    steps = found["preprocessing"].get("transforms", []) if isinstance(found["preprocessing"], dict) else []
    if not any(isinstance(step, dict) and step.get("_target_") == "Spacingd" for step in steps):
        raise BundleNeeds("it needs images that were brought to the voxel size of its anchors beforehand")
    return found


def classes_of(metadata: Mapping[str, Any], count: int) -> tuple[str, ...]:
    """Keys of the classes of boxes, in the order of the network's.

    Parameters
    ----------
    metadata
        `configs/metadata.json`; the zoo's names no class, but says of one that it is a nodule.
    count
        Of the network's classes.

    Raises
    ------
    BundleNeeds
        If nothing says what a box holds.
    """
    outputs = metadata.get("network_data_format", {}).get("outputs", {})
    rows = [row for row in outputs.values() if isinstance(row, Mapping)]
    channels = rows[0].get("channel_def") if len(rows) == 1 else None
    if isinstance(channels, Mapping) and set(channels) == {str(number) for number in range(count)}:
        keys = tuple(key_of(str(channels[str(number)])) for number in range(count))
        if all(keys) and len(set(keys)) == count:
            return keys
    told = " ".join(str(metadata.get(member, "")) for member in ("name", "task", "description")).lower()
    if count == 1 and _ONE_CLASS in told:
        return (_ONE_CLASS,)
    raise BundleNeeds("it needs names of the classes of its boxes, which it does not say")


def _target(config: Mapping[str, Any], part: str) -> str:
    node = config.get(part)
    return str(node.get("_target_", "")).rsplit(".", 1)[-1] if isinstance(node, Mapping) else ""
