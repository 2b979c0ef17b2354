"""Bundles in exactly the form of the MONAI Model Zoo, with small real networks whose answer is known beforehand.

Nothing of the zoo is copied: the members of the two files are those that its CT and MR bundles have, the values ours.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

SPLEEN = {1: "spleen"}
"""A network of two channels."""


def zoo_bundle(
    folder: Path,
    name: str = "spleen_ct_segmentation",
    *,
    labels: Mapping[int, str] = SPLEEN,
    centres: Sequence[float] = (0.2, 0.7),
    modality: str = "CT",
    pixdim: Sequence[float] = (1.5, 1.5, 2.0),
    roi: Sequence[int] = (96, 96, 96),
    overlap: float = 0.5,
    mode: str = "constant",
    interpolate: bool = True,
    weights: str = "model.ts",
    version: str = "0.5.9",
    across: int | None = None,
    change: Mapping[str, Any] | None = None,
) -> Path:
    """Write a bundle's folder.

    Parameters
    ----------
    folder
        Where `<name>/` goes.
    name, version
        Of the bundle.
    labels
        Name of each channel but the first, by number.
    centres
        For each channel the scaled intensity (0 to 1) that it answers to: a voxel belongs to the channel whose centre is
        the nearest.
    modality
        `CT` (HU from -57 to 164 are scaled to 0 to 1) or `MR` (the image's least and greatest value are).
    pixdim, roi, overlap, mode
        As the zoo writes them.
    interpolate
        Whether the answer is brought back before (True) or after (False) its greatest channel is chosen.
    weights
        `model.ts` (TorchScript), `model.pt` (a checkpoint: a pickle of tensors), or both, joined by a comma; nothing for
        a folder without a network.
    across
        For a network of two dimensions: the axis (0, 1, 2) across which it takes slices; `roi` has two sides then.
    change
        Members of inference.json that replace or join the usual ones.

    Returns
    -------
    Path
        The bundle's folder.
    """
    bundle = folder / name
    for part in ("configs", "docs", "models"):
        (bundle / part).mkdir(parents=True, exist_ok=True)
    config = {**_inference(centres, modality, pixdim, roi, overlap, mode, interpolate), **(change or {})}
    if across is not None:
        config["inferer"] = {"_target_": "SliceInferer", "roi_size": list(roi), "spatial_dim": across}
        config["network_def"]["spatial_dims"] = 2
    _write(bundle / "configs" / "inference.json", config)
    _write(bundle / "configs" / "metadata.json", _metadata(name, version, labels, modality, roi))
    (bundle / "LICENSE").write_text("Apache License\nVersion 2.0, January 2004\nhttp://www.apache.org/licenses/\n")
    (bundle / "docs" / "README.md").write_text(f"# Model Overview\nA small network for tests in the place of {name}.\n")
    (bundle / "docs" / "data_license.txt").write_text("Third Party Licenses\n")
    _networks(bundle / "models", centres, [file for file in weights.split(",") if file], roi)
    return bundle


def _networks(folder: Path, centres: Sequence[float], files: Sequence[str], roi: Sequence[int]) -> None:
    if not files:
        return
    import torch

    network = nearest_centre(centres, len(roi))
    for file in files:
        if file == "model.ts":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                traced = torch.jit.trace(network, torch.zeros(1, 1, *roi))
                torch.jit.save(traced, str(folder / file))
        else:
            torch.save(network.state_dict(), folder / file)


def nearest_centre(centres: Sequence[float], axes: int = 3) -> Any:
    """A MONAI UNet-like stack of one convolution: channel k answers 2 c x - c^2, greatest where x is nearest to c."""
    import torch
    from monai.networks.blocks import Convolution

    network = Convolution(axes, 1, len(centres), kernel_size=1, conv_only=True).eval()
    with torch.no_grad():
        network.conv.weight[:] = torch.tensor([40.0 * centre for centre in centres]).reshape(-1, 1, *[1] * axes)
        network.conv.bias[:] = torch.tensor([-20.0 * centre**2 for centre in centres])
    return network


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=4))


def _scaling(modality: str) -> dict[str, Any]:
    if modality == "CT":
        span = {"a_min": -57, "a_max": 164, "b_min": 0, "b_max": 1, "clip": True}
        return {"_target_": "ScaleIntensityRanged", "keys": "@image_key", **span}
    return {"_target_": "ScaleIntensityd", "keys": "@image_key", "minv": 0.0, "maxv": 1.0}


def _inference(
    centres: Sequence[float],
    modality: str,
    pixdim: Sequence[float],
    roi: Sequence[int],
    overlap: float,
    mode: str,
    interpolate: bool,
) -> dict[str, Any]:
    activation = {"_target_": "Activationsd", "keys": "pred", "softmax": True}
    greatest = {"_target_": "AsDiscreted", "keys": "pred", "argmax": True}
    back = {
        "_target_": "Invertd",
        "keys": "pred",
        "transform": "@preprocessing",
        "orig_keys": "@image_key",
        "nearest_interp": not interpolate,
        "to_tensor": True,
    }
    save = {
        "_target_": "SaveImaged",
        "keys": "pred",
        "output_dir": "@output_dir",
        "output_ext": "@output_ext",
        "output_dtype": "@output_dtype",
        "output_postfix": "@output_postfix",
        "separate_folder": "@separate_folder",
    }
    chosen = [back, greatest] if interpolate else [greatest, back]
    return {
        "imports": ["$import glob", "$import numpy", "$import os"],
        "bundle_root": ".",
        "image_key": "image",
        "displayable_configs": {"highres": True, "sw_overlap": overlap, "sw_batch_size": 1},
        "output_dir": "$@bundle_root + '/eval'",
        "output_ext": ".nii.gz",
        "output_dtype": "$numpy.float32",
        "output_postfix": "trans",
        "separate_folder": True,
        "dataset_dir": "/workspace/data/Task09_Spleen",
        "datalist": "$list(sorted(glob.glob(@dataset_dir + '/imagesTs/*.nii.gz')))",
        "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "pixdim": f"${list(pixdim)} if @displayable_configs#highres else [3.0, 3.0, 3.0]",
        "network_def": {
            "_target_": "monai.networks.blocks.Convolution",
            "spatial_dims": 3,
            "in_channels": 1,
            "out_channels": len(centres),
            "kernel_size": 1,
            "conv_only": True,
        },
        "network": "$@network_def.to(@device)",
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "LoadImaged", "keys": "@image_key"},
                {"_target_": "EnsureChannelFirstd", "keys": "@image_key"},
                {"_target_": "Orientationd", "keys": "@image_key", "axcodes": "RAS"},
                {"_target_": "Spacingd", "keys": "@image_key", "pixdim": "@pixdim", "mode": "bilinear"},
                _scaling(modality),
                {"_target_": "EnsureTyped", "keys": "@image_key"},
            ],
        },
        "dataset": {"_target_": "Dataset", "data": "$[{'image': i} for i in @datalist]", "transform": "@preprocessing"},
        "dataloader": {
            "_target_": "DataLoader",
            "dataset": "@dataset",
            "batch_size": 1,
            "shuffle": False,
            "num_workers": 4,
        },
        "inferer": {
            "_target_": "SlidingWindowInferer",
            "roi_size": list(roi),
            "sw_batch_size": "@displayable_configs#sw_batch_size",
            "overlap": "@displayable_configs#sw_overlap",
            "mode": mode,
        },
        "postprocessing": {"_target_": "Compose", "transforms": [activation, *chosen, save]},
        "handlers": [{"_target_": "StatsHandler", "iteration_log": False}],
        "evaluator": {
            "_target_": "SupervisedEvaluator",
            "device": "@device",
            "val_data_loader": "@dataloader",
            "network": "@network",
            "inferer": "@inferer",
            "postprocessing": "@postprocessing",
            "val_handlers": "@handlers",
            "amp": True,
        },
        "checkpointloader": {
            "_target_": "CheckpointLoader",
            "load_path": "$@bundle_root + '/models/model.pt'",
            "load_dict": {"model": "@network"},
        },
        "initialize": ["$monai.utils.set_determinism(seed=123)", "$@checkpointloader(@evaluator)"],
        "run": ["$@evaluator.run()"],
    }


def _metadata(name: str, version: str, labels: Mapping[int, str], modality: str, roi: Sequence[int]) -> dict[str, Any]:
    channels = {"0": "background"} | {str(number): label for number, label in labels.items()}
    shape = {"num_channels": 1, "spatial_shape": list(roi), "dtype": "float32", "is_patch_data": True}
    return {
        "schema": "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json",
        "version": version,
        "changelog": {version: "made for tests"},
        "monai_version": "1.4.0",
        "pytorch_version": "2.4.0",
        "numpy_version": "1.24.4",
        "required_packages_version": {"nibabel": "5.2.1", "pytorch-ignite": "0.4.11"},
        "supported_apps": {},
        "name": name.replace("_", " "),
        "task": f"Segmentation by the nearest intensity, in the place of {name}",
        "description": "A network of one convolution for tests",
        "authors": "The BitHive authors",
        "copyright": "Copyright (c) the BitHive authors",
        "data_source": "none",
        "data_type": "nibabel",
        "image_classes": "single channel data, intensity scaled to [0, 1]",
        "label_classes": "single channel data",
        "pred_classes": f"{len(channels)} channels OneHot data",
        "eval_metrics": {"mean_dice": 0.96},
        "intended_use": "This is an example, not to be used for diagnostic purposes",
        "references": [],
        "network_data_format": {
            "inputs": {
                "image": {
                    "type": "image",
                    "format": "hounsfield" if modality == "CT" else "magnitude",
                    "modality": modality,
                    **shape,
                    "value_range": [0, 1],
                    "channel_def": {"0": "image"},
                }
            },
            "outputs": {
                "pred": {
                    "type": "image",
                    "format": "segmentation",
                    **shape,
                    "num_channels": len(channels),
                    "value_range": [0, 1],
                    "channel_def": channels,
                }
            },
        },
    }
