"""Texts of others, made fit for a DICOM object in the default character set."""

from __future__ import annotations

import unicodedata
from typing import Any


def plain(text: Any, chars: int) -> str:
    """One line of printable ASCII without a backslash (PS3.5 6.2, LO); empty when it is no text.

    Parameters
    ----------
    text
        Whatever was declared.
    chars
        The most that are kept.
    """
    if not isinstance(text, str):
        return ""
    spelled = unicodedata.normalize("NFKD", text[: 4 * chars]).replace("\\", "/").encode("ascii", "ignore").decode()
    line = " ".join("".join(char if char.isprintable() else " " for char in spelled).split())
    return line[:chars].strip()
