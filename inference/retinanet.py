"""MONAI's RetinaNet from an audited definition, with the feature pyramid of a ResNet.

MONAI takes the first layers out of a ResNet by a class of torchvision, which is no part of a node. `_Pyramid` does the
same with MONAI's own parts, and gives tensors the names that checkpoints have.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import torch
from monai.apps.detection.networks.retinanet_network import RetinaNet
from monai.networks.blocks.feature_pyramid_network import FeaturePyramidNetwork, LastLevelMaxPool
from monai.networks.nets import resnet

_BACKBONES = {"resnet50": resnet.resnet50}
_WIDTH = 256


class _Pyramid(torch.nn.Module):
    """The levels of a feature pyramid, the finest first; `body` and `fpn` as MONAI's `BackboneWithFPN` calls them."""

    def __init__(self, backbone: Any, dims: int, returned: list[int]) -> None:
        super().__init__()
        last = f"layer{max(returned)}"
        self.body = torch.nn.ModuleDict()
        for name, child in backbone.named_children():
            self.body[name] = child
            if name == last:
                break
        self._returned = [f"layer{number}" for number in sorted(returned)]
        first = backbone.in_planes // 8
        widths = [first * 2 ** (number - 1) for number in sorted(returned)]
        self.out_channels = _WIDTH
        self.fpn = FeaturePyramidNetwork(dims, widths, _WIDTH, LastLevelMaxPool(dims))

    def forward(self, image: torch.Tensor) -> Any:
        levels: OrderedDict[str, torch.Tensor] = OrderedDict()
        for name, child in self.body.items():
            image = child(image)
            if name in self._returned:
                levels[str(len(levels))] = image
        return self.fpn(levels)


def retina_net(definition: Mapping[str, Any]) -> Any:
    """The module, with weights that nobody trained.

    Parameters
    ----------
    definition
        `network_def` as `models.detector.parts_of` gives it.

    Raises
    ------
    KeyError, TypeError, ValueError
        If it is no definition of that form.
    """
    rest = {key: value for key, value in definition.items() if not key.startswith("_")}
    pyramid = dict(rest.pop("feature_extractor"))
    backbone = dict(pyramid["backbone"])
    if pyramid.get("_target_") != "resnet_fpn_feature_extractor" or pyramid.get("pretrained_backbone", False):
        raise ValueError("a feature extractor of another kind")
    made = _BACKBONES[backbone.pop("_target_")](**backbone)
    returned = [int(number) for number in pyramid.get("returned_layers", (1, 2, 3))]
    return RetinaNet(feature_extractor=_Pyramid(made, int(pyramid["spatial_dims"]), returned), **rest)
