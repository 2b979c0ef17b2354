"""The channels of a network that takes several MR series at once: which series each is, by the name that it is given."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from models.structures import key_of

CHANNELS_MAX = 8

KINDS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "T1c": frozenset({"t1c", "t1ce", "t1gd", "t1_c", "t1_ce", "t1_gd", "t1post", "t1_post", "t1_contrast", "t1km"}),
        "T1": frozenset({"t1", "t1w", "t1n", "t1_weighted", "t1_native"}),
        "T2": frozenset({"t2", "t2w", "t2_weighted"}),
        "FLAIR": frozenset({"flair", "t2_flair", "t2f", "fluid_attenuated_inversion_recovery"}),
    }
)
"""Each kind of series, and what bundles call it, as `models.structures.key_of` writes names."""


def kinds_of(image: Mapping[str, Any]) -> tuple[str, ...]:
    """Which series an image of several channels is made of, in order.

    Parameters
    ----------
    image
        A row of `network_data_format.inputs`.

    Returns
    -------
    tuple
        Keys of `KINDS`, each once; empty unless every channel of an MR image of two to eight is named by one.
    """
    count, names = image.get("num_channels"), image.get("channel_def")
    if type(count) is not int or not 2 <= count <= CHANNELS_MAX or not isinstance(names, Mapping):
        return ()
    if str(image.get("modality", "")).strip().upper() not in ("MR", "MRI") or len(names) != count:
        return ()
    said = [names.get(str(number)) for number in range(count)]
    found = [next((kind for kind, known in KINDS.items() if key_of(str(name)) in known), "") for name in said]
    return tuple(found) if all(found) and len(set(found)) == count else ()
