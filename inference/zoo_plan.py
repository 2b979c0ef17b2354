"""What a bundle of the zoo's form asks for, as a frozen plan: every transform understood, or the bundle refused.

Input are the plain values that `models.resolve` leaves of `configs/inference.json`. Whatever changes an image or an
answer is either carried out as MONAI does or refused by name; only what moves types and axes of tensors about, or writes
files, is left out. `docs/adr/0075-zoo-plan.md` has the table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from inference.errors import TransformUnsupported
from inference.labels import Decision
from inference.windows import Windows
from inference.zoo_answers import Answer, answer_of
from inference.zoo_given import Given
from inference.zoo_intensity import IntensityStep, Normalise
from inference.zoo_preparation import IGNORED, PREPARATION
from inference.zoo_spatial import CropCentre, CropForeground, Resize, Space, SpatialStep

_INFERERS = ("SlidingWindowInferer", "SliceInferer", "SimpleInferer")
_COUNTS = ("NormalizeIntensityd", "ScaleIntensityd", "ScaleIntensityRangePercentilesd")
_ELSEWHERE = {"device", "sw_device", "progress", "cache_roi_weight_map", "cpu_thresh", "sw_batch_size"}


@dataclass(frozen=True, slots=True)
class Plan:
    """How a bundle of the zoo's form runs.

    Attributes
    ----------
    preparation
        From the source to the network's grid, in order.
    windows
        How the network passes over the grid; None when it takes all of it at once.
    answer
        What becomes of its answer.
    stripped
        Whether it takes several images whose background is exactly zero: zeros are left out of what it counts.
    """

    preparation: tuple[SpatialStep | IntensityStep, ...]
    windows: Windows | None
    answer: Answer
    stripped: bool = False

    @property
    def decision(self) -> Decision:
        return self.answer.decision


def plan_of(parts: Mapping[str, Any]) -> Plan:
    """Understand the parts of a configuration.

    Parameters
    ----------
    parts
        `preprocessing`, `inferer` and `postprocessing`, as `models.resolve.resolved` gives them; and under `channels` how
        many images the network takes at once (1 when absent), of which each is prepared by itself.

    Raises
    ------
    TransformUnsupported
        Naming the transform, or its option, that cannot be carried out exactly.
    """
    channels = int(parts.get("channels", 1))
    preparation, image = preparation_of(parts["preprocessing"], channels)
    answer = answer_of(_chain(parts["postprocessing"], "postprocessing"), image, parts["preprocessing"])
    if any(isinstance(step, Space | Resize) and step.nearest for step in preparation):
        answer = replace(answer, interpolate=False)
    _check_together(preparation, answer)
    if channels > 1 and answer.decision.kind == "threshold":
        answer = replace(answer, decision=replace(answer.decision, kind="each"))
    zeros = any(isinstance(step, Normalise) and step.nonzero for step in preparation)
    return Plan(preparation, _windows(parts["inferer"]), answer, channels > 1 and zeros)


def preparation_of(part: Any, channels: int = 1) -> tuple[tuple[SpatialStep | IntensityStep, ...], str]:
    """The steps of a preprocessing for that many channels, and the key of its image. Raises `TransformUnsupported`."""
    given = _chain(part, "preprocessing")
    keys = {item.key() for item in given}
    if len(keys) != 1:
        raise TransformUnsupported("the preprocessing prepares several images", keys=len(keys))
    image = keys.pop()
    steps = []
    for item in given:
        if item.target in IGNORED:
            IGNORED[item.target](item)
        elif item.target in PREPARATION:
            if channels > 1:
                _check_apart(item)
            steps.append(PREPARATION[item.target](item, image))
        else:
            raise TransformUnsupported(f"the preprocessing has {item.target}, which is not carried out here")
        item.done()
    return tuple(steps), image


def _check_apart(given: Given) -> None:
    """Refuse what looks at several images together: here each is prepared by itself."""
    if given.target in _COUNTS and not given.flag("channel_wise", False):
        raise given.refuse("counts over several images together")
    if given.target == "CropForegroundd":
        raise given.refuse("looks for the foreground of several images together")


def _chain(part: Any, name: str) -> list[Given]:
    """The transforms of a `Compose`, those of a `Compose` inside it too."""
    if isinstance(part, list):
        return [item for node in part for item in _chain(node, name)]
    given = Given.of(part, name)
    if given.target != "Compose":
        return [given]
    chain = _chain(given.take("transforms", []), name)
    given.only("lazy", None, False)
    given.leave("map_items", "unpack_items", "log_stats", "overrides")
    given.done()
    return chain


def _windows(part: Any) -> Windows | None:
    given = Given.of(part, "inferer")
    if given.target not in _INFERERS:
        raise TransformUnsupported(f"the inferer is {given.target}, which is not carried out here")
    if given.target == "SimpleInferer":
        given.done()
        return None
    mode, padding = given.word("mode", "constant"), given.word("padding_mode", "constant")
    if mode not in ("constant", "gaussian") or padding not in ("constant", "reflect", "replicate", "circular"):
        raise given.refuse("weights or pads in a way that is not carried out here")
    for name in ("buffer_steps", "roi_weight_map", "process_fn", "with_coord"):
        given.only(name, None, False, 0)
    given.leave(*_ELSEWHERE, "buffer_dim")
    size, across = _size(given)
    windows = Windows(
        size,
        given.number3("overlap", 0.25),
        "gaussian" if mode == "gaussian" else "constant",
        given.number3("sigma_scale", 0.125),
        padding_mode=padding,  # type: ignore[arg-type]
        cval=given.number("cval", 0.0),
        across=across,
    )
    given.done()
    return windows


def _size(given: Given) -> tuple[tuple[int, int, int], int | None]:
    """The window along (x, y, z), and the axis across which a network of two dimensions takes its slices."""
    if given.target != "SliceInferer":
        return given.whole3("roi_size", empty=-1), None
    across, sizes = given.whole("spatial_dim", 0), given.take("roi_size")
    plain = (
        isinstance(sizes, list | tuple) and len(sizes) == 2 and all(type(size) is int and size > 0 for size in sizes)
    )
    if not plain or across not in (0, 1, 2):
        raise given.refuse("has no window of two fixed sides, or another axis than three")
    whole = [*sizes[:across], 1, *sizes[across:]]
    return (whole[0], whole[1], whole[2]), across


def _check_together(preparation: tuple[SpatialStep | IntensityStep, ...], answer: Answer) -> None:
    """Refuse what each transform alone would allow."""
    sampled = [index for index, step in enumerate(preparation) if isinstance(step, Space | Resize)]
    if len(sampled) > 1:
        raise TransformUnsupported("Spacingd and Resized one after the other are not carried out here")
    crops = [index for index, step in enumerate(preparation) if isinstance(step, CropForeground | CropCentre)]
    if crops and not answer.inverted:
        raise TransformUnsupported("a crop without Invertd after the network is not carried out here")
    late = bool(sampled) and any(index > sampled[0] for index in crops)
    if late and answer.interpolate and answer.decision.kind != "argmax":
        raise TransformUnsupported("Invertd that interpolates across the edge of a crop before a threshold")
