"""What is ours goes, what is not stays, and no folder is taken for ours by mistake."""

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from cluster.errors import NotOurFolder
from cluster.uninstall import OURS, check_folder, remove_folder, remove_ray
from tests.common.servers import wait_until


def lived_in(folder: Path) -> Path:
    (folder / "keys").mkdir(parents=True)
    for name in ("keys/node.key", "keys/hub.token", "profile.json", "wish", "control.sock"):
        (folder / name).write_bytes(b"secret")
    (folder / "models" / "sha256").mkdir(parents=True)
    (folder / "models" / "sha256" / "ab").write_bytes(b"weights")
    return folder


def test_everything_of_ours_goes_and_the_folder_with_it(tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    assert remove_folder(lived_in(tmp_path / "node")) == []
    assert sorted(tmp_path.rglob("*")) == before
    assert remove_folder(tmp_path / "node") == (), "twice is once"


def test_what_is_not_ours_stays(tmp_path: Path) -> None:
    state = lived_in(tmp_path / "node")
    (state / "thesis.tex").write_text("years of work")
    (state / "photos").mkdir()
    left = remove_folder(state)
    assert [path.name for path in left] == ["photos", "thesis.tex"]
    assert sorted(path.name for path in state.iterdir()) == ["photos", "thesis.tex"]


def test_a_link_is_removed_not_followed(tmp_path: Path) -> None:
    other = lived_in(tmp_path / "other")
    state = tmp_path / "node"
    state.mkdir()
    (state / "models").symlink_to(other / "models")
    (state / "keys").symlink_to(other / "keys")
    remove_folder(state)
    assert (other / "models" / "sha256" / "ab").read_bytes() == b"weights"
    assert (other / "keys").is_dir() and not state.exists()


def test_a_key_is_overwritten_before_it_goes(tmp_path: Path) -> None:
    state = lived_in(tmp_path / "node")
    kept = tmp_path / "kept"
    kept.hardlink_to(state / "keys" / "node.key")
    remove_folder(state)
    assert kept.read_bytes() == bytes(6)


@pytest.mark.parametrize("name", ["hub.lock", "clinic.db", "cell", "Documents"])
def test_a_folder_with_other_things_is_refused(tmp_path: Path, name: str) -> None:
    check_folder(tmp_path / "absent")
    check_folder(tmp_path)
    check_folder(lived_in(tmp_path / "node"))
    (tmp_path / "node" / name).touch()
    with pytest.raises(NotOurFolder):
        check_folder(tmp_path / "node")
    assert name not in OURS


def test_only_processes_with_that_very_folder_are_ended(tmp_path: Path) -> None:
    ray, other = tmp_path / "bithive-ray-0-ab", tmp_path / "bithive-ray-0-abc"
    ray.mkdir()
    program = "import sys, time; print(1, flush=True); time.sleep(60)"
    started = [
        subprocess.Popen([sys.executable, "-c", program, argument], stdout=subprocess.PIPE)
        for argument in (f"--temp_dir={ray}", f"{ray}/session/sockets", f"--temp_dir={other}", "nothing")
    ]
    try:
        for process in started:
            assert process.stdout is not None and process.stdout.readline() == b"1\n"
        remove_ray(ray)
        wait_until(lambda: all(process.poll() is not None for process in started[:2]), 10)
        assert all(psutil.Process(process.pid).is_running() and process.poll() is None for process in started[2:])
        assert not ray.exists()
        remove_ray(ray)
    finally:
        for process in started:
            process.kill()
            process.wait()
            process.stdout.close()  # type: ignore[union-attr]
