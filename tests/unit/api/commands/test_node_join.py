"""Joining by the commands, against a network side that answers over HTTP."""

from __future__ import annotations

import os

import pytest

from api.commands import cell_head, node_join
from api.commands.node_control import change, page_of, say, show_receives, show_status, uninstall
from api.commands.node_keys import rotate, show_receipts
from api.commands.node_start import How, is_running, start, unit_of, usual
from bithive.cli import main
from bithive.clock import SystemClock
from bithive.errors import BadInput
from bithive.ids import RandomIds
from bithive.settings import load
from cluster.caps import Caps
from cluster.data_classes import Terms
from cluster.errors import AlreadyJoined, CellUnconfigured, HubDiffers, NotOurFolder
from cluster.invites_cell import CellInvite
from cluster.labels import Tier
from cluster.profile import Profile, Role
from cluster.protocol_join import Invite
from cluster.timetable import Timetable
from tests.common.network_server import network_hub

NOTHING = {
    "threads": None,
    "memory": None,
    "gpu": None,
    "bandwidth_mbit": None,
    "pause_when_used": None,
    "hours": None,
    "zone": None,
    "data_class_max": None,
}


def lent(tier="home", country="DE", **said):
    return node_join.lent_of(tier, country, 1, **(NOTHING | said))


@pytest.fixture
def hub(tmp_path):
    with network_hub(tmp_path / "hub") as running:
        yield running


@pytest.fixture
def here(tmp_path, monkeypatch):
    for name in [name for name in os.environ if name.startswith("BITHIVE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("BITHIVE_STATE", str(tmp_path / "node"))
    monkeypatch.setattr(node_join, "check_wall_can_stand", lambda: None)
    return load()


def invited(hub, terms=None):
    account = hub.accounts.ensure("ada", "cell", None)
    secret, expires_ms = hub.broker.registrar.invite(account.cell, "ada", terms or Terms(), "ada", 60)
    return Invite(hub.url, "", secret, "ada", expires_ms).line()


def test_what_is_said_wins_over_the_preset():
    usual_home = lent()
    assert usual_home.caps == Caps(pause_when_used=True) and usual_home.timetable.always
    said = lent(
        threads=2, memory="4", gpu=50, bandwidth_mbit=20, pause_when_used=False, hours="00:00-06:00", zone="UTC"
    )
    assert said.caps == Caps(2, 4 * 2**30, 5_000, 20_000_000)
    assert said.timetable == Timetable.parse("00:00-06:00")
    for wrong in ({"data_class_max": "P7"}, {"memory": "much"}, {"hours": "noon"}):
        with pytest.raises(BadInput):
            lent(**wrong)


def test_joined_looked_at_bounded_and_removed(hub, here, capsys):
    node_join.join_as_cell(here, invited(hub), lent(), run=False)
    said = capsys.readouterr().out
    assert "may receive: P0" in said and "never receives: P2" in said and "/enter" in said and "Its key" in said
    profile = Profile.load(here.state)
    assert profile is not None and profile.role is Role.SINGLE and profile.operator == "ada"
    with pytest.raises(AlreadyJoined):
        node_join.join_as_cell(here, invited(hub), lent(), run=False)

    assert show_status(here.state, as_json=False) == 3 and not is_running(here.state)
    say(here.state, "pause")
    change(here, lambda profile: Caps(threads=1), None)
    change(here, None, lambda profile: Timetable.parse("00:00-06:00"))
    after = Profile.load(here.state)
    assert after is not None and after.caps == Caps(threads=1) and not after.timetable.always
    show_receives(here)
    assert show_receipts(here.state) == 0
    assert page_of(here).startswith(f"{hub.url}/enter")
    unit = unit_of(here, after)
    assert unit.threads == 1 and str(here.state.absolute()) in unit.text() and usual() in How

    uninstall(here, yes=True)
    assert not here.state.exists()


def test_keys_are_replaced_and_the_machine_stays(hub, here, capsys):
    node_join.join_as_cell(here, invited(hub), lent(), run=False)
    before = {path.name: path.read_bytes() for path in (here.state / "keys").glob("*.key")}
    rotate_or_unknown(here)
    after = {path.name: path.read_bytes() for path in (here.state / "keys").glob("*.key")}
    assert before.keys() == after.keys() and before["cell.key"] != after["cell.key"]
    assert page_of(here).startswith(hub.url), "the new key is the cell's"


def rotate_or_unknown(here):
    """A Node that never said hello has no key to replace; the cell's own has."""
    from api.commands import node_keys

    order = node_keys.NODE_KEY
    try:
        node_keys.NODE_KEY = node_keys.CELL_KEY
        rotate(here)
    finally:
        node_keys.NODE_KEY = order


def test_a_hub_without_tls_elsewhere_is_refused_before_anything_is_sent(here):
    line = Invite("http://hub.example", "", "c2VjcmV0", "ada", 1).line()
    with pytest.raises(HubDiffers):
        node_join.join_as_cell(here, line, lent(), run=False)
    assert not here.state.exists()


def test_a_folder_with_other_things_is_not_taken(hub, here):
    here.state.mkdir()
    (here.state / "thesis.tex").touch()
    with pytest.raises(NotOurFolder):
        node_join.join_as_cell(here, invited(hub), lent(), run=False)


def test_a_head_and_its_further_machine(hub, here, tmp_path, monkeypatch):
    terms = Terms(None, True, Tier.DATACENTER, "DE")
    place = cell_head.Place("10.9.0.0/24", "10.9.0.2", "", "macvlan", tls=True)
    cell_head.init(here, invited(hub, terms), lent("datacenter"), place, run=False)
    head = Profile.load(here.state)
    assert head is not None and head.role is Role.HEAD and head.head is not None and head.head.tls
    clock = SystemClock()
    with pytest.raises(BadInput):
        cell_head.invite(here, RandomIds(clock), clock, "", 1, new_token=False)
    line, code = cell_head.invite(here, RandomIds(clock), clock, "10.9.0.3", 1, new_token=False)
    opened = CellInvite.open(line, code, clock.now_ms())
    assert opened.tls and opened.tier == "datacenter" and "PRIVATE KEY" in opened.key

    monkeypatch.setenv("BITHIVE_STATE", str(tmp_path / "member"))
    member = load()
    node_join.join_as_member(member, line, code=code, lent=lent("datacenter"), address="", attach="", interface="")
    profile = Profile.load(member.state)
    assert profile is not None and profile.role is Role.MEMBER
    assert profile.wall.address == "10.9.0.3" and profile.head is not None
    assert profile.head.gcs_address == "10.9.0.2:6379"
    with pytest.raises(CellUnconfigured):
        cell_head.invite(member, RandomIds(clock), clock, "10.9.0.4", 1, new_token=False)
    with pytest.raises(CellUnconfigured):
        page_of(member)
    with pytest.raises(CellUnconfigured):
        rotate(member)


def test_nothing_is_done_with_a_folder_that_never_joined(here, capsys):
    for act in (lambda: start(here, How.DETACHED), lambda: uninstall(here, yes=True), lambda: page_of(here)):
        with pytest.raises(CellUnconfigured):
            act()
    assert main(["node", "status"]) == 3 and main(["node", "drain"]) == 1
    assert "agent-absent" in capsys.readouterr().err
    assert main(["node", "join", "nonsense"]) == 1 and main(["cell", "invite"]) == 2
