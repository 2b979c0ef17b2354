"""Verifying what the ledger hands out: a checkpoint or a proof, and keys that are trusted. Nothing else is asked.

A proof is one JSON file, written by `economy.proofs`::

    {"checkpoint": "<signed note>", "format": "bithive-proof-1", "index": 41, "kind": "entry",
     "leaf": "<what is proven>", "path": ["<base64>", ...]}

======================  ==================================================  ==========================================
kind                    members beside `format`, `kind` and `checkpoint`    what it shows
======================  ==================================================  ==========================================
``entry``               `index`, `leaf`, `path`                             the log holds this entry at this place
``balance``             `index`, `leaf`, `path`                             the account's totals when it was sealed
``consistency``         `from`, `path`                                      the log only grew since an older checkpoint
``claim``               `claim`, `entry`                                    a party's total in a published claim tree
======================  ==================================================  ==========================================

Everything comes from outside: sizes are bounded, members are exactly these, and what is read from a leaf is read after
its hash was shown to be in the tree.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from bithive.limits import NOTE_BYTES_MAX, PROOF_BYTES_MAX, PROOF_STEPS_MAX
from economy.checkpoints import Checkpoint, TreeHead
from economy.errors import NoteMalformed, NoteUnsigned, ProofFails, ProofMalformed
from economy.merkle import extends, includes, leaf_hash
from economy.notes import Algorithm, Note, VerifierKey, from_base64, parse_note, signers

FORMAT = "bithive-proof-1"
CLAIMS_KIND = "claims.published"
_STEP = {"index", "leaf", "path"}
_MEMBERS = {
    "entry": _STEP,
    "balance": _STEP,
    "consistency": {"from", "path"},
    "claim": {"claim", "entry"},
}
_HASH_BYTES = 32
_COUNT_MAX = 2**53 - 1
_DIGITS_MAX = 20
_START = 64

Plain = dict[str, str | int]


class Cosigned(NamedTuple):
    """A witness's name, and when it saw the checkpoint, in seconds since 1970."""

    name: str
    at_s: int


class Opened(NamedTuple):
    """A checkpoint that its log signed.

    Attributes
    ----------
    key
        The log's key that signed it.
    cosigned
        The trusted witnesses that cosigned it.
    """

    checkpoint: Checkpoint
    note: Note
    key: VerifierKey
    cosigned: tuple[Cosigned, ...]


class Verified(NamedTuple):
    """What a file shows.

    Attributes
    ----------
    kind
        `checkpoint`, or a proof's kind.
    checkpoint
        What it is shown against.
    said
        What is shown, as plain values: the entry's id and place, the account's totals, the sizes.
    cosigned
        The trusted witnesses that cosigned the checkpoint.
    leaf
        The very text that is in the tree; empty where there is none.
    """

    kind: str
    checkpoint: Checkpoint
    said: Plain
    cosigned: tuple[Cosigned, ...]
    leaf: str = ""


class _Given(NamedTuple):
    members: dict[str, Any]
    checkpoint: Checkpoint
    keys: Sequence[VerifierKey]


def verify_checkpoint(text: str | bytes, keys: Iterable[VerifierKey], witnesses: Iterable[VerifierKey] = ()) -> Opened:
    """Read a signed checkpoint.

    Parameters
    ----------
    keys
        The log's, by its origin; one of them must have signed.
    witnesses
        Those whose cosignatures count. Lines of others are ignored.

    Raises
    ------
    NoteMalformed
        If it is not a checkpoint.
    NoteUnsigned
        If none of the log's keys signed it.
    BadSignature
        If a line of a key given does not hold.
    """
    note = parse_note(text)
    checkpoint = Checkpoint.parse(note.text)
    own = [key for key in keys if key.name == checkpoint.origin and key.algorithm is Algorithm.ED25519]
    signed = signers(note, own)
    if not signed:
        raise NoteUnsigned
    seen = signers(note, [key for key in witnesses if key.algorithm is Algorithm.COSIGNATURE])
    cosigned = tuple(Cosigned(item.key.name, item.at_s) for item in seen if item.at_s is not None)
    return Opened(checkpoint, note, signed[0].key, cosigned)


def verify_proof(text: str | bytes, keys: Iterable[VerifierKey], witnesses: Iterable[VerifierKey] = ()) -> Verified:
    """Check a proof, or a checkpoint by itself.

    Parameters
    ----------
    keys, witnesses
        As `verify_checkpoint`.

    Raises
    ------
    ProofMalformed
        If it is not one of the kinds above.
    ProofFails
        If it does not show what it says.
    NoteMalformed, NoteUnsigned, BadSignature
        As `verify_checkpoint`, of the checkpoint within.
    """
    keys, witnesses = tuple(keys), tuple(witnesses)
    if is_checkpoint(text):
        alone = verify_checkpoint(text, keys, witnesses)
        return Verified("checkpoint", alone.checkpoint, _sealed(alone.checkpoint), alone.cosigned)
    proof = parse_proof(text)
    opened = verify_checkpoint(_text(proof, "checkpoint"), keys, witnesses)
    said, leaf = _RULES[proof["kind"]](_Given(proof, opened.checkpoint, keys))
    return Verified(proof["kind"], opened.checkpoint, said, opened.cosigned, leaf)


def is_checkpoint(text: str | bytes) -> bool:
    """Whether a file is meant as a checkpoint by itself rather than a proof: a proof is a JSON object."""
    start = text[:_START] if isinstance(text, bytes) else text[:_START].encode(errors="replace")
    return not start.lstrip().startswith(b"{") and len(text) <= NOTE_BYTES_MAX


def parse_proof(text: str | bytes) -> dict[str, Any]:
    """A proof's members, of a kind that is known. Raises `ProofMalformed`."""
    proof = parse_plain(text)
    kind = proof.get("kind")
    if proof.get("format") != FORMAT or not isinstance(kind, str) or kind not in _MEMBERS:
        raise ProofMalformed("this is not a proof of a kind that is known here")
    if proof.keys() != {"format", "kind", "checkpoint"} | _MEMBERS[kind]:
        raise ProofMalformed("a proof has exactly the members of its kind")
    return proof


def parse_plain(text: str | bytes) -> dict[str, Any]:
    """A JSON object without floats and repeated names, of a bounded size. Raises `ProofMalformed`."""
    if len(text) > PROOF_BYTES_MAX:
        raise ProofMalformed("a proof is too large", bytes_max=PROOF_BYTES_MAX)
    try:
        text = text.decode() if isinstance(text, bytes) else text
        value = json.loads(text, object_pairs_hook=_once, parse_float=_refused, parse_constant=_refused)
    except (ValueError, RecursionError) as error:
        raise ProofMalformed("this is not JSON as proofs are written") from error
    if not isinstance(value, dict):
        raise ProofMalformed("a proof is an object")
    return value


def path_of(proof: dict[str, Any]) -> list[bytes]:
    """The hashes of a proof, lowest first. Raises `ProofMalformed`."""
    steps = proof["path"]
    if not isinstance(steps, list) or len(steps) > PROOF_STEPS_MAX:
        raise ProofMalformed("a path is a list of hashes", steps_max=PROOF_STEPS_MAX)
    return [_hash(step) for step in steps]


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name is repeated")
    return found


def _refused(number: str) -> None:
    raise ValueError(f"only whole numbers are read, not {number[:20]}")


def _hash(value: Any) -> bytes:
    try:
        content = from_base64(value) if isinstance(value, str) else b""
    except NoteMalformed as error:
        raise ProofMalformed("a hash is base64 of 32 bytes") from error
    if len(content) != _HASH_BYTES:
        raise ProofMalformed("a hash is base64 of 32 bytes")
    return content


def _text(members: dict[str, Any], name: str) -> str:
    value = members.get(name)
    if not isinstance(value, str):
        raise ProofMalformed("a text is missing", member=name)
    return value


def _count(members: dict[str, Any], name: str) -> int:
    value = members.get(name)
    if type(value) is not int or not 0 <= value <= _COUNT_MAX:
        raise ProofMalformed("a count is missing or out of range", member=name)
    return value


def _step(members: Any, names: set[str]) -> dict[str, Any]:
    if not isinstance(members, dict) or members.keys() != names:
        raise ProofMalformed("a proof has exactly the members of its kind")
    return members


def _included(members: dict[str, Any], tree: TreeHead) -> tuple[str, dict[str, Any]]:
    """The leaf, once it is shown to be in a tree; and what it says."""
    leaf = _text(members, "leaf")
    try:
        content = leaf.encode()
    except UnicodeError as error:
        raise ProofMalformed("a leaf is UTF-8") from error
    if not includes(leaf_hash(content), _count(members, "index"), tree.size, path_of(members), tree.root):
        raise ProofFails("the path does not lead from the leaf to the root that is signed")
    return leaf, parse_plain(leaf)


def _entry(given: _Given) -> tuple[Plain, str]:
    leaf, members = _included(given.members, given.checkpoint.head)
    body = members.get("body")
    if not isinstance(body, dict) or members.get("seq") != given.members["index"] + 1:
        raise ProofFails("the leaf is not the entry of its place")
    said: Plain = {"entry": _text(body, "id"), "kind": _text(body, "kind")}
    return {**said, "seq": _count(members, "seq"), "recorded_us": _count(members, "recorded_us")}, leaf


def _balance(given: _Given) -> tuple[Plain, str]:
    tree = TreeHead(given.checkpoint.accounts, given.checkpoint.state_root)
    leaf, members = _included(given.members, tree)
    said: Plain = {"account": _text(members, "account")}
    for name in ("debit_pending", "debit_posted", "credit_pending", "credit_posted"):
        total = _text(members, name)
        if not _is_total(total):
            raise ProofFails("the leaf is not an account's")
        said[name] = int(total)
    return said, leaf


def _consistency(given: _Given) -> tuple[Plain, str]:
    older, newer = older_head(given.members, given.checkpoint, given.keys), given.checkpoint
    if not extends(older.root, older.size, newer.root, newer.size, path_of(given.members)):
        raise ProofFails("the log does not begin with what the older checkpoint covers")
    return {"from_size": older.size, "from_root": older.root.hex(), "size": newer.size}, ""


def older_head(proof: dict[str, Any], checkpoint: Checkpoint, keys: Sequence[VerifierKey]) -> TreeHead:
    """The tree that a proof of consistency begins with; its signature is checked if it is a checkpoint."""
    given = proof["from"]
    if isinstance(given, dict) and given.keys() == {"checkpoint"}:
        older = verify_checkpoint(_text(given, "checkpoint"), keys).checkpoint
        if older.origin != checkpoint.origin:
            raise ProofFails("the two checkpoints are of two logs")
        return older.head
    given = _step(given, {"root", "size"})
    return TreeHead(_count(given, "size"), _hash(given["root"]))


def _claim(given: _Given) -> tuple[Plain, str]:
    entry, claim = _step(given.members["entry"], _STEP), _step(given.members["claim"], {*_STEP, "size"})
    published, _ = _entry(given._replace(members=entry))
    facts = parse_plain(_text(entry, "leaf"))["body"].get("facts")
    if published["kind"] != CLAIMS_KIND or not isinstance(facts, dict) or facts.get("count") != claim["size"]:
        raise ProofFails("the entry does not publish this tree of claims")
    try:
        root = bytes.fromhex(_text(facts, "root"))
    except ValueError as error:
        raise ProofFails("the entry does not publish a root") from error
    leaf, members = _included(claim, TreeHead(_count(claim, "size"), root))
    said: Plain = {name: _text(members, name) for name in ("account", "asset")}
    cumulative = members.get("cumulative")
    if not (isinstance(cumulative, int | str) and _is_total(str(cumulative))):
        raise ProofFails("the leaf is not a claim")
    return {**said, "cumulative": int(cumulative), "entry": published["entry"], "seq": published["seq"]}, leaf


def _sealed(checkpoint: Checkpoint) -> Plain:
    return {"seal": checkpoint.seal_id, "size": checkpoint.size, "accounts": checkpoint.accounts}


def _is_total(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < _DIGITS_MAX


_Rule = Callable[[_Given], tuple[Plain, str]]
_RULES: dict[str, _Rule] = {
    "entry": _entry,
    "balance": _balance,
    "consistency": _consistency,
    "claim": _claim,
}
