"""What the zoo's CT and MR bundles call their channels: modality, weighting or region that the metadata tells, names."""

from itertools import product

SIDES = ("left", "right")
_PAIRS = (
    ("humerus scapula clavicula femur hip", "{0}_{1}"),
    ("gluteus_maximus gluteus_medius gluteus_minimus autochthon iliopsoas", "{0}_{1}"),
)
WHOLE_BODY = (
    *["spleen", "kidney_right", "kidney_left", "gallbladder", "liver", "stomach", "aorta", "inferior_vena_cava"],
    *["portal_vein_and_splenic_vein", "pancreas", "adrenal_gland_right", "adrenal_gland_left", "lung_upper_lobe_left"],
    *["lung_lower_lobe_left", "lung_upper_lobe_right", "lung_middle_lobe_right", "lung_lower_lobe_right"],
    *(f"vertebrae_{letter}{n}" for letter, top in (("L", 5), ("T", 12), ("C", 7)) for n in range(top, 0, -1)),
    *["esophagus", "trachea", "heart_myocardium", "heart_atrium_left", "heart_ventricle_left", "heart_atrium_right"],
    *[
        "heart_ventricle_right",
        "pulmonary_artery",
        "brain",
        "iliac_artery_left",
        "iliac_artery_right",
        "iliac_vena_left",
    ],
    *["iliac_vena_right", "small_bowel", "duodenum", "colon"],
    *(f"rib_{side}_{n}" for side in SIDES for n in range(1, 13)),
    *(form.format(name, side) for names, form in _PAIRS[:1] for name in names.split() for side in SIDES),
    "sacrum",
    "face",
    *(form.format(name, side) for names, form in _PAIRS[1:] for name in names.split() for side in SIDES),
    "urinary_bladder",
)
ABDOMEN = (
    *("spleen", "Right Kidney", "Left Kideny", "Gallbladder", "Esophagus", "Liver", "Stomach", "Aorta", "IVC"),
    *("Portal and Splenic Veins", "Pancreas", "Right adrenal gland", "Left adrenal gland"),
)
_DEEP = (
    "Accumbens-Area Amygdala Caudate Cerebellum-Exterior Cerebellum-White-Matter Cerebral-White-Matter Hippocampus "
    "Inf-Lat-Vent Lateral-Ventricle Pallidum Putamen Thalamus-Proper Ventral-DC Basal-Forebrain"
)
_GYRI = (
    "ACgG--anterior-cingulate-gyrus AIns--anterior-insula AOrG--anterior-orbital-gyrus AnG---angular-gyrus "
    "Calc--calcarine-cortex CO----central-operculum Cun---cuneus Ent---entorhinal-area FO----frontal-operculum "
    "FRP---frontal-pole FuG---fusiform-gyrus GRe---gyrus-rectus IOG---inferior-occipital-gyrus "
    "ITG---inferior-temporal-gyrus LiG---lingual-gyrus LOrG--lateral-orbital-gyrus MCgG--middle-cingulate-gyrus "
    "MFC---medial-frontal-cortex MFG---middle-frontal-gyrus MOG---middle-occipital-gyrus MOrG--medial-orbital-gyrus "
    "MPoG--postcentral-gyrus MPrG--precentral-gyrus MSFG--superior-frontal-gyrus MTG---middle-temporal-gyrus "
    "OCP---occipital-pole OFuG--occipital-fusiform-gyrus OpIFG-opercular-part-of-the-IFG "
    "OrIFG-orbital-part-of-the-IFG PCgG--posterior-cingulate-gyrus PCu---precuneus PHG---parahippocampal-gyrus "
    "PIns--posterior-insula PO----parietal-operculum PoG---postcentral-gyrus POrG--posterior-orbital-gyrus "
    "PP----planum-polare PrG---precentral-gyrus PT----planum-temporale SCA---subcallosal-area "
    "SFG---superior-frontal-gyrus SMC---supplementary-motor-cortex SMG---supramarginal-gyrus "
    "SOG---superior-occipital-gyrus SPL---superior-parietal-lobule STG---superior-temporal-gyrus TMP---temporal-pole "
    "TrIFG-triangular-part-of-the-IFG TTG---transverse-temporal-gyrus"
)
WHOLE_BRAIN = (
    *("3rd-Ventricle", "4th-Ventricle", "Brain-Stem", "Cerebellar-Vermal-Lobules-I-V"),
    *("Cerebellar-Vermal-Lobules-VI-VII", "Cerebellar-Vermal-Lobules-VIII-X"),
    *(f"{side}-{name}" for name, side in product((*_DEEP.split(), *_GYRI.split()), ("Right", "Left"))),
)

BUNDLES = {
    "spleen_ct_segmentation": ("CT", "Decathlon spleen segmentation", ("spleen",)),
    "wholeBody_ct_segmentation": ("CT", "TotalSegmentator Segmentation", WHOLE_BODY),
    "swin_unetr_btcv_segmentation": ("CT", "BTCV multi-organ segmentation", ABDOMEN),
    "multi_organ_segmentation": (
        "CT",
        "Multi-organ segmentation in abdominal CT",
        ("artery", "portal vein", "liver", "spleen", "stomach", "gallbladder", "pancreas"),
    ),
    "pancreas_ct_dints_segmentation": (
        "CT",
        "Neural architecture search on pancreas CT segmentation",
        ("pancreas", "pancreatic tumor"),
    ),
    "renalStructures_UNEST_segmentation": (
        "CT",
        "Renal segmentation",
        ("kidney cortex", "medulla", "pelvicalyceal system"),
    ),
    "renalStructures_CECT_segmentation": (
        "CT",
        "Multi-class Segmentation of Renal Structures in Contrast-Enhanced CT",
        ("artery", "vein", "ureter", "neoplasm", "parenchyma"),
    ),
    "pediatric_abdominal_ct_segmentation": (
        "CT",
        "3D Segmentation of Liver, Spleen and Pancreas, pediatric",
        ("liver", "spleen", "pancreas"),
    ),
    "prostate_mri_anatomy": (
        "MR",
        "Segmentation of peripheral zone and central gland in prostate MRI",
        ("central gland", "peripheral zone"),
    ),
    "brats_mri_segmentation": (
        "MR",
        "Segments the parts of brain tumours in four MR images",
        ("tumor core", "whole tumor", "enhancing tumor"),
    ),
    "ventricular_short_axis_3label": (
        "MR",
        "Segments the left and right ventricle in 2D short axis MR images",
        ("lv_pool", "myocardium", "rv_pool"),
    ),
    "wholeBrainSeg_Large_UNEST_segmentation": ("MRI", "Whole brain segmentation from T1W MRI image", WHOLE_BRAIN),
}
"""Modality as written, task, structures."""
