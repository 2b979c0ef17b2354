import pytest
from pydicom.sr._concepts_dict import concepts

from models.structures import key_of
from pipelines.anatomy import LOCAL_SCHEME, anatomy, entries, local_code
from pipelines.outputs import LEFT, MORPHOLOGICALLY_ABNORMAL, RIGHT, TISSUE, Code
from pipelines.regions import REGIONS
from tests.unit.pipelines.zoo_names import BUNDLES, WHOLE_BODY, WHOLE_BRAIN

NAMES = sorted({name for _, _, names in BUNDLES.values() for name in names})


def of(name):
    return anatomy(key_of(name), name)


def meanings():
    """Every meaning that the dictionary gives a SNOMED CT code."""
    found = {}
    for rows in concepts["SCT"].values():
        for value, (meaning, _) in rows.items():
            found.setdefault(value, set()).add(meaning)
    return found


def test_every_code_of_the_table_is_one_of_the_standard_with_its_meaning():
    known = meanings()
    codes = [
        (entry["value"], entry["meaning"]) for entry in entries().values() if "value" in entry and "scheme" not in entry
    ]
    codes += [tuple(entry["site"]) for entry in entries().values() if "site" in entry]
    codes += [(code.value, code.meaning) for code in (LEFT, RIGHT, TISSUE, MORPHOLOGICALLY_ABNORMAL)]
    assert len(codes) > 100
    assert [code for code in codes if code[1] not in known.get(code[0], ())] == []
    from pydicom.sr.codedict import codes as standard

    others = {(entry["value"], entry["scheme"], entry["meaning"]) for entry in entries().values() if "scheme" in entry}
    enhancing = standard.NCIt.EnhancingLesion
    assert enhancing in standard.CID7151
    assert others == {(enhancing.value, "NCIt", enhancing.meaning)}


def test_sides_are_those_of_laterality():
    from pydicom.sr.codedict import codes

    assert (LEFT.value, RIGHT.value) == (codes.SCT.Left.value, codes.SCT.Right.value)
    assert codes.SCT.Left in codes.CID244
    assert codes.SCT.Right in codes.CID244
    assert codes.SCT.MorphologicallyAbnormalStructure in codes.CID7150


def test_the_table_is_sound():
    for name, entry in entries().items():
        assert name == key_of(name)
        assert ("value" in entry) == ("meaning" in entry)
        assert entry.get("region", "") in {"", *REGIONS}
        assert all(0 <= part <= 255 for part in entry.get("colour", ()))
        assert set(entry) <= {
            "names",
            "value",
            "scheme",
            "meaning",
            "region",
            "colour",
            "paired",
            "general",
            "abnormal",
            "site",
        }


@pytest.mark.parametrize(
    ("name", "label", "value", "laterality"),
    [
        ("spleen", "Spleen", "78961009", None),
        ("kidney_right", "Right kidney", "64033007", RIGHT),
        ("Right Kidney", "Right kidney", "64033007", RIGHT),
        ("Left Kideny", "Left kidney", "64033007", LEFT),
        ("IVC", "Inferior vena cava", "64131007", None),
        ("heart_atrium_left", "Left atrium", "82471001", None),
        ("lung_middle_lobe_right", "Middle lobe of right lung", "72481006", None),
        ("lung_upper_lobe_left", "Left upper lobe of lung", "45653009", LEFT),
        ("vertebrae_T12", "T12 vertebra", "23215003", None),
        ("rib_left_3", "Left rib 3", "113197003", LEFT),
        ("3rd-Ventricle", "Third ventricle", "49841001", None),
        ("Right-Inf-Lat-Vent", "Right inferior horn of lateral ventricle", "53118009", RIGHT),
        ("pancreatic tumor", "Pancreatic tumor", "108369006", None),
    ],
)
def test_what_the_standard_has_a_code_for(name, label, value, laterality):
    found = of(name)
    assert (found.label, found.type.value, found.laterality) == (label, value, laterality)
    assert found.is_standard
    assert found.type.scheme == "SCT"


@pytest.mark.parametrize(
    ("name", "label", "laterality"),
    [
        ("gluteus_maximus_left", "Left gluteus maximus", LEFT),
        ("hip_right", "Right hip", RIGHT),
        ("portal_vein_and_splenic_vein", "Portal vein and splenic vein", None),
        ("Right-ACgG--anterior-cingulate-gyrus", "Right ACgG anterior cingulate gyrus", RIGHT),
        ("central gland", "Central gland", None),
        ("something new", "Something new", None),
        ("left something new", "Left something new", LEFT),
        ("left liver", "Left liver", None),
        ("left_right", "Left right", None),
        ("left", "Left", None),
    ],
)
def test_what_it_has_none_for_gets_one_of_ours(name, label, laterality):
    found = of(name)
    assert (found.label, found.laterality, found.type.scheme) == (label, laterality, LOCAL_SCHEME)
    assert not found.is_standard
    assert found.site == found.type


def test_an_abnormality_is_told_from_the_organ_that_it_is_in():
    tumour = of("pancreatic tumor")
    assert tumour.category == MORPHOLOGICALLY_ABNORMAL
    assert tumour.type == Code("108369006", "SCT", "Neoplasm")
    assert tumour.site == of("pancreas").type
    assert of("neoplasm").site == TISSUE


def test_both_sides_of_one_structure_share_their_code():
    assert of("gluteus_maximus_left").type == of("gluteus_maximus_right").type
    assert of("Right-MTG---middle-temporal-gyrus").type == of("Left-MTG---middle-temporal-gyrus").type


def test_codes_of_ours_are_stable_short_and_apart():
    assert local_code("central_gland", "Central gland").value == "central_gland"
    long = [key_of(name) for name in WHOLE_BRAIN]
    codes = {local_code(key, "x").value for key in long}
    assert len(codes) == len(long)
    assert max(len(value) for value in codes) <= 16
    assert local_code("a" * 64, "m" * 100) == local_code("a" * 64, "m" * 100)


def test_how_much_of_the_zoo_has_a_standard_code():
    coded = {name: sum(of(item).is_standard for item in names) for name, (_, _, names) in BUNDLES.items()}
    assert len(WHOLE_BODY) == 104
    assert len(WHOLE_BRAIN) == 132
    assert coded["wholeBody_ct_segmentation"] == 104 - 14
    assert coded["swin_unetr_btcv_segmentation"] == 12
    assert coded["spleen_ct_segmentation"] == 1
    assert coded["wholeBrainSeg_Large_UNEST_segmentation"] == 29


@pytest.mark.parametrize("name", NAMES)
def test_every_name_of_the_zoo_gives_values_that_dicom_can_hold(name):
    found = of(name)
    assert 0 < len(found.label) <= 64
    assert len(found.type.value) <= 16
    assert found.label.isprintable()
    assert found.label.isascii()
