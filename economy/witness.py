"""A witness: remembers the largest log it has seen, cosigns one that grew out of it, and refuses every other.

An auditor runs it, on a machine of theirs. What it has cosigned cannot be taken back or rewritten by the operator
without the witness noticing: of two signed checkpoints that contradict each other it keeps both, as evidence. It says
what c2sp.org/tlog-cosignature says: at this time, the largest consistent log I have seen has this size and this root.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from bithive.blobs import sync_folder
from bithive.clock import Clock
from bithive.errors import BadSettings, BitHiveError
from bithive.keys import SigningKey
from bithive.limits import NOTE_BYTES_MAX
from economy.checkpoints import Checkpoint
from economy.errors import LogRolledBack, LogSplit, LogUnknown, WitnessStateBroken
from economy.evidence import contradiction, evidence_name, evidence_text
from economy.merkle import extends
from economy.notes import (
    Algorithm,
    Note,
    NoteSignature,
    VerifierKey,
    checked_name,
    cosignature_line,
    parse_note,
)
from economy.verify import Opened, parse_plain, verify_checkpoint

_STATE = "bithive-witness-1"


class Source(Protocol):
    """Where a log's checkpoints come from. Raises `LogSilent` when it cannot be asked."""

    def checkpoint(self) -> str:
        """The newest checkpoint."""

    def consistency(self, old_size: int, new_size: int) -> list[bytes]:
        """The hashes that show the larger log to begin with the smaller one."""

    def hand_back(self, text: str) -> str:
        """Deliver the cosigned checkpoint; where it went, for a person."""


class Observed(NamedTuple):
    """What a look at the log came to.

    Attributes
    ----------
    text
        The checkpoint with the witness's own line, and no other's but the log's.
    grew
        Whether the log is larger than it was.
    """

    checkpoint: Checkpoint
    text: str
    grew: bool


@dataclass(frozen=True, slots=True)
class Remembered:
    """What a witness keeps: the keys it trusts, and the last checkpoint that it cosigned."""

    log: tuple[VerifierKey, ...]
    note: Note | None

    def text(self) -> str:
        members = {"format": _STATE, "log": [str(key) for key in self.log], "checkpoint": self.note and str(self.note)}
        return json.dumps(members, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


class Witness:
    """One witness of one log.

    Parameters
    ----------
    state
        File of what is remembered; made at the first look. Losing it is losing the witness's memory.
    key, name
        What it cosigns with.
    log
        Keys of the log to trust, besides those remembered. At least one at the first look.
    """

    def __init__(self, state: Path, key: SigningKey, name: str, clock: Clock, log: Sequence[VerifierKey] = ()) -> None:
        self._state, self._key, self._name, self._clock = state, key, checked_name(name), clock
        self._log = tuple(log)
        self.verifier = VerifierKey(name, Algorithm.COSIGNATURE, key.public_hex)

    def observe(self, source: Source) -> Observed:
        """Look at the log once. What is remembered is durable before anything is cosigned.

        Raises
        ------
        LogRolledBack, LogSplit
            If the log contradicts what it had signed; an evidence file lies beside the state.
        LogUnknown
            If it is another log.
        LogSilent
            If the source does not answer.
        NoteMalformed, NoteUnsigned, BadSignature, ProofMalformed
            If what it answers is no signed checkpoint or no proof.
        WitnessStateBroken
            If what is remembered cannot be read.
        """
        with self._locked():
            remembered = self._remembered()
            opened = _opened(source.checkpoint(), remembered.log)
            note = Note(
                opened.note.text, tuple(line for line in opened.note.signatures if _of(line) == _of(opened.key))
            )
            grew = remembered.note is None
            if remembered.note is not None:
                known = Checkpoint.parse(remembered.note.text)
                self._compare(source, remembered.note, known, note, opened.checkpoint)
                grew = opened.checkpoint.size > known.size
            self._remember(Remembered(remembered.log, note))
            line = cosignature_line(note.text, self._name, self._key, self._clock.now_ms() // 1000)
        return Observed(opened.checkpoint, str(note._replace(signatures=(*note.signatures, line))), grew)

    def last(self) -> Checkpoint | None:
        """The largest log that was cosigned, if there is one. Raises `WitnessStateBroken`."""
        note = self._remembered(required=False).note
        return None if note is None else Checkpoint.parse(note.text)

    def _compare(self, source: Source, kept: Note, known: Checkpoint, note: Note, seen: Checkpoint) -> None:
        reason = contradiction(known, seen)
        if seen.size < known.size:
            raise LogRolledBack(
                f"it shows {seen.size} entries and had signed {known.size}",
                evidence=self._keep(kept, note),
            )
        if reason:
            raise LogSplit(reason, evidence=self._keep(kept, note))
        steps = source.consistency(known.size, seen.size) if seen.size > known.size else []
        if not extends(known.root, known.size, seen.root, seen.size, steps):
            raise LogSplit(
                f"{seen.size} entries do not begin with the {known.size} that it had signed",
                evidence=self._keep(kept, note, steps),
            )

    def _keep(self, known: Note, seen: Note, steps: Sequence[bytes] = ()) -> str:
        """Write both checkpoints down; the file's name."""
        text = evidence_text(known, seen, steps)
        path = self._state.with_name(f"{self._state.name}.{evidence_name(text)}")
        write_durably(path, text)
        return str(path)

    def _remembered(self, *, required: bool = True) -> Remembered:
        remembered = read_state(self._state) if self._state.exists() else Remembered((), None)
        keys = tuple(dict.fromkeys((*remembered.log, *self._log)))
        if required and not keys:
            raise BadSettings("the log's verifier key is needed at the first look")
        if len({key.name for key in keys}) > 1:
            raise LogUnknown("the keys are of several logs; a witness's state is of one")
        return Remembered(keys, remembered.note)

    def _remember(self, remembered: Remembered) -> None:
        write_durably(self._state, remembered.text())

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One look at a time, also of two processes: a look is compared with what is remembered, then remembered."""
        self._state.parent.mkdir(parents=True, exist_ok=True)
        with self._state.with_name(f"{self._state.name}.lock").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def read_state(path: Path) -> Remembered:
    """What a witness remembers. Raises `WitnessStateBroken`: a state that cannot be read is never taken for none."""
    try:
        if path.stat().st_size > NOTE_BYTES_MAX * 2:
            raise WitnessStateBroken
        members = parse_plain(path.read_bytes())
        if members.keys() != {"format", "log", "checkpoint"} or members["format"] != _STATE:
            raise WitnessStateBroken
        keys = tuple(map(VerifierKey.parse, members["log"]))
        given = members["checkpoint"]
        if not keys:
            raise WitnessStateBroken
        if given is None:
            return Remembered(keys, None)
        return Remembered(keys, verify_checkpoint(given, keys).note)
    except (BitHiveError, OSError, TypeError, AttributeError) as error:
        raise WitnessStateBroken(f"{path.name} cannot be read") from error


def write_durably(path: Path, text: str) -> None:
    """Make a file whole and durable, or leave the one that is there."""
    draft = path.with_name(f".{path.name}.draft")
    with draft.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    sync_folder(path.parent)


def _of(item: NoteSignature | VerifierKey) -> tuple[str, bytes]:
    return item.name, item.key_id


def _opened(text: str, keys: Sequence[VerifierKey]) -> Opened:
    """`verify_checkpoint`, and `LogUnknown` for another log's."""
    origin = Checkpoint.parse(parse_note(text).text).origin
    if all(key.name != origin for key in keys):
        raise LogUnknown
    return verify_checkpoint(text, keys)
