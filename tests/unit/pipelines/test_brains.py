import json

import pytest

from models.catalog import BUNDLES
from models.structures import key_of
from pipelines.brains import GYRI, STRUCTURES_18, STRUCTURES_104, TISSUES, outputs
from pipelines.heads import T1_HEAD
from pipelines.outputs import LEFT, RIGHT, MeasurementOutput, SegmentOutput
from pipelines.tasks import brain_structures18_t1, brain_structures104_t1, brain_tissue_t1, intracranial_volume_t1

CASES = {
    "brain_tissue_t1": (TISSUES, "model5_gw_ae", "colormap3.json"),
    "brain_structures18_t1": (STRUCTURES_18, "model30chan18cls", "colormap.json"),
    "brain_structures104_t1": (STRUCTURES_104, "model21_104class", "colormap.json"),
}
SPOKEN = {
    "bankssts": "banks_of_sts",
    "isthmuscingulate": "isthmus_cingulate",
    "thalamusproper": "thalamus",
    "inferiorlateralventricle": "inf_lat_vent",
    "csf": "cerebrospinal_fluid",
    "cerebellumcortex": "cerebellum_exterior",
    "greymatter": "grey_matter",
}


def plain(name):
    """A published name as one of ours would be squeezed."""
    squeezed = name.lower().replace("ctx-lh-", "left_").replace("ctx-rh-", "right_").replace("*", "")
    side, _, rest = squeezed.replace("-", "_").partition("_")
    if side not in ("left", "right"):
        side, rest = "", squeezed
    rest = key_of(rest).replace("_", "")
    return (side, SPOKEN.get(rest, rest).replace("_", ""))


def ours(key):
    side, _, rest = key.partition("_")
    return (side, rest.replace("_", "")) if side in ("left", "right") else ("", key.replace("_", ""))


@pytest.mark.parametrize("name", CASES)
def test_labels_are_in_the_order_of_the_published_names(name, shared):
    structures, model, colours = CASES[name]
    labels = json.loads((shared / "weights" / "brainchop" / model / colours).read_text())["labels"][1:]
    assert [ours(key) for key, _ in structures] == [plain(label) for label in labels]


@pytest.mark.parametrize("name", CASES)
def test_the_bundle_has_the_same_structures(name):
    structures, _, _ = CASES[name]
    declared = json.loads((BUNDLES / name / "configs" / "metadata.json").read_text())["bithive"]["findings"][
        "structures"
    ]
    assert [row["key"] for row in declared] == [key for key, _ in structures]
    assert [row["label"] for row in declared] == list(range(1, len(structures) + 1))


def test_every_pair_is_compared_and_only_where_sides_are_told():
    many = outputs(STRUCTURES_104, (), "preview", pairs=True)
    pairs = [
        output for output in many if isinstance(output, MeasurementOutput) and output.measurement.endswith("_asymmetry")
    ]
    assert len(pairs) == len(GYRI) + 13
    assert all(output.mask == "" and output.laterality is None for output in pairs)
    few = outputs(STRUCTURES_18, (), "preview", pairs=False)
    assert not any("asymmetry" in output.measurement for output in few if isinstance(output, MeasurementOutput))
    assert not any(output.laterality for output in few if isinstance(output, SegmentOutput))


def test_sides_are_coded():
    segments = {
        output.mask: output
        for output in outputs(STRUCTURES_104, (), "preview", pairs=True)
        if isinstance(output, SegmentOutput)
    }
    assert (segments["left_insula"].laterality, segments["right_insula"].laterality) == (LEFT, RIGHT)
    assert segments["left_insula"].type == segments["right_insula"].type
    assert segments["brain_stem"].laterality is None
    labels = [segment.label for segment in segments.values()]
    assert len(set(labels)) == len(labels) == 103


def test_all_tasks_of_a_t1_head_take_the_same_series():
    for task in (intracranial_volume_t1, brain_tissue_t1, brain_structures18_t1, brain_structures104_t1):
        assert task.PIPELINE.selector is T1_HEAD
        assert task.PIPELINE.data_class == "P2"
