"""The door through which a contributor speaks with the agent of a machine: a Unix socket in its state folder.

One JSON object a line, asked and answered: `{"control": 1, "ask": "pause"}` gives `{"control": 1, "answer": {...}}` or
`{"control": 1, "code": "...", "detail": "..."}`. The socket has mode 0600 in a folder of the contributor's own; a path
keeps its meaning in every network namespace (unix(7)), so it works from outside the wall.
"""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from bithive.errors import BadInput, BitHiveError
from bithive.log import get
from cluster.errors import AgentAbsent, AgentRefused, AgentRunning, BadMessage

VERSION = 1
FILE = "control.sock"

_LINE_BYTES_MAX = 64 * 1024
_ANSWER_BYTES_MAX = 4 * 1024 * 1024
_CLIENT_S = 2.0
_ASK_S = 10.0
_ROUND_S = 0.5

Handler = Callable[[Mapping[str, Any]], Mapping[str, Any]]


class ControlServer:
    """Answers at a state folder's socket, one client after the other: every answer is short.

    Parameters
    ----------
    state
        The folder.
    handlers
        By what is asked; each takes the request's members and gives the answer's.

    Raises
    ------
    AgentRunning
        If somebody answers there already.
    """

    def __init__(self, state: Path, handlers: Mapping[str, Handler]) -> None:
        self._state, self._handlers = state, handlers
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        if _answers(state):
            raise AgentRunning("another agent answers at this state folder")
        (state / FILE).unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        os.fchmod(self._socket.fileno(), 0o600)
        with _address(state) as address:
            self._socket.bind(address)
        (state / FILE).chmod(0o600)
        self._socket.listen(16)

    def serve_once(self, timeout_s: float) -> bool:
        """Wait for one client and answer all that it asks; whether there was one."""
        self._socket.settimeout(timeout_s)
        try:
            client, _ = self._socket.accept()
        except OSError:  # nobody came, or it was closed meanwhile
            return False
        with client:
            with suppress(OSError):
                self._converse(client)
        return True

    def start(self) -> None:
        """Answer from a thread of its own from now on."""
        self._thread = threading.Thread(target=self._run, name="control", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Answer nobody any more."""
        self._closed.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            _answers(self._state)  # wakes who waits for a client
            self._thread.join(_CLIENT_S + 2 * _ROUND_S)
        self._socket.close()
        (self._state / FILE).unlink(missing_ok=True)

    def _run(self) -> None:
        while not self._closed.is_set():
            self.serve_once(_ROUND_S)

    def _converse(self, client: socket.socket) -> None:
        client.settimeout(_CLIENT_S)
        for line in _lines(client, _LINE_BYTES_MAX):
            client.sendall(json.dumps(self._answer(line)).encode() + b"\n")

    def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            request = _request(line)
            handler = self._handlers.get(request["ask"])
            if handler is None:
                raise BadMessage("nothing of that name can be asked")
            return {"control": VERSION, "answer": dict(handler(request))}
        except BitHiveError as error:
            return {"control": VERSION, "code": error.code, "detail": error.detail}
        except Exception as error:  # noqa: BLE001 - a question must not end the machine
            get().error("control.failed", exc_info=error)
            return {"control": VERSION, "code": "fault", "detail": "the agent failed to answer"}


def ask(state: Path, what: str, timeout_s: float = _ASK_S, **members: Any) -> dict[str, Any]:
    """Ask the agent of a state folder something.

    Parameters
    ----------
    state
        The folder.
    what
        `status`, `pause`, `resume`, `drain`, `leave`, `caps`, `timetable`.
    timeout_s
        How long to wait for the answer.
    members
        Of the question.

    Raises
    ------
    AgentAbsent
        If no agent runs there.
    AgentRefused
        If it declines; `answer` is its code.
    BadMessage
        If what answers is no agent.
    """
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(timeout_s)
            with _address(state) as address:
                client.connect(address)
            client.sendall(json.dumps({"control": VERSION, "ask": what, **members}).encode() + b"\n")
            line = next(_lines(client, _ANSWER_BYTES_MAX), b"")
    except OSError:
        raise AgentAbsent("no agent runs on this state folder") from None
    if not line:
        raise AgentAbsent("the agent ended before it answered")
    told = _object(line)
    if "code" in told:
        raise AgentRefused(str(told["code"])[:64], str(told.get("detail", ""))[:500])
    answer = told.get("answer")
    if not isinstance(answer, dict):
        raise BadMessage("the agent speaks another language")
    return answer


def _answers(state: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client, suppress(OSError):
        client.settimeout(_CLIENT_S)
        with _address(state) as address:
            client.connect(address)
        return True
    return False


@contextmanager
def _address(state: Path) -> Iterator[str]:
    """A path of the socket that fits into its 107 characters however long the folder's own is."""
    folder = os.open(state, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{FILE}"
    finally:
        os.close(folder)


def _lines(client: socket.socket, size_bytes_max: int) -> Iterator[bytes]:
    """What the other side says, line by line, until it ends; raises `OSError` when it is slow or says too much."""
    held = b""
    while True:
        head, newline, rest = held.partition(b"\n")
        if newline:
            held = rest
            yield head
            continue
        if len(held) > size_bytes_max:
            raise OSError("the line is too long")
        chunk = client.recv(65536)
        if not chunk:
            return
        held += chunk


def _request(line: bytes) -> dict[str, Any]:
    request = _object(line)
    if not isinstance(request.get("ask"), str):
        raise BadMessage("the request does not say what it asks")
    return request


def _object(line: bytes) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        raise BadMessage("the line is no JSON") from None
    if not isinstance(value, dict) or value.get("control") != VERSION:
        raise BadMessage("another version of the control protocol", version=VERSION)
    return value


def told_only(request: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """The members of a request beside its frame, if they are all among `names`. Raises `BadInput`."""
    members = {name: value for name, value in request.items() if name not in ("control", "ask")}
    if not set(members) <= set(names):
        raise BadInput(f"only {', '.join(names) or 'nothing'} can be told")
    return members
