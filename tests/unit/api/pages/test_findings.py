"""What the page says of scores, classes, maps, remarks; and the key images behind it."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from api.pages.findings import NOTHING, found_of, headline
from api.pages.key_images import SIDE_PIXELS_MAX
from clinic.workitem import State
from pipelines.catalog import pipelines
from tests.common.dicom_factory import INSTITUTION
from tests.common.planar_written import classified, scored


def picture(page, address):
    answer = page.get(address)
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    return np.asarray(Image.open(io.BytesIO(answer.content)))


def test_a_film_shows_score_threshold_and_map(house, page):
    item = house.done_planar(scored(), "CR")
    text = page.get(f"/studies/{item.study_uid}").text
    assert "Present (87 %)" in text
    assert "threshold 50 %" in text
    assert 'class="score positive' in text
    assert "Outside the intended population" not in text
    base = f"/studies/{item.study_uid}/analyses/{item.workitem_id}"
    assert f'src="{base}/map/0"' in text
    plain, tinted = picture(page, f"{base}/frame/0"), picture(page, f"{base}/map/0")
    assert plain.shape == (60, 44)
    assert tinted.shape == (60, 44, 3)
    assert tinted[29, 10, 0] > tinted[29, 10, 2]
    assert (tinted[50, 30] == plain[50, 30]).all()
    assert picture(page, f"{base}/map/1").shape == (50, 48)
    assert "Pneumonia: Present (87 %)" in page.get("/studies").text


def test_outside_the_population_a_banner_and_never_a_flag(house, page):
    item = house.done_planar(scored(age="047Y"), "CR")
    text = page.get(f"/studies/{item.study_uid}").text
    assert text.index("<strong>Outside the intended population</strong>") < text.index('class="score unjudged')
    assert "score positive" not in text
    assert "fill positive" not in text
    assert "Present (" not in text
    assert "Outside the intended population" in page.get("/studies").text


def test_a_clip_shows_the_best_frame_of_each_class_and_every_frame(house, page):
    item = house.done_planar(classified(8), "US")
    text = page.get(f"/studies/{item.study_uid}").text
    assert "Head, 97 %, frame 1" in text
    assert "Abdomen, 85 %, frame 8" in text
    assert "No standard plane, " not in text
    assert "2 classes in 9 frames" in text
    base = f"/studies/{item.study_uid}/analyses/{item.workitem_id}"
    assert picture(page, f"{base}/frame/7").shape == (30, 40)
    for address in ("frame/9", "map/0", "slice/axial", "slice/frame", "frame/-1", "slice/oblique"):
        assert page.get(f"{base}/{address}").status_code in {400, 404}


def test_key_slices_are_drawn_with_their_overlay_for_those_who_may_see_them(house, browser, page):
    item = house.done()
    base = f"/studies/{item.study_uid}/analyses/{item.workitem_id}/slice"
    for plane in ("axial", "coronal", "sagittal"):
        shown = picture(page, f"{base}/{plane}")
        assert max(shown.shape) <= SIDE_PIXELS_MAX
        assert (shown[..., 0] != shown[..., 2]).any()
    theirs = browser("clinician", name="them", institution="ins_00000000000000000000000009")
    assert theirs.get(f"{base}/axial").status_code == 404
    assert browser(None).get(f"{base}/axial").status_code in {303, 401}
    assert page.get(f"/studies/1.2.3.4/analyses/{item.workitem_id}/slice/axial").status_code == 404


def test_many_structures_are_one_table_and_the_page_stays_small(house, page):
    item = house.done_structures()
    text = page.get(f"/studies/{item.study_uid}").text
    assert text.count('<th scope="row">') > 60
    assert "Cerebral cortex" in text
    assert "All 258 values of 103 structures" in text
    assert len(text) < 150_000


def test_a_value_is_shown_beside_its_published_range(house, page):
    item = house.done()
    text = page.get(f"/studies/{item.study_uid}").text
    assert "range-plot" in text
    assert "Matsumae" in text
    assert "rules nothing out" in text


def test_nothing_is_said_before_the_end_and_rejected_findings_are_marked(house, page):
    uid = house.receive_head()
    (item,) = house.side.workitems()
    study = house.side.archive.study(INSTITUTION, uid)
    assert found_of(item, pipelines()[item.pipeline], study) == NOTHING
    assert item.state is not State.COMPLETED
    assert headline(item, None) == ""
    done = house.finish(*house.lease())
    house.side.reviews.reject(INSTITUTION, done.workitem_id, "Dr Berg", "leaks")
    text = page.get(f"/studies/{uid}").text
    assert "were <strong>rejected</strong>" in text


@pytest.mark.parametrize("case", [scored(), classified(3)], ids=["film", "clip"])
def test_a_pipeline_that_is_gone_leaves_what_was_said(house, case):
    item = house.done_planar(case, "CR" if case.findings.scores else "US")
    study = house.side.archive.study(INSTITUTION, item.study_uid)
    found = found_of(item, None, study)
    assert found.scores or found.frames
    assert found.table is None
