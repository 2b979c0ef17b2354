"""The checker's second lane: hashes of entries and the log's tree, in a process of its own for a long log.

It needs nothing but the recorded texts, so it runs beside the fold of the balances on another core; pages and answers
travel as MessagePack over its standard streams.
"""

from __future__ import annotations

import fcntl
import gc
import hashlib
import subprocess
import sys
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, NamedTuple

import msgspec

from bithive.canonical import canonical
from economy.book import EntryRow
from economy.errors import LedgerFault
from economy.merkle import Frontier

_AHEAD = 2
_LENGTH = 4
_PIPE_BYTES = 2**20


class Page(msgspec.Struct, array_like=True, gc=False):
    """Entries, column by column, and the numbers after which the tree's root is wanted."""

    seqs: list[int]
    recorded_us: list[int]
    contents: list[str]
    request_hashes: list[str]
    leaf_hashes: list[str]
    stops: list[int]


class Root(NamedTuple):
    """The log's tree right after an entry."""

    seq: int
    size: int
    root: str
    frontier: str


class Answer(msgspec.Struct, array_like=True, gc=False):
    """What a page came to.

    Attributes
    ----------
    mismatched, uncanonical
        Numbers of the entries whose hashes differ, and whose text is not canonical JSON.
    roots
        One for each stop, as `Root`.
    subtrees
        Complete subtrees: height, place, hexadecimal root.
    """

    mismatched: list[int]
    uncanonical: list[int]
    roots: list[tuple[int, int, str, str]]
    subtrees: list[tuple[int, int, str]]


class Hashes:
    """Hashes pages in this process.

    Parameters
    ----------
    frontier
        The tree so far; it collects the subtrees that it is told to keep.
    """

    def __init__(self, frontier: Frontier) -> None:
        self._frontier = frontier

    def add(self, page: Page) -> Answer:
        """Check a page's hashes and grow the tree by it."""
        sha256, frontier = hashlib.sha256, self._frontier
        answer, leaves, stops = Answer([], [], [], []), list[bytes](), iter([*page.stops, -1])
        stop = next(stops)
        columns = (page.seqs, page.recorded_us, page.contents, page.request_hashes, page.leaf_hashes)
        for seq, recorded_us, text, request_hash, leaf_hash in zip(*columns, strict=True):
            content = text.encode()
            leaf = sha256(b'\x00{"body":%b,"recorded_us":%d,"seq":%d}' % (content, recorded_us, seq))
            if leaf.hexdigest() != leaf_hash or sha256(content).hexdigest() != request_hash:
                answer.mismatched.append(seq)
            if not _is_canonical(content):
                answer.uncanonical.append(seq)
            leaves.append(leaf.digest())
            if seq == stop:
                frontier.extend(leaves)
                leaves.clear()
                answer.roots.append((seq, frontier.size, frontier.root().hex(), frontier.to_text()))
                stop = next(stops)
        frontier.extend(leaves)
        answer.subtrees = [(node.height, node.place, root.hex()) for node, root in frontier.completed]
        frontier.completed.clear()
        return answer


def _refuse(text: str) -> float:
    raise ValueError(f"a body holds no decimals, and this is {text:.20}")


_DECODER = msgspec.json.Decoder(float_hook=_refuse)
_ENCODER = msgspec.json.Encoder(order="sorted")


def _is_canonical(content: bytes) -> bool:
    """Whether it is the canonical text of a value; what is no JSON at all is found elsewhere."""
    try:
        value = _DECODER.decode(content)
        return _ENCODER.encode(value) == content or canonical(value) == content
    except msgspec.ValidationError:
        return False
    except msgspec.DecodeError:
        return True
    except (ValueError, TypeError):
        return False


class Lane:
    """Takes pages and gives their answers in order, a little later; with a process of its own, or none.

    Parameters
    ----------
    frontier
        The tree before the first page.
    keep
        Heights of the subtrees to report.
    apart
        Whether to start a process.
    """

    def __init__(self, frontier: Frontier, keep: Sequence[int], *, apart: bool) -> None:
        self._hashes = Hashes(Frontier(frontier.size, frontier.roots, keep))
        self._answers: deque[Answer] = deque()
        self._process: subprocess.Popen[bytes] | None = None
        self._under_way = 0
        if apart:
            root = str(Path(__file__).parents[1])
            program = f"import sys; sys.path.insert(0, {root!r}); from economy.check_log import serve; serve()"
            command = [sys.executable, "-c", program]
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            _widen(self._pipes()[0])
            start = (frontier.size, frontier.to_text(), list(keep))
            _send(self._pipes()[0], msgspec.msgpack.encode(start))

    def add(self, page: Page) -> list[Answer]:
        """Give a page; the answers that have come. Raises `LedgerFault` when the process ended."""
        if self._process is None:
            return [self._hashes.add(page)]
        _send(self._pipes()[0], msgspec.msgpack.encode(page))
        self._under_way += 1
        return [self._receive()] if self._under_way > _AHEAD else []

    def rest(self) -> list[Answer]:
        """All answers that have not come yet."""
        return [self._receive() for _ in range(self._under_way)]

    def close(self) -> None:
        """End the process, if there is one. Safe to call more than once."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()

    def _pipes(self) -> tuple[IO[bytes], IO[bytes]]:
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        return self._process.stdin, self._process.stdout

    def _receive(self) -> Answer:
        self._under_way -= 1
        frame = _take(self._pipes()[1])
        if frame is None:
            raise LedgerFault("the checker's second process ended")
        return msgspec.msgpack.decode(frame, type=Answer)


def page_of(rows: Sequence[EntryRow], stops: Sequence[int]) -> Page:
    """Entries as a page."""
    columns = zip(*rows, strict=True)
    seqs, _, _, request_hashes, recorded_us, _, contents, leaf_hashes = map(list, columns)
    return Page(seqs, recorded_us, contents, request_hashes, leaf_hashes, list(stops))


def serve() -> None:
    """The process: answers pages until its input ends."""
    gc.disable()
    start = _take(sys.stdin.buffer)
    if start is None:
        return
    size, frontier, keep = msgspec.msgpack.decode(start)
    hashes = Hashes(Frontier.from_text(size, frontier, keep))
    while (frame := _take(sys.stdin.buffer)) is not None:
        _send(sys.stdout.buffer, msgspec.msgpack.encode(hashes.add(msgspec.msgpack.decode(frame, type=Page))))


def _send(pipe: IO[bytes], frame: bytes) -> None:
    try:
        pipe.write(len(frame).to_bytes(_LENGTH, "big"))
        pipe.write(frame)
        pipe.flush()
    except OSError as error:
        raise LedgerFault("the checker's second process ended") from error


def _widen(pipe: IO[bytes]) -> None:
    """Room for a page in the pipe, where the system has it: each process then waits less for the other."""
    with suppress(AttributeError, OSError):
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)


def _take(pipe: IO[bytes]) -> bytes | None:
    head = pipe.read(_LENGTH)
    if len(head) < _LENGTH:
        return None
    frame = pipe.read(int.from_bytes(head, "big"))
    return frame if len(frame) == int.from_bytes(head, "big") else None
