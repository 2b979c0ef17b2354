"""Several images at one position: the same one twice, or several volumes in one series.

A series of several echoes, time points or b-values is no Volume, and which of them a task would need is nobody's guess
here. An image that was sent twice is left out once, with a warning.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from bithive.errors import Refused
from clinic import elements, refusals

Attributes = Mapping[str, Any]


class _HasAttributes(Protocol):
    @property
    def attributes(self) -> Attributes: ...


_Image = TypeVar("_Image", bound=_HasAttributes)

TELLS = {
    "00200100": "Temporal Position Identifier",
    "00209128": "Temporal Position Index",
    "00180081": "Echo Time",
    "00189082": "Effective Echo Time",
    "00180086": "Echo Numbers",
    "00189087": "Diffusion b-value",
    "00189075": "Diffusion Directionality",
    "00189089": "Diffusion Gradient Orientation",
    "00189076": "Diffusion Gradient Direction Sequence",
    "00181060": "Trigger Time",
    "00209153": "Nominal Cardiac Trigger Delay Time",
    "00209241": "Nominal Percentage of Cardiac Phase",
    "00209245": "Nominal Percentage of Respiratory Phase",
    "00180082": "Inversion Time",
    "00189079": "Inversion Times",
    "00181314": "Flip Angle",
    "00180080": "Repetition Time",
    "00080008": "Image Type",
    "00089007": "Frame Type",
    "00089208": "Complex Image Component",
    "00180010": "Contrast/Bolus Agent",
    "00181210": "Convolution Kernel",
    "00180060": "KVP",
    "00181250": "Receive Coil Name",
    "00180050": "Slice Thickness",
    "00209056": "Stack ID",
    "00200012": "Acquisition Number",
}
"""Attributes in which two images at one position differ when they belong to different volumes."""

_FURTHER = {
    "0008002A": "Acquisition DateTime",
    "00080032": "Acquisition Time",
    "00080033": "Content Time",
    "00200013": "Instance Number",
}
_NAMED_MAX = 3


Same = Callable[[_Image, _Image], bool]


def single(groups: Sequence[Sequence[_Image]], same: Same[_Image]) -> list[_Image]:
    """One image of each group.

    Parameters
    ----------
    groups
        The images at each position.
    same
        Whether two images hold the same pixels.

    Raises
    ------
    SeveralVolumes, DuplicatePositions
        If images of one group differ: where most positions have several, or only some.
    """
    for group in groups:
        for other in group[1:]:
            if differences(group[0].attributes, other.attributes, TELLS) or not same(group[0], other):
                raise _refusal(groups)
    return [group[0] for group in groups]


def differences(one: Attributes, other: Attributes, tells: Mapping[str, str]) -> list[str]:
    """The names of those attributes in which two images differ."""
    return [name for tag, name in tells.items() if elements.values(one, tag) != elements.values(other, tag)]


def _refusal(groups: Sequence[Sequence[_Image]]) -> Refused:
    several = [group for group in groups if len(group) > 1]
    if 2 * len(several) < len(groups):
        return refusals.DuplicatePositions(count=len(several))
    pairs = [(group[0].attributes, other.attributes) for group in several for other in group[1:]]
    for tells in (TELLS, _FURTHER):
        varying = {name for one, other in pairs for name in differences(one, other, tells)}
        if varying:
            named = [name for name in tells.values() if name in varying][:_NAMED_MAX]
            return refusals.SeveralVolumes(
                f"the images at one position differ by {', '.join(named)}",
                count=max(map(len, several)),
                by=", ".join(named),
            )
    return refusals.DuplicatePositions(count=len(several))
