"""A log handed over in files: for a witness without a network.

The folder holds `checkpoint.txt` and, once the witness has seen the log before, either `log.jsonl` (the exported log,
one leaf a line) or `consistency.json` (a proof from the size that the witness remembers).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from bithive.limits import NOTE_BYTES_MAX, PROOF_BYTES_MAX
from economy.errors import LogSilent, ProofMalformed
from economy.merkle import Frontier, consistency_spans, leaf_hash
from economy.verify import parse_proof, path_of


class FolderSource:
    """The files of one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def checkpoint(self) -> str:
        return _read(self._folder / "checkpoint.txt", NOTE_BYTES_MAX)

    def consistency(self, old_size: int, new_size: int) -> list[bytes]:
        log, proof = self._folder / "log.jsonl", self._folder / "consistency.json"
        if log.exists():
            return _from_log(log, old_size, new_size)
        members = parse_proof(_read(proof, PROOF_BYTES_MAX))
        if members["kind"] != "consistency":
            raise ProofMalformed("consistency.json holds another kind of proof")
        return path_of(members)

    def hand_back(self, text: str) -> str:
        path = self._folder / "cosigned.txt"
        try:
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise LogSilent(f"{path} cannot be written: {error.strerror}") from error
        return str(path)


def _read(path: Path, bytes_max: int) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(bytes_max + 1)
        if len(content) > bytes_max:
            raise ProofMalformed(f"{path.name} is too large", bytes_max=bytes_max)
        return content.decode()
    except OSError as error:
        raise LogSilent(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeError as error:
        raise ProofMalformed(f"{path.name} is not UTF-8") from error


def _from_log(path: Path, old_size: int, new_size: int) -> list[bytes]:
    """The proof, made from the leaves themselves in one reading: whatever they are, the roots decide."""
    spans = consistency_spans(old_size, new_size)
    roots: dict[int, bytes] = {}
    leaves, place = _leaves(path), 0
    for span in sorted(spans):
        _skip(leaves, span.start - place)
        tree = Frontier().extend(islice(leaves, span.end - span.start))
        if tree.size != span.end - span.start:
            raise LogSilent("log.jsonl is shorter than its checkpoint")
        roots[span.start], place = tree.root(), span.end
    return [roots[span.start] for span in spans]


def _skip(leaves: Iterator[bytes], count: int) -> None:
    next(islice(leaves, count, count), None)


def _leaves(path: Path) -> Iterator[bytes]:
    """Hashes of the whole lines: what was cut off at the end is not held against the log."""
    with path.open("rb") as file:
        while line := file.readline(PROOF_BYTES_MAX + 1):
            if len(line) > PROOF_BYTES_MAX:
                raise ProofMalformed("log.jsonl has a line that is too long")
            if not line.endswith(b"\n"):
                return
            yield leaf_hash(line.removesuffix(b"\n"))
