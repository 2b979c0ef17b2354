import numpy as np
import pytest

from inference.conform import SIZE, Conformd, Conformed, scale_of, window_of
from inference.errors import AnatomyAbsent
from inference.geometry import Box, Canonical, ras_affine
from inference.volume import Volume

OBLIQUE = np.array([[0.99, 0.02, -0.03], [-0.02, 0.97, 0.12], [0.03, -0.12, 0.98]])


def volume_of(array, spacing=(1.2, 1.1, 1.4), turn=OBLIQUE, origin=(-60.0, -80.0, 40.0)):
    affine = np.eye(4)
    affine[:3, :3] = np.linalg.qr(turn)[0] * np.sign(np.diag(np.linalg.qr(turn)[1])) * spacing
    affine[:3, 3] = origin
    return Volume(np.ascontiguousarray(array), affine, "arbitrary")


@pytest.fixture(scope="module")
def volume():
    random = np.random.default_rng(0)
    array = np.zeros((90, 100, 80), np.int16)
    array[10:80, 15:90, 12:70] = random.integers(50, 1200, (70, 75, 58))
    return volume_of(array)


@pytest.fixture(scope="module")
def conformed(volume):
    return Conformed.of(Canonical.of(volume))


def expected_scale(values):
    """FastSurfer's `getscale` as its text says, one voxel after the other."""
    values = values.astype(np.float64).ravel()
    low, high = values.min(), values.max()
    counts, edges = np.histogram(values, 1000, (low, high))
    wanted = values.size - int(0.02 * np.count_nonzero(values))
    until, index = np.cumsum(counts), 0
    while index < 999 and until[index + 1] < wanted:
        index += 1
    return low, 255.0 / (edges[index] - low)


def test_the_scale_is_that_of_the_text(volume):
    low, factor = scale_of(volume.array)
    assert (low, factor) == pytest.approx(expected_scale(volume.array), rel=2e-3)
    shifted = volume.array.astype(np.float32) - 300
    assert scale_of(shifted)[0] == -300.0


@pytest.mark.parametrize("value", [0, 7])
def test_an_image_that_is_the_same_everywhere_has_no_scale(value):
    with pytest.raises(AnatomyAbsent):
        scale_of(np.full((4, 5, 6), value, np.int16))


def test_an_image_of_one_value_with_a_bright_voxel_has_no_scale():
    array = np.ones((40, 40, 40), np.int16)
    array[3, 4, 5] = 30_000
    with pytest.raises(AnatomyAbsent):
        scale_of(array)


def test_values_that_are_no_numbers_have_no_scale():
    array = np.ones((4, 5, 6), np.float32)
    array[1, 1, 1] = np.nan
    with pytest.raises(AnatomyAbsent):
        scale_of(array)


def test_each_voxel_of_the_cube_is_interpolated_where_it_lies(volume, conformed):
    """Against a computation of its own: eight neighbours of a few hundred places."""
    assert conformed.array.shape == (SIZE,) * 3
    low, factor = scale_of(volume.array)
    scaled = np.clip((volume.array.astype(np.float64) - low) * factor, 0, 255)
    random = np.random.default_rng(1)
    places = random.integers(70, 186, (400, 3))
    inverse = np.linalg.inv(ras_affine(volume))
    ours = []
    canonical = Canonical.of(volume)
    half = np.array(canonical.array.shape) / 2
    middle = conformed_middle(canonical, half)
    for place in places:
        left, down, front = place - SIZE / 2
        at = inverse @ [middle[0] - left, middle[1] + front, middle[2] - down, 1.0]
        first = np.floor(at[:3]).astype(int)
        part = at[:3] - first
        if (first < 0).any() or (first + 1 >= volume.array.shape[::-1]).any():
            ours.append(0.0)
            continue
        value = 0.0
        for corner in np.ndindex(2, 2, 2):
            weight = np.prod([part[i] if corner[i] else 1 - part[i] for i in range(3)])
            x, y, z = first + corner
            value += weight * scaled[z, y, x]
        ours.append(value)
    found = conformed.array[tuple(places.T)].astype(float)
    assert np.abs(found - ours).max() <= 1.0
    assert (found > 0).mean() > 0.3


def conformed_middle(canonical, half):
    """RAS of the middle of the image, counted along canonical axes from their first voxel."""
    stored = []
    for axis, (order, flipped) in enumerate(zip(canonical.axes.order, canonical.axes.flipped, strict=True)):
        length = canonical.array.shape[axis]
        stored.append((2 - order, length - 1 - half[axis] if flipped else half[axis]))
    index = [value for _, value in sorted(stored)]
    return ras_affine(canonical.volume) @ [*index, 1.0]


def test_it_does_not_matter_how_the_image_is_stored(volume, conformed):
    array = volume.array[::-1, :, ::-1]
    to_old = np.diag([-1.0, 1.0, -1.0, 1.0])
    to_old[:3, 3] = (volume.array.shape[2] - 1, 0, volume.array.shape[0] - 1)
    other = Volume(np.ascontiguousarray(array), volume.affine @ to_old, volume.unit)
    again = Conformed.of(Canonical.of(other)).array
    assert np.abs(again.astype(int) - conformed.array).max() <= 1


def test_the_window_is_numpys_quantiles(conformed):
    for shares in ((0.02, 0.98), (0.5, 0.9), (0.0, 1.0)):
        assert window_of(conformed.array, *shares) == pytest.approx(tuple(np.quantile(conformed.array, shares)))


def test_labels_come_back_to_where_they_were_taken(volume, conformed):
    mask = np.zeros(volume.array.shape, np.bool_)
    mask[30:60, 40:70, 20:50] = True
    box = conformed.box_of(conformed.source.axes.view(mask), 1)
    indices = np.stack(
        np.meshgrid(*[np.arange(low, high) for low, high in zip(box.low, box.high, strict=True)], indexing="ij"), -1
    )
    at = np.rint(indices @ conformed.to_source[:3, :3].T + conformed.to_source[:3, 3]).astype(int)
    at = np.clip(at, 0, np.array(conformed.source.array.shape) - 1)
    labels = conformed.source.axes.view(mask)[tuple(np.moveaxis(at, -1, 0))].astype(np.uint8) * 3
    restored = conformed.restored(labels, box)
    assert restored.shape == volume.array.shape
    assert set(np.unique(restored)) == {0, 3}
    both = np.count_nonzero((restored > 0) & mask)
    assert 2 * both / (np.count_nonzero(restored) + np.count_nonzero(mask)) > 0.94
    assert not restored[:28].any()


def test_a_box_beyond_the_cube_is_refused():
    wide = volume_of(np.random.default_rng(2).integers(0, 900, (60, 60, 60)).astype(np.int16), spacing=(9.0, 9.0, 9.0))
    cube = Conformed.of(Canonical.of(wide))
    mask = np.zeros((60, 60, 60), np.bool_)
    mask[1, 1, 1] = True
    with pytest.raises(AnatomyAbsent):
        cube.box_of(mask, 0)


def test_it_is_a_transform(volume):
    data = Conformd("image", "cube")({"image": Canonical.of(volume)})
    assert data["cube"].array.any()
    assert Box.whole(data["cube"].array.shape).shape == (SIZE,) * 3
