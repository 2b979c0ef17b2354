"""The attributes that can be asked for by QIDO-RS: one declaration each, walked by the stores, the parser and the tests.

PS3.18 Tables 10.6.1-5 and 10.6.3-3 to 10.6.3-5 say which are required.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from pydicom.datadict import keyword_for_tag

from clinic.instance import Header, first

TEXT_MATCH_CHARACTERS_MAX = 256


class Level(IntEnum):
    """The levels of the DICOM information model."""

    STUDY = 1
    SERIES = 2
    INSTANCE = 3


@dataclass(frozen=True, slots=True)
class Attribute:
    """One attribute with an index of its own.

    Attributes
    ----------
    tag
        For example "00100020".
    vr
        Its value representation: decides how it is matched (PS3.4 C.2.2.2).
    level
        At which level it lives.
    column
        Name of its column in every store.
    """

    tag: str
    vr: str
    level: Level
    column: str

    @property
    def keyword(self) -> str:
        """Its DICOM keyword."""
        return str(keyword_for_tag(self.tag))


INDEXED: tuple[Attribute, ...] = (
    Attribute("0020000D", "UI", Level.STUDY, "study_uid"),
    Attribute("00080020", "DA", Level.STUDY, "study_date"),
    Attribute("00080030", "TM", Level.STUDY, "study_time"),
    Attribute("00080050", "SH", Level.STUDY, "accession_number"),
    Attribute("00080061", "CS", Level.STUDY, "modalities"),
    Attribute("00080090", "PN", Level.STUDY, "referring_physician"),
    Attribute("00081030", "LO", Level.STUDY, "study_description"),
    Attribute("00100010", "PN", Level.STUDY, "patient_name"),
    Attribute("00100020", "LO", Level.STUDY, "patient_id"),
    Attribute("00100021", "LO", Level.STUDY, "issuer"),
    Attribute("00100030", "DA", Level.STUDY, "patient_birth_date"),
    Attribute("00100040", "CS", Level.STUDY, "patient_sex"),
    Attribute("00200010", "SH", Level.STUDY, "study_id"),
    Attribute("0020000E", "UI", Level.SERIES, "series_uid"),
    Attribute("00080021", "DA", Level.SERIES, "series_date"),
    Attribute("00080031", "TM", Level.SERIES, "series_time"),
    Attribute("00080060", "CS", Level.SERIES, "modality"),
    Attribute("0008103E", "LO", Level.SERIES, "series_description"),
    Attribute("00180015", "CS", Level.SERIES, "body_part"),
    Attribute("00181030", "LO", Level.SERIES, "protocol_name"),
    Attribute("00200011", "IS", Level.SERIES, "series_number"),
    Attribute("00400244", "DA", Level.SERIES, "step_date"),
    Attribute("00400245", "TM", Level.SERIES, "step_time"),
    Attribute("00080018", "UI", Level.INSTANCE, "sop_uid"),
    Attribute("00080016", "UI", Level.INSTANCE, "sop_class"),
    Attribute("00080023", "DA", Level.INSTANCE, "content_date"),
    Attribute("00080033", "TM", Level.INSTANCE, "content_time"),
    Attribute("00200013", "IS", Level.INSTANCE, "instance_number"),
    Attribute("00280010", "US", Level.INSTANCE, "rows"),
    Attribute("00280011", "US", Level.INSTANCE, "columns"),
    Attribute("00280008", "IS", Level.INSTANCE, "frames"),
)

BY_TAG = {attribute.tag: attribute for attribute in INDEXED}

# Kept with the study and the series row, beside the indexed ones, so that `includefield` can give them.
_STUDY_FURTHER = [
    "00080005",
    "00080201",
    "00081032",
    "00081048",
    "00081060",
    "00081080",
    "00081110",
    "00100022",
    "00100024",
    "00100032",
    "00101000",
    "00101001",
    "00101002",
    "00101010",
    "00101020",
    "00101030",
    "00102160",
    "00102180",
    "001021B0",
    "00104000",
]
_SERIES_FURTHER = [
    "00080005",
    "00080064",
    "00080070",
    "00080080",
    "00081010",
    "00081040",
    "00081050",
    "00081070",
    "00081090",
    "00081111",
    "00181000",
    "00181020",
    "00185100",
    "00200052",
    "00200060",
    "00201040",
    "00280108",
    "00280109",
    "00400250",
    "00400251",
    "00400253",
    "00400254",
    "00400260",
    "00400275",
]

STUDY_TAGS = frozenset(
    {attribute.tag for attribute in INDEXED if attribute.level is Level.STUDY} - {"00080061"} | set(_STUDY_FURTHER)
)
SERIES_TAGS = frozenset(
    {attribute.tag for attribute in INDEXED if attribute.level is Level.SERIES} | set(_SERIES_FURTHER)
)


def of_study(header: Header) -> Header:
    """The elements of patient and study level in an instance's header."""
    return {tag: element for tag, element in header.items() if tag in STUDY_TAGS}


def of_series(header: Header) -> Header:
    """The elements of series level in an instance's header."""
    return {tag: element for tag, element in header.items() if tag in SERIES_TAGS}


def columns(header: Header, level: Level) -> dict[str, Any]:
    """The indexed values of one level, by column; UIDs and the modalities of a study are the store's business.

    Text is cut to `TEXT_MATCH_CHARACTERS_MAX`; person names are folded for matching without regard to case.
    """
    return {
        attribute.column: value_of(attribute, header)
        for attribute in INDEXED
        if attribute.level is level and attribute.vr != "UI" and attribute.column != "modalities"
    }


def value_of(attribute: Attribute, header: Header) -> Any:
    """One indexed value: a whole number or None for numbers, else text."""
    text = first(header, attribute.tag)
    if attribute.vr in {"IS", "US"}:
        return int(text) if text.lstrip("-").isdecimal() and abs(int(text)) < 2**31 else None
    text = text[:TEXT_MATCH_CHARACTERS_MAX].replace("\x00", "")
    return text.casefold() if attribute.vr == "PN" else text
