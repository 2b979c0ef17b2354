"""Evidence: two checkpoints that one log signed and that cannot both be true, for whoever judges the operator.

What the two contradict is found from the two alone, so the file convinces anyone who knows the log's key. Where only a
proof of consistency is missing or wrong, the file says so: then it is for the log to show one.
"""

from __future__ import annotations

import hashlib
import json
from base64 import b64encode
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from economy.checkpoints import Checkpoint
from economy.errors import ProofMalformed
from economy.merkle import extends
from economy.notes import Note, VerifierKey
from economy.verify import parse_plain, path_of, verify_checkpoint

FORMAT = "bithive-evidence-1"


class Evidence(NamedTuple):
    """What a witness remembered, what it was shown, and what speaks against it.

    Attributes
    ----------
    reason
        Why the two cannot both be true; empty when they can.
    connected
        Whether the hashes in the file show the larger log to begin with the smaller one.
    """

    known: Checkpoint
    seen: Checkpoint
    reason: str
    connected: bool


def contradiction(one: Checkpoint, other: Checkpoint) -> str:
    """Why no honest log signs both of two checkpoints, in words; empty if one may."""
    if one.origin != other.origin:
        return ""
    older, newer = sorted((one, other), key=lambda item: (item.size, item.seal_id))
    if older.size == newer.size:
        return "" if older.text == newer.text else f"two different statements about the same {older.size} entries"
    if older.seal_id >= newer.seal_id:
        return f"seal {older.seal_id} has {older.size} entries, and seal {newer.seal_id} has {newer.size}"
    if older.time_ms > newer.time_ms or older.accounts > newer.accounts:
        return f"seal {older.seal_id} claims a later state than seal {newer.seal_id}, which has more entries"
    if newer.seal_id == older.seal_id + 1 and newer.previous != hashlib.sha256(older.text.encode()).hexdigest():
        return f"seal {newer.seal_id} names another predecessor than the seal {older.seal_id} that was shown"
    return ""


def evidence_text(known: Note, seen: Note, steps: Sequence[bytes]) -> str:
    """The file: both signed checkpoints, and the hashes that were given to connect them."""
    reason = contradiction(Checkpoint.parse(known.text), Checkpoint.parse(seen.text))
    members = {
        "format": FORMAT,
        "known": str(known),
        "path": [b64encode(step).decode() for step in steps],
        "reason": reason,
        "seen": str(seen),
    }
    return json.dumps(members, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def evidence_name(text: str) -> str:
    """The file's name: the same evidence is kept once."""
    return f"evidence-{hashlib.sha256(text.encode()).hexdigest()[:16]}.json"


def read_evidence(text: str | bytes, keys: Iterable[VerifierKey]) -> Evidence:
    """Check both signatures and find the contradiction again.

    Raises
    ------
    ProofMalformed
        If it is not such a file.
    NoteMalformed, NoteUnsigned, BadSignature
        If one of the two is not a checkpoint that the log signed: then it is no evidence.
    """
    keys, members = tuple(keys), parse_plain(text)
    if members.keys() != {"format", "known", "path", "reason", "seen"} or members["format"] != FORMAT:
        raise ProofMalformed("this is not a witness's evidence")
    if not (isinstance(members["known"], str) and isinstance(members["seen"], str)):
        raise ProofMalformed("this is not a witness's evidence")
    known, seen = (verify_checkpoint(members[name], keys).checkpoint for name in ("known", "seen"))
    older, newer = sorted((known, seen), key=lambda item: item.size)
    connected = extends(older.root, older.size, newer.root, newer.size, path_of(members))
    return Evidence(known, seen, contradiction(known, seen), connected)
