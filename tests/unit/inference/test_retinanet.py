"""The network's definition is read; another kind is refused."""

import pytest

from inference.retinanet import retina_net
from tests.common.detector import definition


@pytest.mark.parametrize(
    "change", [{"_target_": "other"}, {"pretrained_backbone": True}, {"backbone": {"_target_": "resnet18"}}], ids=str
)
def test_another_feature_extractor_is_refused(change):
    made = definition()
    with pytest.raises((KeyError, ValueError)):
        retina_net({**made, "feature_extractor": {**made["feature_extractor"], **change}})
