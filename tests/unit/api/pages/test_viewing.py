from __future__ import annotations

import numpy as np
import pytest

from clinic.planes import BODY_PLANES, cut
from tests.common import planar
from tests.common.dicom_factory import INSTITUTION, make_series
from tests.common.page_house import OURS

SOURCE = "/studies/1.2.3.100/series/1.2.3.100.1/image"


def geometry(page, source=SOURCE):
    answer = page.get(f"{source}/geometry")
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_geometry_before_and_after_the_findings(house, page):
    house.receive_head()
    before = geometry(page)
    assert before["size"] == [62, 66, 64]
    assert before["spacing_mm"] == pytest.approx([2.0, 2.0, 2.0])
    assert (before["overlay"], before["labels"], before["segments"]) == (None, None, [])
    assert before["start"] == [31, 33, 32]
    assert before["windows"][0]["name"] == "Automatic"
    item = house.finish(*house.lease())
    after = geometry(page)
    assert after["overlay"] == item.workitem_id
    assert after["labels"] == "uint8"
    (segment,) = after["segments"]
    assert (segment["number"], segment["name"]) == (1, "Intracranial volume")
    assert segment["colour"] == pytest.approx([64, 156, 255], abs=3)
    assert "Overlay: the findings’ mask." in after["caption"]


@pytest.mark.parametrize("plane", BODY_PLANES)
def test_slices_are_the_volumes_own_numbers_and_the_segments(house, page, plane):
    item = house.done()
    shape = geometry(page)
    source = house.side.volumes.source(INSTITUTION, "1.2.3.100.1")
    overlay = house.side.volumes.overlay(item, source)
    index = 20
    query = f"version={shape['version']}&overlay={shape['overlay']}"
    content = page.get(f"{SOURCE}/{plane}/{index}?{query}").content
    pixels, _ = cut(source.volume.array, source.volume.affine, plane, index)
    numbers, _ = cut(overlay.array, source.volume.affine, plane, index)
    size = pixels.size * np.dtype(shape["dtype"]).itemsize
    found = np.frombuffer(content[:size], np.dtype(shape["dtype"]).newbyteorder("<")).reshape(pixels.shape)
    assert np.array_equal(found, pixels)
    labels = np.frombuffer(content[size:], shape["labels"]).reshape(pixels.shape)
    assert np.array_equal(labels, numbers)
    assert labels.any()


def test_slices_travel_compressed_where_the_browser_takes_it(house, page):
    house.receive_head()
    version = geometry(page)["version"]
    plain = page.get(f"{SOURCE}/axial/3?version={version}", headers={"Accept-Encoding": "identity"})
    small = page.get(f"{SOURCE}/axial/3?version={version}", headers={"Accept-Encoding": "gzip"})
    assert "content-encoding" not in plain.headers
    assert small.headers["content-encoding"] == "gzip"
    assert small.content == plain.content
    assert int(small.headers["content-length"]) < len(plain.content)
    assert plain.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("frame/0?version={version}", 404),
        ("axial/64?version={version}", 404),
        ("axial/-1?version={version}", 400),
        ("oblique/1?version={version}", 400),
        ("axial/1", 400),
        ("axial/1?version=zz", 400),
        ("axial/1?version={other}", 422),
        ("axial/1?version={version}&overlay=wit_00000000000000000000000009", 404),
        ("axial/1?version={version}&overlay=nonsense", 400),
    ],
)
def test_slices_that_are_not_there(house, page, path, status):
    house.receive_head()
    version = geometry(page)["version"]
    answer = page.get(f"{SOURCE}/{path.format(version=version, other='0' * 64)}", headers={"Accept": "*/*"})
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"


def test_an_overlay_of_another_series_is_refused(house, page):
    item = house.done()
    house.receive_head("1.2.3.500", {"PatientName": "B", "PatientID": "B"})
    source = "/studies/1.2.3.500/series/1.2.3.500.1/image"
    version = geometry(page, source)["version"]
    assert page.get(f"{source}/axial/1?version={version}&overlay={item.workitem_id}").status_code == 404


def test_the_path_has_to_name_the_right_study(house, page):
    house.receive_head()
    version = geometry(page)["version"]
    wrong = "/studies/1.2.3.999/series/1.2.3.100.1/image"
    assert page.get(f"{wrong}/geometry").status_code == 404
    assert page.get(f"{wrong}/axial/1?version={version}").status_code == 404


def test_other_institutions_and_roles_see_nothing(house, browser):
    house.receive_head()
    theirs = browser("clinician", name="them", institution="ins_00000000000000000000000009")
    assert theirs.get(f"{SOURCE}/geometry").status_code == 404
    assert theirs.get(f"{SOURCE}/axial/1?version={'0' * 64}").status_code == 404
    assert browser("auditor").get(f"{SOURCE}/geometry").status_code == 403


def test_a_series_that_forms_no_volume_is_shown_image_by_image(house, page):
    series = make_series(shape=(3, 16, 16), modality="CT", study_uid="1.2.3.700", series_uid="1.2.3.700.1")
    series[2].ImageOrientationPatient = [0, 1, 0, 0, 0, 1]
    house.side.receive(series)
    source = "/studies/1.2.3.700/series/1.2.3.700.1/image"
    shown = geometry(page, source)
    assert len(shown["pictures"]) == 3
    assert shown["windows"][1]["name"] == "Brain"
    answer = page.get(f"{source}/{shown['pictures'][0]}?center=40&width=80")
    assert answer.headers["content-type"] == "image/png"
    assert answer.content.startswith(b"\x89PNG")
    assert answer.headers["cache-control"] == "no-store"
    assert page.get(f"{source}/picture/1.2.3.700.1.1/9").status_code == 404
    assert page.get(f"{source}/picture/1.2.3/1").status_code == 404
    assert page.get(f"{source}/picture/1.2.3.700.1.1/1?center=nan&width=80").status_code == 400


def test_hounsfield_units_get_the_windows_that_readers_expect(house, page):
    house.receive_other()
    names = [entry["name"] for entry in geometry(page, "/studies/1.2.3.300/series/1.2.3.300.1/image")["windows"]]
    assert names[:2] == ["Brain", "Stroke"]
    assert "Bone" in names


def test_a_rejected_overlay_says_so(house, page):
    item = house.done()
    form = {"workitem": item.workitem_id, "verdict": "reject", "reason": "leaks"}
    assert page.post("/studies/1.2.3.100/review", data=form, headers=OURS).status_code == 303
    assert "rejected findings" in geometry(page)["caption"]


@pytest.mark.parametrize("count", [8, 25])
def test_every_segment_has_its_number_name_and_colour(house, page, count):
    house.done_many(count)
    shape = geometry(page)
    assert [item["number"] for item in shape["segments"]] == list(range(1, count + 1))
    assert [item["name"] for item in shape["segments"]][:2] == ["structure 1", "structure 2"]
    assert len({tuple(item["colour"]) for item in shape["segments"]}) == count
    index = shape["start"][2]
    content = page.get(f"{SOURCE}/axial/{index}?version={shape['version']}&overlay={shape['overlay']}").content
    pixels = shape["size"][0] * shape["size"][1]
    assert len(np.unique(np.frombuffer(content[-pixels:], shape["labels"]))) > 2


def test_where_nothing_was_found_there_is_no_overlay(house, page):
    house.done_many(3, empty=(1, 2, 3))
    shape = geometry(page)
    assert (shape["overlay"], shape["segments"]) == (None, [])
    assert "Overlay" not in shape["caption"]


FILM = "/studies/1.2.3.200/series/1.2.3.200.1/image"


def test_planar_images_come_as_numbers_frame_by_frame(house, page):
    chest = planar.chest(60, 40)
    house.side.receive([planar.radiograph(chest, view="LL", number=2), planar.radiograph(chest[:30], number=1)])
    shape = geometry(page, FILM)
    assert (shape["planar"], shape["size"], shape["dtype"]) == (True, [40, 60, 2], "uint8")
    assert (shape["frames"], shape["sizes"]) == (["PA, image 1", "LL, image 2"], [[30, 40], [60, 40]])
    assert shape["windows"][0] == {"name": "As acquired", "center": 127.5, "width": 255.0}
    assert shape["caption"] == "2 images of up to 40 x 60 pixels."
    content = page.get(f"{FILM}/frame/1?version={shape['version']}").content
    assert np.array_equal(np.frombuffer(content, np.uint8).reshape(60, 40), chest)
    for path in ("axial/0", "frame/2"):
        assert page.get(f"{FILM}/{path}?version={shape['version']}").status_code == 404


def test_a_clip_names_its_frames(house, page):
    house.side.receive([planar.ultrasound(np.stack([planar.sector(32, 40)] * 3))])
    shape = geometry(page, FILM)
    assert shape["frames"] == ["image 1, frame 1", "image 1, frame 2", "image 1, frame 3"]
    assert (shape["sizes"], shape["caption"]) == (None, "3 images of 40 x 32 pixels.")
    assert page.get(f"{FILM}/frame/2?version={shape['version']}").status_code == 200


def test_colour_stays_colour(house, page):
    coloured = np.stack([planar.sector(32, 40)] * 3, axis=-1)
    house.side.receive([planar.ultrasound(coloured, number=2), planar.ultrasound(coloured, number=1)])
    shown = geometry(page, FILM)
    assert shown["pictures"] == ["picture/1.2.3.200.1.1/1", "picture/1.2.3.200.1.2/1"]
    assert shown["caption"] == ""


def test_the_page_is_laid_out_for_planar_images_before_scripts_know(house, page):
    house.side.receive([planar.radiograph(planar.chest(60, 40))])
    house.side.settle()
    text = page.get("/studies/1.2.3.200", headers={"Accept": "text/html"}).text
    assert 'data-main="frame"' in text
    house.receive_head()
    assert 'data-main="axial"' in page.get("/studies/1.2.3.100", headers={"Accept": "text/html"}).text
