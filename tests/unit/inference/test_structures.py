import numpy as np
import pytest

from inference.conform import Conformed
from inference.errors import AnatomyAbsent, ImplausibleFindings
from inference.findings import Findings
from inference.geometry import Box, Canonical
from inference.meshnet import Labelled
from inference.structures import (
    KeepLargestLabelsd,
    MeasureStructuresd,
    RequirePlausibleStructuresd,
    RestoreLabelsd,
    WithholdImplausibled,
)
from inference.volume import Volume

KEYS = ("left_thalamus", "right_thalamus", "stem", "absent")
SHAPE = (20, 24, 30)


def labels_of():
    """The left is at higher x, as in LPS."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[5:15, 8:16, 18:24] = 1
    labels[5:15, 8:16, 7:12] = 2
    labels[5:15, 8:16, 12:18] = 3
    return labels


@pytest.fixture
def item():
    volume = Volume(np.zeros(SHAPE, np.int16), np.diag([1.0, 2.0, 1.5, 1.0]), "arbitrary")
    whole = np.zeros(SHAPE, np.bool_)
    whole[2:18, 4:20, 4:28] = True
    return {"image": Canonical.of(volume), "restored": labels_of(), "intracranial": whole, "masks": ("other",)}


def measure(pairs=True):
    sums = {"brain": ["left_thalamus", "right_thalamus"], "nothing": ["absent"]}
    return MeasureStructuresd("restored", "image", KEYS, "intracranial", "intracranial_volume", sums, pairs)


def test_volumes_shares_sums_and_asymmetries(item):
    data = measure()(item)
    found = {measurement.key: measurement for measurement in data["measurements"]}
    voxel_ml = 3.0 / 1000
    left, right = 480 * voxel_ml, 400 * voxel_ml
    whole = 16 * 16 * 24 * voxel_ml
    assert found["left_thalamus_volume"].value == pytest.approx(left)
    assert found["left_thalamus_share"].value == pytest.approx(100 * left / whole)
    assert found["brain_volume"].value == pytest.approx(left + right)
    assert found["brain_share"].value == pytest.approx(100 * (left + right) / whole)
    assert found["thalamus_asymmetry"].value == pytest.approx(200 * (left - right) / (left + right))
    assert found["intracranial_volume"].value == pytest.approx(whole)
    assert found["nothing_volume"].value == 0.0
    assert "absent_volume" not in found
    assert "stem_asymmetry" not in found
    assert {found[key].unit for key in ("brain_share", "thalamus_asymmetry")} == {"%"}
    assert (found["stem_volume"].mask, found["thalamus_asymmetry"].mask, found["brain_volume"].mask) == (
        "stem",
        None,
        None,
    )
    findings = Findings(measurements=data["measurements"], labels=data["labels"])
    assert Findings.from_bytes(findings.to_bytes(), SHAPE).measurements == data["measurements"]
    assert data["masks"] == ()


def test_sides_that_labels_do_not_tell_are_not_compared(item):
    assert not any("asymmetry" in found.key for found in measure(pairs=False)(item)["measurements"])


def test_a_sum_of_what_is_no_structure_is_refused():
    with pytest.raises(TypeError):
        MeasureStructuresd("restored", "image", KEYS, "intracranial", "volume", {"sum": ["liver"]}, False)


def test_of_all_labels_together_the_largest_component_is_kept():
    labels = np.zeros((12, 12, 12), np.uint8)
    labels[1:5, 1:5, 1:5] = 2
    labels[5:7, 1:5, 1:5] = 3
    labels[9:11, 9:11, 9:11] = 2
    data = KeepLargestLabelsd("pred")({"pred": Labelled(labels, 1.0)})
    assert (np.bincount(data["pred"].labels.ravel()).tolist()) == [12**3 - 96, 0, 64, 32]


def test_nothing_labelled_is_no_anatomy():
    with pytest.raises(AnatomyAbsent):
        KeepLargestLabelsd("pred")({"pred": Labelled(np.zeros((4, 4, 4), np.uint8), 0.0)})


SIZE = 40


def head(swapped=False):
    """A cube's box with two sides of white matter around grey matter, as if it had been conformed."""
    labels = np.zeros((SIZE,) * 3, np.uint8)
    labels[4:14, 4:36, 4:36], labels[26:36, 4:36, 4:36], labels[14:26, 4:36, 4:36] = (1, 2, 3) if swapped else (2, 1, 3)
    image = np.zeros((256,) * 3, np.uint8)
    image[:SIZE, :SIZE, :SIZE] = np.array([5, 200, 200, 120], np.uint8)[labels]
    volume = Volume(np.zeros((SIZE,) * 3, np.int16), np.eye(4), "arbitrary")
    cube = Conformed(image, np.eye(4), Canonical.of(volume))
    labelled = Labelled(labels, 0.9)
    data = {"pred": labelled, "cube": cube, "box": Box((0, 0, 0), (SIZE,) * 3), "image": cube.source}
    data = RestoreLabelsd("pred", "restored", "cube", "box")(data)
    data["intracranial"] = data["restored"] > 0
    names = ("left_white", "right_white", "grey")
    return MeasureStructuresd("restored", "image", names, "intracranial", "volume", {"all": names}, True)(data)


def check(**change):
    given = {
        "inside_min": 0.97,
        "certainty_min": 0.8,
        "limits": {"all_volume": [10, 100]},
        "contrasts": [[["left_white", "right_white"], ["grey"], 1.05]],
        "sides_apart_mm": 10,
    } | change
    names = ("left_white", "right_white", "grey")
    return RequirePlausibleStructuresd("pred", "cube", "box", "restored", "intracranial", names, **given)


def test_what_is_plausible_passes_with_its_certainty():
    data = check()(head())
    assert [(score.key, score.value) for score in data["scores"]] == [("certainty", 0.9)]


def outside(data):
    data["intracranial"] = data["intracranial"].copy()
    data["intracranial"][:, :8] = False
    return data


FAILING = {
    "all_volume": (check(limits={"all_volume": [100, 900]}), head()),
    "missing_volume": (check(limits={"missing_volume": [1, 2]}), head()),
    "certainty": (check(certainty_min=0.95), head()),
    "contrast": (check(contrasts=[[["grey"], ["left_white"], 1.0]]), head()),
    "inside": (check(), outside(head())),
    "sides": (check(), head(swapped=True)),
}


@pytest.mark.parametrize("name", FAILING)
def test_each_check_refuses_by_its_name(name):
    step, data = FAILING[name]
    with pytest.raises(ImplausibleFindings) as refused:
        step(data)
    assert refused.value.context["check"] == name


def test_a_contrast_with_something_that_is_not_there_fails():
    step = RequirePlausibleStructuresd(
        "pred", "cube", "box", "restored", "intracranial", ("left_white", "right_white", "grey", "ventricle"),
        0.9, 0.5, {}, [[["grey"], ["ventricle"], 1.1]], 0,
    )  # fmt: skip
    with pytest.raises(ImplausibleFindings):
        step(head())


def withhold(**change):
    given = {
        "limits": {"left_thalamus": [1.0, 2.0], "right_thalamus": [1.0, 2.0], "stem": [0.1, 1.0]},
        "share_max": 0.4,
    }
    return WithholdImplausibled("restored", "withheld", "image", KEYS, **(given | change))


def test_what_no_adult_has_is_taken_out_with_all_that_is_made_of_it(item):
    data = withhold()(item)
    assert data["withheld"] == {"stem"}
    assert set(np.unique(data["restored"])) == {0, 1, 2}
    sums = {"brain": ["left_thalamus", "right_thalamus"], "all": ["left_thalamus", "stem"]}
    data = MeasureStructuresd("restored", "image", KEYS, "intracranial", "volume", sums, True, "withheld")(data)
    keys = {found.key for found in data["measurements"]}
    assert {"brain_volume", "thalamus_asymmetry"} <= keys
    assert not keys & {"stem_volume", "stem_share", "all_volume", "all_share"}


def test_where_too_much_is_implausible_nothing_is_believed(item):
    with pytest.raises(ImplausibleFindings) as refused:
        withhold(share_max=0.3)(item)
    assert refused.value.context["check"] == "structures"


def test_a_limit_of_what_is_no_structure_is_refused():
    with pytest.raises(TypeError):
        withhold(limits={"liver": [1, 2]})
