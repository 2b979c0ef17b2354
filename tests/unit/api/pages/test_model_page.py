from __future__ import annotations

import json

import numpy as np
import pytest

from api.pages.model_page import evaluated
from inference.evaluation_binary import binary_metrics
from inference.evaluation_classes import class_metrics
from models.catalog import Catalog
from models.evaluations import FORMAT, Evaluations, method

NAME = "intracranial_t1"


@pytest.fixture
def bundle(tmp_path):
    return Catalog(tmp_path / "models").bundle(NAME)


def a_record(bundle, kind="binary", **members):
    rng = np.random.default_rng(0)
    truth = rng.random(120) < 0.5
    scores = [
        None if place == 3 else float(value)
        for place, value in enumerate(np.clip(rng.random(120) * 0.6 + 0.4 * truth, 0, 1))
    ]
    metrics = binary_metrics(scores, truth.tolist(), 0.5, rng)
    if kind == "classes":
        metrics = class_metrics([("a", 0.9), ("b_c", 0.7), None], ["a", "a", "b_c"], rng)
    base = {"format": FORMAT, "kind": kind, "bundle": NAME, "version": "1.0.0", "sha256": bundle.sha256}
    base |= {"method": method(bundle), "n": 120, "refused": {"unsupported-volume": 1}, "metrics": metrics, "seed": 0}
    base |= {"engine": {"name": "openvino", "version": "1", "precision": "f32", "device": "cpu"}}
    base |= {"dataset": {"name": "<b>set</b>", "split": "val", "sha256": "a" * 64}, "date": "2026-11-22T00:00:00.000Z"}
    return base | members


def test_a_model_without_records_says_so(page):
    text = page.get(f"/models/{NAME}").text
    assert "Not evaluated here" in text
    assert "models evaluate" in text
    for said in (
        "Intended use",
        "P2.",
        "openvino",
        "the reference",
        "sha256 39a7b2b5",
        "deepbet 1.0.2",
        "MIT",
        "Matsumae",
    ):
        assert said in text, said


def test_a_record_is_shown_with_plots_intervals_and_what_has_to_be_said(house, page, bundle):
    Evaluations(house.services.settings.model_store).write(a_record(bundle))
    text = page.get(f"/models/{NAME}").text
    assert "&lt;b&gt;set&lt;/b&gt; val: 120 cases" in text
    assert text.count('class="plot square-plot"') == 2
    assert "area under the ROC curve" in text
    assert "refused counted as wrong" in text
    assert "1 unsupported-volume" in text
    assert "another form of this bundle" not in text
    assert "Evaluated here on 1 data set" in page.get("/models").text


def test_a_record_of_another_form_is_marked(house, page, bundle):
    Evaluations(house.services.settings.model_store).write(a_record(bundle, method="0" * 64))
    assert "another form of this bundle" in page.get(f"/models/{NAME}").text


def test_classes_show_what_was_answered_for_what(bundle):
    shown = evaluated(a_record(bundle, "classes"), current=True)
    assert shown.confusion == (("a", "b c", "refused"), (("a", ("1", "1", "")), ("b c", ("", "", "1"))))
    assert any("Few cases" in remark for remark in shown.remarks)


@pytest.mark.parametrize("members", [{"metrics": {}}, {"engine": 3}, {"n": "many"}, {"refused": []}])
def test_a_record_with_holes_is_not_a_broken_page(house, page, bundle, members):
    shown = a_record(bundle, **members)
    Evaluations(house.services.settings.model_store).write(json.loads(json.dumps(shown)))
    assert "This record cannot be read" in page.get(f"/models/{NAME}").text


def test_the_list_names_every_model_with_its_state(page, browser):
    text = page.get("/models").text
    assert "Weights absent" in text
    assert "Ready" in text
    for name in ("intracranial_t1", "lungs_ct", "fetal_planes"):
        assert f'href="/models/{name}"' in text
    assert browser(None).get("/models").status_code == 200


def test_a_rule_is_told_as_a_rule(page):
    text = page.get("/models/lungs_ct").text
    assert "The rule" in text
    assert "it needs no weights" in text
