"""Standard planes of a fetal ultrasound examination. See `docs/pipelines/fetal_planes.md`."""

from __future__ import annotations

import re

from bithive.offer import DataClass, Urgency
from pipelines import words
from pipelines.anatomy import local_code
from pipelines.outputs import ClassOption, ClassOutput, Code, KeyImageOutput, PreviewOutput
from pipelines.series import ULTRASOUND_STORAGES
from pipelines.spec import Pipeline, SeriesSelector

_OBSTETRIC = (
    r"f(o?e)tal\w*",
    r"f(o?e)tus\w*",
    r"obs?",
    r"obstet\w*",
    r"pregn\w*",
    r"gravid\w*",
    r"anomaly",
    r"(2nd|second|mid) ?-?trim\w*",
)
"""What names an examination of a fetus: then a heart, a head or a femur is the fetus's."""

_ELSEWHERE = (
    *words.joined(words.ANATOMY, without=("abdomen", "pelvis", "nobody")),
    *(r"liver\w*", r"hepat\w*", r"kidneys?", r"renal", r"spleen", r"pancrea\w*", r"adrenal\w*", r"gall ?-?bladder"),
    *(r"appendi\w*", r"bowel", r"aorta\w*", r"bladder", r"prostat\w*", r"test[ie]s", r"testic\w*", r"scrot\w*"),
    *(r"groin", r"hernia\w*", r"thyroid\w*", r"parathyroid\w*", r"carotid\w*", r"vascular\w*", r"ven(ous|a|ae|e)"),
    *(r"arter\w*", r"dvt", r"echo(card\w*)?", r"t[te]e", r"musc\w*", r"msk", r"tendon\w*", r"nerve\w*", r"ovar\w*"),
    *(r"endomet\w*", r"follic\w*", r"gyn\w*", r"neonat\w*", r"newborn", r"transrect\w*", r"trus"),
)
"""What names another examination, unless it is said to be one of a fetus."""

_NEVER = (r"phantom\w*", r"simulat\w*", r"twin ?-?view", r"(1st|first) ?-?trim\w*", r"nt")
"""What is not taken whatever else is said."""

_NOT_A_PLANE = (
    *words.SURVEYS,
    *(r"[34]-?d\w*", r"hd ?live\w*", r"volume", r"render\w*", r"doppler\w*", r"pw", r"cw", r"cfm", r"colou?r ?flow"),
    *(r"m-?mode", r"elasto\w*", r"worksheet\w*", r"report\w*", r"measurements?"),
)
"""Screens that are no two-dimensional image of the fetus."""

_SELECTOR = SeriesSelector(
    modality="US",
    sop_classes=ULTRASOUND_STORAGES,
    body_parts=frozenset(
        {"FETUS", "FETAL", "OB", "OBSTETRIC", "OBSTETRICS", "UTERUS", "ABDOMEN", "PELVIS", "ABDOMENPELVIS"}
    ),
    shown_by_words=words.EVERYTHING,
    shown_by_timings=(),
    contrary_words=words.NOTHING,
    contrary_timings=(),
    other_anatomy_words=re.compile(
        rf"{words.any_but(_ELSEWHERE, _OBSTETRIC).pattern}|{words.any_of(*_NEVER).pattern}", re.DOTALL
    ),
    derived_words=words.any_of(*_NOT_A_PLANE),
    derived_types=words.DERIVED_TYPES,
    contrast_words=words.any_of(*words.CONTRAST, alone=words.CONTRAST_ALONE),
    with_contrast=False,
    spacing_mm_max=5.0,
    slices_min=1,
    extent_mm_min=0.0,
    age_years=(12.0, 60.0),
    planar=True,
    colour=True,
)

_PLANES = (
    ("three_vessel_view", "Three-vessel view", None),
    ("four_chamber_view", "Four-chamber view", None),
    ("abdominal", "Abdomen, standard plane", None),
    ("background", "No standard plane", None),
    ("brain_cerebellar", "Brain, transcerebellar plane", None),
    ("brain_ventricular", "Brain, transventricular plane", None),
    ("femur", "Femur, standard plane", None),
    ("kidneys", "Kidneys, standard plane", None),
    ("lips", "Lips, coronal plane", None),
    ("lvot", "Left ventricular outflow tract view", None),
    ("profile", "Profile, median facial plane", None),
    ("rvot", "Right ventricular outflow tract view", Code("399195005", "SCT", "Right Ventricular Outflow Tract View")),
    ("spine_coronal", "Spine, coronal plane", None),
    ("spine_sagittal", "Spine, sagittal plane", None),
)
"""Keys in the order of the network; DICOM has a code for one of these views, and codes of structures are not codes of views."""

PIPELINE = Pipeline(
    name="fetal_planes",
    title="Fetal standard planes (ultrasound)",
    bundle="fetal_planes",
    bundle_version="1.0.0",
    selector=_SELECTOR,
    outputs=(
        ClassOutput(
            classification="plane",
            label="Standard plane",
            name=Code("111031", "DCM", "Image View"),
            options=tuple(
                ClassOption(key, label, code or local_code(f"fetal_{key}", f"Fetal ultrasound: {label}"))
                for key, label, code in _PLANES
            ),
        ),
        KeyImageOutput(
            classification="plane",
            title=Code("113013", "DCM", "Best In Set"),
            least=0.5,
            without=frozenset({"background"}),
        ),
        PreviewOutput(title="Fetal standard planes, preview"),
    ),
    data_class=DataClass.P3,
    urgency=Urgency.MEDIUM,
    timeout_s=300.0,
    intended_use=(
        "Research use only, not for diagnosis. Names the frames of a second-trimester anomaly scan (18 to 22 weeks) that "
        "show a standard plane and offers the best frame of each. It measures nothing: biometry is left to a human. A plane "
        "that it does not name may still be there."
    ),
)
