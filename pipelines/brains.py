"""Structures of the brain as FreeSurfer's networks label them: their keys, and the outputs of pipelines that measure them.

The cortex is parcellated as in the Desikan-Killiany atlas (Desikan and others, NeuroImage 31:968-980, 2006). A gyrus has
no code in the DICOM standard, and the code of the whole cortex would say more than was segmented: gyri get codes of our
own (`pipelines.anatomy`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pipelines.anatomy import Anatomy, anatomy, local_code
from pipelines.outputs import (
    INTRACRANIAL,
    MILLILITRE,
    PERCENT,
    VOLUME,
    Code,
    MeasurementOutput,
    Output,
    PreviewOutput,
    SegmentOutput,
)

Structure = tuple[str, str]
"""Key in the Findings, and the name for people."""

SHARE = local_code("share_of_icv", "Volume as a share of intracranial volume")
ASYMMETRY = local_code("asymmetry", "(left - right) / mean of left and right volume")
WHOLE_VOLUME = "intracranial_volume"

GYRI: tuple[Structure, ...] = (
    ("banks_of_sts", "banks of superior temporal sulcus"),
    ("caudal_anterior_cingulate", "caudal anterior cingulate cortex"),
    ("caudal_middle_frontal", "caudal middle frontal gyrus"),
    ("cuneus", "cuneus"),
    ("entorhinal", "entorhinal cortex"),
    ("fusiform", "fusiform gyrus"),
    ("inferior_parietal", "inferior parietal cortex"),
    ("inferior_temporal", "inferior temporal gyrus"),
    ("isthmus_cingulate", "isthmus of cingulate gyrus"),
    ("lateral_occipital", "lateral occipital cortex"),
    ("lateral_orbitofrontal", "lateral orbitofrontal cortex"),
    ("lingual", "lingual gyrus"),
    ("medial_orbitofrontal", "medial orbitofrontal cortex"),
    ("middle_temporal", "middle temporal gyrus"),
    ("parahippocampal", "parahippocampal gyrus"),
    ("paracentral", "paracentral lobule"),
    ("pars_opercularis", "pars opercularis"),
    ("pars_orbitalis", "pars orbitalis"),
    ("pars_triangularis", "pars triangularis"),
    ("pericalcarine", "pericalcarine cortex"),
    ("postcentral", "postcentral gyrus"),
    ("posterior_cingulate", "posterior cingulate cortex"),
    ("precentral", "precentral gyrus"),
    ("precuneus", "precuneus"),
    ("rostral_anterior_cingulate", "rostral anterior cingulate cortex"),
    ("rostral_middle_frontal", "rostral middle frontal gyrus"),
    ("superior_frontal", "superior frontal gyrus"),
    ("superior_parietal", "superior parietal cortex"),
    ("superior_temporal", "superior temporal gyrus"),
    ("supramarginal", "supramarginal gyrus"),
    ("frontal_pole", "frontal pole"),
    ("temporal_pole", "temporal pole"),
    ("transverse_temporal", "transverse temporal gyrus"),
    ("insula", "insula"),
)
"""The 34 of each hemisphere, in the order of the network's labels."""

_DEEP = (
    *("thalamus", "caudate", "putamen", "pallidum", "hippocampus", "amygdala", "accumbens_area", "ventral_dc"),
    "cerebral_white_matter",
)
_NAMES = {
    "accumbens_area": "nucleus accumbens",
    "ventral_dc": "ventral diencephalon",
    "inf_lat_vent": "inferior horn of lateral ventricle",
    "3rd_ventricle": "third ventricle",
    "4th_ventricle": "fourth ventricle",
    "cerebrospinal_fluid": "cerebrospinal fluid",
    "cerebellum_exterior": "cerebellar cortex",
    "cerebellum_white_matter": "cerebellar white matter",
    "cc_posterior": "corpus callosum, posterior fifth",
    "cc_mid_posterior": "corpus callosum, mid-posterior fifth",
    "cc_central": "corpus callosum, central fifth",
    "cc_mid_anterior": "corpus callosum, mid-anterior fifth",
    "cc_anterior": "corpus callosum, anterior fifth",
}


def _named(*keys: str) -> tuple[Structure, ...]:
    """Structures without a side, or with the one that the key begins with."""
    found = []
    for key in keys:
        side, _, base = key.partition("_")
        spoken = side in ("left", "right")
        plain = base if spoken else key
        name = _NAMES.get(plain, plain.replace("_", " "))
        found.append((key, f"{side} {name}" if spoken else name))
    return tuple(found)


def _both(*keys: str) -> tuple[str, ...]:
    return tuple(f"{side}_{key}" for key in keys for side in ("left", "right"))


TISSUES: tuple[Structure, ...] = (("white_matter", "white matter"), ("grey_matter", "grey matter"))

STRUCTURES_18: tuple[Structure, ...] = _named(
    *("cerebral_white_matter", "cerebral_cortex", "lateral_ventricle", "inf_lat_vent", "cerebellum_white_matter"),
    *("cerebellum_exterior", "thalamus", "caudate", "putamen", "pallidum", "3rd_ventricle", "4th_ventricle"),
    *("brain_stem", "hippocampus", "amygdala", "accumbens_area", "ventral_dc"),
)
"""Label 1 to 17; both sides together."""

STRUCTURES_104: tuple[Structure, ...] = (
    *((f"{side}_{key}", f"{side} {name}") for side in ("left", "right") for key, name in GYRI),
    *_named(
        *_both(*_DEEP),
        *("left_lateral_ventricle", "left_inf_lat_vent", "right_lateral_ventricle", "right_inf_lat_vent"),
        *("3rd_ventricle", "4th_ventricle", "cerebrospinal_fluid", "brain_stem"),
        *_both("cerebellum_white_matter", "cerebellum_exterior"),
        *("cc_posterior", "cc_mid_posterior", "cc_central", "cc_mid_anterior", "cc_anterior"),
    ),
)
"""Label 1 to 103."""


def outputs(
    structures: Sequence[Structure], sums: Sequence[Structure], title: str, *, pairs: bool
) -> tuple[Output, ...]:
    """What a pipeline gives back that measures structures of the brain.

    Parameters
    ----------
    structures
        By label.
    sums
        Further volumes: key and name of each.
    title
        Of the preview.
    pairs
        Whether left and right are compared.

    Returns
    -------
    tuple
        For each structure a segment, its volume and its share of the intracranial volume; the intracranial volume; sums;
        asymmetries.
    """
    found = [(key, anatomy(key, name)) for key, name in structures]
    measured: list[Output] = [
        MeasurementOutput(WHOLE_VOLUME, "", VOLUME, MILLILITRE, INTRACRANIAL, INTRACRANIAL, label="Intracranial volume")
    ]
    for key, name in sums:
        what = anatomy(key, name)
        measured += _volume(key, "", what, what.label)
    for key, what in found:
        measured += _volume(key, key, what, "")
    if pairs:
        measured += _asymmetries(found)
    return (*(_segment(key, what) for key, what in found), *measured, PreviewOutput(title=title))


def _segment(key: str, what: Anatomy) -> SegmentOutput:
    assert what.colour_rgb is not None, f"the table gives {key} no colour"
    return SegmentOutput(
        mask=key,
        label=what.label,
        category=what.category,
        type=what.type,
        colour_rgb=what.colour_rgb,
        may_be_absent=True,
        laterality=what.laterality,
    )


def _volume(key: str, mask: str, what: Anatomy, label: str) -> Iterator[MeasurementOutput]:
    """Volume and share; a label of its own where there is no segment to name it."""
    for measurement, name, unit, said in (
        (f"{key}_volume", VOLUME, MILLILITRE, label),
        (f"{key}_share", SHARE, PERCENT, label),
    ):
        yield MeasurementOutput(
            measurement=measurement,
            mask=mask,
            name=name,
            unit=unit,
            finding=what.type,
            finding_site=what.site,
            may_be_absent=True,
            laterality=what.laterality,
            label=said,
        )


def _asymmetries(found: Sequence[tuple[str, Anatomy]]) -> Iterator[MeasurementOutput]:
    """One for each pair, of the structure without its side."""
    for key, what in found:
        base = key.removeprefix("left_")
        if base != key:
            plain: Code = what.type
            label = what.label.removeprefix("Left ")
            yield MeasurementOutput(
                measurement=f"{base}_asymmetry",
                mask="",
                name=ASYMMETRY,
                unit=PERCENT,
                finding=plain,
                finding_site=what.site,
                may_be_absent=True,
                label=f"{label[:1].upper()}{label[1:]}, asymmetry"[:64],
            )
