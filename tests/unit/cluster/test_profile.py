"""What a machine was told when it joined, kept in a file that is read strictly."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from bithive.errors import BadSettings
from bithive.offer import DataClass
from bithive.settings import CellSettings, Settings
from cluster.caps import Caps
from cluster.data_classes import Terms
from cluster.errors import BadProfile
from cluster.labels import Tier
from cluster.private_files import write_private
from cluster.profile import (
    FILE,
    HUB_CERTIFICATE,
    HUB_TOKEN,
    RAY_TOKEN,
    HeadSpec,
    Profile,
    Role,
    hub_certificate,
    hub_token,
    ray_token,
)
from cluster.timetable import Timetable
from cluster.wall import WallSpec

HOME = Profile(
    hub_url="https://hub.example",
    operator="ada",
    tier=Tier.HOME,
    residency="DE",
    data_class_max=DataClass.P0,
    role=Role.SINGLE,
    slots=1,
    wall=WallSpec("private"),
    caps=Caps(threads=2, pause_when_used=True),
    timetable=Timetable.parse("18:00-08:00", "Europe/Berlin"),
    terms=Terms(),
)
MEMBER = Profile(
    hub_url="",
    operator="rack",
    tier=Tier.DATACENTER,
    residency="",
    data_class_max=DataClass.P1,
    role=Role.MEMBER,
    slots=4,
    wall=WallSpec("namespace", "bithive", "10.9.0.0/24", "10.9.0.3"),
    head=HeadSpec("10.9.0.2:6379", "10.9.0.3", True),
)


@pytest.mark.parametrize("profile", [HOME, MEMBER])
def test_kept_and_read_it_is_the_same(tmp_path: Path, profile: Profile) -> None:
    profile.save(tmp_path)
    assert Profile.load(tmp_path) == profile == Profile.of(Settings(state=tmp_path))
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600


def test_without_the_file_it_is_what_the_settings_say(tmp_path: Path) -> None:
    cell = CellSettings(hub_url="http://127.0.0.1:1", operator="op", slots=2, threads=3, memory_bytes=10, tier="home")
    profile = Profile.of(Settings(state=tmp_path, cell=cell))
    assert profile.role is Role.SINGLE and profile.wall == WallSpec("private") and profile.tier is Tier.HOME
    assert profile.caps.threads_of(64, 2) == 3 and profile.caps.slot_memory_bytes(2) == 10
    assert profile.timetable.always and profile.head is None and profile.terms is None


def test_bounds_change_and_nothing_else(tmp_path: Path) -> None:
    changed = HOME.with_bounds(caps=Caps(), timetable=Timetable())
    assert changed.caps == Caps() and changed.timetable.always and changed.operator == HOME.operator
    assert HOME.with_bounds() == HOME


def edited(**members: Any) -> dict[str, Any]:
    return HOME.to_json() | members


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {},
        edited(version=2),
        edited(more=1),
        edited(hub_url=""),
        edited(operator="a\nb"),
        edited(operator="a" * 65),
        edited(tier="cloud"),
        edited(tier=["home"]),
        edited(role="boss"),
        edited(role={}),
        edited(slots=0),
        edited(slots=True),
        edited(slots="1"),
        edited(wall={"kind": "none", "name": "", "network": "", "address": ""}),
        edited(wall={"kind": "private"}),
        edited(caps={}),
        edited(timetable={"windows": [], "zone": "Mars"}),
        edited(head={"gcs_address": "x", "node_ip": "y", "tls": 1}),
        edited(head=[]),
        edited(terms={}),
        edited(data_class_max="P9"),
    ],
)
def test_what_is_no_profile_is_refused(value: Any) -> None:
    with pytest.raises(BadProfile):
        Profile.from_json(value)


@pytest.mark.parametrize("content", [b"", b"{", b"[" * 60_000, b"\xff"])
def test_a_torn_file_is_refused(tmp_path: Path, content: bytes) -> None:
    write_private(tmp_path / FILE, content)
    with pytest.raises(BadProfile):
        Profile.of(Settings(state=tmp_path))
    (tmp_path / FILE).write_text(json.dumps(HOME.to_json()))
    (tmp_path / FILE).chmod(0o644)
    with pytest.raises(BadSettings):
        Profile.of(Settings(state=tmp_path))


def test_credentials_are_files_of_their_own(tmp_path: Path) -> None:
    told = Settings(state=tmp_path, cell=CellSettings(token=SecretStr("from the environment")))
    assert hub_token(told) == "from the environment" and ray_token(told) is None and hub_certificate(told) is None
    for path, content in ((HUB_TOKEN, b"kept\n"), (RAY_TOKEN, b"ray\n"), (HUB_CERTIFICATE, b"PEM")):
        write_private(tmp_path / path, content)
    assert hub_token(told) == "kept" and ray_token(told) == "ray"
    assert hub_certificate(told) == tmp_path / HUB_CERTIFICATE
    HOME.save(tmp_path)
    assert "kept" not in (tmp_path / FILE).read_text()
