"""From which side a radiograph was taken: View Position (0018,5101), or what stands for the View Code (0054,0220)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from clinic.elements import text, values

_CODES = {
    "272479007": "PA",
    "R-40888": "PA",
    "399348003": "AP",
    "R-10206": "AP",
    "399173006": "LL",
    "R-10236": "LL",
    "399198007": "RL",
    "R-10232": "RL",
    "399067008": "LATERAL",
    "R-102CD": "LATERAL",
    "399033003": "FRONTAL",
    "R-10202": "FRONTAL",
    "399135007": "LAO",
    "R-10220": "LAO",
    "399356000": "RAO",
    "R-40985": "RAO",
    "399006002": "LPO",
    "R-10212": "LPO",
    "399038007": "RPO",
    "R-10210": "RPO",
    "399182000": "OBLIQUE",
    "R-102C1": "OBLIQUE",
    "399061009": "AXIAL",
    "R-10241": "AXIAL",
}
"""Views by their codes (PS3.16 CID 4010, SNOMED CT and SRT), in the words of View Position where it has one."""
_OTHER = "OTHER"
_NOT_LETTERS = re.compile(r"[^A-Z]")


def view_of(attributes: Mapping[str, Any]) -> str:
    """The view of one image: `PA`, `AP`, `LL`, `RL`, ... in capital letters; empty when the image does not say.

    What its word and its code say differently is no view that anybody takes: both words, with a blank between.

    Parameters
    ----------
    attributes
        What the header says of the image, DICOM JSON Model.
    """
    word = _NOT_LETTERS.sub("", text(attributes, "00185101").upper())
    items = values(attributes, "00540220")
    coded = text(items[0], "00080100") if items and isinstance(items[0], Mapping) else ""
    meant = _CODES.get(coded, _OTHER) if coded else ""
    return " ".join(dict.fromkeys(view for view in (word, meant) if view))


def laterality_of(attributes: Mapping[str, Any]) -> str:
    """Image Laterality (0020,0062), else Laterality (0020,0060): `L`, `R`, `B`; empty when absent."""
    return (text(attributes, "00200062") or text(attributes, "00200060")).upper()
