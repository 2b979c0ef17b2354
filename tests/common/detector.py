"""A stand-in for the zoo's `lung_nodule_ct_detection`: its form exactly, a real RetinaNet, weights whose answer is known.

The network is the zoo's (ResNet-50, feature pyramid, two heads). Its first convolution answers to small bright balls in a
dark neighbourhood, everything behind hands that on, and the last says *box* of the third anchor's size where it is most.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

NAME = "lung_nodule_ct_detection"
PIXDIM = (0.703125, 0.703125, 1.25)
ANCHORS = ((6, 8, 4), (8, 6, 5), (10, 10, 6))
SCALES = (1, 2, 4)
DIVISOR = (16, 16, 8)


def detector_bundle(
    folder: Path,
    *,
    roi: Sequence[int] = (512, 512, 192),
    version: str = "0.6.8",
    weights: bool = True,
    change: Mapping[str, Any] | None = None,
) -> Path:
    """Write the bundle's folder; smaller windows than the zoo's let tests run it.

    Parameters
    ----------
    folder
        Where `lung_nodule_ct_detection/` goes.
    roi
        Its windows; the zoo's by default.
    version
        Of the bundle.
    weights
        Whether a checkpoint is written.
    change
        Members of inference.json that replace or join the usual ones.
    """
    bundle = folder / NAME
    for part in ("configs", "docs", "models"):
        (bundle / part).mkdir(parents=True, exist_ok=True)
    (bundle / "configs" / "inference.json").write_text(json.dumps({**config(roi), **(change or {})}, indent=4))
    (bundle / "configs" / "metadata.json").write_text(json.dumps(metadata(version), indent=4))
    (bundle / "LICENSE").write_text("Apache License\nVersion 2.0, January 2004\nhttp://www.apache.org/licenses/\n")
    (bundle / "docs" / "README.md").write_text(f"# Model Overview\nA network for tests in the place of {NAME}.\n")
    if weights:
        import torch

        torch.save(answering().state_dict(), bundle / "models" / "model.pt")
    return bundle


def definition() -> dict[str, Any]:
    """`network_def` as plain values."""
    backbone = {
        "_target_": "resnet50",
        "spatial_dims": 3,
        "n_input_channels": 1,
        "conv1_t_stride": [2, 2, 1],
        "conv1_t_size": [7, 7, 7],
    }
    extractor = {
        "_target_": "resnet_fpn_feature_extractor",
        "backbone": backbone,
        "spatial_dims": 3,
        "pretrained_backbone": False,
        "returned_layers": [1, 2],
        "trainable_backbone_layers": None,
    }
    return {
        "_target_": "RetinaNet",
        "spatial_dims": 3,
        "num_classes": 1,
        "num_anchors": 3,
        "feature_extractor": extractor,
        "size_divisible": list(DIVISOR),
        "use_list_output": False,
    }


def answering() -> Any:
    """The network with weights that are known: a box of the third anchor's size at each small bright ball."""
    import torch

    from inference.retinanet import retina_net

    network = retina_net(definition()).eval()
    with torch.no_grad():
        for name, value in network.state_dict().items():
            value.fill_(1.0 if name.endswith("running_var") else 0.0)
        body, fpn = network.feature_extractor.body, network.feature_extractor.fpn
        body["conv1"].weight[0, 0] = _ball_in_the_dark()
        for norm in (body["bn1"], body["layer1"][0].downsample[1]):
            norm.weight[0] = 1.0
        body["layer1"][0].downsample[0].weight[0, 0] = 1.0
        for conv in _convolutions(fpn.inner_blocks[0]):
            conv.weight[0, 0] = 1.0
        for conv in _convolutions(fpn.layer_blocks[0]):
            conv.weight[0, 0, 1, 1, 1] = 1.0
        head = network.classification_head
        for layer in head.conv:
            if isinstance(layer, torch.nn.Conv3d):
                layer.weight[0, 0, 1, 1, 1] = 1.0
            elif isinstance(layer, torch.nn.GroupNorm):
                layer.weight[0] = 1.0
        head.cls_logits.weight[2, 0, 1, 1, 1] = 1.0
        head.cls_logits.bias[:] = -8.0
    return network


def _convolutions(module: Any) -> list[Any]:
    import torch

    return [item for item in module.modules() if isinstance(item, torch.nn.Conv3d)]


def _ball_in_the_dark() -> Any:
    """(7, 7, 7): one within 2.3 voxels, together 1; what is around counts against it twice."""
    import torch

    line = torch.arange(7.0) - 3.0
    far = line[:, None, None] ** 2 + line[None, :, None] ** 2 + (line[None, None, :] * 1.6) ** 2
    inner = (far <= 2.5**2).float()
    outer = 1.0 - inner
    return inner / inner.sum() - 2.0 * outer / outer.sum()


def config(roi: Sequence[int] = (512, 512, 192)) -> dict[str, Any]:
    """`configs/inference.json`, with the members that the zoo's release 0.6.8 has."""
    loaded = {"_target_": "LoadImaged", "keys": "image", "meta_key_postfix": "meta_dict"}
    boxes = {"box_keys": "box", "box_ref_image_keys": "image"}
    return {
        "whether_raw_luna16": False,
        "whether_resampled_luna16": "$(not @whether_raw_luna16)",
        "imports": ["$import glob", "$import os"],
        "bundle_root": ".",
        "ckpt_dir": "$@bundle_root + '/models'",
        "output_dir": "$@bundle_root + '/eval'",
        "data_list_file_path": "$@bundle_root + '/LUNA16_datasplit/dataset_fold0.json'",
        "dataset_dir": "/datasets/LUNA16_Images_resample",
        "test_datalist": (
            "$monai.data.load_decathlon_datalist(@data_list_file_path, is_segmentation=True, "
            "data_list_key='validation', base_dir=@dataset_dir)"
        ),
        "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "amp": True,
        "spatial_dims": 3,
        "num_classes": 1,
        "force_sliding_window": False,
        "size_divisible": list(DIVISOR),
        "infer_patch_size": list(roi),
        "anchor_generator": {
            "_target_": "monai.apps.detection.utils.anchor_utils.AnchorGeneratorWithAnchorShape",
            "feature_map_scales": list(SCALES),
            "base_anchor_shapes": [list(shape) for shape in ANCHORS],
        },
        "backbone": (
            "$monai.networks.nets.resnet.resnet50("
            "spatial_dims=3,n_input_channels=1,conv1_t_stride=[2,2,1],conv1_t_size=[7,7,7])"
        ),
        "feature_extractor": (
            "$monai.apps.detection.networks.retinanet_network."
            "resnet_fpn_feature_extractor(@backbone,3,False,[1,2],None)"
        ),
        "network_def": {
            "_target_": "RetinaNet",
            "spatial_dims": "@spatial_dims",
            "num_classes": "@num_classes",
            "num_anchors": 3,
            "feature_extractor": "@feature_extractor",
            "size_divisible": "@size_divisible",
            "use_list_output": False,
        },
        "network": "$@network_def.to(@device)",
        "detector": {
            "_target_": "RetinaNetDetector",
            "network": "@network",
            "anchor_generator": "@anchor_generator",
            "debug": False,
            "spatial_dims": "@spatial_dims",
            "num_classes": "@num_classes",
            "size_divisible": "@size_divisible",
        },
        "detector_ops": [
            "$@detector.set_target_keys(box_key='box', label_key='label')",
            (
                "$@detector.set_box_selector_parameters("
                "score_thresh=0.02,topk_candidates_per_level=1000,nms_thresh=0.22,detections_per_img=300)"
            ),
            (
                "$@detector.set_sliding_window_inferer("
                "roi_size=@infer_patch_size,overlap=0.25,sw_batch_size=1,mode='constant',device='cpu')"
            ),
        ],
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [
                {**loaded, "_disabled_": "@whether_raw_luna16"},
                {
                    **loaded,
                    "reader": "itkreader",
                    "affine_lps_to_ras": True,
                    "_disabled_": "@whether_resampled_luna16",
                },
                {"_target_": "EnsureChannelFirstd", "keys": "image"},
                {"_target_": "Orientationd", "keys": "image", "axcodes": "RAS"},
                {
                    "_target_": "Spacingd",
                    "keys": "image",
                    "pixdim": list(PIXDIM),
                    "_disabled_": "@whether_resampled_luna16",
                },
                {
                    "_target_": "ScaleIntensityRanged",
                    "keys": "image",
                    "a_min": -1024.0,
                    "a_max": 300.0,
                    "b_min": 0.0,
                    "b_max": 1.0,
                    "clip": True,
                },
                {"_target_": "EnsureTyped", "keys": "image"},
            ],
        },
        "dataset": {"_target_": "Dataset", "data": "$@test_datalist", "transform": "@preprocessing"},
        "dataloader": {
            "_target_": "DataLoader",
            "dataset": "@dataset",
            "batch_size": 1,
            "shuffle": False,
            "num_workers": 4,
            "collate_fn": "$monai.data.utils.no_collation",
        },
        "inferer": {
            "_target_": "scripts.detection_inferer.RetinaNetInferer",
            "detector": "@detector",
            "force_sliding_window": "@force_sliding_window",
        },
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "ClipBoxToImaged", **boxes, "label_keys": "label", "remove_empty": True},
                {
                    "_target_": "AffineBoxToWorldCoordinated",
                    **boxes,
                    "image_meta_key_postfix": "meta_dict",
                    "affine_lps_to_ras": True,
                },
                {"_target_": "ConvertBoxModed", "box_keys": "box", "src_mode": "xyzxyz", "dst_mode": "cccwhd"},
                {"_target_": "DeleteItemsd", "keys": ["image"]},
            ],
        },
        "handlers": [
            {
                "_target_": "CheckpointLoader",
                "load_path": "$@bundle_root + '/models/model.pt'",
                "load_dict": {"model": "@network"},
            },
            {"_target_": "StatsHandler", "iteration_log": False},
            {
                "_target_": "scripts.detection_saver.DetectionSaver",
                "output_dir": "@output_dir",
                "filename": "found.json",
                "batch_transform": "$lambda x: [xx['image_meta_dict'] for xx in x]",
                "output_transform": "$lambda x: [@postprocessing({**xx['pred'],'image':xx['image']}) for xx in x]",
                "pred_box_key": "box",
                "pred_label_key": "label",
                "pred_score_key": "label_scores",
            },
        ],
        "evaluator": {
            "_target_": "scripts.evaluator.DetectionEvaluator",
            "_requires_": "@detector_ops",
            "device": "@device",
            "val_data_loader": "@dataloader",
            "network": "@network",
            "inferer": "@inferer",
            "val_handlers": "@handlers",
            "amp": "@amp",
        },
        "initialize": ["$setattr(torch.backends.cudnn, 'benchmark', True)"],
        "run": ["$@evaluator.run()"],
    }


def metadata(version: str = "0.6.8") -> dict[str, Any]:
    """`configs/metadata.json`: no class is named in it, as in the zoo's."""
    image = {
        "type": "image",
        "format": "magnitude",
        "modality": "CT",
        "num_channels": 1,
        "spatial_shape": ["16*n", "16*n", "8*n"],
        "dtype": "float16",
        "value_range": [0, 1],
        "is_patch_data": True,
        "channel_def": {"0": "image"},
    }
    boxes = {
        "type": "object",
        "format": "dict",
        "dtype": "float16",
        "num_channels": 1,
        "spatial_shape": ["n", "n", "n"],
        "value_range": [-10000, 10000],
    }
    return {
        "schema": "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20220324.json",
        "version": version,
        "changelog": {version: "made for tests"},
        "monai_version": "1.4.0",
        "pytorch_version": "2.4.0",
        "numpy_version": "1.24.4",
        "optional_packages_version": {"nibabel": "5.2.1", "pytorch-ignite": "0.4.11", "torchvision": "0.19.0"},
        "name": "Lung nodule CT detection",
        "task": "CT lung nodule detection",
        "description": "A network for tests that answers to small bright balls",
        "authors": "The BitHive authors",
        "copyright": "Copyright (c) the BitHive authors",
        "data_source": "none",
        "data_type": "nibabel",
        "image_classes": "1 channel data, CT at 0.703125 x 0.703125 x 1.25 mm",
        "label_classes": "dict data, containing Nx6 box and Nx1 classification labels.",
        "pred_classes": "dict data, containing Nx6 box, Nx1 classification labels, Nx1 classification scores.",
        "eval_metrics": {"mAP_IoU_0.10_0.50_0.05_MaxDet_100": 0.0},
        "intended_use": "This is an example, not to be used for diagnostic purposes",
        "references": [],
        "network_data_format": {"inputs": {"image": image}, "outputs": {"pred": boxes}},
    }
