"""The contributor's door: who may knock, what is said, and what nonsense does to it (nothing)."""

import json
import socket
import stat
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from bithive.errors import Conflict
from cluster import control_socket
from cluster.control_socket import FILE, ControlServer, ask, told_only
from cluster.errors import AgentAbsent, AgentRefused, AgentRunning, BadMessage


class Declined(Conflict):
    code, title = "conflict", "Declined"


def declines(_request: Mapping[str, Any]) -> Mapping[str, Any]:
    raise Declined("not now")


def breaks(_request: Mapping[str, Any]) -> Mapping[str, Any]:
    raise ZeroDivisionError


HANDLERS = {
    "status": lambda request: {"told": told_only(request, "number")},
    "pause": declines,
    "drain": breaks,
}


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / ("a folder with a long name " * 6)  # longer than a socket's path may be
    folder.mkdir()
    server = ControlServer(folder, HANDLERS)
    server.start()
    yield folder
    server.close()
    assert not (folder / FILE).exists()


def spoken(state: Path, sent: bytes) -> bytes:
    """What comes back for raw bytes."""
    with socket.socket(socket.AF_UNIX) as client, control_socket._address(state) as address:
        client.settimeout(5)
        client.connect(address)
        client.sendall(sent)
        client.shutdown(socket.SHUT_WR)
        answer = b""
        while chunk := client.recv(65536):
            answer += chunk
        return answer


def test_asked_and_answered(state: Path) -> None:
    assert ask(state, "status", number=3) == {"told": {"number": 3}}
    with pytest.raises(AgentRefused) as refused:
        ask(state, "pause")
    assert refused.value.answer == "conflict" and refused.value.detail == "not now"
    with pytest.raises(AgentRefused) as refused:
        ask(state, "status", more=1)
    assert refused.value.answer == "bad-input"


def test_only_its_owner_may_knock(state: Path) -> None:
    mode = (state / FILE).stat().st_mode
    assert stat.S_ISSOCK(mode) and stat.S_IMODE(mode) == 0o600


def test_several_questions_on_one_connection(state: Path) -> None:
    lines = spoken(state, b'{"control":1,"ask":"status"}\n' * 3).splitlines()
    assert [json.loads(line)["answer"] for line in lines] == [{"told": {}}] * 3


@pytest.mark.parametrize(
    "sent",
    [
        b"\n",
        b"nonsense\n",
        b'{"control":2,"ask":"status"}\n',
        b'{"control":1}\n',
        b'{"control":1,"ask":["status"]}\n',
        b'{"control":1,"ask":"format"}\n',
        b"[" * 50_000 + b"\n",
        b"\xff\xfe\n",
        b"null\n",
    ],
)
def test_nonsense_is_answered_with_a_code(state: Path, sent: bytes) -> None:
    assert json.loads(spoken(state, sent))["code"] == "bad-message"
    assert ask(state, "status") == {"told": {}}


def test_a_defect_of_ours_ends_one_answer_only(state: Path) -> None:
    with pytest.raises(AgentRefused) as refused:
        ask(state, "drain")
    assert refused.value.answer == "fault"
    assert ask(state, "status") == {"told": {}}


def test_truncated_and_huge_questions_get_nothing(state: Path) -> None:
    assert spoken(state, b'{"control":1,"ask":"sta') == b""
    with pytest.raises(OSError):
        assert spoken(state, b"x" * 10_000_000) == b""
        raise OSError
    assert ask(state, "status") == {"told": {}}


def test_who_says_nothing_holds_nobody_up_for_long(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control_socket, "_CLIENT_S", 0.2)
    with socket.socket(socket.AF_UNIX) as client, control_socket._address(state) as address:
        client.connect(address)
        assert ask(state, "status") == {"told": {}}


def test_many_at_once(state: Path) -> None:
    answers: list[int] = []

    def one(number: int) -> None:
        answers.append(ask(state, "status", number=number)["told"]["number"])

    threads = [threading.Thread(target=one, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == list(range(12))


def test_a_second_agent_is_refused_and_a_dead_ones_socket_is_not_in_the_way(state: Path, tmp_path: Path) -> None:
    with pytest.raises(AgentRunning):
        ControlServer(state, {})
    other = tmp_path / "other"
    other.mkdir()
    with socket.socket(socket.AF_UNIX) as dead, control_socket._address(other) as address:
        dead.bind(address)
    with pytest.raises(AgentAbsent):
        ask(other, "status")
    server = ControlServer(other, HANDLERS)
    answering = threading.Thread(target=server.serve_once, args=(5,))
    answering.start()
    assert ask(other, "status") == {"told": {}}
    answering.join()
    server.close()


def test_nobody_there(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "absent"):
        with pytest.raises(AgentAbsent):
            ask(folder, "status")


@pytest.mark.parametrize("answer", [b"", b"{}\n", b'{"control":1}\n', b'{"control":1,"answer":3}\n', b"half"])
def test_what_answers_may_be_no_agent(tmp_path: Path, answer: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as other, control_socket._address(tmp_path) as address:
        other.bind(address)
        other.listen(1)

        def reply() -> None:
            client, _ = other.accept()
            with client:
                client.recv(1000)
                client.sendall(answer)

        thread = threading.Thread(target=reply)
        thread.start()
        with pytest.raises((BadMessage, AgentAbsent)):
            ask(tmp_path, "status")
        thread.join()
