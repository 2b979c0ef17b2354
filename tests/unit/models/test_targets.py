import pytest

from models.errors import TargetRefused
from models.targets import INERT, TRANSFORMS, WANTED, check_target, plain_name


@pytest.mark.parametrize(
    ("target", "name"),
    [
        ("Spacingd", "Spacingd"),
        ("SpacingD", "Spacingd"),
        ("SpacingDict", "Spacingd"),
        ("monai.transforms.Spacingd", "Spacingd"),
        ("monai.transforms.spatial.dictionary.SpacingDict", "Spacingd"),
        ("monai.networks.nets.UNet", "UNet"),
        ("monai.networks.blocks.Convolution", "Convolution"),
        ("monai.inferers.SlidingWindowInferer", "SlidingWindowInferer"),
        ("scripts.UNet", "scripts.UNet"),
        ("monai.bundle.UNet", "monai.bundle.UNet"),
    ],
)
def test_names_are_normalised(target, name):
    assert plain_name(target) == name


def test_tables_do_not_overlap_and_hold():
    assert not WANTED & INERT
    assert all(check_target(name, wanted=True) == name for name in WANTED)
    assert all(check_target(name, wanted=False) == name for name in INERT)
    assert "Lambdad" not in WANTED | INERT
    assert not {name for name in TRANSFORMS if name.startswith("Rand")}


@pytest.mark.parametrize(
    "target", ["scripts.UNet", "monai.bundle.UNet", "os.UNet", "Dataset", "torch.load", 1, None, ""]
)
def test_others_are_refused_where_they_count(target):
    with pytest.raises(TargetRefused):
        check_target(target, wanted=True)
