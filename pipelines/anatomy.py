"""What a structure that a bundle names is called in DICOM: code, side, label, region of the body and display colour.

`anatomy.json` is the table, one entry a line: the names that the CT and MR bundles of the MONAI Model Zoo give their
channels, and for each what it is. Every code is one that the DICOM standard itself uses (a test compares each with the
dictionary of a DICOM library): those may be used in DICOM objects by anyone. A broader code is used only for what is an
instance of it (each rib is a rib), never for a part of it (a gyrus is not the cerebral cortex). Whatever has no such
code gets one of our own, made from its name.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pipelines.outputs import ANATOMICAL_STRUCTURE, LEFT, MORPHOLOGICALLY_ABNORMAL, RIGHT, TISSUE, Code
from pipelines.plain import plain

LOCAL_SCHEME = "99BITHIVE"
"""Coding Scheme Designator of what DICOM has no code for; PS3.16 section 8.2 reserves `99` for local schemes."""

_TABLE = Path(__file__).parent / "anatomy.json"
_SIDES = {"left": LEFT, "right": RIGHT}
_CODE_VALUE_MAX, _DIGEST, _LABEL_MAX = 16, 6, 64


@dataclass(frozen=True, slots=True)
class Anatomy:
    """One structure.

    Attributes
    ----------
    label
        For people, at most 64 characters.
    category, type
        Segmented Property Category (CID 7150) and Type (CID 7151, or a local code).
    site
        Where it is: its type, or for an abnormality the organ.
    laterality
        `LEFT` or `RIGHT` where the type holds for both sides, else None.
    region
        Key of `pipelines.regions.REGIONS`; empty when it says nothing about which part of the body is shown.
    colour_rgb
        Recommended display colour, sRGB; None when the table has none.
    """

    label: str
    category: Code
    type: Code
    site: Code
    laterality: Code | None
    region: str
    colour_rgb: tuple[int, int, int] | None

    @property
    def is_standard(self) -> bool:
        """Whether its type is a code of the standard, not one of ours."""
        return self.type.scheme != LOCAL_SCHEME


def anatomy(key: str, name: str) -> Anatomy:
    """What a structure is.

    Parameters
    ----------
    key, name
        As the bundle's `structures` have them: the key is the name in lower-case letters, digits and underscores.
    """
    table = entries()
    whole = table.get(key)
    side, base = _side(key)
    if whole is not None or side is None:
        return _anatomy(whole or {}, key, _spoken(name), None)
    entry = table.get(base, {"paired": True})
    if not entry.get("paired"):
        return _anatomy({}, key, _spoken(name), None)
    return _anatomy(entry, base, _without_side(name), side)


def local_code(key: str, meaning: str) -> Code:
    """A code of our own: equal keys give equal codes.

    Parameters
    ----------
    key
        Of the structure, without its side. A long one is cut and told apart by its SHA-256.
    meaning
        Its name.
    """
    value = key
    if len(key) > _CODE_VALUE_MAX:
        digest = hashlib.sha256(key.encode()).hexdigest()[:_DIGEST]
        value = f"{key[: _CODE_VALUE_MAX - _DIGEST - 1]}_{digest}"
    return Code(value, LOCAL_SCHEME, meaning[:_LABEL_MAX])


@cache
def entries() -> Mapping[str, Mapping[str, Any]]:
    """The table: what each name is."""
    found: dict[str, Mapping[str, Any]] = {}
    for entry in json.loads(_TABLE.read_bytes()):
        for name in entry["names"]:
            assert name not in found, f"{name} stands twice in the table"
            found[name] = MappingProxyType(entry)
    return MappingProxyType(found)


def _anatomy(entry: Mapping[str, Any], key: str, spoken: str, side: str | None) -> Anatomy:
    type_ = (
        Code(entry["value"], entry.get("scheme", "SCT"), entry["meaning"])
        if "value" in entry
        else local_code(key, spoken)
    )
    named = entry.get("meaning", spoken)
    if entry.get("general") or entry.get("abnormal"):
        named = spoken
    site = Code(entry["site"][0], "SCT", entry["site"][1]) if "site" in entry else type_
    if entry.get("abnormal") and site == type_:
        site = TISSUE
    colour = entry.get("colour")
    return Anatomy(
        label=_capital(f"{side} {_small(named)}" if side else _small(named))[:_LABEL_MAX],
        category=MORPHOLOGICALLY_ABNORMAL if entry.get("abnormal") else ANATOMICAL_STRUCTURE,
        type=type_,
        site=site,
        laterality=_SIDES[side] if side else None,
        region=entry.get("region", ""),
        colour_rgb=(colour[0], colour[1], colour[2]) if colour else None,
    )


def _side(key: str) -> tuple[str | None, str]:
    """The side that a key names, and the key without it; None unless it names exactly one."""
    parts = key.split("_")
    sides = [part for part in parts if part in _SIDES]
    if len(sides) != 1 or len(parts) == 1:
        return None, key
    return sides[0], "_".join(part for part in parts if part not in _SIDES)


def _spoken(name: str) -> str:
    """A name as a person writes it."""
    return _capital(" ".join(re.split(r"[\s_-]+", plain(name, _LABEL_MAX).strip(" _-")))) or "?"


def _without_side(name: str) -> str:
    return _spoken(" ".join(word for word in re.split(r"[\s_-]+", name) if word.lower() not in _SIDES))


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _small(text: str) -> str:
    """Each word in lower case, unless it is an abbreviation (`T12 vertebra`, `ACgG`)."""
    return " ".join(word.lower() if word[1:].islower() else word for word in text.split(" "))
