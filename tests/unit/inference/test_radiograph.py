"""Films become what the network learnt from, exactly; what is none is refused; the map lies where the film does."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from inference import radiograph
from inference.errors import NotAChestRadiograph, UnsupportedVolume
from inference.radiograph import AskNetworkd, CheckFilmd, RequireChestFilmd, ScoreFilmsd, ShrinkFilmsd, shrunk
from inference.volume import Volume

PATCHES = 64


def volume(array, unit="display"):
    return Volume(np.ascontiguousarray(array), np.eye(4), unit)


def smooth(rows, columns, seed=0):
    """Grey hills."""
    small = np.random.default_rng(seed).integers(0, 255, (9, 9)).astype(np.uint8)
    return np.asarray(Image.fromarray(small).resize((columns, rows), Image.Resampling.BICUBIC))


@pytest.mark.parametrize("side", [29, 57, 224, 513, 1024])
def test_it_shrinks_as_pillow_does(side):
    image = smooth(side, side, seed=side)
    wanted = np.asarray(Image.fromarray(image).resize((28, 28), Image.Resampling.BICUBIC)).astype(float)
    found = np.rint(np.clip(shrunk(image.astype(np.float32), 28), 0, 255))
    assert np.abs(found - wanted).max() <= 1


def test_a_film_of_the_networks_size_passes_bit_by_bit():
    image = np.random.default_rng(1).integers(0, 256, (1, 28, 28)).astype(np.uint8)
    (film,) = ShrinkFilmsd("image", "films", 28)({"image": volume(image)})["films"]
    assert np.array_equal(np.rint(film.grey * 255), image[0])
    assert (film.top, film.left, film.side) == (0, 0, 28)


def test_eight_and_sixteen_bits_give_the_same_film():
    image = smooth(300, 400)
    films = [
        ShrinkFilmsd("image", "films", 28)({"image": volume(array[None])})["films"][0]
        for array in (image, image.astype(np.uint16) * 257)
    ]
    assert np.array_equal(films[0].grey, films[1].grey)
    assert (films[0].top, films[0].left, films[0].side) == (0, 50, 300)


@pytest.mark.parametrize(
    ("array", "check"),
    [
        (np.full((1, 64, 64), 200, np.uint8), "contrast"),
        (np.zeros((1, 64, 64), np.uint16), "contrast"),
        (smooth(64, 200)[None], "aspect"),
        (smooth(200, 64)[None], "aspect"),
        (np.stack([smooth(64, 64), np.zeros((64, 64), np.uint8)]), "contrast"),
    ],
)
def test_what_cannot_be_a_film(array, check):
    with pytest.raises(NotAChestRadiograph) as refused:
        CheckFilmd("image", [0.6, 1.7], 0.15)({"image": volume(array)})
    assert refused.value.context["check"] == check


def test_a_block_of_slices_is_no_film():
    with pytest.raises(UnsupportedVolume):
        CheckFilmd("image", [0.6, 1.7], 0.15)({"image": volume(np.zeros((4, 64, 64), np.int16), "HU")})


def brightness(batch):
    """A network that finds brightness in the upper left quarter."""
    assert batch.shape == (1 + PATCHES, 1, 28, 28)
    answer = np.full((len(batch), 3), 0.5, np.float32)
    answer[:, 0] = batch[:, 0, :14, :14].mean(axis=(1, 2))
    return answer


def scored(array, network=brightness):
    item = {"image": volume(array)}
    item = ShrinkFilmsd("image", "films", 28)(item)
    item = AskNetworkd("films", "answers", network, 7, 3)(item)
    item = RequireChestFilmd("answers", 1.0, 1.0)(item)
    return ScoreFilmsd("answers", "image", "films", "pneumonia", "saliency")(item)


def test_the_score_and_where_it_comes_from():
    array = np.full((1, 280, 340), 20, np.uint8)
    array[0, :120, 40:150] = 240
    found = scored(array)
    (score,), (saliency,) = found["scores"], found["maps"]
    assert score.key == "pneumonia"
    assert 0 < score.value < 1
    assert saliency.array.shape == array.shape
    assert saliency.array.dtype == np.float32
    assert saliency.array.max() == pytest.approx(1.0, abs=0.05)
    assert saliency.array[0, :100, 40:140].mean() > 3 * saliency.array[0, 180:, 200:300].mean()
    assert not saliency.array[0, :, :30].any(), "outside the square that the network sees"


def test_the_highest_of_several_films_counts_and_each_has_its_map():
    dark, bright = smooth(64, 64, 2) // 8, smooth(64, 64, 2)
    both = scored(np.stack([dark, bright]))
    alone = scored(bright[None])
    assert both["scores"][0].value == alone["scores"][0].value
    assert both["maps"][0].array.shape == (2, 64, 64)


@pytest.mark.parametrize(("column", "check"), [(radiograph.DISTANCE, "features"), (radiograph.RESIDUAL, "appearance")])
def test_what_the_network_never_saw(column, check):
    def network(batch):
        answer = brightness(batch)
        answer[0, column] = 1.01
        return answer

    with pytest.raises(NotAChestRadiograph) as refused:
        scored(smooth(64, 64)[None], network)
    assert refused.value.context["check"] == check


def test_no_number_is_no_answer():
    with pytest.raises(NotAChestRadiograph):
        scored(smooth(64, 64)[None], lambda batch: brightness(batch) * np.nan)
