"""Taking cosignatures: what witnesses of this ledger hand back is kept below the seal it belongs to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from bithive.clock import Clock
from bithive.errors import BadSettings
from bithive.limits import CLOCK_SKEW_S
from economy.book import Seal
from economy.checkpoints import Checkpoint
from economy.errors import CosignatureRefused, NoteMalformed, SealUnknown, WitnessUnknown
from economy.notes import Algorithm, Signed, VerifierKey, parse_note, signers
from economy.proof_store import Cosignature
from economy.seal import signed_bytes
from economy.store import Store

_SKEW_MS = round(CLOCK_SKEW_S * 1000)


class Accepted(NamedTuple):
    """A cosignature that is kept.

    Attributes
    ----------
    witness
        Its name.
    witnessed_ms
        When this witness says it saw the seal; the first time it said so stays.
    new
        Whether it was not kept before.
    """

    seal_id: int
    witness: str
    witnessed_ms: int
    new: bool


def witness_keys(texts: Iterable[str]) -> tuple[VerifierKey, ...]:
    """The witnesses that the settings name. Raises `BadSettings`."""
    try:
        keys = tuple(VerifierKey.parse(text) for text in texts)
    except NoteMalformed as error:
        raise BadSettings(f"network witnesses: {error.detail}") from error
    if any(key.algorithm is not Algorithm.COSIGNATURE for key in keys):
        raise BadSettings("network witnesses: a witness's key is of the kind that cosigns")
    return keys


def accept_cosignature(
    store: Store, text: str | bytes, witnesses: Sequence[VerifierKey], clock: Clock
) -> tuple[Accepted, ...]:
    """Keep what known witnesses wrote below a checkpoint of this ledger; safe to repeat.

    Parameters
    ----------
    text
        The checkpoint with the new lines.
    witnesses
        Those that are known here.

    Raises
    ------
    NoteMalformed
        If it is not a checkpoint.
    WitnessUnknown
        If no line is of a known witness.
    BadSignature
        If a known witness's line does not hold.
    SealUnknown
        If there is no such seal.
    CosignatureRefused
        If the seal of this number says something else, or the time is none at which it can have been seen.
    """
    note = parse_note(text)
    said = Checkpoint.parse(note.text)
    found = signers(note, [key for key in witnesses if key.algorithm is Algorithm.COSIGNATURE])
    if not found:
        raise WitnessUnknown
    with store.reading() as snapshot:
        seal = snapshot.seal(said.seal_id)
    if seal is None:
        raise SealUnknown
    if signed_bytes(seal) != note.text.encode():
        raise CosignatureRefused
    return tuple(_keep(store, seal, item, clock.now_ms()) for item in found)


def _keep(store: Store, seal: Seal, signed: Signed, now_ms: int) -> Accepted:
    assert signed.at_s is not None, "a cosignature has a time"
    witnessed_ms, key = signed.at_s * 1000, signed.key
    if not seal.sealed_ms - _SKEW_MS <= witnessed_ms <= now_ms + _SKEW_MS:
        raise CosignatureRefused("a seal is seen after it is made, and not in the future")
    given = Cosignature(seal.seal_id, key.public_key, str(signed.signature).rstrip("\n"), witnessed_ms)
    if store.add_cosignature(given):
        return Accepted(seal.seal_id, key.name, witnessed_ms, new=True)
    with store.reading() as snapshot:
        kept = next(item for item in snapshot.cosignatures([seal.seal_id]) if item.public_key == key.public_key)
    return Accepted(seal.seal_id, key.name, kept.witnessed_ms, new=False)
