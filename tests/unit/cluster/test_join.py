"""Joining, killed at every step and begun again; with the hub's own registrar behind it."""

import hashlib
import ssl
from pathlib import Path

import pytest

from bithive import __version__
from bithive.clock import ManualClock
from bithive.ids import SeededIds
from bithive.keys import SigningKey
from bithive.offer import DataClass
from bithive.settings import Settings
from cluster import join
from cluster.caps import Caps
from cluster.cell_store import MemoryCellStore
from cluster.data_classes import Terms
from cluster.errors import AlreadyJoined, HubDiffers, InviteSpent, MachineUnfit, NetworkUnreachable
from cluster.invites_cell import CellInvite
from cluster.join import CELL_KEY, NODE_KEY, Lent, bounded, certificate_of, join_cell, join_hub, lowered, namespace_name
from cluster.labels import Tier
from cluster.machine import RAY_VERSION
from cluster.presets import PRESETS, timetable
from cluster.profile import FILE, HeadSpec, Profile, Role, hub_token, ray_token
from cluster.protocol_join import Invite, Joined
from cluster.register_admin import Registrar
from cluster.register_store import MemoryRegister
from cluster.timetable import Timetable
from cluster.wall import WallSpec

CLOCK = ManualClock()
LENT = Lent(Tier.HOME, "DE", 1, Caps(threads=2), Timetable.parse("18:00-08:00"), DataClass.P0)
PRIVATE = WallSpec("private")
CELL = "cel_" + "0" * 26


class Hub:
    """The network side's registrar, reached without HTTP; it may fail before or after it has answered."""

    def __init__(self) -> None:
        self.registrar = Registrar(MemoryRegister(), MemoryCellStore(), CLOCK, SeededIds(1, CLOCK))
        self.terms = Terms(None, vetted=True, tier=Tier.WORKSTATION, residency="DE", data_class_max=DataClass.P1)
        secret, expires_ms = self.registrar.invite(CELL, "ada", self.terms, "ada")
        self.invite = Invite("http://127.0.0.1:1", "", secret, "ada", expires_ms)
        self.fails: str = ""
        self.keys: list[str] = []

    def redeem(self, invite: Invite, key: SigningKey, *, certificate: Path | None = None) -> Joined:
        assert certificate is None
        if self.fails == "before":
            raise NetworkUnreachable
        record = self.registrar.admit(invite.secret, key.public_hex)
        self.keys.append(key.public_hex)
        if self.fails == "after":
            raise NetworkUnreachable
        return Joined(record.cell, "the token", record.terms, record.operator, "ab" * 32, "/enter/x")


def test_a_cell_of_one(tmp_path: Path) -> None:
    hub, state = Hub(), tmp_path / "node"
    joined = join_hub(state, hub.invite, LENT, hub.redeem, None, PRIVATE)
    profile = Profile.load(state)
    assert profile is not None and joined.cell == CELL
    assert (profile.role, profile.operator, profile.terms) == (Role.SINGLE, "ada", hub.terms)
    assert profile.caps == LENT.caps and profile.timetable == LENT.timetable
    settings = Settings(state=state)
    assert hub_token(settings) == "the token" and ray_token(settings) is None
    assert (state / CELL_KEY).read_bytes() != (state / NODE_KEY).read_bytes()
    private = [path for path in state.rglob("*") if path.is_file()]
    assert private and all(path.stat().st_mode & 0o077 == 0 for path in private)
    with pytest.raises(AlreadyJoined):
        join_hub(state, hub.invite, LENT, hub.redeem, None, PRIVATE)


@pytest.mark.parametrize("fails", ["before", "after"])
def test_an_answer_that_is_lost_is_asked_for_again_by_the_same_key(tmp_path: Path, fails: str) -> None:
    hub = Hub()
    hub.fails = fails
    with pytest.raises(NetworkUnreachable):
        join_hub(tmp_path, hub.invite, LENT, hub.redeem, None, PRIVATE)
    assert not (tmp_path / FILE).exists()
    hub.fails = ""
    join_hub(tmp_path, hub.invite, LENT, hub.redeem, None, PRIVATE)
    assert len(set(hub.keys)) == 1
    with pytest.raises(InviteSpent):
        join_hub(tmp_path / "another", hub.invite, LENT, hub.redeem, None, PRIVATE)


@pytest.mark.parametrize("place", ["keys/hub.token", "keys/cell.id", "keys/network.pub", "profile.json"])
def test_killed_before_any_file_it_is_begun_again(tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    hub, written = Hub(), []

    def dies(path: Path, content: bytes) -> None:
        if str(path.relative_to(tmp_path)) == place:
            raise KeyboardInterrupt
        written.append(path)
        real(path, content)

    real = join.write_private
    monkeypatch.setattr("cluster.join.write_private", dies)
    monkeypatch.setattr("cluster.profile.write_private", dies)
    with pytest.raises(KeyboardInterrupt):
        join_hub(tmp_path, hub.invite, LENT, hub.redeem, None, PRIVATE)
    assert Profile.load(tmp_path) is None
    monkeypatch.undo()
    join_hub(tmp_path, hub.invite, LENT, hub.redeem, None, PRIVATE)
    assert Profile.load(tmp_path) is not None and len(set(hub.keys)) == 1


def test_what_it_may_receive_is_never_more_than_both_say(tmp_path: Path) -> None:
    hub = Hub()
    assert bounded(hub.terms, LENT) == Terms(None, True, Tier.HOME, "DE", DataClass.P0)
    join_hub(tmp_path, hub.invite, LENT, hub.redeem, None, PRIVATE)
    profile = Profile.load(tmp_path)
    assert profile is not None and lowered(profile) == bounded(hub.terms, LENT)
    untold = Profile.from_settings(Settings(state=tmp_path / "none"))
    assert lowered(untold).data_class_max is DataClass.P0 and not lowered(untold).vetted


def invite(**members: object) -> CellInvite:
    told: dict[str, object] = {
        "gcs_address": "10.9.0.2:6379",
        "ray_token": "ab" * 32,
        "network": "10.9.0.0/24",
        "address": "",
        "operator": "rack",
        "tier": "datacenter",
        "residency": "DE",
        "data_class_max": "P1",
        "institution": "",
        "vetted": True,
        "version": __version__,
        "ray": RAY_VERSION,
        "authority": "",
        "certificate": "",
        "key": "",
        "expires_ms": 1,
    }
    return CellInvite(**(told | members))  # type: ignore[arg-type]


def test_a_further_machine(tmp_path: Path) -> None:
    told = invite(authority="CA", certificate="CERT", key="KEY")
    profile = join_cell(tmp_path, told, LENT, "10.9.0.3", "bithive-x")
    assert profile == Profile.load(tmp_path)
    assert profile.wall == WallSpec("namespace", "bithive-x", "10.9.0.0/24", "10.9.0.3")
    assert profile.head == HeadSpec("10.9.0.2:6379", "10.9.0.3", True) and profile.role is Role.MEMBER
    assert (profile.tier, profile.data_class_max) == (Tier.HOME, DataClass.P0), "its own words take away"
    assert profile.terms == Terms(None, True, Tier.DATACENTER, "DE", DataClass.P1), "what its cell was admitted for"
    assert lowered(profile).data_class_max is DataClass.P0
    assert ray_token(Settings(state=tmp_path)) == told.ray_token
    assert (tmp_path / "tls" / "node.key").read_text() == "KEY" and not (tmp_path / CELL_KEY).exists()
    assert told.ray_token not in (tmp_path / FILE).read_text()


@pytest.mark.parametrize(
    ("members", "address"),
    [({"version": "0.0.1"}, "10.9.0.3"), ({"ray": "2.59.0"}, "10.9.0.3"), ({}, "")],
)
def test_a_machine_that_does_not_fit_writes_nothing(tmp_path: Path, members: dict[str, object], address: str) -> None:
    with pytest.raises(MachineUnfit):
        join_cell(tmp_path / "node", invite(**members), LENT, address, "bithive-x")
    assert not (tmp_path / "node").exists()


def test_rays_token_stays_until_a_new_one_is_wanted(tmp_path: Path) -> None:
    ids = SeededIds(1, CLOCK)
    first = join.ray_token(tmp_path, ids)
    assert join.ray_token(tmp_path, ids) == first and len(first) == 64
    assert join.ray_token(tmp_path, ids, new=True) != first


def test_each_state_folder_has_a_namespace_of_its_own(tmp_path: Path) -> None:
    names = {namespace_name(tmp_path), namespace_name(tmp_path / "b"), namespace_name(tmp_path)}
    assert len(names) == 2 and all(len(name) <= 20 for name in names)


def test_a_hub_is_the_one_that_was_promised() -> None:
    der = b"a certificate"
    pem = ssl.DER_cert_to_PEM_cert(der)
    good = hashlib.sha256(der).hexdigest()
    asked: list[tuple[str, int]] = []

    def shows(place: tuple[str, int]) -> str:
        asked.append(place)
        return pem

    assert certificate_of("https://hub.example", good, shows) == pem and asked == [("hub.example", 443)]
    with pytest.raises(HubDiffers):
        certificate_of("https://hub.example:8443", "00" * 32, shows)
    with pytest.raises(NetworkUnreachable):
        certificate_of("https://127.0.0.1:1", good)


def test_the_presets_are_what_such_places_are() -> None:
    assert set(PRESETS) == set(Tier)
    for tier in Tier:
        table = timetable(tier, "Europe/Berlin")
        assert table.always == (tier is not Tier.WORKSTATION)
    office = timetable(Tier.WORKSTATION, "UTC")
    wednesday_noon, sunday_noon, wednesday_night = (1_795_608_000_000, 1_795_953_600_000, 1_795_644_000_000)
    assert not office.open_at(wednesday_noon) and office.open_at(sunday_noon) and office.open_at(wednesday_night)
    assert PRESETS[Tier.HOME].data_class_max is DataClass.P0
