"""Weights without a network: whole from a mirror folder, or made of what one has; otherwise nothing, and nobody is asked."""

import hashlib
import json
import shutil

import pytest

from models.catalog import BUNDLES, Catalog
from models.errors import BundleAbsent

NAME = "small_t1"
CONTENT = b"weights " * 100


@pytest.fixture
def house(tmp_path):
    """A folder of built-in bundles with one whose weights lie at an address where nothing answers, and a mirror."""
    shutil.copytree(BUNDLES / "intracranial_t1", tmp_path / "built_in" / NAME)
    path = tmp_path / "built_in" / NAME / "configs" / "metadata.json"
    metadata = json.loads(path.read_text())
    row = {"sha256": hashlib.sha256(CONTENT).hexdigest(), "size_bytes": len(CONTENT)}
    source = {"kind": "address", "address": "https://127.0.0.1:1/weights"}
    metadata["bithive"]["weights"] = [{"file": "models/model.pt", **row, "source": source}]
    path.write_text(json.dumps(metadata))
    (tmp_path / "mirror" / "deep" / "down").mkdir(parents=True)
    return tmp_path


def opened(house):
    return Catalog(house / "store", (house / "nowhere", house / "mirror"), folder=house / "built_in")


def test_what_no_mirror_has_is_not_asked_for(house):
    assert opened(house).gather(NAME) is False
    assert not opened(house).ready(opened(house).bundle(NAME))


def test_what_a_mirror_has_under_any_name_is_taken_once(house):
    (house / "mirror" / "deep" / "down" / "anything").write_bytes(CONTENT)
    assert opened(house).gather(NAME) is True
    shutil.rmtree(house / "mirror")
    catalog = opened(house)
    assert catalog.gather(NAME) is True
    assert catalog.weights(catalog.bundle(NAME))["models/model.pt"].read_bytes() == CONTENT


def test_what_is_as_large_and_something_else_is_not_taken(house):
    (house / "mirror" / "anything").write_bytes(CONTENT[::-1])
    assert opened(house).gather(NAME) is False


def test_rules_are_complete_as_they_are(tmp_path):
    assert Catalog(tmp_path / "store").gather("lungs_ct") is True
    assert not (tmp_path / "store").exists(), "nothing is written for them"


def test_a_part_that_is_missing_is_not_asked_for(tmp_path):
    assert Catalog(tmp_path / "store", (tmp_path,)).gather("fetal_planes") is False


def test_published_parts_in_a_mirror_are_made_into_the_pinned_file(shared, tmp_path):
    catalog = Catalog(tmp_path / "store", (shared / "weights",))
    assert catalog.gather("fetal_planes") is True
    assert catalog.ready(catalog.bundle("fetal_planes"))
    assert catalog.weights(catalog.bundle("fetal_planes"))


def test_no_such_bundle(tmp_path):
    with pytest.raises(BundleAbsent):
        Catalog(tmp_path).gather("no_such")
