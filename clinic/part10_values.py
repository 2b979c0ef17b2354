"""Element values, from bytes to the DICOM JSON Model (PS3.5 section 6.2, PS3.18 Annex F.2)."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from typing import Any

from pydicom.charset import decode_bytes, python_encoding
from pydicom.datadict import dictionary_VR

LONG_FORM = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"})
BINARY = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN"})

_NUMBERS = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "UV": "Q", "SV": "q", "FL": "f", "FD": "d"}
_CODES = frozenset({"AE", "AS", "CS", "DA", "DT", "TM", "UI"})
_ONE_TEXT = frozenset({"LT", "ST", "UT"})
_DELIMITERS = {"PN": {0xD, 0xA, 0x9, 0xC, 0x5E, 0x3D, 0x5C}}
_TEXT_DELIMITERS = {0xD, 0xA, 0x9, 0xC, 0x5C}
_PAD = "\x00 "

_vr_of: dict[int, str] = {}


def known_vr(tag: int) -> str:
    """The VR of an element as implicit VR needs it: from the data dictionary, UN when it is not in there."""
    vr = _vr_of.get(tag)
    if vr is not None:
        return vr
    if tag >> 16 & 1:
        return "LO" if 0x10 <= tag & 0xFFFF <= 0xFF else "UN"
    try:
        vr = dictionary_VR(tag)
    except KeyError:
        return "UN"
    _vr_of[tag] = str(vr)
    return _vr_of[tag]


def settle_vr(tag: int, vr: str, *, signed: bool) -> str:
    """One VR where the dictionary leaves a choice (PS3.5 A.1)."""
    if len(vr) == 2:
        return vr
    if vr == "US or SS":
        return "SS" if signed else "US"
    return "OW" if tag != 0x54000110 else "OB"


def read_value(vr: str, raw: bytes, order: str, charset: tuple[str, ...]) -> list[Any]:
    """The values of an element that is neither binary nor a sequence.

    Parameters
    ----------
    vr
        Its value representation.
    raw
        Its bytes.
    order
        "<" or ">".
    charset
        Specific Character Set (0008,0005), one term a value.
    """
    form = _NUMBERS.get(vr)
    if form is not None:
        return _numbers(form, raw, order)
    if vr == "AT":
        return [f"{group:04X}{number:04X}" for group, number in struct.iter_unpack(order + "HH", raw[: len(raw) & ~3])]
    return _READERS.get(vr, _texts)(vr, raw, charset)


def _numbers(form: str, raw: bytes, order: str) -> list[Any]:
    size = struct.calcsize(form)
    values = struct.unpack_from(f"{order}{len(raw) // size}{form}", raw)
    if form in "fd":
        return [value if math.isfinite(value) else _spell(value) for value in values]
    return list(values)


def _spell(value: float) -> str:
    return "NaN" if math.isnan(value) else "inf" if value > 0 else "-inf"


def _texts(vr: str, raw: bytes, charset: tuple[str, ...]) -> list[Any]:
    text = _decode(vr, raw, charset).rstrip(_PAD)
    if not text:
        return []
    if vr in _ONE_TEXT:
        return [text]
    return [part.rstrip(_PAD) or None for part in text.split("\\")]


def _codes(_vr: str, raw: bytes, _charset: tuple[str, ...]) -> list[Any]:
    text = raw.decode("latin-1").strip(_PAD)
    if not text:
        return []
    return [part.strip(_PAD) or None for part in text.split("\\")] if "\\" in text else [text]


def _address(_vr: str, raw: bytes, _charset: tuple[str, ...]) -> list[Any]:
    text = raw.decode("latin-1").rstrip(_PAD)
    return [text] if text else []


def _decimals(vr: str, raw: bytes, _charset: tuple[str, ...]) -> list[Any]:
    text = raw.decode("latin-1").strip(_PAD)
    if not text:
        return []
    number: Callable[[str], int | float] = int if vr == "IS" else float
    try:
        values = [number(part) if part.strip() else None for part in text.split("\\")]
    except ValueError:
        return _codes(vr, raw, ())
    if "_" in text or any(isinstance(value, float) and not math.isfinite(value) for value in values):
        return _codes(vr, raw, ())
    return values


def _names(vr: str, raw: bytes, charset: tuple[str, ...]) -> list[Any]:
    """Person names as their component groups (PS3.18 F.2.2)."""
    found: list[Any] = []
    text = _decode(vr, raw, charset).strip(_PAD)
    for name in text.split("\\") if text else ():
        groups = zip(("Alphabetic", "Ideographic", "Phonetic"), name.split("="), strict=False)
        found.append({key: group.strip(_PAD) for key, group in groups if group.strip(_PAD)} or None)
    return found


def _decode(vr: str, raw: bytes, charset: tuple[str, ...]) -> str:
    if raw.isascii() and b"\x1b" not in raw:
        return raw.decode("ascii")
    codecs = [python_encoding.get(term) for term in charset] or ["iso8859"]
    if len(codecs) == 1 and b"\x1b" not in raw:
        return raw.decode(codecs[0] or "iso8859", "replace")
    try:
        text: str = decode_bytes(raw, [codec or "iso8859" for codec in codecs], _DELIMITERS.get(vr, _TEXT_DELIMITERS))
    except (LookupError, UnicodeError, Warning):
        return raw.decode(codecs[0] or "iso8859", "replace")
    return text


_READERS: dict[str, Callable[[str, bytes, tuple[str, ...]], list[Any]]] = {
    **dict.fromkeys(_CODES, _codes),
    "DS": _decimals,
    "IS": _decimals,
    "PN": _names,
    "UR": _address,
}
