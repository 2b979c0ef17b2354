"""A bundle of exactly the form of the zoo's brats_mri_segmentation, and four series of a head whose tumour is known."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset

from inference.volume import Volume, VolumeSet
from tests.common.dicom_factory import make_series
from tests.common.zoo import zoo_bundle

NAME, VERSION = "brats_mri_segmentation", "0.5.2"
CHANNELS = ("T1c", "T1", "T2", "FLAIR")
STRUCTURES = ("Tumor core", "Whole tumor", "Enhancing tumor")
KEYS = ("tumor_core", "whole_tumor", "enhancing_tumor")
SHAPE = (104, 116, 112)
"""Of the head, (z, y, x), in voxels of 1 mm."""
RENUMBER = "$lambda x: torch.where(x[[2]] > 0, 4, torch.where(x[[0]] > 0, 1, torch.where(x[[1]] > 0, 2, 0)))"

_RADII, _CENTRE = (48.0, 54.0, 50.0), (50.0, 60.0, 70.0)
_SAYS = {
    "T1c": {"description": "T1 MPRAGE post Gd"},
    "T1": {"description": "T1 MPRAGE"},
    "T2": {"description": "T2 TSE", "ScanningSequence": "SE", "EchoTime": 90, "RepetitionTime": 5000},
    "FLAIR": {"description": "FLAIR", "ScanningSequence": "SE", "EchoTime": 100, "RepetitionTime": 9000},
}


def tumour_bundle(folder: Path, roi: Sequence[int] = (64, 64, 64)) -> Path:
    """Write the bundle's folder.

    Its network is one convolution: the core is where T2 exceeds its mean by a standard deviation, the whole where FLAIR
    does, and what enhances is where T1c exceeds T1 by two.
    """
    image = {"keys": "image"}
    steps = [
        {"_target_": "LoadImaged", **image},
        {"_target_": "EnsureChannelFirstd", **image},
        {"_target_": "NormalizeIntensityd", **image, "nonzero": True, "channel_wise": True},
        {"_target_": "ToTensord", **image},
    ]
    back = {"transform": "@preprocessing", "orig_keys": "image", "nearest_interp": False, "to_tensor": True}
    after = [
        {"_target_": "Activationsd", "keys": "pred", "sigmoid": True},
        {"_target_": "Invertd", "keys": "pred", **back},
        {"_target_": "AsDiscreted", "keys": "pred", "threshold": 0.5},
        {"_target_": "Lambdad", "keys": "pred", "func": RENUMBER},
        {"_target_": "SaveImaged", "keys": "pred", "output_dir": "@output_dir"},
    ]
    definition = {"_target_": "SegResNet", "blocks_down": [1, 2, 2, 4], "blocks_up": [1, 1, 1], "init_filters": 16}
    change = {
        "preprocessing": {"_target_": "Compose", "transforms": steps},
        "postprocessing": {"_target_": "Compose", "transforms": after},
        "network_def": {**definition, "in_channels": 4, "out_channels": 3, "dropout_prob": 0.2},
    }
    made = zoo_bundle(folder, NAME, modality="MR", roi=roi, weights="", version=VERSION, change=change)
    path = made / "configs" / "metadata.json"
    metadata = json.loads(path.read_text())
    rows = metadata["network_data_format"]
    rows["inputs"]["image"] |= {"num_channels": 4, "channel_def": {str(k): name for k, name in enumerate(CHANNELS)}}
    rows["outputs"]["pred"] |= {"num_channels": 3, "channel_def": {str(k): name for k, name in enumerate(STRUCTURES)}}
    path.write_text(json.dumps(metadata))
    _network(made / "models" / "model.ts", roi)
    return made


def _network(path: Path, roi: Sequence[int]) -> None:
    import torch
    from monai.networks.blocks import Convolution

    network = Convolution(3, 4, 3, kernel_size=1, conv_only=True).eval()
    with torch.no_grad():
        network.conv.weight.zero_()
        network.conv.weight[0, 2] = network.conv.weight[1, 3] = network.conv.weight[2, 0] = 10.0
        network.conv.weight[2, 1] = -10.0
        network.conv.bias[:] = torch.tensor([-10.0, -10.0, -20.0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(torch.jit.trace(network, torch.zeros(1, 4, *roi)), str(path))


def truth(shape: Sequence[int] = SHAPE) -> dict[str, Any]:
    """What lies where, (z, y, x): `brain`, and each structure by its key."""
    z, y, x = np.ogrid[: shape[0], : shape[1], : shape[2]]
    ends = zip((z, y, x), shape, _RADII, strict=True)
    brain = sum(((axis - (size - 1) / 2) / radius) ** 2 for axis, size, radius in ends) <= 1.0
    far = np.sqrt(sum((axis - centre) ** 2 for axis, centre in zip((z, y, x), _CENTRE, strict=True)))
    return {
        "brain": brain,
        "tumor_core": far <= 12.0,
        "whole_tumor": far <= 18.0,
        "enhancing_tumor": (far <= 12.0) & (far >= 8.0),
    }


def images(shape: Sequence[int] = SHAPE) -> dict[str, Any]:
    """int16 images by channel: a brain in exact zeros, with its tumour."""
    there = truth(shape)
    shown = {"T1c": "enhancing_tumor", "T1": "", "T2": "tumor_core", "FLAIR": "whole_tumor"}
    made = {}
    for name, bright in shown.items():
        values = np.where(there["brain"], 100, 0).astype(np.int16)
        values[there["brain"] & (np.indices(shape).sum(axis=0) % 2 == 0)] = 104
        if bright:
            values[there[bright]] = 300
        made[name] = values
    return made


def stacked_images() -> VolumeSet:
    """The four images in the order of the channels."""
    found = images()
    return VolumeSet(tuple(Volume(found[name], np.eye(4), "arbitrary") for name in CHANNELS))


def series_of(name: str, pixels: Any, number: int, **arguments: Any) -> list[Dataset]:
    """One of the four series as DICOM."""
    given = {"pixels": pixels, "series_uid": f"1.2.3.100.{number}", **_SAYS[name], **arguments}
    return make_series(pixels.shape, **given)


def four_series() -> dict[str, list[Dataset]]:
    """All four, in one frame of reference."""
    return {name: series_of(name, pixels, number) for number, (name, pixels) in enumerate(images().items(), start=1)}
