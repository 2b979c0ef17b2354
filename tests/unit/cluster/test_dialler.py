"""The dialler connects to the hub, and to nothing else, from outside the wall."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from collections.abc import Generator

import psutil
import pytest

from cluster.dialler import Dialler
from cluster.errors import NetworkUnreachable


@pytest.fixture
def hub() -> Generator[socket.socket]:
    """Somebody who listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


@pytest.fixture
def dialler(hub: socket.socket) -> Generator[Dialler]:
    made = Dialler([("127.0.0.1", hub.getsockname()[1])])
    yield made
    made.close()


def test_a_socket_comes_that_talks_to_the_hub(hub: socket.socket, dialler: Dialler) -> None:
    with dialler.connect("127.0.0.1", hub.getsockname()[1], 5) as connected:
        at_hub, _ = hub.accept()
        with at_hub:
            connected.sendall(b"hello")
            assert at_hub.recv(5) == b"hello"
            at_hub.sendall(b"welcome")
            assert connected.recv(7) == b"welcome"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "localhost", "", "example.org"])
def test_another_place_is_refused(dialler: Dialler, host: str) -> None:
    with socket.create_server(("0.0.0.0", 0)) as other, pytest.raises(NetworkUnreachable, match="hub alone"):
        dialler.connect(host, other.getsockname()[1], 1)


def test_nonsense_does_not_end_it(hub: socket.socket, dialler: Dialler) -> None:
    for nonsense in (b"{", b"[]", b"null", b'["a","b","c"]', b"[" * 900, json.dumps(["127.0.0.1", 2**80, 1]).encode()):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours, theirs:
            socket.send_fds(dialler._line, [nonsense], [theirs.fileno()])
            assert ours.recv(20) == b"refused"
    dialler._line.send(b"no socket for the answer")
    dialler.connect("127.0.0.1", hub.getsockname()[1], 5).close()


def test_nobody_there_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    dialler = Dialler([("127.0.0.1", port)])
    with pytest.raises(NetworkUnreachable, match="nobody answers"):
        dialler.connect("127.0.0.1", port, 2)
    dialler.close()


def test_many_ask_at_once(hub: socket.socket, dialler: Dialler) -> None:
    made: list[socket.socket] = []
    threads = [
        threading.Thread(target=lambda: made.append(dialler.connect("127.0.0.1", hub.getsockname()[1], 5)))
        for _ in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 20
    for one in made:
        one.close()


def test_a_dialler_that_is_killed_is_told(hub: socket.socket, dialler: Dialler) -> None:
    os.kill(dialler.pid, signal.SIGKILL)
    with pytest.raises(NetworkUnreachable):
        dialler.connect("127.0.0.1", hub.getsockname()[1], 1)


def test_it_ends_with_the_agent_and_holds_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BITHIVE_CELL__TOKEN", "secret")
    dialler = Dialler([("127.0.0.1", 1)])
    process = psutil.Process(dialler.pid)
    assert "BITHIVE_CELL__TOKEN" not in process.environ()
    process.terminate()
    time.sleep(0.2)
    assert process.is_running(), "it ends when the agent has hung up, not before"
    dialler.close()
    assert not process.is_running()
