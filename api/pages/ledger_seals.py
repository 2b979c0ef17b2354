"""Seals as shown, with those who cosigned them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from api.pages.words import clock_full
from economy.book import Seal
from economy.cosigning import witness_keys
from economy.proof_store import Cosignature


class CosignedBy(NamedTuple):
    """A witness below a seal; one that the settings no longer name is shown by its key."""

    name: str
    at: str
    key: str


class SealLines(NamedTuple):
    """A seal as shown. `is_provable`: proofs are made against seals of version 2."""

    seal_id: int
    from_seq: int
    to_seq: int
    log_root: str
    state_root: str
    sealed: str
    sealed_ms: int
    key: str
    is_provable: bool
    cosigned: tuple[CosignedBy, ...]


def seal_lines(witnesses: Sequence[str], seal: Seal, cosignatures: Iterable[Cosignature]) -> SealLines:
    """One seal and the cosignatures that belong to it."""
    names = {key.public_key: key.name for key in witness_keys(witnesses)}
    cosigned = tuple(
        CosignedBy(names.get(item.public_key, ""), clock_full(item.witnessed_ms), item.public_key)
        for item in cosignatures
        if item.seal_id == seal.seal_id
    )
    roots = (seal.log_root, seal.state_root, clock_full(seal.sealed_ms), seal.sealed_ms, seal.public_key)
    return SealLines(seal.seal_id, seal.from_seq, seal.to_seq, *roots, seal.version > 1, cosigned)
