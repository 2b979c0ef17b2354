"""Bundles whose weights cannot be had do not keep a cell from starting."""

from pathlib import Path

import pytest

from cluster import loading
from models.catalog import Catalog
from tests.common.hub import MODEL_STORE


def test_a_bundle_without_weights_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    assert loading.fetch(Catalog(tmp_path / "store")) == []


def test_no_bundle_is_no_work(tmp_path: Path) -> None:
    (tmp_path / "bundles").mkdir()
    assert loading.fetch(Catalog(tmp_path / "store", folder=tmp_path / "bundles")) == []
    assert loading.load(tmp_path / "store", [], "auto", 1) == []


def test_a_mirror_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = loading.fetch(Catalog(MODEL_STORE))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    assert loading.fetch(Catalog(tmp_path / "store", (MODEL_STORE,))) == names
