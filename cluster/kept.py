"""Receipts and counter-receipts on the machine that earned them: two files for each chain, that are only ever added to.

Whoever has the folder can check it without the hub, by one public key that was noted when the first answer came: that
every Receipt it handed in was answered, that no answer was changed or taken back, and how much work was booked.
"""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from bithive.errors import BadSignature, BitHiveError
from bithive.limits import KIB
from bithive.log import get
from bithive.receipt import Receipt
from cluster.chain import Break, Head, Verified, verify_chain
from cluster.counter import CounterReceipt

Fetch = Callable[[str, int], list[dict[str, Any]]]
"""Asks the network side for a subject's counter-receipts beyond a sequence number (`HttpNetwork.counters`)."""

_COUNTERS, _RECEIPTS, _KEY = ".counters.jsonl", ".receipts.jsonl", "network-key.txt"
_LOOK_BYTES = 16 * KIB
_SUBJECT = re.compile(r"(nod|cel)_[0-9A-HJKMNP-TV-Z]{26}")


@dataclass(frozen=True, slots=True)
class KeptChain:
    """What a folder proves of one Node, or of the cell itself.

    Attributes
    ----------
    subject
        Whose chain.
    counters
        Its counter-receipts, in order.
    verified
        Whether they are a chain, and what it sums to.
    receipts
        How many Receipts are kept.
    unanswered
        Digests of Receipts that no counter-receipt names (yet).
    forged
        Digests of Receipts whose own signature does not hold.
    """

    subject: str
    counters: tuple[CounterReceipt, ...]
    verified: Verified
    receipts: int
    unanswered: tuple[str, ...]
    forged: tuple[str, ...]

    @property
    def holds(self) -> bool:
        """Whether all of it is signed and linked. An answer that is still missing is no fault."""
        return self.verified.holds and not self.forged


class Kept:
    """The folder, while a cell runs.

    Parameters
    ----------
    folder
        Made when it is needed, for its owner alone.
    fetch
        Fills gaps; without it a gap stays until an answer closes it.
    """

    def __init__(self, folder: Path, fetch: Fetch | None = None) -> None:
        self._folder, self._fetch = folder, fetch
        self._heads: dict[str, Head] = {}
        self._key = ""
        self._lock = threading.Lock()

    def pin(self, network_key: str) -> None:
        """Note the network side's key, the first time: whatever another one signs is refused from then on."""
        with self._lock:
            self._pinned(network_key)

    def keep(self, receipt: Receipt, counter: dict[str, Any] | None) -> None:
        """Keep a Receipt that was handed in, and what was answered. Never raises: work goes on without its papers."""
        try:
            with self._lock:
                self._append(receipt.node, _RECEIPTS, receipt.to_json())
                if counter is not None:
                    self._take(CounterReceipt.from_json(counter))
        except (BitHiveError, OSError, ValueError) as error:
            get().warning("counter.refused", attempt=receipt.attempt_id, code=getattr(error, "code", "disk"))

    def catch_up(self, subject: str) -> int:
        """Fetch what is missing of a chain: answers that were lost, and refusals; how many came. Raises as `fetch` does."""
        with self._lock:
            return self._catch_up(subject)

    def _catch_up(self, subject: str) -> int:
        count = 0
        while self._fetch is not None:
            page = [CounterReceipt.from_json(item) for item in self._fetch(subject, self._head(subject).sequence)]
            for counter in page:
                self._add(subject, counter)
            count += len(page)
            if not page:
                break
        return count

    def _take(self, counter: CounterReceipt) -> None:
        self._pinned(counter.network_key)
        head = self._head(counter.subject)
        if counter.sequence > head.sequence + 1 and self._fetch is not None:
            self._catch_up(counter.subject)
            head = self._head(counter.subject)
        if counter.sequence > head.sequence:
            self._add(counter.subject, counter)

    def _add(self, subject: str, counter: CounterReceipt) -> None:
        verified = verify_chain([counter], self._pinned(counter.network_key), self._head(subject))
        if verified.broken is not None or counter.subject != subject:
            raise BadSignature("a counter-receipt does not continue its chain")
        self._append(subject, _COUNTERS, counter.to_json())
        self._heads[subject] = verified.head

    def _head(self, subject: str) -> Head:
        if subject not in self._heads:
            counters = _read_counters(self._folder / f"{subject}{_COUNTERS}")
            self._heads[subject] = Head(counters[-1].sequence, counters[-1].digest) if counters else Head()
        return self._heads[subject]

    def _pinned(self, network_key: str) -> str:
        path = self._folder / _KEY
        if not self._key and path.exists():
            self._key = path.read_text("ascii").strip()
        if not self._key and network_key:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.write_text(network_key + "\n", "ascii")
            self._key = network_key
        return self._key

    def _append(self, subject: str, ending: str, value: dict[str, Any]) -> None:
        if not _SUBJECT.fullmatch(subject):
            raise ValueError("this is no id of a node or cell")
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._folder / f"{subject}{ending}"
        line = json.dumps(value, separators=(",", ":")).encode() + b"\n"
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        with os.fdopen(handle, "r+b") as file:
            _cut_torn_line(file)
            file.write(line)
            file.flush()
            os.fsync(file.fileno())


def verify_kept(folder: Path, network_key: str = "") -> tuple[KeptChain, ...]:
    """Check a folder offline.

    Parameters
    ----------
    folder
        As `Kept` wrote it; one that is not there holds nothing.
    network_key
        The network side's public key, hexadecimal; the one that was noted when absent.
    """
    noted = folder / _KEY
    key = network_key or (noted.read_text("ascii").strip() if noted.exists() else "")
    subjects = {path.name.partition(".")[0] for ending in (_COUNTERS, _RECEIPTS) for path in folder.glob(f"*{ending}")}
    return tuple(_kept_chain(folder, subject, key) for subject in sorted(subjects))


def _kept_chain(folder: Path, subject: str, key: str) -> KeptChain:
    try:
        counters = _read_counters(folder / f"{subject}{_COUNTERS}")
        verified = verify_chain(counters, key)
    except (BitHiveError, ValueError):
        counters, verified = [], Verified(subject, Head(), 0, 0, 0, Break(0, "unreadable"))
    answered = {counter.receipt_digest for counter in counters}
    receipts = [Receipt.from_stored(value) for value in _read_lines(folder / f"{subject}{_RECEIPTS}")]
    digests = dict.fromkeys(receipt.digest for receipt in receipts)
    forged = tuple(receipt.digest for receipt in receipts if not _signed(receipt))
    unanswered = tuple(digest for digest in digests if digest not in answered)
    return KeptChain(subject, tuple(counters), verified, len(digests), unanswered, forged)


def _signed(receipt: Receipt) -> bool:
    try:
        receipt.check_signature()
    except BadSignature:
        return False
    return True


def _read_counters(path: Path) -> list[CounterReceipt]:
    return [CounterReceipt.from_json(value) for value in _read_lines(path)]


def _read_lines(path: Path) -> Sequence[Any]:
    """Every whole line. One that was being written when the machine went down is not there."""
    if not path.exists():
        return []
    content = path.read_bytes()
    return [json.loads(line) for line in content[: _whole_bytes(content)].splitlines()]


def _cut_torn_line(file: BinaryIO) -> None:
    """Stand behind the last whole line, and take away what follows it."""
    end = file.seek(0, os.SEEK_END)
    while end:
        start = max(0, end - _LOOK_BYTES)
        file.seek(start)
        found = file.read(end - start).rfind(b"\n")
        if found >= 0:
            end = start + found + 1
            break
        end = start
    file.seek(end)
    file.truncate()


def _whole_bytes(content: bytes) -> int:
    return content.rfind(b"\n") + 1
