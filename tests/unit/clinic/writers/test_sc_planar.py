import io
from dataclasses import replace

import numpy as np
import pydicom
import pytest
from PIL import Image

from clinic.refusals import REMARKS
from clinic.statements import remarks_of, statements_of
from clinic.writers import sc, sc_planar, write
from inference.findings import Findings, ScalarMap
from tests.common.planar import chest, radiograph
from tests.common.planar_written import BRIGHTNESS, SCORED, classified, planar_source, scored

AMBER = (255, 191, 64)


def preview_of(case):
    written = next(item for item in write(case.source, case.findings, case.context) if item.kind == "sc")
    return pydicom.dcmread(io.BytesIO(written.content))


def drawn(case, stamped="NOT FOR DIAGNOSIS"):
    pipeline = case.context.pipeline
    said = statements_of(pipeline, case.findings, remarks_of(pipeline, case.source.age_years))
    preview = pipeline.outputs[-1]
    return np.asarray(sc_planar.draw(stamped, preview, pipeline, said, [BRIGHTNESS], case.source, case.findings))


def amber(array):
    return int((array == AMBER).all(axis=-1).sum())


def test_it_is_burned_in_that_it_is_not_for_diagnosis_and_of_whom():
    inside, outside = scored(age="004Y"), scored(age="040Y")
    assert REMARKS["outside-population"] not in preview_of(inside).ImageComments
    dataset = preview_of(outside)
    assert REMARKS["outside-population"] in dataset.ImageComments
    assert (dataset.BurnedInAnnotation, dataset.PhotometricInterpretation) == ("YES", "RGB")
    assert dataset.SourceImageSequence[0].ReferencedSOPInstanceUID in [item.SOPInstanceUID for item in outside.series]
    assert amber(dataset.pixel_array) > 1.5 * amber(preview_of(inside).pixel_array) > 0
    assert sc.OUTSIDE in "NOT FOR DIAGNOSIS, OUTSIDE THE INTENDED POPULATION"


def test_the_map_tints_its_own_frame_beside_the_plain_one():
    case = scored()
    array = drawn(case).astype(int)
    red = array[..., 0] - array[..., 2] > 60
    red[:140] = False
    x = np.nonzero(red)[1]
    tile = sc_planar._size(case.source, 0)[0]
    assert x.min() > 8 + tile
    assert x.max() < 2 * (8 + tile)
    bare = replace(
        case, findings=replace(case.findings, maps=(ScalarMap("saliency", np.zeros((2, 60, 48), np.float32)),))
    )
    plain = drawn(bare).astype(int)
    assert not (plain[140:, :, 0] - plain[140:, :, 2] > 60).any()


def test_padding_and_flat_pixels_do_not_deform_a_frame():
    case = scored()
    assert sc_planar._size(case.source, 0) == (round(448 * 44 / 60), 448)
    assert sc_planar._size(case.source, 1) == (round(448 * 48 / 50), 448)
    stretched = planar_source([radiograph(chest(60, 44), PixelSpacing=[0.1, 0.2])])
    assert sc_planar._size(stretched, 0) == (448, round(448 * 60 / 88))


@pytest.mark.parametrize("bits", [8, 16])
def test_black_is_black_and_white_is_white(bits):
    pixels = np.zeros((40, 40), np.uint8 if bits == 8 else np.uint16)
    pixels[:, 20:] = 2**bits - 1
    picture = np.asarray(sc_planar._grey(planar_source([radiograph(pixels)]), 0))
    assert (picture[:, :200].max(), picture[:, 250:].min()) == (0, 255)


def test_each_class_is_shown_by_its_best_frame_with_a_caption():
    case = classified(8)
    tiles = [tile for group in sc_planar._tiles(case.context.pipeline, case.source, case.findings) for tile in group]
    assert [caption for _, caption in tiles] == [
        "Frame 1 of 9: Head, 97 %",
        "Frame 3 of 9: No standard plane, 80 %",
        "Frame 8 of 9: Abdomen, 85 %",
    ]
    assert drawn(case).shape[1] <= sc_planar._WIDTH_MAX


def test_of_many_frames_a_few_are_shown():
    films = [radiograph(chest(30, 24, seed), number=seed) for seed in range(1, 12)]
    source = planar_source(films)
    pipeline = replace(SCORED, outputs=(SCORED.outputs[0], SCORED.outputs[-1]))
    groups = sc_planar._tiles(pipeline, source, Findings())
    assert len(groups) == sc_planar.TILES_MAX


def test_a_tile_is_a_picture():
    tile = sc_planar._grey(scored().source, 0)
    assert isinstance(tile, Image.Image)
    assert tile.mode == "RGB"
