"""Configurations with the members and expressions that the zoo's CT and MR bundles have, old and new; values are ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

DEVICE = "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')"


def _load(keys: Any = "image", **further: Any) -> list[dict[str, Any]]:
    return [{"_target_": "LoadImaged", "keys": keys, **further}, {"_target_": "EnsureChannelFirstd", "keys": keys}]


def _compose(*transforms: Any) -> dict[str, Any]:
    return {"_target_": "Compose", "transforms": list(transforms)}


def _invert(**further: Any) -> dict[str, Any]:
    invert = {"_target_": "Invertd", "keys": "pred", "transform": "@preprocessing", "orig_keys": "image"}
    return {**invert, "nearest_interp": False, "to_tensor": True, **further}


def _after(*more: Any) -> dict[str, Any]:
    return _compose(
        {"_target_": "Activationsd", "keys": "pred", "softmax": True},
        _invert(),
        {"_target_": "AsDiscreted", "keys": "pred", "argmax": True},
        *more,
        {"_target_": "SaveImaged", "keys": "pred", "output_dir": "@output_dir"},
    )


def base(**further: Any) -> dict[str, Any]:
    """The members that every one of them has."""
    return {
        "imports": ["$import glob", "$import os"],
        "bundle_root": ".",
        "output_dir": "$@bundle_root + '/eval'",
        "dataset_dir": "/workspace/images",
        "datalist": "$list(sorted(glob.glob(@dataset_dir + '/imagesTs/*.nii.gz')))",
        "device": DEVICE,
        "network_def": {"_target_": "UNet", "spatial_dims": 3, "in_channels": 1, "out_channels": 2, "strides": [2, 2]},
        "network": "$@network_def.to(@device)",
        "preprocessing": _compose(
            *_load(),
            {"_target_": "Orientationd", "keys": "image", "axcodes": "RAS"},
            {"_target_": "Spacingd", "keys": "image", "pixdim": [1.5, 1.5, 2.0], "mode": "bilinear"},
            {"_target_": "ScaleIntensityRanged", "keys": "image", "a_min": -50, "a_max": 150, "b_min": 0, "b_max": 1},
            {"_target_": "EnsureTyped", "keys": "image"},
        ),
        "dataset": {"_target_": "Dataset", "data": "$[{'image': i} for i in @datalist]", "transform": "@preprocessing"},
        "dataloader": {"_target_": "DataLoader", "dataset": "@dataset", "batch_size": 1, "num_workers": 4},
        "inferer": {"_target_": "SlidingWindowInferer", "roi_size": [96, 96, 96], "sw_batch_size": 4, "overlap": 0.5},
        "postprocessing": _after(),
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
        "run": ["$@evaluator.run()"],
        **further,
    }


def _loader(path: str = "$@bundle_root + '/models/model.pt'", **further: Any) -> dict[str, Any]:
    return {"_target_": "CheckpointLoader", "load_path": path, "load_dict": {"model": "@network"}, **further}


def spleen() -> dict[str, Any]:
    return base(
        output_dtype="$numpy.float32",
        load_pretrain=True,
        checkpointloader=_loader(),
        initialize=[
            "$monai.utils.set_determinism(seed=123)",
            "$@checkpointloader(@evaluator) if @load_pretrain else None",
        ],
    )


def spleen_old() -> dict[str, Any]:
    old = base(
        handlers=[_loader(strict="True"), {"_target_": "StatsHandler", "iteration_log": False}],
        evaluating=["$setattr(torch.backends.cudnn, 'benchmark', True)", "$@evaluator.run()"],
    )
    del old["run"]
    return old


def whole_body() -> dict[str, Any]:
    made = base(
        imports=["$import glob", "$import numpy", "$import os"],
        displayable_configs={"highres": True, "sw_overlap": 0.25, "sw_batch_size": 1},
        image_key="image",
        output_dtype="$numpy.float32",
        pixdim="$[1.5, 1.5, 1.5] if @displayable_configs#highres else [3.0, 3.0, 3.0]",
        modelname="$'model.pt' if @displayable_configs#highres else 'model_lowres.pt'",
        network_def={"_target_": "SegResNet", "in_channels": 1, "out_channels": 105, "blocks_down": [1, 2, 2, 4]},
        checkpointloader=_loader("$@bundle_root + '/models/' + @modelname"),
    )
    made["preprocessing"] = _compose(
        *_load("@image_key"),
        {"_target_": "Spacingd", "keys": "@image_key", "pixdim": "@pixdim", "mode": "bilinear"},
        {"_target_": "NormalizeIntensityd", "keys": "@image_key", "nonzero": True},
        {"_target_": "ScaleIntensityd", "keys": "@image_key", "minv": -1.0, "maxv": 1.0},
    )
    made["inferer"] |= {
        "sw_batch_size": "@displayable_configs#sw_batch_size",
        "overlap": "@displayable_configs::sw_overlap",
        "padding_mode": "replicate",
        "mode": "gaussian",
        "device": DEVICE,
    }
    return made


def prostate() -> dict[str, Any]:
    return base(
        imports=["$import pandas as pd", "$import os"],
        datalist="$list(@dataset_dir + pd.read_csv(@dataset_dir + 'test.csv').t2)",
        handlers=[_loader(map_location={"_target_": "torch.device", "device": "@device"})],
        postprocessing=_compose(
            {"_target_": "AsDiscreted", "keys": "pred", "argmax": True},
            {"_target_": "KeepLargestConnectedComponentd", "keys": "pred", "applied_labels": [1, 2]},
            _invert(meta_key_postfix="meta_dict"),
            {"_target_": "SaveImaged", "keys": "pred", "resample": False, "output_dir": "@output_dir"},
        ),
    )


def swin() -> dict[str, Any]:
    made = base(network_def={"_target_": "SwinUNETR", "spatial_dims": 3, "img_size": 96, "in_channels": 1})
    made["preprocessing"]["transforms"][0]["reader"] = "ITKReader"
    return made


def renal_cect() -> dict[str, Any]:
    keys = ["artery", "vein", "excret"]
    made = base(
        ckpt_dir="$@bundle_root + '/models'",
        dataset_dir="$@bundle_root + './images'",
        images=(
            "$[{'artery':a, 'vein':b }for a,b in  zip(glob.glob(@dataset_dir + '/*/12.nii.gz'), "
            "glob.glob(@dataset_dir + '/*/22-.nii.gz'))]"
        ),
        inference=["$setattr(torch.backends.cudnn, 'benchmark', True)", "$@evaluator.run()"],
    )
    merge = {"_target_": "scripts.my_transforms.ConcatImages", "keys_merge": keys, "keys_out": "image"}
    made["dataset"]["data"] = "$[{'label': l, **i} for i, l in zip(@images, @datalist)]"
    made["preprocessing"] = _compose(*_load(keys), merge)
    made["postprocessing"]["transforms"][1]["transform"] = "$@preprocessing"
    return made


def dints() -> dict[str, Any]:
    """As a YAML file gives it: the architecture is read from a checkpoint."""
    return base(
        input_channels=1,
        output_classes=3,
        arch_ckpt_path="$@bundle_root + '/models/search_code.pt'",
        arch_ckpt="$torch.load(@arch_ckpt_path, map_location=torch.device('cuda'))",
        data_list_file_path="$@bundle_root + '/configs/dataset_0.json'",
        datalist=(
            "$monai.data.load_decathlon_datalist(@data_list_file_path, data_list_key='testing',\n  base_dir=@dataset_dir)"
        ),
        dints_space={
            "_target_": "monai.networks.nets.TopologyInstance",
            "arch_code": ["$@arch_ckpt['arch_code_a']", "$@arch_ckpt['arch_code_c']"],
            "device": "$torch.device('cuda')",
        },
        network_def={
            "_target_": "monai.networks.nets.DiNTS",
            "dints_space": "@dints_space",
            "in_channels": "@input_channels",
            "node_a": "$torch.from_numpy(@arch_ckpt['node_a'])",
        },
    )


def unest() -> dict[str, Any]:
    made = base(network_def={"_target_": "scripts.networks.unest_base_patch_4.UNesT", "out_channels": 133})
    normalise = {"_target_": "NormalizeIntensityd", "keys": "image", "nonzero": "True", "channel_wise": "True"}
    made["preprocessing"] = _compose(*_load(), normalise)
    return made


def ventricles() -> dict[str, Any]:
    made = base(
        imports=["$import glob"],
        ckpt_path="$@bundle_root + '/models/model.pt'",
        handlers=[_loader("@ckpt_path")],
        inferer={"_target_": "SliceInferer", "roi_size": [256, 256], "spatial_dim": 2},
    )
    made["preprocessing"] = _compose(
        *_load(image_only=False), {"_target_": "EnsureTyped", "keys": "image", "device": "@device"}
    )
    return made


def deepedit() -> dict[str, Any]:
    made = base(
        imports=["$import glob", "$import os", "$import ignite"],
        label_names={"spleen": 1, "background": 0},
        number_intensity_ch=1,
        first=_load("image", reader="ITKReader"),
        second=[{"_target_": "EnsureTyped", "keys": "image"}],
        preprocessing={"_target_": "Compose", "transforms": "$@first + @second"},
        inferer={"_target_": "SimpleInferer"},
    )
    made["network_def"] |= {
        "in_channels": "$len(@label_names) + @number_intensity_ch",
        "out_channels": "$len(@label_names)",
    }
    return made


def template() -> dict[str, Any]:
    """Constants of MONAI, a handler that is off when a file is missing, transforms by reference."""
    made = base(
        imports=["$import os", "$import torch", "$import glob", "$import scripts.own"],
        image="$monai.utils.CommonKeys.IMAGE",
        ckpt_path="$@bundle_root + '/models/model.pt'",
        file_pattern="*.nii*",
        datalist="$list(sorted(glob.glob(os.path.join(@dataset_dir, @file_pattern))))",
        dicts="$[{@image:i} for i in @datalist]",
        transforms=_load("@image"),
        preprocessing={"_target_": "Compose", "transforms": "$@transforms"},
        handlers=[
            _loader("@ckpt_path", _disabled_="$not os.path.exists(@ckpt_path)"),
            {"_target_": "StatsHandler", "name": None, "output_transform": "$lambda x: None"},
        ],
    )
    made["postprocessing"]["transforms"][-1] |= {"output_dtype": "$None", "dtype": "$torch.int16"}
    return made


def tumours() -> dict[str, Any]:
    """Four series, and a lambda among its post-processing."""
    function = "$lambda x: torch.where(x[[2]] > 0, 4, torch.where(x[[0]] > 0, 1, torch.where(x[[1]] > 0, 2, 0)))"
    return base(
        test_datalist=(
            "$monai.data.load_decathlon_datalist(@dataset_dir, data_list_key='testing', base_dir=@dataset_dir)"
        ),
        postprocessing=_after({"_target_": "Lambdad", "keys": "pred", "func": function}),
    )


def nodules() -> dict[str, Any]:
    """A detector."""
    off = {"_disabled_": "@whether_raw"}
    made = base(
        whether_raw=False,
        whether_resampled="$(not @whether_raw)",
        backbone="$monai.networks.nets.resnet.resnet50(spatial_dims=3,n_input_channels=1,conv1_t_stride=[2,2,1])",
        feature_extractor=(
            "$monai.apps.detection.networks.retinanet_network."
            "resnet_fpn_feature_extractor(@backbone,3,False,[1,2],None)"
        ),
        detector_ops=[
            "$@detector.set_target_keys(box_key='box', label_key='label')",
            "$@detector.set_sliding_window_inferer(roi_size=[1],overlap=0.25,sw_batch_size=1,device='cpu')",
        ],
        network_def={"_target_": "RetinaNet", "feature_extractor": "@feature_extractor"},
        detector={"_target_": "RetinaNetDetector", "network": "@network"},
        inferer={"_target_": "scripts.detection_inferer.RetinaNetInferer", "detector": "@detector"},
        saver={
            "_target_": "scripts.detection_saver.DetectionSaver",
            "batch_transform": "$lambda x: [xx['image_meta_dict'] for xx in x]",
            "output_transform": "$lambda x: [@postprocessing({**xx['pred'],'image':xx['image']}) for xx in x]",
        },
    )
    made["preprocessing"] = _compose(_load()[0] | off, _load(reader="itkreader", _disabled_="@whether_resampled")[0])
    made["evaluator"]["_requires_"] = "@detector_ops"
    return made


ACCEPTED: Mapping[str, Any] = {
    "spleen_ct_segmentation": spleen,
    "spleen_ct_segmentation, old": spleen_old,
    "wholeBody_ct_segmentation": whole_body,
    "prostate_mri_anatomy": prostate,
    "swin_unetr_btcv_segmentation": swin,
    "ventricular_short_axis_3label": ventricles,
    "spleen_deepedit_annotation": deepedit,
    "brats_mri_segmentation": tumours,
    "segmentation_template": template,
}
TORCHSCRIPT_ONLY: Mapping[str, Any] = {
    "pancreas_ct_dints_segmentation": dints,
    "wholeBrainSeg_Large_UNEST_segmentation": unest,
}
REFUSED: Mapping[str, Any] = {
    "renalStructures_CECT_segmentation": renal_cect,
    "lung_nodule_ct_detection": nodules,
}
