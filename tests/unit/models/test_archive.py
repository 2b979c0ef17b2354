import os
import stat
import zipfile

import pytest

from bithive import limits
from models import archive
from models.errors import ArchiveRefused, BadBundle, BundleTooLarge

SOUND = {
    "configs/metadata.json": b"{}",
    "configs/inference.json": b"{}",
    "models/model.ts": b"weights",
    "LICENSE": b"MIT",
}


def zipped(path, members, top="thing/", **options):
    with zipfile.ZipFile(path, "w", **options) as packed:
        for name, content in members.items():
            packed.writestr(f"{top}{name}", content)
    return path


def files(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def into(tmp_path):
    (tmp_path / "into").mkdir()
    return tmp_path / "into"


def unpacked(path, members):
    for name, content in members.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path


MORE = {
    "scripts/run.py": b"1",
    "docs/README.md": b"#",
    "docs/x.ipynb": b"{}",
    "configs/train.json": b"{}",
    "eval/x.sh": b"",
}


@pytest.mark.parametrize("top", ["", "thing/"])
def test_only_what_a_bundle_needs_is_taken(tmp_path, into, top):
    path = zipped(tmp_path / "thing_v0.1.2.zip", {**SOUND, **MORE}, top)
    behind = archive.take(path, into)
    assert files(into) == {*SOUND, "docs/README.md"}
    assert sorted(behind) == ["configs/train.json", "docs/x.ipynb", "eval/x.sh", "scripts/run.py"]
    assert archive.name_of(path) == "thing"


def test_a_folder_is_taken_as_a_zip_is(tmp_path, into):
    folder = unpacked(tmp_path / "thing", {**SOUND, **MORE, ".git/config": b"x"})
    assert "scripts/run.py" in archive.take(folder, into)
    assert files(into) == {*SOUND, "docs/README.md"}
    assert archive.name_of(folder) == "thing"


@pytest.mark.parametrize("name", ["../outside", "/etc/x", "a/../../x", "models/..\\x", "c:/x"])
def test_no_path_leads_out(tmp_path, into, name):
    path = zipped(tmp_path / "x.zip", SOUND, "")
    with zipfile.ZipFile(path, "a") as packed:
        packed.writestr(zipfile.ZipInfo(name), b"x")
    with pytest.raises(ArchiveRefused):
        archive.take(path, into)
    assert files(into) == set()


def test_links_and_devices_are_refused(tmp_path, into):
    for kind in (stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO):
        path = zipped(tmp_path / "x.zip", SOUND, "")
        entry = zipfile.ZipInfo("models/model.pt")
        entry.external_attr = (kind | 0o777) << 16
        with zipfile.ZipFile(path, "a") as packed:
            packed.writestr(entry, b"/etc/passwd")
        with pytest.raises(ArchiveRefused):
            archive.take(path, into)
    folder = unpacked(tmp_path / "thing", SOUND)
    (folder / "models" / "model.pt").symlink_to("/etc/passwd")
    with pytest.raises(ArchiveRefused):
        archive.take(folder, into)
    (folder / "models" / "model.pt").unlink()
    os.mkfifo(folder / "models" / "pipe.pt")
    with pytest.raises(ArchiveRefused):
        archive.take(folder, into)


def test_a_linked_folder_is_not_entered(tmp_path, into):
    folder = unpacked(tmp_path / "thing", SOUND)
    (folder / "docs").symlink_to("/etc")
    with pytest.raises(ArchiveRefused):
        archive.take(folder, into)


def test_bombs_end(tmp_path, into, monkeypatch):
    bomb = {**SOUND, "models/model.ts": b"\0" * (11 << 20)}
    with pytest.raises(BundleTooLarge):
        archive.take(zipped(tmp_path / "x.zip", bomb, compression=zipfile.ZIP_DEFLATED), into)
    with pytest.raises(BundleTooLarge):
        archive.take(zipped(tmp_path / "x.zip", {**SOUND, "configs/inference.json": b" " * (2 << 20)}), into)
    monkeypatch.setattr(archive, "BUNDLE_EXPANDED_BYTES_MAX", 10)
    with pytest.raises(BundleTooLarge):
        archive.take(zipped(tmp_path / "x.zip", SOUND), into)


def test_too_many_entries(tmp_path, into):
    many = {f"docs/{index}.txt": b"" for index in range(limits.BUNDLE_ENTRIES_MAX)}
    with pytest.raises(BundleTooLarge):
        archive.take(zipped(tmp_path / "x.zip", {**SOUND, **many}), into)
    with pytest.raises(BundleTooLarge):
        archive.take(unpacked(tmp_path / "thing", {**SOUND, **many}), into)


def test_an_entry_that_lies_about_its_size(tmp_path, into):
    path = zipped(tmp_path / "x.zip", SOUND)
    content = path.read_bytes()
    for wrong in (b"\x03\0\0\0", b"\xff\0\0\0"):
        directory = content.rindex(b"thing/models/model.ts") - 46
        path.write_bytes(content[: directory + 24] + wrong + content[directory + 28 :])
        with pytest.raises((ArchiveRefused, BundleTooLarge)):
            archive.take(path, into)
        for left in sorted(into.rglob("*"), reverse=True):
            left.rmdir() if left.is_dir() else left.unlink()


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_broken_encrypted_and_doubled_archives(tmp_path, into):
    path = zipped(tmp_path / "x.zip", SOUND)
    content = path.read_bytes()
    for wrong in (content[: len(content) // 2], b"no zip", b""):
        path.write_bytes(wrong)
        with pytest.raises(ArchiveRefused):
            archive.take(path, into)
    encrypted = bytearray(content)
    for start in (content.index(b"PK\x03\x04") + 6, content.index(b"PK\x01\x02") + 8):
        encrypted[start] |= 1
    path.write_bytes(encrypted)
    with pytest.raises(ArchiveRefused):
        archive.take(path, into)
    with pytest.raises(ArchiveRefused):
        archive.take(zipped(tmp_path / "y.zip", SOUND, compression=zipfile.ZIP_LZMA), into)
    path = zipped(tmp_path / "z.zip", SOUND)
    with zipfile.ZipFile(path, "a") as packed:
        packed.writestr("thing/models/MODEL.ts", b"other")
    with pytest.raises(ArchiveRefused):
        archive.take(path, into)


def test_what_holds_no_bundle_or_two(tmp_path, into):
    for members in ({"a.txt": b""}, {"deep/er/configs/metadata.json": b"{}"}):
        with pytest.raises(BadBundle):
            archive.take(zipped(tmp_path / "x.zip", members), into)
    two = {"a/configs/metadata.json": b"{}", "b/configs/metadata.json": b"{}"}
    with pytest.raises(BadBundle):
        archive.take(zipped(tmp_path / "x.zip", two, ""), into)
    with pytest.raises(BadBundle):
        archive.name_of(zipped(tmp_path / "1-x.zip", SOUND, ""))
    assert archive.name_of(zipped(tmp_path / "1-x.zip", SOUND, ""), "name_v1.2.zip") == "name"
