import numpy as np
import pytest
import torch

from inference.errors import AnatomyAbsent, UnsupportedVolume
from inference.planar import CheckPlanard, ClassifyFramesd, LocateSectord, NamePlanesd, resized
from inference.sector import Crop
from inference.volume import Volume
from models.catalog import Catalog
from tests.unit.inference.screens import fan, known_screen, photograph

CHECK = CheckPlanard("image", 240, 320, (1.1, 2.2), 0.1)


def volume(array, unit="display"):
    array = np.ascontiguousarray(array)
    return Volume(array[None] if array.ndim == 2 else array, np.eye(4), unit)


@pytest.fixture(scope="module")
def locate(tmp_path_factory):
    """As the bundle of fetal planes declares it."""
    bundle = Catalog(tmp_path_factory.mktemp("store")).bundle("fetal_planes")
    declared = dict(bundle.inference()["preprocessing"]["transforms"][1])
    assert declared.pop("_target_") == "inference.planar.LocateSectord"
    return LocateSectord(**declared)


def crops(locate, array):
    return locate({"image": volume(array)})["crops"]


def test_a_screen_passes():
    item = {"image": volume(fan())}
    assert CHECK(item) is item


@pytest.mark.parametrize(
    ("array", "unit", "check"),
    [
        (fan().astype(np.int16), "HU", "unit"),
        (fan(), "arbitrary", "unit"),
        (fan(200, 300), "display", "size"),
        (np.ones((512, 512), np.uint8), "display", "aspect"),
        (np.ones((700, 300), np.uint8), "display", "size"),
        (np.ones((300, 900), np.uint8), "display", "aspect"),
    ],
)
def test_what_is_no_screen_is_refused(array, unit, check):
    with pytest.raises(UnsupportedVolume) as refused:
        CHECK({"image": volume(array, unit)})
    assert refused.value.context["check"] == check


@pytest.mark.parametrize("level", [0, 90, 255])
def test_an_empty_screen_is_refused(level):
    with pytest.raises(AnatomyAbsent):
        CHECK({"image": volume(np.full((2, 480, 640), level, np.uint8))})


def test_one_frame_with_something_to_see_is_enough():
    CHECK({"image": volume(np.stack([np.zeros_like(fan()), fan()]))})


def test_a_known_screen_is_cut_where_the_authors_cut_it(locate):
    assert crops(locate, known_screen()) == ((Crop(115, 734, 81, 874),),)
    padded = np.zeros((900, 1200), np.uint8)
    padded[:735, :975] = known_screen()
    assert crops(locate, padded) == ((Crop(115, 734, 81, 874),),)


def test_another_screen_is_cut_around_its_sector_in_the_same_proportions(locate):
    for shape in ((480, 640), (768, 1024), (720, 1280)):
        (found,) = crops(locate, fan(*shape))
        for rows, columns in (crop.shape for crop in found):
            assert columns / rows == pytest.approx(793 / 619, rel=0.01)
        crop, trimmed = found
        assert trimmed.top > crop.top
        lit = fan(*shape) > 0
        assert crop.of(lit.astype(np.uint8)).sum() >= 0.99 * lit.sum()


def test_sixteen_bits_are_cut_as_eight_are(locate):
    assert crops(locate, fan().astype(np.uint16) * 257) == crops(locate, fan())


NOISE = np.random.default_rng(2).integers(0, 256, (480, 640), dtype=np.uint8)


def framed(picture):
    screen = np.zeros((768, 1024), np.uint8)
    screen[100:580, 150:790] = picture
    return screen


def slice_of_a_head():
    y, x = np.mgrid[-1:1:480j, -1.33:1.33:640j]
    rind, inner = np.hypot(x, y * 0.9) < 0.75, np.hypot(x, y * 0.9) < 0.65
    return (230 * rind - 120 * inner).astype(np.uint8)


@pytest.mark.parametrize(
    "array",
    [NOISE, photograph(), framed(photograph()), framed(NOISE), slice_of_a_head(), photograph(735, 975)],
    ids=["noise", "photograph", "framed photograph", "framed noise", "slice", "photograph of a known size"],
)
def test_what_has_no_sector_is_refused(locate, array):
    with pytest.raises(AnatomyAbsent) as refused:
        crops(locate, array)
    assert refused.value.context["check"] == "sector"


def test_frames_without_a_sector_among_others_have_no_crop(locate):
    found = crops(locate, np.stack([fan(480, 640), NOISE, np.zeros_like(NOISE)]))
    assert len(found[0]) == 2
    assert found[1:] == ((), ())


def test_resizing_is_that_of_pytorch():
    image = np.random.default_rng(3).integers(0, 256, (61, 47), dtype=np.uint8)
    for shape in ((22, 31), (61, 47), (100, 90)):
        given = torch.from_numpy(image[None, None].astype(np.float32))
        expected = torch.nn.functional.interpolate(given, shape, mode="bilinear", align_corners=False)
        assert resized(image, shape) == pytest.approx(expected[0, 0].numpy(), abs=1e-3)


class Network:
    """Says how bright the left half is, and remembers what it was given."""

    def __init__(self):
        self.given = []

    def __call__(self, inputs):
        self.given.append(inputs.copy())
        share = 0.9 if inputs[0, 0, :, :8].mean() > 0 else 0.2
        return np.array([share, 1 - share], np.float32).reshape(1, 2, 1, 1)


def classify(network, views):
    return ClassifyFramesd("image", "shares", "crops", network, (12, 16), 0.1, views, 255.0)


def test_each_view_is_standardised_and_their_logarithms_are_averaged():
    frame = np.tile(np.linspace(255, 0, 100, dtype=np.uint8), (80, 1))
    network = Network()
    item = {"image": volume(np.stack([frame, frame])), "crops": ((Crop(0, 80, 0, 100),), ())}
    shares = classify(network, [[0, 0, 0], [1, 1, 1]])(item)["shares"]
    assert shares.shape == (2, 2)
    assert np.isnan(shares[1]).all()
    once, mirrored = network.given
    for given in network.given:
        assert given.shape == (1, 1, 12, 16)
        assert given.mean() == pytest.approx(0, abs=1e-2)
        assert given.std() == pytest.approx(255, rel=1e-4)
    assert once[0, 0, 0, 0] > once[0, 0, 0, -1]
    assert mirrored[0, 0, 0, 0] < mirrored[0, 0, 0, -1]
    weights = np.sqrt([0.9 * 0.2, 0.1 * 0.8])
    assert shares[0] == pytest.approx(weights / weights.sum(), rel=1e-5)


def test_of_several_crops_each_class_has_the_least_share():
    frame = np.tile(np.linspace(255, 0, 100, dtype=np.uint8), (80, 1))
    frame[40:] = frame[40:, ::-1]
    item = {"image": volume(frame), "crops": ((Crop(0, 40, 0, 100), Crop(40, 80, 0, 100)),)}
    shares = classify(Network(), [[0, 0, 0]])(item)["shares"]
    assert shares[0] == pytest.approx([0.2, 0.1], rel=1e-5)


def test_a_crop_beyond_the_frame_is_black_there():
    assert Crop(-1, 2, -2, 1).of(np.full((2, 2), 7, np.uint8)).tolist() == [[0, 0, 0], [0, 0, 7], [0, 0, 7]]


def test_flat_crops_are_refused():
    item = {"image": volume(fan()), "crops": ((Crop(0, 4, 0, 4),),)}
    with pytest.raises(AnatomyAbsent):
        classify(Network(), [[0, 0, 0]])(item)


@pytest.mark.parametrize("views", [[], [[0, 2, 0]], [[-1, 0, 0]]])
def test_views_outside_the_crop_are_refused(views):
    with pytest.raises(ValueError, match="within the crop"):
        classify(Network(), views)


NAME = NamePlanesd("shares", "plane", ("head", "none", "leg"), "none", 0.4, 0.1)


@pytest.mark.parametrize(
    ("shares", "value", "certainty"),
    [
        ([0.9, 0.06, 0.04], "head", 0.9),
        ([0.3, 0.6, 0.1], "none", 0.6),
        ([0.38, 0.31, 0.31], "none", 0.62),
        ([0.48, 0.04, 0.48], "none", 0.52),
        ([0.0, 0.45, 0.55], "leg", 0.55),
        ([np.nan] * 3, "none", 1.0),
    ],
)
def test_a_frame_is_named_only_where_it_is_clear(shares, value, certainty):
    item = NAME({"shares": np.array([shares])})
    (found,) = item["classes"]
    assert (found.key, found.frame, found.value) == ("plane", 0, value)
    assert found.certainty == pytest.approx(certainty)
    (score,) = item["scores"]
    assert score.value == pytest.approx(0.0 if value == "none" else certainty)


def test_every_frame_has_its_class_in_order():
    found = NAME({"shares": np.array([[0.9, 0.1, 0.0], [0.0, 1.0, 0.0], [0.1, 0.0, 0.9]])})
    assert [(item.frame, item.value) for item in found["classes"]] == [(0, "head"), (1, "none"), (2, "leg")]


@pytest.mark.parametrize("classes", [("a", "b"), ("a", "a", "none")])
def test_classes_without_a_background_or_twice_are_refused(classes):
    with pytest.raises(ValueError, match="background"):
        NamePlanesd("shares", "plane", classes, "none", 0.4, 0.1)
