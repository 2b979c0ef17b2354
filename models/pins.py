"""Files that are not in the repository: pinned by size and SHA-256, and where each may be had again."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from bithive.limits import CONVERTED_PARTS_BYTES_MAX
from models.converters import CONVERTERS
from models.errors import BadBundle

HEX64 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class WheelSource:
    """A file inside a wheel of the Python package index.

    Attributes
    ----------
    distribution, version
        Exactly which release.
    wheel_sha256, wheel_size_bytes
        Of the wheel.
    member
        Path of the file in it.
    """

    distribution: str
    version: str
    wheel_sha256: str
    wheel_size_bytes: int
    member: str


@dataclass(frozen=True, slots=True)
class AddressSource:
    """The file itself at an HTTPS address."""

    address: str


@dataclass(frozen=True, slots=True)
class InstalledSource:
    """A file that installing a bundle brought, or made; installing that bundle again brings it back."""

    bundle: str


@dataclass(frozen=True, slots=True)
class BundledSource:
    """The file lies in the bundle's own folder: networks of ours that are small enough for the repository."""


@dataclass(frozen=True, slots=True)
class Part:
    """A published file that another one is made from.

    Attributes
    ----------
    file
        What the converter calls it; a relative path.
    sha256, size_bytes
        Of its content.
    address
        Where it is published: HTTPS.
    """

    file: str
    sha256: str
    size_bytes: int
    address: str


@dataclass(frozen=True, slots=True)
class ConvertedSource:
    """The file is made from published ones by code of ours, to the same bytes wherever it runs.

    Attributes
    ----------
    converter
        A name of `models.converters.CONVERTERS`.
    parts
        What it is made from.
    """

    converter: str
    parts: tuple[Part, ...]


Source = WheelSource | AddressSource | InstalledSource | BundledSource | ConvertedSource


@dataclass(frozen=True, slots=True)
class PinnedFile:
    """One file that is not in the repository, and how to know it when it is found.

    Attributes
    ----------
    file
        Path relative to the bundle's folder, as its configuration names it.
    sha256, size_bytes
        Of the content.
    source
        Where it comes from when no mirror has it.
    """

    file: str
    sha256: str
    size_bytes: int
    source: Source

    @classmethod
    def from_json(cls, value: Any) -> PinnedFile:
        """Read a declaration. Raises `BadBundle`."""
        try:
            source = value["source"]
            read = _KINDS.get(source["kind"])
            if read is None:
                raise BadBundle("weights come from a source that is not spoken here")
            pinned = cls(str(value["file"]), str(value["sha256"]), int(value["size_bytes"]), read(source))
        except (KeyError, TypeError, ValueError):
            raise BadBundle("a declaration of weights is incomplete") from None
        _check_pin(pinned)
        return pinned


def is_inside(path: str) -> bool:
    """Whether a relative path stays inside its folder, whatever the folder is."""
    parts = PurePosixPath(path).parts
    return bool(parts) and ".." not in parts and not path.startswith("/") and "\\" not in path and "\0" not in path


def _check_pin(pinned: PinnedFile | Part) -> None:
    if not HEX64.fullmatch(pinned.sha256):
        raise BadBundle("weights are not pinned by SHA-256")
    if pinned.size_bytes <= 0 or not is_inside(pinned.file):
        raise BadBundle("a declaration of weights has no size, or leads out of the bundle")


def _wheel(source: Mapping[str, Any]) -> WheelSource:
    found = WheelSource(
        str(source["distribution"]),
        str(source["version"]),
        str(source["wheel_sha256"]),
        int(source["wheel_size_bytes"]),
        str(source["member"]),
    )
    if not HEX64.fullmatch(found.wheel_sha256):
        raise BadBundle("weights are not pinned by SHA-256")
    return found


def _address(source: Mapping[str, Any]) -> AddressSource:
    address = str(source["address"])
    if not address.startswith("https://"):
        raise BadBundle("weights come from an address that is not HTTPS")
    return AddressSource(address)


def _converted(source: Mapping[str, Any]) -> ConvertedSource:
    rows = source["parts"]
    if not isinstance(rows, list) or not rows or str(source["converter"]) not in CONVERTERS:
        raise BadBundle("weights are made by a converter that is not here, or from nothing")
    parts = tuple(
        Part(str(row["file"]), str(row["sha256"]), int(row["size_bytes"]), _address(row).address) for row in rows
    )
    for part in parts:
        _check_pin(part)
    if len({part.file for part in parts}) != len(parts):
        raise BadBundle("two files that weights are made from have one name")
    if sum(part.size_bytes for part in parts) > CONVERTED_PARTS_BYTES_MAX:
        raise BadBundle("the files that weights are made from are too large")
    return ConvertedSource(str(source["converter"]), parts)


_KINDS: Mapping[str, Callable[[Mapping[str, Any]], Source]] = {
    "wheel": _wheel,
    "address": _address,
    "bundled": lambda _source: BundledSource(),
    "converted": _converted,
    "installed": lambda source: InstalledSource(str(source["bundle"])),
}
