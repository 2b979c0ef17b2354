"""Which `_target_` a configuration of the zoo's form may name: three tables, and nothing that is not in one.

`WANTED` is what our own interpreter of these configurations reads; none of it is imported or called by its name. `INERT`
is what the zoo's files declare beside it for training and for MONAI's own command line: recognised, and never made.
"""

from __future__ import annotations

from models.errors import TargetRefused

TRANSFORMS = frozenset(
    {
        *("Compose", "LoadImaged", "EnsureChannelFirstd", "AddChanneld", "AsChannelFirstd", "EnsureTyped"),
        *("CastToTyped", "ToTensord", "Orientationd", "Spacingd", "ScaleIntensityRanged", "ScaleIntensityd"),
        *("ScaleIntensityRangePercentilesd", "NormalizeIntensityd", "ThresholdIntensityd", "CropForegroundd"),
        *("SpatialPadd", "DivisiblePadd", "CenterSpatialCropd", "Resized", "Activationsd", "AsDiscreted", "Invertd"),
        *("KeepLargestConnectedComponentd", "FillHolesd", "RemoveSmallObjectsd", "SaveImaged"),
    }
)
INFERERS = frozenset({"SimpleInferer", "SlidingWindowInferer", "SliceInferer"})
NETWORKS = frozenset(
    {
        *("UNet", "Unet", "BasicUNet", "BasicUnet", "BasicUNetPlusPlus", "DynUNet", "DynUnet", "SegResNet"),
        *("SegResNetDS", "SegResNetDS2", "VNet", "UNETR", "SwinUNETR", "FlexibleUNet", "AttentionUnet"),
        *("HighResNet", "Convolution", "ResidualUnit"),
    }
)
DETECTION = frozenset(
    {
        *("RetinaNet", "RetinaNetDetector", "AnchorGeneratorWithAnchorShape", "ClipBoxToImaged"),
        *("AffineBoxToWorldCoordinated", "ConvertBoxModed", "DeleteItemsd"),
        "scripts.detection_inferer.RetinaNetInferer",
    }
)
"""What a detector of boxes is made of; `models.detector` reads it. The zoo's own script is a word, never run."""
WANTED = TRANSFORMS | INFERERS | NETWORKS | DETECTION
INERT = frozenset(
    {
        *("Dataset", "CacheDataset", "SmartCacheDataset", "PersistentDataset", "LMDBDataset", "ThreadDataLoader"),
        *("DataLoader", "StatsHandler", "TensorBoardStatsHandler", "CheckpointLoader", "CheckpointSaver"),
        *("ValidationHandler", "LrScheduleHandler", "MeanDice", "MeanDiceHandler", "MetricsSaver", "IgniteMetric"),
        *("SupervisedEvaluator", "EnsembleEvaluator", "SupervisedTrainer", "ignite.metrics.Accuracy"),
        *("torch.utils.data.distributed.DistributedSampler", "torch.nn.parallel.DistributedDataParallel"),
        *("DistributedSampler", "DistributedDataParallel", "HausdorffDistance", "SurfaceDistance", "DiceCELoss"),
        *("DiceLoss", "DiceFocalLoss", "EarlyStopHandler", "ToDeviced", "TopologyInstance", "DiNTS"),
        *("ThreadDataset", "IterableDataset", "GridPatchDataset", "DecathlonDataset"),
        *("scripts.detection_saver.DetectionSaver", "scripts.evaluator.DetectionEvaluator"),
    }
)
DEVICE = "torch.device"

_HOMES = (
    *("monai.transforms.", "monai.inferers.", "monai.networks.nets.", "monai.networks.blocks.", "monai.data."),
    *("monai.handlers.", "monai.engines.", "monai.losses.", "monai.metrics."),
    "monai.apps.detection.",
)
_SUFFIXES = ("Dict", "D")


def plain_name(target: object) -> str:
    """A target without MONAI's module path and in its usual spelling: `monai.transforms.SpacingD` is `Spacingd`."""
    if not isinstance(target, str) or not 0 < len(target) <= 200:
        raise TargetRefused("a target is not a name")
    name = target.rsplit(".", 1)[1] if target.startswith(_HOMES) else target
    for suffix in _SUFFIXES:
        usual = name.removesuffix(suffix) + "d"
        if name.endswith(suffix) and usual in TRANSFORMS:
            return usual
    return name


def check_target(target: object, wanted: bool) -> str:
    """The plain name of an allowed target.

    Parameters
    ----------
    target
        As the configuration spells it.
    wanted
        Whether it stands in a part that is interpreted; there the training classes are refused too.

    Raises
    ------
    TargetRefused
        If it is in no table.
    """
    name = plain_name(target)
    if name in WANTED or name == DEVICE or (not wanted and name in INERT):
        return name
    raise TargetRefused("inference.json names a target that is not allowed", target=str(target)[:100])
