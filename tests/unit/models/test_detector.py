"""The zoo's detector as plain values; what is put together in another way is refused."""

import pytest

from models.detector import classes_of, is_detector, parts_of
from models.errors import BundleNeeds, ExpressionRefused
from tests.common.detector import config, definition, metadata
from tests.unit.models import zoo_shapes


def test_the_zoos_form_becomes_plain():
    parts = parts_of(config())
    assert is_detector(config())
    assert not is_detector(zoo_shapes.spleen())
    assert parts["network_def"] == definition()
    assert parts["detector"]["sliding_window_inferer"]["roi_size"] == [512, 512, 192]
    assert parts["detector"]["box_selector_parameters"]["nms_thresh"] == 0.22
    assert parts["inferer"]["force_sliding_window"] is False
    spacing = [step["pixdim"] for step in parts["preprocessing"]["transforms"] if step["_target_"] == "Spacingd"]
    assert spacing == [[0.703125, 0.703125, 1.25]]


@pytest.mark.parametrize(
    "text",
    ["$@detector.set_target_keys", "$@detector.set_target_keys('box')", "$@detector.to(device='cpu')", "plain"],
)
def test_what_sets_in_another_way_is_refused(text):
    with pytest.raises((BundleNeeds, ExpressionRefused)):
        parts_of({**config(), "detector_ops": [text]})


def test_images_that_somebody_resampled_before_are_not_taken():
    made = config()
    made["preprocessing"]["transforms"] = [
        step for step in made["preprocessing"]["transforms"] if step["_target_"] != "Spacingd"
    ]
    with pytest.raises(BundleNeeds):
        parts_of(made)


def test_classes_have_names():
    assert classes_of(metadata(), 1) == ("nodule",)
    for wrong, count in (({**metadata(), "name": "", "task": "", "description": ""}, 1), (metadata(), 2)):
        with pytest.raises(BundleNeeds):
            classes_of(wrong, count)
