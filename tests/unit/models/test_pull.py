import dataclasses
import hashlib
import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from bithive.clock import ManualClock
from bithive.keys import SigningKey
from bithive.settings import Settings
from models import pull, zoo
from models.catalog import Catalog
from models.errors import (
    ArchiveRefused,
    BadBundle,
    BundleAbsent,
    BundleChanged,
    BundleExists,
    BundleNeeds,
    BundleUnsigned,
    DownloadFailed,
    DownloadTooLarge,
    ExpressionRefused,
    PickleRefused,
    TargetRefused,
    WeightsAbsent,
    WeightsDiffer,
)
from tests.common.zoo import zoo_bundle
from tests.unit.models import zoo_shapes
from tests.unit.models.web import serving

ROOT = Path(__file__).resolve().parents[3]
NAME = "spleen_ct_segmentation"
ROI = (8, 8, 8)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return zoo_bundle(tmp_path_factory.mktemp("source"), roi=ROI)


def zipped(folder, path):
    with zipfile.ZipFile(path, "w") as packed:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                packed.write(file, f"{folder.name}/{file.relative_to(folder).as_posix()}")
    return path


@pytest.fixture(scope="module")
def archive(source, tmp_path_factory):
    return zipped(source, tmp_path_factory.mktemp("archive") / f"{NAME}_v0.5.9.zip")


@pytest.fixture
def catalog(tmp_path):
    return Catalog(tmp_path / "state" / "models", clock=ManualClock())


@pytest.fixture
def published(archive, monkeypatch):
    """The zoo's table, as if the archive of these tests were what the zoo publishes."""
    table = dict(zoo.entries())

    def publish(address, **change):
        sha1 = hashlib.sha1(archive.read_bytes()).hexdigest()
        table[NAME] = dataclasses.replace(table[NAME], address=address, sha1=sha1, **change)
        monkeypatch.setattr(pull, "entries", lambda: table)

    return publish


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_zoos_table_names_what_must_work():
    table = zoo.entries()
    assert {
        *("spleen_ct_segmentation", "wholeBody_ct_segmentation", "lung_nodule_ct_detection"),
        *("brats_mri_segmentation", "prostate_mri_anatomy", "ventricular_short_axis_3label"),
    } <= set(table)
    for name, entry in table.items():
        assert entry.name == name
        assert entry.address.startswith("https://")
        assert entry.address.endswith(f"/{name}_v{entry.version}.zip")
        assert len(entry.sha1) == 40
        assert entry.modality in {"CT", "MR"}


@pytest.mark.parametrize("form", ["folder", "archive"])
def test_a_path_is_installed_under_its_name(catalog, source, archive, form):
    path = source if form == "folder" else archive
    seen = []
    assert catalog.pull(str(path), lambda what, share: seen.append(share)) == NAME
    assert seen[-1] == 1.0
    bundle = catalog.bundle(NAME)
    assert catalog.weights(bundle)["models/model.ts"].read_bytes() == (source / "models" / "model.ts").read_bytes()
    origin = catalog.manifest(bundle)["origin"]
    assert origin == {"named": form, "sha256": "" if form == "folder" else sha256(archive)}
    assert catalog.pull(NAME) == NAME


def test_a_mirror_has_it_by_name_as_a_folder_or_an_archive(source, archive, tmp_path, published):
    published("https://nowhere.example/x.zip")
    for index, path in enumerate((source, archive)):
        mirror = tmp_path / f"mirror{index}"
        mirror.mkdir()
        (mirror / path.name).symlink_to(path)
        catalog = Catalog(tmp_path / f"state{index}" / "models", (tmp_path / "absent", mirror))
        assert catalog.pull(NAME) == NAME
        assert catalog.bundle(NAME).form == "zoo"


def test_a_mirrors_archive_that_is_not_the_published_one_is_refused(archive, tmp_path):
    shutil.copy(archive, tmp_path / archive.name)
    catalog = Catalog(tmp_path / "state" / "models", (tmp_path,))
    with pytest.raises(WeightsDiffer):
        catalog.pull(NAME)
    assert catalog.pull(NAME, sha256=sha256(archive)) == NAME


def test_a_mirror_has_other_bundles_too_the_newest_first(source, tmp_path):
    other = shutil.copytree(source, tmp_path / "own_bundle")
    for version in ("0.9.0", "0.10.0"):
        metadata = json.loads((other / "configs" / "metadata.json").read_text())
        (other / "configs" / "metadata.json").write_text(json.dumps({**metadata, "version": version}))
        zipped(other, tmp_path / f"own_bundle_v{version}.zip")
    shutil.rmtree(other)
    catalog = Catalog(tmp_path / "state" / "models", (tmp_path,))
    catalog.pull("own_bundle")
    assert catalog.bundle("own_bundle").version == "0.10.0"


def test_by_name_from_the_zoo_recognised_by_what_it_publishes(archive, tmp_path, published):
    with serving() as web:
        web.files["/zoo.zip"] = archive.read_bytes()
        web.cut["/zoo.zip"] = [1000]
        published(web.url("/zoo.zip"))
        catalog = Catalog(tmp_path / "state" / "models", loopback=True)
        assert catalog.pull(NAME) == NAME
        assert len(web.asked) == 2
        assert catalog.manifest(catalog.bundle(NAME))["origin"] == {"named": NAME, "sha256": sha256(archive)}
        catalog.pull(NAME)
        catalog.pull(NAME, renew=True)
        assert len(web.asked) == 2
        published(web.url("/zoo.zip"), version="0.6.0")
        catalog.pull(NAME)
        assert len(web.asked) == 2
        catalog.pull(NAME, renew=True)
        assert len(web.asked) == 3
        web.files["/zoo.zip"] += b"more"
        fresh = Catalog(tmp_path / "other" / "models", loopback=True)
        with pytest.raises(WeightsDiffer):
            fresh.pull(NAME)
        assert fresh.installed() == {}


def test_an_address_with_and_without_its_digest(archive, tmp_path):
    with serving() as web:
        web.files["/x/spleen_ct_segmentation_v0.5.9.zip"] = archive.read_bytes()
        web.endless.add("/endless.zip")
        address = web.url("/x/spleen_ct_segmentation_v0.5.9.zip")
        catalog = Catalog(tmp_path / "state" / "models", loopback=True)
        with pytest.raises(WeightsDiffer):
            catalog.pull(address, sha256="0" * 64)
        with pytest.raises(BadBundle):
            catalog.pull(address, sha256="short")
        assert catalog.installed() == {}
        assert catalog.pull(address, sha256=sha256(archive)) == NAME
        assert catalog.pull(address) == NAME
        with pytest.raises(DownloadFailed):
            Catalog(tmp_path / "state" / "models").pull(address)


def test_an_oversized_download_has_its_code(tmp_path, monkeypatch):
    from models import fetch_http

    expected = dataclasses.replace(fetch_http.Expected(), size_bytes_max=100_000)
    monkeypatch.setattr(fetch_http, "Expected", lambda **named: dataclasses.replace(expected, **named))
    with serving() as web:
        web.endless.add("/endless.zip")
        catalog = Catalog(tmp_path / "state" / "models", loopback=True)
        with pytest.raises(DownloadTooLarge):
            catalog.pull(web.url("/endless.zip"))
        assert list((tmp_path / "state" / "models" / "partial").iterdir()) == []


def test_pulling_at_once_in_two_processes_fetches_once(archive, tmp_path):
    program = (
        "import sys, pathlib\n"
        "from models.catalog import Catalog\n"
        "catalog = Catalog(pathlib.Path(sys.argv[1]), loopback=True)\n"
        "print(catalog.pull(sys.argv[2]), catalog.bundle(sys.argv[3]).sha256)\n"
    )
    with serving() as web:
        web.files["/a.zip"], web.pause_s = archive.read_bytes(), 0.05
        command = [sys.executable, "-c", program, str(tmp_path / "state" / "models"), web.url("/a.zip"), NAME]
        started = [
            subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(2)
        ]
        said = [process.communicate(timeout=60) for process in started]
    assert [process.returncode for process in started] == [0, 0], said
    assert len({out for out, _ in said}) == 1


@pytest.mark.parametrize("name", ["nowhere", "../nowhere", "/nowhere/at/all", "x.zip", "", "ftp://a/b"])
def test_what_is_nothing_is_absent(catalog, name):
    with pytest.raises(BundleAbsent):
        catalog.pull(name)
    with pytest.raises(BundleAbsent):
        catalog.audit(name)


def test_a_folder_without_a_bundle(catalog, tmp_path):
    with pytest.raises(BadBundle):
        catalog.pull(str(tmp_path))
    (tmp_path / "x.zip").write_bytes(b"no zip")
    with pytest.raises(ArchiveRefused):
        catalog.pull(str(tmp_path / "x.zip"))


def test_what_comes_with_bithive_is_not_replaced(catalog, source, tmp_path):
    for name in ("intracranial_t1", "head_t1"):
        with pytest.raises(BundleExists):
            catalog.pull(str(shutil.copytree(source, tmp_path / name)))
    assert catalog.bundle("intracranial_t1").form == "bithive"


class Executes:
    def __reduce__(self):
        return print, ("run",)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"output_dir": "$open('/etc/passwd').read()"}, ExpressionRefused),
        ({"dataset": {"_target_": "subprocess.Popen", "args": ["true"]}}, TargetRefused),
        (zoo_shapes.nodules(), BundleNeeds),
    ],
    ids=["expression", "target", "needs"],
)
def test_hostile_and_unbuilt_bundles_are_refused(catalog, tmp_path, change, error):
    hostile = zoo_bundle(tmp_path, "hostile", roi=ROI, change=change)
    with pytest.raises(error):
        catalog.pull(str(hostile))
    assert catalog.audit(str(hostile)).refusal.code == error.code
    assert catalog.installed() == {}


def test_a_pickle_that_executes_is_refused(catalog, source, tmp_path):
    import torch

    hostile = shutil.copytree(source, tmp_path / "hostile")
    (hostile / "models" / "model.ts").unlink()
    torch.save({"a": Executes()}, hostile / "models" / "model.pt")
    with pytest.raises(PickleRefused):
        catalog.pull(str(hostile))
    assert catalog.installed() == {}


def test_what_was_changed_is_left_out_shown_and_mended(catalog, source):
    catalog.pull(str(source))
    folder = catalog.bundle(NAME).folder
    path = folder / "configs" / "inference.json"
    content = path.read_bytes()
    path.write_bytes(content + b" ")
    assert NAME not in catalog.bundles()
    assert "intracranial_t1" in catalog.bundles()
    assert catalog.installed()[NAME].error.code == "bundle-changed"
    with pytest.raises(BundleChanged):
        catalog.bundle(NAME)
    path.write_bytes(content)
    assert NAME in catalog.bundles()
    (folder / "manifest.sig").unlink()
    with pytest.raises(BundleUnsigned):
        catalog.bundle(NAME)
    catalog.pull(str(source))
    assert catalog.bundle(NAME).form == "zoo"


def test_lost_weights_come_from_a_mirror_or_by_installing_again(catalog, source, tmp_path, archive, published):
    catalog.pull(str(source))
    path = catalog.weights(catalog.bundle(NAME))["models/model.ts"]
    path.unlink()
    with pytest.raises(WeightsAbsent):
        catalog.pull(NAME)
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    shutil.copy(source / "models" / "model.ts", mirror)
    Catalog(tmp_path / "state" / "models", (mirror,)).pull(NAME)
    assert path.exists()
    path.write_bytes(b"x")
    published("https://nowhere.example/x.zip")
    shutil.copy(archive, mirror)
    (mirror / "model.ts").unlink()
    Catalog(tmp_path / "state" / "models", (mirror,)).pull(NAME, renew=True)
    assert catalog.weights(catalog.bundle(NAME))


def test_whose_signature_counts(source, tmp_path):
    first = Catalog(tmp_path / "a" / "models")
    first.pull(str(source))
    public = SigningKey.load_or_create(tmp_path / "a" / "keys" / "models.key").public_hex
    assert first.trusted() == {public}
    shutil.copytree(tmp_path / "a" / "models", tmp_path / "b" / "models", symlinks=True)
    assert NAME not in Catalog(tmp_path / "b" / "models").bundles()
    assert NAME in Catalog(tmp_path / "b" / "models", trusted_keys=(public,)).bundles()
    shutil.copytree(tmp_path / "a" / "models", tmp_path / "c" / "models")
    assert NAME in Catalog(tmp_path / "c" / "models", trusted_keys=(public,)).bundles()


def test_the_cell_of_a_hub_trusts_what_the_hub_installed(source, tmp_path):
    hub = Settings(state=tmp_path)
    Catalog.of(hub).pull(str(source))
    cell = Settings(state=tmp_path / "cell", models={"store": hub.model_store})
    assert NAME in Catalog.of(cell).bundles()
    assert NAME in Catalog(hub.model_store).bundles()


def test_a_key_that_others_may_read_is_not_used(source, tmp_path):
    catalog = Catalog(tmp_path / "state" / "models")
    catalog.pull(str(source))
    (tmp_path / "state" / "keys" / "models.key").chmod(0o644)
    assert catalog.trusted() == frozenset()
    assert NAME not in catalog.bundles()
