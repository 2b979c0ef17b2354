"""Regions of the body: which values of Body Part Examined fit each, which words name it, and how much must be shown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from pipelines import words


@dataclass(frozen=True, slots=True)
class Region:
    """One region.

    Attributes
    ----------
    words
        Keys of `words.ANATOMY` that name it or a part of it.
    extent_mm_min
        Least coverage along any axis with which a structure of it can be whole.
    mr_spacing_mm_max
        How far voxel centres of an MR image may lie apart.
    """

    words: tuple[str, ...]
    extent_mm_min: float
    mr_spacing_mm_max: float


REGIONS: Mapping[str, Region] = MappingProxyType(
    {
        "head": Region(("head", "head's parts"), 100.0, 6.0),
        "neck": Region(("neck",), 60.0, 5.0),
        "chest": Region(("chest",), 100.0, 6.0),
        "heart": Region(("heart", "chest"), 40.0, 10.0),
        "abdomen": Region(("abdomen",), 60.0, 6.0),
        "pelvis": Region(("pelvis",), 40.0, 5.0),
    }
)

BODY_PARTS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "HEAD": frozenset({"head"}),
        "BRAIN": frozenset({"head"}),
        "SKULL": frozenset({"head"}),
        "FACE": frozenset({"head"}),
        "HEADNECK": frozenset({"head", "neck"}),
        "NECK": frozenset({"neck"}),
        "NECKCHEST": frozenset({"neck", "chest", "heart"}),
        "NECKCHESTABDOMEN": frozenset({"neck", "chest", "heart", "abdomen"}),
        "NECKCHESTABDPELV": frozenset({"neck", "chest", "heart", "abdomen", "pelvis"}),
        "CHEST": frozenset({"chest", "heart"}),
        "THORAX": frozenset({"chest", "heart"}),
        "LUNG": frozenset({"chest", "heart"}),
        "MEDIASTINUM": frozenset({"chest", "heart"}),
        "HEART": frozenset({"heart"}),
        "CHESTABDOMEN": frozenset({"chest", "heart", "abdomen"}),
        "CHESTABDPELVIS": frozenset({"chest", "heart", "abdomen", "pelvis"}),
        "TRUNK": frozenset({"chest", "heart", "abdomen", "pelvis"}),
        "ABDOMEN": frozenset({"abdomen"}),
        "ABDOMENPELVIS": frozenset({"abdomen", "pelvis"}),
        "LIVER": frozenset({"abdomen"}),
        "GALLBLADDER": frozenset({"abdomen"}),
        "PANCREAS": frozenset({"abdomen"}),
        "SPLEEN": frozenset({"abdomen"}),
        "STOMACH": frozenset({"abdomen"}),
        "KIDNEY": frozenset({"abdomen"}),
        "ADRENAL": frozenset({"abdomen"}),
        "RETROPERITONEUM": frozenset({"abdomen"}),
        "PELVIS": frozenset({"pelvis"}),
        "PROSTATE": frozenset({"pelvis"}),
        "BLADDER": frozenset({"pelvis"}),
        "RECTUM": frozenset({"pelvis"}),
        "UTERUS": frozenset({"pelvis"}),
        "HIP": frozenset({"pelvis"}),
        "WHOLEBODY": frozenset(REGIONS),
    }
)
"""Values of Body Part Examined (PS3.16 Annex L, and what scanners write in its place), without spaces and hyphens."""

WHOLE_BODY = frozenset(REGIONS)
"""Whatever part of the body is shown."""

_SHARE_MIN = 0.1
_WHOLE_BODY_REGIONS = 3
_TRUNK = frozenset({"chest", "heart", "abdomen", "pelvis"})


def principal(regions: Iterable[str]) -> frozenset[str]:
    """The regions that a bundle's structures mostly lie in.

    Parameters
    ----------
    regions
        Of each structure; empty ones say nothing.

    Returns
    -------
    frozenset
        Those of at least a tenth of the structures; `WHOLE_BODY` when these are three or more besides the heart.
    """
    told = [region for region in regions if region]
    found = frozenset(region for region in told if told.count(region) >= _SHARE_MIN * len(told))
    return WHOLE_BODY if len(found - {"heart"}) >= _WHOLE_BODY_REGIONS else found


def named(text: str) -> frozenset[str]:
    """The regions that a text names; `WHOLE_BODY` when it names none."""
    told = text.lower().replace("_", " ")
    found = frozenset(
        key for key, region in REGIONS.items() if words.any_of(*words.ANATOMY[region.words[0]]).search(told)
    )
    return found or WHOLE_BODY


def body_parts(regions: frozenset[str]) -> frozenset[str]:
    """Values of Body Part Examined that show at least one of the regions."""
    return frozenset(part for part, shown in BODY_PARTS.items() if shown & regions)


def other_anatomy(regions: frozenset[str]) -> re.Pattern[str]:
    """Words that name another part of the body, where none names one of the regions; or nobody's at all."""
    nobody = words.ANATOMY["nobody"]
    if regions == WHOLE_BODY:
        return words.any_of(*nobody)
    own_groups = sorted({group for region in regions for group in REGIONS[region].words})
    own = [pattern for group in own_groups for pattern in words.ANATOMY[group]]
    own += words.TRUNK if regions & _TRUNK else ()
    other = words.joined(words.ANATOMY, without=(*own_groups, "nobody"))
    return re.compile(f"{words.any_of(*nobody).pattern}|{words.any_but(other, own).pattern}", re.DOTALL)
