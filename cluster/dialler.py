"""The dialler: a process outside the wall that connects to the hub, and to nothing else, for the agent inside.

A socket belongs to the network in which it was made, whoever holds it; so the dialler makes it and passes it in
(`SCM_RIGHTS`, unix(7)), and what is said over it, TLS included, is the agent's own affair. Each request comes with a socket
for its answer, so that one slow address holds nobody up. Nothing but the agent has the other end of the line.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Self

from cluster.errors import NetworkUnreachable

Place = tuple[str, int]

_REQUEST_BYTES_MAX = 1024
_OK, _REFUSED, _FAILED = b"ok", b"refused", b"failed"
_LOOK_S = 0.02
_PATIENCE_S = 5.0
"""How long a connection may take, beyond what the asker waits: names are looked up too."""


class Dialler:
    """The agent's end. For any thread.

    Parameters
    ----------
    places
        Host and port of everything that may be connected to.
    handed
        The line to one that runs already, and its process id.
    """

    def __init__(self, places: Sequence[Place], handed: tuple[socket.socket, int] | None = None) -> None:
        self._places = frozenset(places)
        self._line, self._pid = handed or _started(places)
        self._one, self._gone = threading.Lock(), False

    @classmethod
    def taken_over(cls, handed: str) -> Self:
        """The dialler that this very process had before it began another program; from `hand_over`."""
        descriptor, pid, *places = json.loads(handed)
        line = socket.socket(fileno=descriptor)
        line.set_inheritable(False)
        return cls([(host, port) for host, port in places], (line, pid))

    def hand_over(self) -> str:
        """Let it live on in the program that this process begins next (execve(2)); words for `taken_over`."""
        self._line.set_inheritable(True)
        return json.dumps([self._line.fileno(), self._pid, *self._places])

    @property
    def pid(self) -> int:
        """Of its process."""
        return self._pid

    @property
    def places(self) -> frozenset[Place]:
        """What it connects to."""
        return self._places

    @property
    def alive(self) -> bool:
        """Whether its process runs."""
        return not self._ended()

    def connect(self, host: str, port: int, timeout_s: float) -> socket.socket:
        """A socket that is connected to that place.

        Raises
        ------
        NetworkUnreachable
            Nobody answers there, it is not one of the allowed places, or the dialler is gone.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours:
            with theirs:
                request = json.dumps([host, port, timeout_s]).encode()
                try:
                    with self._one:
                        socket.send_fds(self._line, [request], [theirs.fileno()])
                except OSError:
                    raise NetworkUnreachable("the dialler is gone") from None
            ours.settimeout(timeout_s + _PATIENCE_S)
            try:
                answer, descriptors, _, _ = socket.recv_fds(ours, len(_REFUSED), 1)
            except OSError:
                raise NetworkUnreachable("the dialler does not answer") from None
        if answer == _OK and descriptors:
            return socket.socket(fileno=descriptors[0])
        for descriptor in descriptors:
            os.close(descriptor)
        raise NetworkUnreachable("the dialler connects to the hub alone" if answer == _REFUSED else "nobody answers")

    def close(self) -> None:
        """End its process."""
        self._line.close()
        for _ in range(round(_PATIENCE_S / _LOOK_S)):
            if self._ended():
                return
            time.sleep(_LOOK_S)
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)

    def _ended(self) -> bool:
        with self._one:
            if not self._gone:
                try:
                    self._gone = os.waitpid(self._pid, os.WNOHANG)[0] == self._pid
                except ChildProcessError:
                    self._gone = True
            return self._gone


def _started(places: Sequence[Place]) -> tuple[socket.socket, int]:
    from bithive.settings import child_environment  # the dialler itself must stay small

    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        command = [sys.executable, "-m", "cluster.dialler", str(theirs.fileno()), json.dumps(list(places))]
        process = subprocess.Popen(
            command,
            pass_fds=(theirs.fileno(),),
            env=child_environment({}),
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
    process.returncode = 0  # it is waited for by its number, here or by the program that takes it over
    return ours, process.pid


def serve(line: socket.socket, places: frozenset[Place]) -> None:
    """Answer requests until the agent has ended."""
    while True:
        try:
            request, descriptors, _, _ = socket.recv_fds(line, _REQUEST_BYTES_MAX, 1)
        except OSError:
            return
        if not request:
            return
        if descriptors:
            back = socket.socket(fileno=descriptors[0])
            threading.Thread(target=_answer, args=(request, back, places), daemon=True).start()


def _answer(request: bytes, back: socket.socket, places: frozenset[Place]) -> None:
    with back, suppress(OSError):
        place, timeout_s = _read(request)
        if place not in places:
            back.send(_REFUSED)
            return
        try:
            with socket.create_connection(place, timeout_s) as connected:
                connected.settimeout(None)
                socket.send_fds(back, [_OK], [connected.fileno()])
        except OSError:
            back.send(_FAILED)


def _read(request: bytes) -> tuple[Place, float]:
    """What was asked for; a place that nobody is allowed when it cannot be read."""
    try:
        host, port, timeout_s = json.loads(request)
        return (str(host), int(port)), min(60.0, max(0.1, float(timeout_s)))
    except (ValueError, TypeError, RecursionError):
        return ("", 0), 0.1


def _main(arguments: Sequence[str]) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # whoever ends the agent's family ends the agent, which hangs up
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    told: list[Any] = json.loads(arguments[1])
    with socket.socket(fileno=int(arguments[0])) as line:
        serve(line, frozenset((str(host), int(port)) for host, port in told))
    os._exit(0)


if __name__ == "__main__":
    _main(sys.argv[1:])
