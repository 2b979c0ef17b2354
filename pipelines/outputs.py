"""What a pipeline gives back: one declaration each; `clinic/writers/` has one writer for each kind.

Codes are written here as plain text, since nothing below `clinic` reads DICOM; a test compares every one with the
dictionary of a DICOM library.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Code:
    """A coded concept (PS3.3 section 8).

    Attributes
    ----------
    value, scheme, meaning
        Code Value, Coding Scheme Designator (`SCT`, `DCM`, `UCUM`) and Code Meaning.
    """

    value: str
    scheme: str
    meaning: str

    def __post_init__(self) -> None:
        assert 0 < len(self.value) <= 16, "a Code Value has 1 to 16 characters"
        assert 0 < len(self.scheme) <= 16, "a Coding Scheme Designator has 1 to 16 characters"
        assert 0 < len(self.meaning) <= 64, "a Code Meaning has 1 to 64 characters"


ANATOMICAL_STRUCTURE = Code("91723000", "SCT", "Anatomical Structure")
INTRACRANIAL = Code("1101003", "SCT", "Intracranial")
MORPHOLOGICALLY_ABNORMAL = Code("49755003", "SCT", "Morphologically Abnormal Structure")
TISSUE = Code("85756007", "SCT", "Tissue")
LEFT, RIGHT = Code("7771000", "SCT", "Left"), Code("24028007", "SCT", "Right")
VOLUME = Code("118565006", "SCT", "Volume")
MILLILITRE = Code("mL", "UCUM", "milliliter")


@dataclass(frozen=True, slots=True)
class SegmentOutput:
    """A mask that becomes a segment of a Segmentation (PS3.3 A.51).

    Attributes
    ----------
    mask
        Key of the mask in the Findings.
    label
        Segment Label (0062,0005).
    category, type
        Segmented Property Category (CID 7150) and Type (CID 7151).
    colour_rgb
        Display colour, sRGB, 0 to 255 each.
    may_be_absent
        Whether findings without it are findings all the same.
    laterality
        Segmented Property Type Modifier (0062,0011): `LEFT` or `RIGHT` where the type holds for both sides (CID 244).
    """

    mask: str
    label: str
    category: Code
    type: Code
    colour_rgb: tuple[int, int, int]
    may_be_absent: bool = False
    laterality: Code | None = None

    def __post_init__(self) -> None:
        assert all(0 <= part <= 255 for part in self.colour_rgb), "a colour is three bytes"
        assert 0 < len(self.label) <= 64, "a Segment Label is an LO"


@dataclass(frozen=True, slots=True)
class MeasurementOutput:
    """A measurement that becomes an item of a TID 1500 report (PS3.16).

    Attributes
    ----------
    measurement
        Key of the measurement in the Findings.
    mask
        Key of the mask it was taken from: the report refers to that segment.
    name, unit
        What was measured, and in which UCUM unit.
    finding, finding_site
        What it is a measurement of, and where.
    may_be_absent
        Whether findings without it are findings all the same.
    laterality
        Of the finding site, where its code holds for both sides.
    """

    measurement: str
    mask: str
    name: Code
    unit: Code
    finding: Code
    finding_site: Code
    may_be_absent: bool = False
    laterality: Code | None = None

    def __post_init__(self) -> None:
        assert self.unit.scheme == "UCUM", "units are UCUM codes"


@dataclass(frozen=True, slots=True)
class PreviewOutput:
    """A secondary capture of the masks over the source image, stamped NOT FOR DIAGNOSIS.

    Attributes
    ----------
    title
        What its Series Description says.
    """

    title: str


Output = SegmentOutput | MeasurementOutput | PreviewOutput
