"""The words by which descriptions and protocol names tell what a series shows: tables of patterns, and how they join.

Patterns are written for lower-case text and stand alone: none of them matches inside a longer word. A task takes the
tables that suit it; what one task learns about how series are named, every task then knows.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType

NOTHING = re.compile(r"(?!)")
EVERYTHING = re.compile("")


def any_of(*patterns: str, alone: str = "(?!)") -> re.Pattern[str]:
    """Any of the patterns, none of them inside a longer word; or `alone`, wherever it stands."""
    return re.compile(rf"(?<![a-z0-9])(?:{'|'.join(patterns)})(?![a-z])|{alone}") if patterns else re.compile(alone)


def any_but(other: Iterable[str], own: Iterable[str]) -> re.Pattern[str]:
    """Any of the patterns `other` in a text that holds none of `own`: `CT chest abdomen` is an abdomen too."""
    return re.compile(rf"^(?!.*(?:{any_of(*own).pattern}))(?=.*(?:{any_of(*other).pattern}))", re.DOTALL)


def joined(groups: Mapping[str, tuple[str, ...]], without: Iterable[str] = ()) -> tuple[str, ...]:
    """The patterns of every group but those left out."""
    left_out = set(without)
    return tuple(pattern for name, patterns in groups.items() if name not in left_out for pattern in patterns)


T1_WEIGHTED = (
    r"s?(3d)?t1(?!\d)(w|wi|wtd|weighted|mprage|mpr|tfe|ffe|gre|spgr|fspgr|fl3d|space|cube|bravo)?",
    r"(me)?mprage",
    r"mp2rage.*uni",
    r"f?spgr",
    r"ir-?f?spgr",
    r"bravo",
    r"tfl ?3d\d?",
    r"3d ?tfe",
)
"""What shows T1 weighting."""

T2_WEIGHTED = (r"s?(3d)?t2(?!\d|\*| ?star)(w|wi|wtd|weighted|tse|fse|frfse|haste|blade|propeller|space|cube|drive)?",)
"""What shows T2 weighting."""

FLAIR = (r"(t2 ?)?(3d ?)?(dark ?fluid|flair)\w*",)
"""What shows fluid-attenuated inversion recovery."""

CONTRARY: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "t1": (r"t1(?!\d)\w*", r"(me)?mprage", r"mp2rage\w*", r"f?spgr", r"bravo"),
        "t2": (r"t2\w*",),
        "flair": ("flair",),
        "diffusion": (
            r"dwi\w*",
            r"d[tw]i\d*",
            r"ep2d\w*",
            r"epi",
            r"diff\w*",
            r"dif",
            r"hardi",
            r"noddi",
            r"b ?0",
            r"b ?\d{3,4}",
        ),
        "susceptibility": (r"swi\w*", r"swan", r"venobold"),
        "function": (r"bold\w*", r"f?mri ?rest", r"fmri\w*", r"rest\w*"),
        "angiography": (r"angio\w*", r"tof\w*", r"mr[av]", r"pca?"),
        "perfusion": (r"perf\w*", r"dsc", r"dce", r"asl", r"pcasl", r"cbf", r"cbv", r"mtt"),
        "proton density": (r"pdw?", r"proton"),
        "spectroscopy": (r"spect\w*", r"mrs", r"csi"),
        "nulled": (r"stir", r"dir"),
        "steady state": (r"ciss", r"fiesta", r"b?-?t?ffe ?bal\w*"),
        "maps": (r"field ?map\w*", r"gre ?field\w*", r"b1 ?map\w*", r"t1rho", r"inv ?[12]", r"phase"),
    }
)
"""What shows another kind of MR image, by kind."""

ANATOMY: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "head": (r"head\w*", r"brain\w*", r"skull", r"crani\w*", r"cereb\w*", r"neuro\w*"),
        "head's parts": (r"orbit\w*", r"pituit\w*", r"sella", r"iacs?", r"tmj", r"larynx"),
        "spine": (r"[ctl]?-?spine\w*", r"cerv\w*", r"lumb\w*"),
        "neck": (r"neck",),
        "chest": (r"thora\w*", r"chest", r"lungs?", r"pulm\w*", r"mediast\w*"),
        "breast": (r"breast\w*", r"mamma"),
        "heart": (r"card\w*", r"heart"),
        "abdomen": (
            r"abd\w*",
            r"liver",
            r"hepat\w*",
            r"kidney\w*",
            r"renal",
            r"spleen\w*",
            r"pancrea\w*",
            r"adrenal\w*",
        ),
        "pelvis": (r"pelvis", r"pelvic", r"prostate", r"uterus", r"bladder"),
        "limbs": (
            r"shoulder\w*",
            r"elbow\w*",
            r"wrist\w*",
            r"hand",
            r"hip",
            r"hips",
            r"knee\w*",
            r"ankle\w*",
            r"foot",
            r"feet",
            r"femur",
            r"tibia",
            r"humerus",
        ),
        "nobody": (r"phantom\w*",),
    }
)
"""What names a part of the body, by region."""

TRUNK = (r"cap", r"tap", r"trunk", r"torso", r"whole ?-?body", r"total ?-?body", r"polytrauma", r"staging")
"""What names chest, abdomen and pelvis in one word."""

SURVEYS = (
    r"loc\w*",
    r"scout\w*",
    r"survey\w*",
    r"surv",
    r"aahead\w*",
    r"plan ?scan",
    r"calib\w*",
    r"ref(erence)? ?scan",
)
"""What was acquired to plan something else."""

CT_SURVEYS = (
    r"topo\w*",
    r"scano\w*",
    r"(pre)?-?monitoring",
    r"smart ?prep",
    r"(test|timing) ?-?bolus",
    r"bolus ?track\w*",
    r"dose ?(report|record|info|sheet)\w*",
)
"""The same for CT: topograms, bolus timing, dose reports."""

COMPUTED = (r"mip", r"minip", r"reformat\w*", r"mask\w*", r"seg\w*", r"subtr\w*", r"atlas", r"screen ?save", r"report")
"""What a program made of acquired images."""

STRIPPED = (r"strip\w*", r"bet", r"brain ?extract\w*")
"""What names a head without its skull."""

MR_COMPUTED = (
    r"t1 ?-?(map\w*|images)",
    r"r1 ?map",
    r"t2 ?-?(map\w*|images)",
    r"adc\w*",
    r"e?adc",
    r"fa(?!\d)",
    r"tracew?",
    r"colfa",
    r"qsm",
    *STRIPPED,
    r"sub(?! ?-?\d)",
)
"""The same for MR: maps, and heads without their skull."""

CT_COMPUTED = (r"mpr\w*", r"vrt?", r"volume ?render\w*", r"perf\w*", r"iodine\w*", r"fusion", r"overlay", r"z ?eff")
"""The same for CT."""

DERIVED_TYPES = frozenset(
    {
        "MOSAIC",
        "LOCALIZER",
        "PROJECTION IMAGE",
        "MIP",
        "MINIP",
        "MAX_IP",
        "MIN_IP",
        "MPR",
        "SUBTRACTION",
        "SUBTRACT",
        "ADC",
        "FA",
        "TRACEW",
        "PHASE",
        "P",
        "PHASE MAP",
        "T1 MAP",
        "T2 MAP",
        "PROPFIT",
        "SCREEN SAVE",
    }
)
"""Values of Image Type that show the same, whatever the modality."""

CONTRAST = (
    r"post",
    r"post ?-?(con|gd|gad|c)\w*",
    r"gd",
    r"gad\w*",
    r"c\+",
    r"ce",
    r"(?<!no )(?<!non )(?<!without )contrast\w*",
    r"km",
    r"enhanced",
)
CONTRAST_ALONE = r"\+ ?(c|ce|gd|gad|k|km|contrast)(?![a-z])"
"""What says that a contrast agent was given; the second even inside a longer word."""
