"""A bundle of the zoo's form that takes four series at once, from its pull to overlapping masks."""

import json

import numpy as np
import pytest

from inference.errors import NotSkullStripped, TransformUnsupported, UnsupportedVolume
from inference.findings import Findings
from inference.memory import predict
from inference.run import load
from inference.volume import Volume, VolumeSet, read_payload
from inference.zoo import prepared
from inference.zoo_plan import plan_of
from models.catalog import Catalog
from models.resolve import resolved
from tests.common.tumours import KEYS, NAME, stacked_images, truth, tumour_bundle


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tumours")
    catalog = Catalog(folder / "store")
    assert catalog.pull(str(tumour_bundle(folder)), judge=plan_of) == NAME
    bundle = catalog.bundle(NAME)
    return bundle, load(bundle, catalog.weights(bundle), "torch", threads=1)


@pytest.fixture(scope="module")
def given():
    return stacked_images()


def test_four_images_give_three_masks_that_overlap(installed, given):
    bundle, loaded = installed
    assert [item.key for item in bundle.structures] == list(KEYS)
    sent = read_payload(given.to_bytes())
    findings = Findings.from_bytes(loaded.run(sent).to_bytes(), given.first.array.shape)
    expected = truth()
    assert [mask.key for mask in findings.masks] == list(KEYS)
    for mask in findings.masks:
        assert np.array_equal(mask.array, expected[mask.key])
        measured = findings.measurement(f"{mask.key}_volume")
        assert measured.value == pytest.approx(expected[mask.key].sum() / 1000)
    core, whole, enhancing = (mask.array for mask in findings.masks)
    assert (core & whole).sum() == core.sum() > enhancing.sum() > 0


def test_another_number_of_images_is_refused(installed, given):
    _, loaded = installed
    for other in (given.first, VolumeSet(given.volumes[:3])):
        with pytest.raises(UnsupportedVolume):
            loaded.run(other)


def test_a_head_with_its_scalp_is_refused(installed, given):
    _, loaded = installed
    noisy = [Volume(np.maximum(item.array, 3), item.affine, item.unit) for item in given.volumes]
    with pytest.raises(NotSkullStripped):
        loaded.run(VolumeSet(tuple(noisy)))


@pytest.mark.parametrize("affine", [np.diag([0.5, 0.5, 1.0, 1.0]), np.diag([-1.0, -1.0, 1.0, 1.0])])
def test_another_grid_than_it_learnt_on_is_refused(installed, given, affine):
    _, loaded = installed
    with pytest.raises(UnsupportedVolume):
        loaded.run(VolumeSet(tuple(Volume(item.array, affine, item.unit) for item in given.volumes)))


def test_each_channel_is_normalised_by_itself(installed, given):
    parts = resolved(installed[0].inference(), ("preprocessing", "inferer", "postprocessing"))
    _, image = prepared(given, plan_of({**parts, "channels": 4}))
    assert image.shape == (4, 112, 116, 104)
    for channel, volume in zip(image, given.volumes, strict=True):
        values = volume.array[volume.array != 0]
        expected = np.where(volume.array != 0, (volume.array - values.mean()) / values.std(), 0.0)
        np.testing.assert_allclose(channel.transpose(2, 1, 0), expected, atol=1e-4)


def test_what_counts_over_all_channels_is_refused(tmp_path):
    made = tumour_bundle(tmp_path, (8, 8, 8))
    config = json.loads((made / "configs/inference.json").read_text())
    steps = config["preprocessing"]["transforms"]
    for other in (
        {**steps[2], "channel_wise": False},
        {"_target_": "CropForegroundd", "keys": "image", "source_key": "image"},
    ):
        config["preprocessing"]["transforms"] = [*steps[:2], other]
        parts = resolved(config, ("preprocessing", "inferer", "postprocessing"))
        with pytest.raises(TransformUnsupported):
            plan_of({**parts, "channels": 4})
        plan_of(parts)


def test_memory_counts_every_channel(installed):
    shape = (155, 240, 240)
    one, four = (predict(installed[0], shape, (1.0, 1.0, 1.0), 2, channels) for channels in (1, 4))
    voxels = 155 * 240 * 240
    assert four.parts["payload"] == 4 * one.parts["payload"]
    assert four.parts["running"] - one.parts["running"] >= 3 * 4 * voxels
