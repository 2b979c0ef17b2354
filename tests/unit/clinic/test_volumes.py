import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from clinic.errors import SeriesAbsent
from clinic.overlays import read_overlay
from clinic.planes import BODY_PLANES, Plane, cut
from clinic.refusals import GantryTilt, NoPlane, Superseded
from clinic.volumes import Volumes
from clinic.workitem import Reference, Workitem
from clinic.writers import seg
from tests.common import planar
from tests.common.clinic_side import ClinicSide
from tests.common.dicom_factory import INSTITUTION, content_of, head_series, make_series
from tests.common.loop_network import bright
from tests.common.written import many

HEAD = [content_of(item) for item in head_series()]
SERIES = "1.2.3.100.1"


@pytest.fixture(scope="module")
def side(tmp_path_factory) -> ClinicSide:
    made = ClinicSide(tmp_path_factory.mktemp("side"))
    made.receive(HEAD)
    made.settle()
    made.network.run(made.network.open[0])
    made.settle()
    return made


def counting(volumes: Volumes, monkeypatch) -> list[int]:
    from clinic import reader

    calls, read = [], reader.read
    monkeypatch.setattr(reader, "read", lambda *arguments: calls.append(1) or read(*arguments))
    return calls


def test_a_series_is_read_once(side, monkeypatch):
    volumes = Volumes(side.archive, side.blobs)
    calls = counting(volumes, monkeypatch)
    first = volumes.source(INSTITUTION, SERIES)
    (item,) = side.workitems()
    assert volumes.source(INSTITUTION, SERIES) is volumes.source(INSTITUTION, SERIES, item.input_digest) is first
    assert len(calls) == 1
    volumes.forget(INSTITUTION, SERIES)
    volumes.source(INSTITUTION, SERIES)
    assert len(calls) == 2


def test_two_are_kept(tmp_path, monkeypatch):
    side = ClinicSide(tmp_path)
    for number in range(3):
        side.receive(make_series(study_uid=f"1.2.{number}", series_uid=f"1.2.{number}.1"))
    calls = counting(side.volumes, monkeypatch)
    for number in (0, 1, 2, 1, 2, 0):
        side.volumes.source(INSTITUTION, f"1.2.{number}.1")
    assert len(calls) == 4
    monkeypatch.setattr("clinic.volumes.KEPT_BYTES_MAX", 10)
    side.volumes.source(INSTITUTION, "1.2.1.1")
    assert len(side.volumes._sources) == 1


def test_a_series_that_grew_is_read_again(tmp_path):
    side = ClinicSide(tmp_path)
    series = make_series((6, 4, 3))
    side.receive(series[:4])
    before = side.volumes.source(INSTITUTION, "1.2.3.100.1")
    side.receive(series[4:])
    after = side.volumes.source(INSTITUTION, "1.2.3.100.1")
    assert (before.grid.shape[0], after.grid.shape[0]) == (4, 6)
    with pytest.raises(Superseded):
        side.volumes.source(INSTITUTION, "1.2.3.100.1", "0" * 64)


def test_what_is_not_there_or_not_ours_is_absent(side):
    for institution, series in ((INSTITUTION, "1.9"), ("ins_00000000000000000000000002", SERIES)):
        with pytest.raises(SeriesAbsent):
            side.volumes.source(institution, series)


def test_a_deleted_study_is_not_shown_from_memory(tmp_path):
    side = ClinicSide(tmp_path)
    side.receive(make_series())
    side.volumes.source(INSTITUTION, SERIES)
    side.archive.delete_study(INSTITUTION, "1.2.3.100", lambda _blobs: None)
    with pytest.raises(SeriesAbsent):
        side.volumes.source(INSTITUTION, SERIES)


def test_a_series_that_is_no_volume_says_why(tmp_path):
    side = ClinicSide(tmp_path)
    side.receive(make_series((6, 4, 3), positions=[(0, k * 2, k) for k in range(6)]))
    with pytest.raises(GantryTilt):
        side.volumes.source(INSTITUTION, SERIES)


def test_archived_segments_are_the_mask_that_was_found(side):
    (item,) = side.workitems()
    source = side.volumes.source(INSTITUTION, SERIES)
    overlay = side.volumes.overlay(item, source)
    assert np.array_equal(overlay.array, bright(source.volume).masks[0].array)
    (segment,) = overlay.segments
    assert (segment.number, segment.name) == (1, "Intracranial volume")
    assert np.abs(np.array(segment.colour_rgb) - (64, 156, 255)).max() <= 3
    assert side.volumes.overlay(item, source) is overlay
    row = side.archive.instance(INSTITUTION, item.reference("seg").sop_uid)
    assert np.array_equal(read_overlay(side.blobs.open(row.blob).read(), source).array, overlay.array)
    assert side.volumes.overlay(replace(item, references=()), source) is None


@pytest.mark.parametrize("plane", BODY_PLANES)
def test_planes_are_pictures_with_and_without_overlay(side, plane):
    (item,) = side.workitems()
    plain = Image.open(io.BytesIO(side.volumes.plane(INSTITUTION, SERIES, plane, 30)))
    shown = Image.open(io.BytesIO(side.volumes.plane(INSTITUTION, SERIES, str(plane), 30, overlay=item)))
    assert plain.size == shown.size
    coloured = np.ptp(np.asarray(shown).astype(int), axis=2).max()
    assert np.ptp(np.asarray(plain.convert("RGB")).astype(int), axis=2).max() == 0
    assert coloured > 100


def test_planes_are_described(side):
    counted = {item.plane: item.count for item in side.volumes.planes(INSTITUTION, SERIES)}
    assert counted == {Plane.AXIAL: 64, Plane.CORONAL: 66, Plane.SAGITTAL: 62}


@pytest.mark.parametrize(("plane", "index"), [("axial", 64), ("axial", -1), ("diagonal", 0), ("frame", 0)])
def test_planes_that_are_not_there(side, plane, index):
    with pytest.raises(NoPlane):
        side.volumes.plane(INSTITUTION, SERIES, plane, index)


@pytest.mark.parametrize("count", [8, 25])
def test_every_segment_is_drawn_in_its_colour(tmp_path, count):
    side = ClinicSide(tmp_path)
    side.receive(HEAD)
    source = side.volumes.source(INSTITUTION, SERIES)
    body = many(source, count)
    made = seg.write(body.segments, source, body.findings, body.context)
    assert [outcome.stored for outcome in side.intake.store_results(INSTITUTION, [made.content])] == [True]
    reference = Reference("seg", made.sop_class, made.series_uid, made.sop_uid)
    item = Workitem("wit_1", INSTITUTION, "1.2.3.100", SERIES, "p", "", "", b"", 0, 0, references=(reference,))
    shown = np.asarray(Image.open(io.BytesIO(side.volumes.plane(INSTITUTION, SERIES, "axial", 30, overlay=item))))
    overlay = side.volumes.overlay(item, source)
    drawn = {segment.colour_rgb for segment in overlay.segments if (shown == segment.colour_rgb).all(axis=2).any()}
    here, _ = cut(overlay.array, source.volume.affine, Plane.AXIAL, 30)
    assert drawn == {overlay.colours[number] for number in np.unique(here) if number}
    assert len(drawn) >= 2


def test_overlays_are_kept_within_bounds(side, monkeypatch):
    (item,) = side.workitems()
    source = side.volumes.source(INSTITUTION, SERIES)
    first = side.volumes.overlay(item, source)
    monkeypatch.setattr("clinic.volumes.KEPT_BYTES_MAX", first.array.nbytes * 2 - 1)
    side.volumes._overlays[INSTITUTION, "another"] = first
    side.volumes._overlays.pop((INSTITUTION, item.reference("seg").sop_uid))
    side.volumes.overlay(item, source)
    assert list(side.volumes._overlays) == [(INSTITUTION, item.reference("seg").sop_uid)]


def test_planar_images_are_shown_as_they_are(tmp_path):
    side = ClinicSide(tmp_path)
    chest = planar.chest(60, 40)
    side.receive([planar.radiograph(chest), planar.radiograph(chest[:30], view="LL", number=2)])
    (counted,) = side.volumes.planes(INSTITUTION, "1.2.3.200.1")
    assert (counted.plane, counted.count) == (Plane.FRAME, 2)
    shown = [
        np.asarray(Image.open(io.BytesIO(side.volumes.plane(INSTITUTION, "1.2.3.200.1", "frame", k))).convert("L"))
        for k in range(2)
    ]
    assert np.array_equal(shown[0], chest)
    assert np.array_equal(shown[1], chest[:30])
    for plane, index in (("axial", 0), ("frame", 2), ("frame", -1)):
        with pytest.raises(NoPlane):
            side.volumes.plane(INSTITUTION, "1.2.3.200.1", plane, index)


def test_views_are_kept_apart_and_forgotten_together(tmp_path):
    side = ClinicSide(tmp_path)
    chest = planar.chest(60, 40)
    side.receive([planar.radiograph(chest), planar.radiograph(chest, view="LL", number=2)])
    series = (INSTITUTION, "1.2.3.200.1")
    whole, front = side.volumes.source(*series), side.volumes.source(*series, views=frozenset({"PA"}))
    assert (len(whole.grid.planes), len(front.grid.planes)) == (2, 1)
    assert side.volumes.source(*series) is whole
    assert side.volumes.source(*series, views=frozenset({"PA"})) is front
    side.volumes.forget(*series)
    assert side.volumes.source(*series) is not whole
    assert side.volumes.source(*series, views=frozenset({"PA"})) is not front
