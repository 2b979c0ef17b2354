import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from bithive.clock import ManualClock
from bithive.keys import SigningKey
from models import manifest
from models.bundle import Bundle
from models.errors import BadBundle, BundleChanged, BundleUnsigned, ExpressionRefused
from models.install import Origin, inspect, install
from models.store import WeightStore
from tests.common.zoo import zoo_bundle

ROOT = Path(__file__).resolve().parents[3]
NAME = "spleen_ct_segmentation"
KEY = SigningKey(b"k" * 32)


def accepting(_parts):
    pass


def quiet(_what, _share):
    pass


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """The same bundle in two versions."""
    folder = tmp_path_factory.mktemp("sources")
    return [zoo_bundle(folder / version, roi=(8, 8, 8), version=version) for version in ("0.1.0", "0.2.0")]


@pytest.fixture
def store(tmp_path):
    return WeightStore(tmp_path / "store")


def installed(source, store, name=NAME, key=KEY, judge=accepting):
    with store.locked():
        return install(source, name, Origin("folder"), store, key, ManualClock(), judge, quiet)


def test_what_is_installed_is_signed_and_whole(sources, store):
    bundle = installed(sources[0], store)
    assert (bundle.form, bundle.version, bundle.licence) == ("zoo", "0.1.0", "Apache-2.0")
    assert [structure.key for structure in bundle.structures] == ["spleen"]
    about = manifest.check(store.root / "bundles" / NAME, [KEY.public_hex], NAME)
    assert about["created_ms"] == ManualClock().now_ms()
    assert about["signer"] == KEY.public_hex
    assert about["origin"] == {"named": "folder", "sha256": ""}
    assert {check["outcome"] for check in about["audit"]} == {"passed", "noted"}
    assert set(about["files"]) == {
        *("LICENSE", "configs/bithive.json", "configs/inference.json", "configs/metadata.json"),
        *("docs/README.md", "docs/data_license.txt"),
    }
    assert store.find(bundle.weights[0]).read_bytes() == (sources[0] / "models" / "model.ts").read_bytes()
    assert list((store.root / "spool").iterdir()) == []


def test_its_digest_does_not_depend_on_who_installed_it_when(sources, store, tmp_path):
    first = installed(sources[0], store)
    other = WeightStore(tmp_path / "other")
    with other.locked():
        second = install(
            sources[0], NAME, Origin("https://a.example/x.zip", "0" * 64), other, SigningKey(b"o" * 32),
            ManualClock(5), accepting, quiet,
        )  # fmt: skip
    assert first.sha256 == second.sha256
    assert installed(sources[1], store).sha256 != first.sha256


def test_a_checkpoint_is_converted_and_only_tensors_stay(tmp_path, store):
    source = zoo_bundle(tmp_path / "source", roi=(8, 8, 8), weights="model.pt")
    bundle = installed(source, store)
    assert [pinned.file for pinned in bundle.weights] == ["models/model.safetensors"]
    assert list(bundle.extension["networks"]) == ["models/model.safetensors"]
    about = manifest.read(bundle.folder)
    assert "conversion" in {check["check"] for check in about["audit"]}
    assert not [path for path in store.root.rglob("*") if path.suffix == ".pt"]


def test_a_refused_bundle_leaves_nothing(sources, store, tmp_path):
    hostile = zoo_bundle(tmp_path / "hostile", roi=(8, 8, 8), change={"x": "$open('/etc/passwd')"})
    with pytest.raises(ExpressionRefused):
        installed(hostile, store)
    before = installed(sources[0], store)
    with pytest.raises(ExpressionRefused):
        installed(hostile, store)

    def judge(_parts):
        raise BadBundle("cannot be carried out")

    with pytest.raises(BadBundle):
        installed(sources[1], store, judge=judge)
    assert Bundle.load((store.root / "bundles" / NAME).resolve()).sha256 == before.sha256
    assert list((store.root / "spool").iterdir()) == []


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".x", "x" * 65, "1x"])
def test_a_name_is_a_name(sources, store, name):
    with pytest.raises(BadBundle):
        installed(sources[0], store, name)


def test_inspecting_keeps_nothing(sources, store):
    with store.locked():
        found = inspect(sources[0], store.root / "spool", accepting)
    assert found.refusal is None
    assert {path.name for path in store.root.iterdir()} == {"lock", "spool"}
    assert list((store.root / "spool").iterdir()) == []


def test_readers_see_the_old_one_or_the_new_one(sources, store):
    versions, stop, failed = {"0.1.0", "0.2.0"}, threading.Event(), []
    installed(sources[0], store)

    def read():
        while not stop.is_set():
            folder = (store.root / "bundles" / NAME).resolve()
            try:
                about = manifest.check(folder, [KEY.public_hex], NAME)
                bundle = Bundle.load(folder)
                if about["version"] != bundle.version or bundle.version not in versions:
                    failed.append((about["version"], bundle.version))
            except Exception as error:
                failed.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    for turn in range(4):
        installed(sources[(turn + 1) % 2], store)
    stop.set()
    reader.join()
    assert failed == []
    assert len(list((store.root / "bundles" / ".installed").iterdir())) == 2


KILLED = (
    "import os, signal, sys, pathlib\n"
    "from tests.unit.models.test_install import installed\n"
    "from models import install\n"
    "from models.store import WeightStore\n"
    "step, name = int(sys.argv[1]), sys.argv[2]\n"
    "count = 0\n"
    "def dying(function):\n"
    "    def called(*arguments, **named):\n"
    "        global count\n"
    "        count += 1\n"
    "        if count > step: os.kill(os.getpid(), signal.SIGKILL)\n"
    "        return function(*arguments, **named)\n"
    "    return called\n"
    "for owner, attribute in ((pathlib.Path, 'rename'), (pathlib.Path, 'replace'), (pathlib.Path, 'symlink_to'),\n"
    "                         (install, 'sync_folder'), (install, 'sync_tree')):\n"
    "    setattr(owner, attribute, dying(getattr(owner, attribute)))\n"
    "installed(pathlib.Path(sys.argv[3]), WeightStore(pathlib.Path(name)))\n"
)


@pytest.mark.parametrize("step", [0, 2, 3, 4, 5, 6])
def test_killed_halfway_leaves_the_old_or_the_new_one(sources, store, step):
    installed(sources[0], store)
    command = [sys.executable, "-c", KILLED, str(step), str(store.root), str(sources[1])]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode in {0, -signal.SIGKILL}, ended.stderr
    folder = (store.root / "bundles" / NAME).resolve()
    about = manifest.check(folder, [KEY.public_hex], NAME)
    assert about["version"] in {"0.1.0", "0.2.0"}
    if ended.returncode == 0:
        assert about["version"] == "0.2.0"
    assert all(store.find(pinned) for pinned in Bundle.load(folder).weights)
    assert installed(sources[1], store).version == "0.2.0"
    assert list((store.root / "spool").iterdir()) == []
    assert not list((store.root / "bundles").glob(".spleen*"))


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda folder: (folder / "manifest.json").unlink(), BundleUnsigned),
        (lambda folder: (folder / "manifest.sig").unlink(), BundleUnsigned),
        (lambda folder: (folder / "manifest.json").write_text("["), BundleUnsigned),
        (lambda folder: (folder / "manifest.sig").write_text("0" * 128), BundleChanged),
        (lambda folder: (folder / "manifest.sig").write_text("x"), BundleChanged),
        (lambda folder: (folder / "configs" / "inference.json").write_text("{}"), BundleChanged),
        (lambda folder: (folder / "configs" / "bithive.json").unlink(), BundleChanged),
        (lambda folder: (folder / "configs" / "more.json").write_text("{}"), BundleChanged),
        (lambda folder: (folder / ".hidden").write_text("x"), BundleChanged),
        (lambda folder: (folder / "docs" / "link").symlink_to("/etc/passwd"), BundleChanged),
        (lambda folder: edit(folder, version="9.9.9"), BundleChanged),
        (lambda folder: edit(folder, name="other"), BundleChanged),
        (lambda folder: edit(folder, signer="0" * 64), BundleUnsigned),
        (lambda folder: os.truncate(folder / "LICENSE", 3), BundleChanged),
    ],
)
def test_whatever_was_changed_is_noticed(sources, store, change, error):
    folder = installed(sources[0], store).folder
    mark = manifest.stamp(folder)
    change(folder)
    assert manifest.stamp(folder) != mark
    with pytest.raises(error):
        manifest.check(folder, [KEY.public_hex], NAME)


def edit(folder, **change):
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))


def test_a_foreign_key_is_trusted_only_when_it_is_said_so(sources, store):
    foreign = SigningKey(b"f" * 32)
    folder = installed(sources[0], store, key=foreign).folder
    with pytest.raises(BundleUnsigned):
        manifest.check(folder, [KEY.public_hex], NAME)
    assert manifest.check(folder, [KEY.public_hex, foreign.public_hex], NAME)["signer"] == foreign.public_hex
