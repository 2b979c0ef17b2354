"""The messages of version 2 read back what they wrote, and refuse everything else by a code."""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bithive.errors import BadInput
from bithive.offer import DataClass
from cluster.data_classes import Terms
from cluster.errors import BadInvite, BadMessage
from cluster.labels import Tier
from cluster.protocol import Accelerator, Heartbeat, Hello, NodeGreeting, NodeStanding, NodeState, Welcome
from cluster.protocol_join import Invite, Joined, JoinRequest, Rotation
from cluster.protocol_lease import Pulse, Renewed, WorkRequest, grants_from_json
from cluster.protocol_words import flag, text, told
from tests.common.network import SHA256
from tests.unit.cluster.test_protocol import anything

TERMS = Terms(None, True, Tier.DATACENTER, "DE", DataClass.P1)
NODE = NodeGreeting(
    "0" * 64,
    2,
    1 << 40,
    1,
    {"rack": "7"},
    1 << 41,
    "workstation",
    "DE",
    Accelerator("NVIDIA L4", 24 << 30),
    {"windows": [[0, 60]], "zone": "Europe/Berlin"},
    {"threads": 4},
    3,
    "f" * 128,
)
HELLO = Hello("a" * 64, "operator", DataClass.P1, (NODE,), (SHA256,))
INVITE = Invite("https://hub.example:8042", "e" * 64, "s" * 43, "rack-7", 1_800_000_000_000)
STANDING = NodeStanding("nod_1", NodeState.UP, 3, (SHA256,))


def crossed(value: Any) -> Any:
    return json.loads(json.dumps(value))


def test_messages_read_back() -> None:
    assert Hello.from_json(crossed(HELLO.to_json("2")), "2") == HELLO
    welcome = Welcome("cel_1", {"0" * 64: "nod_1"}, 3.0, 15.0, TERMS, "b" * 64)
    assert Welcome.from_json(crossed(welcome.to_json("2")), "2") == welcome
    for message in (
        WorkRequest("cel_1", (STANDING, NodeStanding("nod_2", NodeState.PAUSED)), 2.5, 7),
        Pulse((STANDING,), {"att_1": Heartbeat(1, "loading", 0.0, "nod_1")}, 8),
        Renewed({"att_1": 5}, {"att_2": "lease-lost"}),
        JoinRequest("s" * 43, "a" * 64),
        Joined("cel_1", "t" * 43, TERMS, "racks", "", "/enter#token=x"),
        Rotation("a" * 64, "b" * 64, "c" * 128, "d" * 128),
    ):
        assert type(message).from_json(crossed(message.to_json())) == message


def test_what_version_1_does_not_know_is_not_said_in_it() -> None:
    said = Hello.from_json(crossed(HELLO.to_json()), "1").nodes[0]
    assert (said.node_key, said.tier, said.slots, said.proof) == (NODE.node_key, "", 1, "")
    for version, other in (("1", "2"), ("2", "1")):
        with pytest.raises(BadMessage):
            Hello.from_json(HELLO.to_json(version), other)


def test_only_free_slots_of_nodes_that_are_up_count() -> None:
    nodes = tuple(NodeStanding(f"nod_{state}", state, 2) for state in NodeState)
    assert WorkRequest("cel_1", nodes).free == 2


@pytest.mark.parametrize(
    "change",
    [
        {"tier": None},
        {"residency": "DEU"},
        {"accelerator": {}},
        {"accelerator": {"name": "x", "memory_bytes": -1}},
        {"timetable": []},
        {"timetable": {"x": "y" * 9000}},
        {"caps": None},
        {"slots": 201},
        {"slots": True},
        {"proof": "x"},
        {"proof": None},
    ],
    ids=lambda change: str(change)[:40],
)
def test_a_malformed_node_is_refused(change: dict[str, Any]) -> None:
    hello = HELLO.to_json("2")
    with pytest.raises(BadMessage):
        Hello.from_json({**hello, "nodes": [{**hello["nodes"][0], **change}]}, "2")


@given(anything)
def test_anything_at_all_is_refused_by_a_code(value: Any) -> None:
    for kind in (WorkRequest, Pulse, Renewed, JoinRequest, Joined, Rotation, NodeStanding):
        with pytest.raises(BadInput):
            kind.from_json(value)
    with pytest.raises(BadInput):
        grants_from_json(value)
    with pytest.raises(BadInput):
        Welcome.from_json(value, "2")


def test_an_invite_is_one_line_that_mail_may_break() -> None:
    line = INVITE.line()
    assert line.startswith("bithive-invite-1.")
    assert "\n" not in line
    assert len(line) < 500
    broken = "\n".join(line[start : start + 60] for start in range(0, len(line), 60))
    assert Invite.from_line(f"  {broken}\r\n") == INVITE
    assert "s" * 43 not in repr(INVITE)


@given(st.text(max_size=80))
def test_any_other_line_is_refused(line: str) -> None:
    for wrong in (line, "bithive-invite-1." + line):
        with pytest.raises(BadInvite):
            Invite.from_line(wrong)


@given(st.integers(min_value=0, max_value=400), st.sampled_from("AZ09_-=!"))
def test_a_cut_or_changed_invite_is_refused_or_says_something_else(at: int, letter: str) -> None:
    line = INVITE.line()
    place = 17 + at % (len(line) - 17)
    with pytest.raises(BadInvite):
        Invite.from_line(line[:place])
    with suppress(BadInvite):
        assert isinstance(Invite.from_line(line[:place] + letter + line[place + 1 :]), Invite)


@pytest.mark.parametrize("url", ["", "hub.example", "ftp://hub.example", "https://", "javascript:alert(1)"])
def test_an_invite_names_an_address_of_a_hub(url: str) -> None:
    line = Invite(url, "", "s" * 43, "rack", 5).line()
    with pytest.raises(BadInvite):
        Invite.from_line(line)


def test_words() -> None:
    assert flag(True) is True
    assert text("", 5, empty=True) == ""
    assert told({"a": 1}) == {"a": 1}
    for wrong in (1, "true", None):
        with pytest.raises(BadMessage):
            flag(wrong)
    for odd in ([], None, {"x": float("nan")}):
        with pytest.raises(BadMessage):
            told(odd)
