"""How single values of a pipeline's file are read: each reader gives the value or says the line and what it expects."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

from pipelines import words
from pipelines.errors import PipelineFileRefused
from pipelines.file_text import Written
from pipelines.outputs import Code
from pipelines.plain import plain

Reader = Callable[[Written, str], Any]
"""From what is written and what it is called to its value. Raises `PipelineFileRefused`."""

_WORDS_MAX, _WORD_CHARS_MAX = 60, 64
_SCHEME = re.compile(r"DCM|FMA|99[A-Z0-9_]{1,14}")
_SCT = re.compile(r"[1-9][0-9]{5,15}")
_CODE_STRING = re.compile(r"[A-Z0-9_ ]{1,16}")


def refused(item: Written, at: str, wanted: str) -> PipelineFileRefused:
    """What to raise of a value."""
    return PipelineFileRefused(f"{at}: {wanted}", line=item.line)


def members(item: Written, at: str, known: Mapping[str, Reader], needed: Collection[str] = ()) -> dict[str, Any]:
    """A mapping of known members. Raises `PipelineFileRefused` for one that is not known, or is needed and absent."""
    if not isinstance(item.value, dict):
        raise refused(item, at, "names with values are expected")
    prefix = f"{at}." if at != "file" else ""
    for name, inner in item.value.items():
        if name not in known:
            raise refused(inner, f"{prefix}{name[:40]}", f"there is no such member; there are {', '.join(known)}")
    for name in needed:
        if name not in item.value:
            raise refused(item, at, f"{name} is missing")
    return {name: known[name](inner, f"{prefix}{name}") for name, inner in item.value.items()}


def text(least: int, most: int) -> Reader:
    """Text that fits a DICOM object in the default character set."""

    def read(item: Written, at: str) -> str:
        given = item.value
        value = plain(given, 4 * most)
        if not isinstance(given, str) or not least <= len(value) <= most:
            raise refused(
                item, at, f"text of {least} to {most} characters is expected, in quotes if it looks like a number"
            )
        return value

    return read


def matching(pattern: str, wanted: str) -> Reader:
    """Text of a form."""
    form = re.compile(pattern)

    def read(item: Written, at: str) -> str:
        if not isinstance(item.value, str) or not form.fullmatch(item.value):
            raise refused(item, at, wanted)
        return item.value

    return read


def one_of(*choices: str) -> Reader:
    """One of a few words."""

    def read(item: Written, at: str) -> str:
        if item.value not in choices or not isinstance(item.value, str):
            raise refused(item, at, f"one of {', '.join(choices)} is expected")
        return item.value

    return read


def number(least: float, most: float) -> Reader:
    """A number in a closed range."""

    def read(item: Written, at: str) -> float:
        given = item.value
        if isinstance(given, bool) or not isinstance(given, int | float) or not least <= given <= most:
            raise refused(item, at, f"a number from {least:g} to {most:g} is expected")
        return float(given)

    return read


def whole(least: int, most: int) -> Reader:
    """A whole number in a closed range."""

    def read(item: Written, at: str) -> int:
        given = item.value
        if isinstance(given, bool) or not isinstance(given, int) or not least <= given <= most:
            raise refused(item, at, f"a whole number from {least} to {most} is expected")
        return given

    return read


def boolean(item: Written, at: str) -> bool:
    """True or false."""
    if not isinstance(item.value, bool):
        raise refused(item, at, "true or false is expected")
    return item.value


def several(inner: Reader, least: int, most: int) -> Reader:
    """A list."""

    def read(item: Written, at: str) -> tuple[Any, ...]:
        if not isinstance(item.value, tuple) or not least <= len(item.value) <= most:
            raise refused(item, at, f"a list of {least} to {most} values is expected")
        return tuple(inner(part, f"{at}[{number_}]") for number_, part in enumerate(item.value))

    return read


def span(least: float, most: float) -> Reader:
    """Two numbers, the smaller first."""
    pair = several(number(least, most), 2, 2)

    def read(item: Written, at: str) -> tuple[float, float]:
        low, high = pair(item, at)
        if low > high:
            raise refused(item, at, "the smaller number comes first")
        return low, high

    return read


def code_strings(item: Written, at: str) -> frozenset[str]:
    """Values of DICOM's CS."""
    found = several(matching(_CODE_STRING.pattern, "capital letters, digits, blanks and _ are expected"), 1, 60)(
        item, at
    )
    return frozenset(found)


def body_parts(item: Written, at: str) -> frozenset[str]:
    """Values of Body Part Examined, as matching compares them: letters alone."""
    found = frozenset(re.sub(r"[^A-Z]", "", value) for value in code_strings(item, at))
    if "" in found:
        raise refused(item, at, "a body part has letters")
    return found


def phrases(item: Written, at: str) -> re.Pattern[str]:
    """Words and phrases of a series' name: plain text, no patterns. None of them matches inside a longer word."""
    found = several(text(1, _WORD_CHARS_MAX), 1, _WORDS_MAX)(item, at)
    spelled = [r"[ -]?".join(re.escape(part) for part in re.split(r"[\s_-]+", value.lower())) for value in found]
    return words.any_of(*spelled)


def colour(item: Written, at: str) -> tuple[int, int, int]:
    """Red, green and blue, sRGB."""
    red, green, blue = several(whole(0, 255), 3, 3)(item, at)
    return red, green, blue


def code(item: Written, at: str) -> Code:
    """A coded concept. One of SNOMED CT must be well formed; whether it means what it says, nobody here can check."""
    value = members(
        item,
        at,
        {
            "value": matching(r"[A-Za-z0-9._-]{1,16}", "up to 16 letters and digits in quotes are expected"),
            "scheme": matching(rf"SCT|{_SCHEME.pattern}", "SCT, DCM, FMA or a local scheme (99...) is expected"),
            "meaning": text(1, 64),
        },
        ("value", "scheme", "meaning"),
    )
    if value["scheme"] == "SCT" and not is_sct(value["value"]):
        raise refused(item.value["value"], f"{at}.value", "it is no identifier of SNOMED CT: a digit is wrong")
    return Code(value["value"], value["scheme"], value["meaning"])


_D5 = (
    (0, 1, 2, 3, 4, 5, 6, 7, 8, 9),
    (1, 2, 3, 4, 0, 6, 7, 8, 9, 5),
    (2, 3, 4, 0, 1, 7, 8, 9, 5, 6),
    (3, 4, 0, 1, 2, 8, 9, 5, 6, 7),
    (4, 0, 1, 2, 3, 9, 5, 6, 7, 8),
    (5, 9, 8, 7, 6, 0, 4, 3, 2, 1),
    (6, 5, 9, 8, 7, 1, 0, 4, 3, 2),
    (7, 6, 5, 9, 8, 2, 1, 0, 4, 3),
    (8, 7, 6, 5, 9, 3, 2, 1, 0, 4),
    (9, 8, 7, 6, 5, 4, 3, 2, 1, 0),
)
_PERMUTED = (1, 5, 7, 6, 2, 8, 3, 0, 9, 4)
_CONCEPTS = frozenset({"00", "10"})


def is_sct(value: str) -> bool:
    """Whether it is a concept's identifier of SNOMED CT: 6 digits or more, its partition, and Verhoeff's check digit.

    Source: SNOMED CT Release File Specifications, chapter "SCTIDs"; J. Verhoeff, Error detecting decimal codes, 1969.
    """
    if not _SCT.fullmatch(value) or value[-3:-1] not in _CONCEPTS:
        return False
    check = 0
    for place, digit in enumerate(reversed(value)):
        turned = int(digit)
        for _ in range(place % 8):
            turned = _PERMUTED[turned]
        check = _D5[check][turned]
    return check == 0
