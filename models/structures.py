"""What a label map's numbers stand for: a key for machines, a name for people."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from models.errors import BadBundle

LABELS_MAX = 65_535
_KEY_CHARS_MAX = 64


@dataclass(frozen=True, slots=True)
class Structure:
    """One structure that a bundle segments.

    Attributes
    ----------
    label
        Its number in the label map, from 1; 0 is background, which is no structure.
    key
        Lower-case letters, digits and underscores: how findings, measurements and codes name it.
    name
        As the bundle's authors wrote it.
    """

    label: int
    key: str
    name: str


def key_of(name: str) -> str:
    """A structure's key: lower case, every run of other characters one underscore, none at the ends."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def from_channels(channels: Mapping[str, Any]) -> tuple[Structure, ...]:
    """The structures of a zoo bundle's `channel_def`, by label.

    Raises
    ------
    BadBundle
        If a channel is no number or has no name, two have one key, or numbers are missing between.
    """
    rows = []
    for number, name in channels.items():
        if not str(number).isdecimal() or not isinstance(name, str):
            raise BadBundle("channel_def of metadata.json is malformed")
        if int(number):
            rows.append({"label": int(number), "key": key_of(name), "name": name.strip()})
    return from_rows(sorted(rows, key=lambda row: row["label"]))


def from_rows(rows: Any) -> tuple[Structure, ...]:
    """Read `findings.structures` of a bundle's extension.

    Raises
    ------
    BadBundle
        If labels are not 1, 2, 3 and so on, a key is malformed or used twice, or a name is empty.
    """
    try:
        found = tuple(Structure(row["label"], str(row["key"]), str(row["name"])) for row in rows)
    except (KeyError, TypeError):
        raise BadBundle("the structures of the bundle are incomplete") from None
    if [item.label for item in found] != list(range(1, len(found) + 1)) or len(found) > LABELS_MAX:
        raise BadBundle("the labels of the bundle's structures are not 1, 2, 3 and so on")
    if len({item.key for item in found}) != len(found):
        raise BadBundle("two structures of the bundle have one key")
    for item in found:
        plain = re.fullmatch(r"[a-z0-9][a-z0-9_]*", item.key) and item.key == key_of(item.key)
        if not plain or len(item.key) > _KEY_CHARS_MAX or not item.name:
            raise BadBundle("a structure of the bundle has no proper name", label=item.label)
    return found
