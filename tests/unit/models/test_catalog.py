import hashlib
import shutil
import threading

import pytest

from models.catalog import BUNDLES, Catalog
from models.errors import BundleAbsent, DownloadFailed, WeightsAbsent, WeightsDiffer
from models.samples import SAMPLES
from tests.unit.models.conftest import CONTENT


@pytest.fixture
def catalog(tmp_path, bundles):
    return Catalog(tmp_path / "store", (), bundles)


def offline(monkeypatch):
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)


def test_listing_touches_no_store(catalog, tmp_path):
    assert sorted(catalog.bundles()) == ["tiny"]
    assert not (tmp_path / "store").exists()


def test_weights_are_absent_until_pulled_and_verified_after(catalog, pip_finds, monkeypatch):
    bundle, seen = catalog.bundle("tiny"), []
    with pytest.raises(WeightsAbsent):
        catalog.weights(bundle)
    catalog.pull("tiny", lambda what, fraction: seen.append((what, fraction)))
    paths = catalog.weights(bundle)
    assert {name: path.read_bytes() for name, path in paths.items()} == CONTENT
    assert seen[-1] == ("tiny", 1.0)
    assert all(0 <= fraction <= 1 for _, fraction in seen)
    offline(monkeypatch)
    catalog.pull("tiny")
    assert catalog.weights(bundle) == paths


def test_a_changed_file_is_refused_and_pulled_again(catalog, pip_finds):
    catalog.pull("tiny")
    bundle = catalog.bundle("tiny")
    catalog.weights(bundle)["models/a.pt"].write_bytes(b"x")
    with pytest.raises(WeightsDiffer):
        catalog.weights(bundle)
    catalog.pull("tiny")
    assert catalog.weights(bundle)["models/a.pt"].read_bytes() == CONTENT["models/a.pt"]


def test_a_mirror_needs_no_pip(tmp_path, bundles, monkeypatch):
    offline(monkeypatch)
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    for content in CONTENT.values():
        (mirror / hashlib.sha256(content).hexdigest()).write_bytes(content)
    catalog = Catalog(tmp_path / "store", (mirror,), bundles)
    catalog.pull("tiny")
    shutil.rmtree(mirror)
    assert set(catalog.weights(catalog.bundle("tiny"))) == set(CONTENT)


def test_what_cannot_be_fetched_leaves_nothing(catalog, monkeypatch):
    offline(monkeypatch)
    with pytest.raises(DownloadFailed):
        catalog.pull("tiny")
    with pytest.raises(WeightsAbsent):
        catalog.weights(catalog.bundle("tiny"))


def test_pulling_at_once_fetches_once(tmp_path, bundles, pip_finds):
    failed = []

    def pull():
        try:
            Catalog(tmp_path / "store", (), bundles).pull("tiny")
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=pull) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    catalog = Catalog(tmp_path / "store", (), bundles)
    assert len(catalog.weights(catalog.bundle("tiny"))) == 2
    assert not list((tmp_path / "store" / "spool").iterdir())


@pytest.mark.parametrize("name", ["absent", "../tiny", ""])
def test_an_unknown_name_is_absent(catalog, name):
    with pytest.raises(BundleAbsent):
        catalog.pull(name)
    with pytest.raises(BundleAbsent):
        catalog.bundle(name)


def test_samples_and_bundles_share_no_name(tmp_path):
    assert not set(SAMPLES) & set(Catalog(tmp_path).bundles())
    assert {path.name for path in BUNDLES.iterdir()} == set(Catalog(tmp_path).bundles())
    with pytest.raises(WeightsAbsent):
        Catalog(tmp_path).sample("head_t1")
