"""The CT and MR bundles of the MONAI Model Zoo that can be pulled by name: version, address, published checksum.

The zoo publishes SHA-1. It serves to recognise the first download and nothing else: what is installed is pinned by
SHA-256 in a signed manifest, and an operator may name the SHA-256 to expect beforehand.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType

_TABLE = Path(__file__).parent / "zoo.json"


@dataclass(frozen=True, slots=True)
class ZooEntry:
    """One bundle of the zoo.

    Attributes
    ----------
    name, version
        Which release.
    modality
        DICOM Modality that it takes.
    licence
        SPDX identifier as far as it is known before the bundle is here; then its own licence file counts.
    sha1
        Of the zip, as the zoo states it.
    address
        Of the zip.
    """

    name: str
    version: str
    modality: str
    licence: str
    sha1: str
    address: str


@cache
def entries() -> MappingProxyType[str, ZooEntry]:
    """Every entry by name."""
    table = json.loads(_TABLE.read_text("utf-8"))
    return MappingProxyType({name: ZooEntry(name=name, **row) for name, row in table.items()})
