"""What a pipeline gives back: one declaration each; `clinic/writers/` has one writer for each kind.

Codes are written here as plain text, since nothing below `clinic` reads DICOM; a test compares every one with the
dictionary of a DICOM library.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

_LO_MAX = 64


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
MILLIMETRE = Code("mm", "UCUM", "millimeter")
BRAIN = Code("12738006", "SCT", "Brain")
ATTENUATION = Code("112031", "DCM", "Attenuation Coefficient")
HOUNSFIELD = Code("[hnsf'U]", "UCUM", "Hounsfield unit")
PERCENT = Code("%", "UCUM", "Percent")
UNITY = Code("1", "UCUM", "no units")
MEAN, MEDIAN = Code("373098007", "SCT", "Mean"), Code("373099004", "SCT", "Median")
STANDARD_DEVIATION = Code("386136009", "SCT", "Standard Deviation")
NODULE, LUNG = Code("27925004", "SCT", "Nodule"), Code("39607008", "SCT", "Lung")
CERTAINTY = Code("111012", "DCM", "Certainty of Finding")
ARTIFICIAL_INTELLIGENCE = Code("123110", "DCM", "Artificial Intelligence")
MORPHOLOGICAL_OPERATIONS = Code("123104", "DCM", "Morphological Operations")
OF_INTEREST = Code("113000", "DCM", "Of Interest")


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
        assert 0 < len(self.label) <= _LO_MAX, "a Segment Label is an LO"


@dataclass(frozen=True, slots=True)
class ReferenceRange:
    """Where a measurement lies in people of a published sample; no limit of what is healthy.

    Attributes
    ----------
    low, high
        In the measurement's unit.
    population
        Whose values these are, and which part of them lies within: `adults, mean and two standard deviations`.
    source
        Citation of the publication.
    sex
        `M` or `F` where it holds for one sex only, else empty.
    age_years
        (youngest, oldest) of the sample, or None.
    """

    low: float
    high: float
    population: str
    source: str
    sex: str = ""
    age_years: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        assert -math.inf < self.low < self.high < math.inf, "a range has two finite ends, the lower first"
        assert self.population, "a reference range names its sample"
        assert self.source, "a reference range names where it was published"
        assert self.sex in ("", "M", "F"), "a reference range is for M, F or both"
        assert self.age_years is None or self.age_years[0] <= self.age_years[1], "the younger end comes first"


@dataclass(frozen=True, slots=True)
class MeasurementOutput:
    """A measurement that becomes an item of a TID 1500 report (PS3.16).

    Attributes
    ----------
    measurement
        Key of the measurement in the Findings.
    mask
        Key of the mask it was taken from: the report refers to that segment. Empty when it was taken from the image as
        a whole, or from several segments: the report refers to the images.
    name, unit
        What was measured, and in which UCUM unit.
    finding, finding_site
        What it is a measurement of, and where.
    may_be_absent
        Whether findings without it are findings all the same.
    laterality
        Of the finding site, where its code holds for both sides.
    statistic
        How one value came of many (Derivation of TID 300: mean, median; CID 7464), or None.
    references
        Published ranges to compare it with.
    label
        What a table calls it; the segment's label when empty.
    """

    measurement: str
    mask: str
    name: Code
    unit: Code
    finding: Code
    finding_site: Code
    may_be_absent: bool = False
    laterality: Code | None = None
    statistic: Code | None = None
    references: tuple[ReferenceRange, ...] = ()
    label: str = ""

    def __post_init__(self) -> None:
        assert self.unit.scheme == "UCUM", "units are UCUM codes"
        assert len(self.label) <= _LO_MAX, "a label is short"
        assert self.mask or self.label, "a measurement without a segment has a label of its own"


@dataclass(frozen=True, slots=True)
class ScoreOutput:
    """A probability that becomes a measurement of a TID 1501 group (PS3.16).

    Attributes
    ----------
    score
        Key of the score in the Findings, where it is within 0 and 1.
    label
        For people.
    name, unit
        Which kind of number (`CERTAINTY`), and its UCUM unit: `PERCENT` multiplies it by 100, `UNITY` leaves it.
    finding, finding_site
        What is scored, and where.
    positive_from
        The finding is stated as present at or above it, within 0 and 1, if the patient is of the validated population
        (`Pipeline.validated_age_years`); below, as absent. None: only the number is given.
    """

    score: str
    label: str
    name: Code
    unit: Code
    finding: Code
    finding_site: Code
    positive_from: float | None = None

    def __post_init__(self) -> None:
        assert self.unit in (PERCENT, UNITY), "a score is in per cent or plain"
        assert 0 < len(self.label) <= _LO_MAX, "a label is short"
        assert self.positive_from is None or 0.0 < self.positive_from <= 1.0, "a score is within 0 and 1"


@dataclass(frozen=True, slots=True)
class ClassOption:
    """One of the classes that a frame can be given: its key in the Findings, its name for people, its code."""

    key: str
    label: str
    code: Code

    def __post_init__(self) -> None:
        assert 0 < len(self.label) <= _LO_MAX, "a label is short"


@dataclass(frozen=True, slots=True)
class ClassOutput:
    """A classification of each frame that becomes a qualitative evaluation of a TID 1501 group (PS3.16).

    Attributes
    ----------
    classification
        Key of the classifications in the Findings.
    label
        For people.
    name
        What is asked: the concept name of the evaluation.
    options
        Every class that there is.
    """

    classification: str
    label: str
    name: Code
    options: tuple[ClassOption, ...]

    def __post_init__(self) -> None:
        keys = [option.key for option in self.options]
        assert keys, "a classification has classes"
        assert len(set(keys)) == len(keys), "each class occurs once"
        assert 0 < len(self.label) <= _LO_MAX, "a label is short"

    def option(self, key: str) -> ClassOption | None:
        """The class of that key, or None."""
        return next((option for option in self.options if option.key == key), None)


@dataclass(frozen=True, slots=True)
class MapOutput:
    """A number for each pixel that becomes a Parametric Map (PS3.3 A.75).

    Attributes
    ----------
    map
        Key of the map in the Findings.
    label
        For people.
    quantity, unit
        What the numbers are, and in which UCUM unit.
    """

    map: str
    label: str
    quantity: Code
    unit: Code

    def __post_init__(self) -> None:
        assert self.unit.scheme == "UCUM", "units are UCUM codes"
        assert 0 < len(self.label) <= _LO_MAX, "a label is short"


@dataclass(frozen=True, slots=True)
class RegionOutput:
    """Boxes that become groups of TID 1411 (PS3.16), each with its faces as a Volume Surface: no segmentation.

    Attributes
    ----------
    region
        Key of the boxes in the Findings.
    label
        For people.
    finding, finding_site
        What a box holds, and where.
    least
        Certainty that a box must have to be told; a convention, unless the pipeline says whom it was validated on.
    edge
        Name of the length of a box's longest edge, in mm: of the box, not of what it holds.
    """

    region: str
    label: str
    finding: Code
    finding_site: Code
    least: float
    edge: Code

    def __post_init__(self) -> None:
        assert 0.0 <= self.least <= 1.0, "a certainty is within 0 and 1"
        assert 0 < len(self.label) <= _LO_MAX, "a label is short"


@dataclass(frozen=True, slots=True)
class KeyImageOutput:
    """The best frame of each class as a Key Object Selection document (PS3.3 A.35.4).

    Attributes
    ----------
    classification
        Key of the classifications; one of the pipeline's `ClassOutput`.
    title
        Document Title (CID 7010).
    least
        Certainty that a frame must have to be chosen.
    without
        Classes of which no frame is chosen.
    """

    classification: str
    title: Code
    least: float
    without: frozenset[str]

    def __post_init__(self) -> None:
        assert 0.0 <= self.least <= 1.0, "a certainty is within 0 and 1"


@dataclass(frozen=True, slots=True)
class PreviewOutput:
    """A secondary capture of what was found over the source image, stamped NOT FOR DIAGNOSIS.

    Attributes
    ----------
    title
        What its Series Description says.
    """

    title: str


Output = (
    SegmentOutput
    | MeasurementOutput
    | ScoreOutput
    | ClassOutput
    | MapOutput
    | RegionOutput
    | KeyImageOutput
    | PreviewOutput
)
