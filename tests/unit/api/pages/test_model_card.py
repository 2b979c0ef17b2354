from __future__ import annotations

import dataclasses

import pytest

from api.pages.model_card import card, cards
from models.catalog import Catalog
from pipelines.catalog import Repertoire
from tests.common.zoo import zoo_bundle


@pytest.fixture
def bundles(tmp_path):
    source = zoo_bundle(tmp_path / "source", roi=(8, 8, 8))
    (source / "docs" / "README.md").write_text("# Overview\n<script>alert(1)</script> of **ours**\n")
    catalog = Catalog(tmp_path / "state" / "models")
    catalog.pull(str(source))
    return catalog.bundles()


def lines(shown):
    return {entry.name: dict(entry.lines) for entry in (*shown.shown, *shown.further)}


def test_an_installed_bundle_shows_what_was_signed(bundles):
    shown = card("spleen_ct_segmentation", bundles)
    assert shown is not None
    said = lines(shown)
    assert said["Licence of the weights"] == {"": "Apache-2.0"}
    assert said["Structures"] == {"": "spleen"}
    assert len(said["Installed"]["Signed by"]) == 20
    assert said["Audit"]["Configuration"].startswith("passed")
    assert "<script" not in str(shown.readme)
    assert shown.intended_use
    assert {item.bundle for item in cards(bundles=bundles)} >= {"intracranial_t1", "spleen_ct_segmentation"}


def test_without_a_manifest_it_says_so(bundles):
    bundle = bundles["spleen_ct_segmentation"]
    (bundle.folder / "manifest.json").unlink()
    assert "cannot be read" in str(lines(card(bundle.name, bundles))["Installed"])


def test_what_comes_with_bithive_needs_no_catalogue():
    shown = card("intracranial_t1")
    assert shown is not None
    assert shown.plausible
    assert card("no_such") is None
    assert card("../secrets") is None


def test_each_has_a_page(house, browser, bundles, monkeypatch):
    found = Repertoire(bundles, house.app.state.services.repertoire().pipelines)
    services = dataclasses.replace(house.app.state.services, repertoire=lambda: found)
    monkeypatch.setattr(house.app.state, "services", services)
    page = browser(None)
    shown = page.get("/models/spleen_ct_segmentation")
    assert shown.status_code == 200
    assert "Apache-2.0" in shown.text
    assert "/models/spleen_ct_segmentation" in page.get("/about").text
    assert page.get("/models/intracranial_t1").status_code == 200
    for name in ("no_such", "%2e%2e%2fx", "a%2Fb", "a.b"):
        assert page.get(f"/models/{name}").status_code == 404
