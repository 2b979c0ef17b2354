"""From a bundle to a clinical task: what an installed bundle of the MONAI Model Zoo is used for, without a line of code.

Everything is told by what the bundle declares: its modality, its structures (which say the region of the body), the
weighting that its metadata names, its voxel size. What it does not say is decided in tables here, on the careful side;
`docs/pipelines/from-bundles.md` tells them.
"""

from __future__ import annotations

import colorsys
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from bithive.offer import DataClass, Urgency
from models.bundle import Bundle
from models.channels import kinds_of
from models.errors import BadBundle
from models.resolve import resolved
from models.structures import Structure
from pipelines import regions, weightings, words
from pipelines.anatomy import Anatomy, anatomy, local_code
from pipelines.errors import ModalityUnserved, SeveralInputs, StructuresAbsent
from pipelines.outputs import (
    LUNG,
    MILLILITRE,
    NODULE,
    VOLUME,
    Code,
    MeasurementOutput,
    Output,
    PreviewOutput,
    RegionOutput,
    SegmentOutput,
)
from pipelines.plain import plain
from pipelines.series import (
    CT_STORAGES,
    MR_STORAGES,
)
from pipelines.spec import Pipeline, SeriesRole, SeriesSelector
from pipelines.weightings import Weighting

RESEARCH_USE = "Research use only, not for diagnosis."
NOT_SAID = "The bundle's authors do not say what it is for."

_MODALITIES = {"CT": "CT", "MR": "MR", "MRI": "MR"}
_SOP_CLASSES = {
    "CT": CT_STORAGES,
    "MR": MR_STORAGES,
}
_DERIVED = {
    "CT": (*words.SURVEYS, *words.CT_SURVEYS, *words.COMPUTED, *words.CT_COMPUTED),
    "MR": (*words.SURVEYS, *words.COMPUTED, *words.MR_COMPUTED),
}
_KINDS = {
    "T1c": (weightings.T1, True, True),
    "T1": (weightings.T1, False, False),
    "T2": (weightings.T2, False, True),
    "FLAIR": (weightings.FLAIR, False, True),
}
"""Of the series of each channel (`models.channels.KINDS`): weighting, whether contrast must be shown, and whether it may be."""
_SLICES_MIN = {"CT": 12, "MR": 8}
_CT_SPACING_MM_MAX = 5.0
_T1_HEAD_SPACING_MM_MAX = 2.0
_ADULTS, _CHILDREN = (18.0, 120.0), (0.0, 18.0)
_OF_CHILDREN = re.compile(r"(?<![a-z])(?:pa?ediatric|child(?:ren)?|infants?|neonat\w*)(?![a-z])")
_OF_CONTRAST = re.compile(r"(?<![a-z])(?:contrast|gadolinium|t1-?ce|t1-?c|t1-?gd)(?![a-z])")
_TOLD_BY = ("name", "task", "description", "intended_use", "image_classes")
_TIMEOUT_S, _TIMEOUT_A_STRUCTURE_S = 300.0, 15.0
_TEXT_MAX, _TITLE_MAX = 400, 64
_ABBREVIATIONS = {"ct": "CT", "mr": "MR", "mri": "MRI", "t1": "T1", "t2": "T2"}
_THIN_MM_MAX = 2.5
_DETECTING_TIMEOUT_S = 3_600.0
_BOXES_ARE = (
    "Boxes around what looks like a lung nodule on CT, no segmentation; an edge is the box's, not the nodule's diameter. "
    "Told from a certainty of 50 % by convention; finding none excludes no nodule. Not evaluated here."
)
BOX_LEAST = 0.5
"""Certainty from which a box is told. No operating point was validated here."""
BOX_EDGE: Code = local_code("box_edge", "Longest edge of bounding box")
_GOLDEN = 0.618033988749895
_COLOURS_APART = 24


def pipeline_of(bundle: Bundle, withheld: str = "") -> Pipeline:
    """The clinical task of a bundle.

    Parameters
    ----------
    bundle
        One that gives structures; see `models.bundle`.
    withheld
        Code of why it takes no series for now, or empty.

    Raises
    ------
    ModalityUnserved, SeveralInputs, StructuresAbsent
        If it gives none.
    """
    modality = _modality(bundle)
    if bundle.regions:
        return _detecting(bundle, modality, withheld)
    if not bundle.structures:
        raise StructuresAbsent
    found = [(structure, anatomy(structure.key, structure.name)) for structure in bundle.structures]
    shown = regions.principal(item.region for _, item in found) or regions.named(f"{bundle.name} {_text(bundle)}")
    kinds = kinds_of(_images(bundle)[0])
    selector = _selector(bundle, modality, shown)
    roles = [SeriesRole(kind, _of_kind(kind, selector)) for kind in kinds]
    return Pipeline(
        name=bundle.name,
        title=_title(bundle),
        bundle=bundle.name,
        bundle_version=bundle.version,
        selector=roles[0].selector if roles else selector,
        role=kinds[0] if kinds else "",
        further=tuple(roles[1:]),
        outputs=_outputs(found, _title(bundle)),
        data_class=DataClass.P3,
        urgency=Urgency.MEDIUM,
        timeout_s=_TIMEOUT_S + _TIMEOUT_A_STRUCTURE_S * len(found),
        intended_use=f"{RESEARCH_USE} {plain(bundle.metadata.get('intended_use'), _TEXT_MAX) or NOT_SAID}",
        withheld=withheld,
    )


def _detecting(bundle: Bundle, modality: str, withheld: str) -> Pipeline:
    """The task of a detector: its boxes on thin slices of the region that its metadata names. Only lung nodules have codes."""
    shown = regions.named(f"{bundle.name} {_text(bundle)}")
    if modality != "CT" or bundle.regions != ("nodule",) or "chest" not in shown or shown == regions.WHOLE_BODY:
        raise StructuresAbsent
    title = _title(bundle)
    selector = _selector(bundle, modality, shown)
    said = plain(bundle.metadata.get("intended_use"), _TEXT_MAX) or NOT_SAID
    return Pipeline(
        name=bundle.name,
        title=title,
        bundle=bundle.name,
        bundle_version=bundle.version,
        selector=replace(selector, spacing_mm_max=_THIN_MM_MAX),
        outputs=(
            RegionOutput("nodule", "Lung nodule", NODULE, LUNG, BOX_LEAST, BOX_EDGE),
            PreviewOutput(title=f"{title}, preview"[:_TITLE_MAX]),
        ),
        data_class=DataClass.P3,
        urgency=Urgency.MEDIUM,
        timeout_s=_DETECTING_TIMEOUT_S,
        intended_use=f"{RESEARCH_USE} {_BOXES_ARE} {said}",
        withheld=withheld,
    )


def _modality(bundle: Bundle) -> str:
    images = _images(bundle)
    if not images:
        raise ModalityUnserved
    modality = _MODALITIES.get(str(images[0].get("modality", "")).strip().upper())
    if modality is None:
        raise ModalityUnserved
    if len(images) > 1 or (images[0].get("num_channels", 1) != 1 and not kinds_of(images[0])):
        raise SeveralInputs
    return modality


def _images(bundle: Bundle) -> list[Mapping[str, Any]]:
    inputs = bundle.metadata.get("network_data_format", {}).get("inputs", {})
    return [item for item in inputs.values() if isinstance(item, Mapping) and item.get("type") == "image"]


def _of_kind(kind: str, selector: SeriesSelector) -> SeriesSelector:
    """The series of one channel: by its weighting and contrast; heads without their skull are no derived maps here."""
    weighting, needed, allowed = _KINDS[kind]
    computed = [word for word in _DERIVED["MR"] if word not in words.STRIPPED]
    return replace(
        selector,
        shown_by_words=weighting.shown_by_words,
        shown_by_timings=weighting.shown_by_timings,
        contrary_words=weighting.contrary_words,
        contrary_timings=weighting.contrary_timings,
        derived_words=words.any_of(*computed),
        contrast_required=needed,
        with_contrast=allowed,
    )


def _selector(bundle: Bundle, modality: str, shown: frozenset[str]) -> SeriesSelector:
    named, weighting = _weighting(bundle) if modality == "MR" else ("", None)
    about = weighting or Weighting(words.EVERYTHING, (), words.NOTHING, ())
    text = _text(bundle)
    return SeriesSelector(
        modality=modality,
        sop_classes=_SOP_CLASSES[modality],
        body_parts=regions.body_parts(shown),
        shown_by_words=about.shown_by_words,
        shown_by_timings=about.shown_by_timings,
        contrary_words=about.contrary_words,
        contrary_timings=about.contrary_timings,
        other_anatomy_words=regions.other_anatomy(shown),
        derived_words=words.any_of(*_DERIVED[modality]),
        derived_types=words.DERIVED_TYPES,
        contrast_words=words.any_of(*words.CONTRAST, alone=words.CONTRAST_ALONE),
        with_contrast=named != "T1" or bool(_OF_CONTRAST.search(text)),
        spacing_mm_max=_spacing_mm_max(bundle, modality, named, shown),
        slices_min=_SLICES_MIN[modality],
        extent_mm_min=min(regions.REGIONS[region].extent_mm_min for region in shown),
        age_years=_CHILDREN if _OF_CHILDREN.search(text) else _ADULTS,
    )


def _weighting(bundle: Bundle) -> tuple[str, Weighting]:
    """The one weighting that the metadata names; any when it names none or several."""
    text = f"{bundle.name.replace('_', ' ').lower()} {_text(bundle)}"
    found = [(name, item) for name, (pattern, item) in weightings.WEIGHTINGS.items() if pattern.search(text)]
    if found and found[0][0] == "FLAIR":
        return found[0]
    return found[0] if len(found) == 1 else ("", weightings.ANY)


def _spacing_mm_max(bundle: Bundle, modality: str, weighting: str, shown: frozenset[str]) -> float:
    """What is usual for the modality and the region, or the bundle's own voxel size where that is larger."""
    usual = _CT_SPACING_MM_MAX
    if modality == "MR":
        usual = max(regions.REGIONS[region].mr_spacing_mm_max for region in shown)
        if weighting == "T1" and shown == {"head"}:
            usual = _T1_HEAD_SPACING_MM_MAX
    return max(usual, *_pixdim_mm(bundle))


def _pixdim_mm(bundle: Bundle) -> tuple[float, ...]:
    """Voxel size that the bundle resamples to; nothing when it keeps the source's."""
    config = bundle.inference()
    try:
        steps = resolved(config, ("preprocessing",))["preprocessing"].get("transforms", [])
    except (BadBundle, AttributeError):
        return (0.0,)
    found = [step.get("pixdim") for step in steps if step.get("_target_") == "Spacingd"]
    values = found[0] if found else ()
    if isinstance(values, int | float):
        return (float(values),)
    return tuple(float(value) for value in values or ()) or (0.0,)


def _outputs(found: Sequence[tuple[Structure, Anatomy]], title: str) -> tuple[Output, ...]:
    colours = _colours([item for _, item in found])
    labels = _labels(found)
    segments: list[Output] = []
    measured: list[Output] = []
    for (structure, item), label, colour in zip(found, labels, colours, strict=True):
        segments.append(
            SegmentOutput(
                mask=structure.key,
                label=label,
                category=item.category,
                type=item.type,
                colour_rgb=colour,
                may_be_absent=True,
                laterality=item.laterality,
            )
        )
        measured.append(
            MeasurementOutput(
                measurement=f"{structure.key}_volume",
                mask=structure.key,
                name=VOLUME,
                unit=MILLILITRE,
                finding=item.type,
                finding_site=item.site,
                may_be_absent=True,
                laterality=item.laterality,
            )
        )
    return (*segments, *measured, PreviewOutput(title=f"{title}, preview"[:_TITLE_MAX]))


def _labels(found: Sequence[tuple[Structure, Anatomy]]) -> list[str]:
    """Each structure's label; the bundle's own name where two would be called the same."""
    labels = [item.label for _, item in found]
    return [
        label if labels.count(label) == 1 else plain(structure.name, _TITLE_MAX) or structure.key
        for (structure, _), label in zip(found, labels, strict=True)
    ]


def _colours(found: Sequence[Anatomy]) -> list[tuple[int, int, int]]:
    """Recommended colours where the table has one that no earlier structure comes near to, others in between."""
    taken: list[tuple[int, int, int]] = []
    spare = _palette()
    for item in found:
        wanted = item.colour_rgb
        if wanted is None or _near(wanted, taken):
            wanted = next(colour for colour in spare if not _near(colour, taken))
        taken.append(wanted)
    return taken


def _near(colour: tuple[int, int, int], taken: Sequence[tuple[int, int, int]]) -> bool:
    return any(sum(abs(a - b) for a, b in zip(colour, other, strict=True)) < _COLOURS_APART for other in taken)


def _palette() -> Iterator[tuple[int, int, int]]:
    """Colours without end: hues by the golden ratio, five shades in turn; always the same."""
    shades = ((0.65, 0.95), (0.85, 0.75), (0.45, 1.0), (1.0, 0.9), (0.55, 0.6))
    number = 0
    while True:
        saturation, value = shades[number % len(shades)]
        red, green, blue = colorsys.hsv_to_rgb(number * _GOLDEN % 1.0, saturation, value)
        yield round(red * 255), round(green * 255), round(blue * 255)
        number += 1


def _text(bundle: Bundle) -> str:
    """What its metadata says of its purpose, in lower case."""
    return " ".join(plain(bundle.metadata.get(key), _TEXT_MAX) for key in _TOLD_BY).lower()


def _title(bundle: Bundle) -> str:
    told = [plain(bundle.metadata.get(key), _TITLE_MAX) for key in ("name", "task")]
    words_of = [
        _ABBREVIATIONS.get(word, word) for word in (told[0] or told[1] or bundle.name.replace("_", " ")).split()
    ]
    title = " ".join(words_of)
    return (title[:1].upper() + title[1:])[:_TITLE_MAX]
