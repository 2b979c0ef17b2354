"""The licence of a bundle's weights as an SPDX identifier, and whether it lets a bundle be matched with patients' images.

A licence that is not recognised is `unknown`, which no default accepts: somebody has to read it and say so in
`BITHIVE_MODELS__LICENCES`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Protocol

from bithive.settings import ModelSettings

UNKNOWN = "unknown"
PERMISSIVE = ModelSettings().licences

_TEXT_BYTES_MAX = 256 * 1024
_FILES = ("LICENSE", "LICENSE.txt", "LICENSE.md", "LICENCE", "docs/license.txt", "docs/LICENSE", "license.txt")

# What a text must say to be that licence, the more specific first: each pattern must be found.
_TEXTS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("CC-BY-NC-SA-4.0", (r"attribution-noncommercial-sharealike 4\.0|cc by-nc-sa 4\.0",)),
    ("CC-BY-NC-4.0", (r"attribution-noncommercial 4\.0|cc by-nc 4\.0",)),
    ("CC-BY-SA-4.0", (r"attribution-sharealike 4\.0|cc by-sa 4\.0",)),
    ("CC-BY-4.0", (r"attribution 4\.0 international|cc by 4\.0",)),
    ("CC0-1.0", (r"cc0 1\.0 universal",)),
    ("PDDL-1.0", (r"public domain dedication (?:and|&) licen[cs]e|pddl",)),
    ("Apache-2.0", (r"apache licen[cs]e", r"version 2\.0")),
    ("AGPL-3.0-only", (r"gnu affero general public licen[cs]e", r"version 3")),
    ("LGPL-3.0-only", (r"gnu lesser general public licen[cs]e", r"version 3")),
    ("GPL-3.0-only", (r"gnu general public licen[cs]e", r"version 3")),
    ("GPL-2.0-only", (r"gnu general public licen[cs]e", r"version 2")),
    ("MPL-2.0", (r"mozilla public licen[cs]e", r"2\.0")),
    ("MIT", (r"permission is hereby granted, free of charge", r"the software is provided \W?as is")),
    ("BSD-3-Clause", (r"redistribution and use in source and binary forms", r"neither the name")),
    ("BSD-2-Clause", (r"redistribution and use in source and binary forms",)),
    ("ISC", (r"permission to use, copy, modify, and(?:/or)? distribute this software",)),
)
_NAMES: Mapping[str, str] = {
    "apache 2.0": "Apache-2.0",
    "apache license 2.0": "Apache-2.0",
    "apache license, version 2.0": "Apache-2.0",
    "apache-2": "Apache-2.0",
    "mit license": "MIT",
    "bsd 3-clause": "BSD-3-Clause",
    "bsd 2-clause": "BSD-2-Clause",
    "cc by 4.0": "CC-BY-4.0",
    "cc-by 4.0": "CC-BY-4.0",
    "cc by-nc 4.0": "CC-BY-NC-4.0",
    "cc by-nc-sa 4.0": "CC-BY-NC-SA-4.0",
    "cc0": "CC0-1.0",
}
_KNOWN = {identifier.lower(): identifier for identifier in (*PERMISSIVE, *(name for name, _ in _TEXTS))}
# A permissive frame around a restriction is not permissive.
_RESTRICTIONS = re.compile(r"non-?commercial (?:use|purposes?|research)|research (?:use )?only|not for commercial")


class Licensed(Protocol):
    """What has a licence: a Bundle."""

    @property
    def licence(self) -> str:
        """SPDX identifier, or `unknown`."""


def accepted(bundle: Licensed, licences: Collection[str]) -> bool:
    """Whether a bundle may be matched with studies.

    Parameters
    ----------
    bundle
        Whose weights' licence counts.
    licences
        SPDX identifiers that the operator accepts (`settings.models.licences`), in any case.
    """
    return bundle.licence.lower() in {licence.lower() for licence in licences}


def spdx(text: str) -> str:
    """The SPDX identifier of a name as people write it, or of a whole licence's text; `unknown` if neither.

    A text that restricts its use beyond the licence that it quotes is `unknown`.
    """
    plain = " ".join(text.lower().split())
    named = _KNOWN.get(plain) or _NAMES.get(plain.rstrip("."))
    if named:
        return named
    for identifier, patterns in _TEXTS:
        if all(re.search(pattern, plain) for pattern in patterns):
            return UNKNOWN if identifier in PERMISSIVE and _RESTRICTIONS.search(plain) else identifier
    return UNKNOWN


def of_bundle(folder: Path, metadata: Mapping[str, Any]) -> str:
    """The licence of a bundle's weights: what its metadata names, or else what its licence file is."""
    declared = metadata.get("license") or metadata.get("licence") or ""
    if isinstance(declared, Mapping):
        declared = declared.get("weights", "")
    found = spdx(str(declared)) if declared else UNKNOWN
    if found != UNKNOWN:
        return found
    for name in _FILES:
        path = folder / name
        if path.is_file() and not path.is_symlink():
            with path.open("rb") as file:
                return spdx(file.read(_TEXT_BYTES_MAX).decode("utf-8", "replace"))
    return UNKNOWN
