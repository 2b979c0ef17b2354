"""QIDO-RS queries (PS3.18 section 8.3.4, matching as PS3.4 section C.2.2.2): parsed, matched, answered.

The parser refuses what it does not know rather than answer more than was asked for. `Match.accepts` is the meaning of a
match; the SQL store translates the same kinds.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import translate
from functools import lru_cache
from typing import Any

from pydicom.datadict import dictionary_has_tag, tag_for_keyword

from bithive import limits
from clinic.attributes import BY_TAG, INDEXED, Attribute, Level
from clinic.errors import BadQuery
from clinic.instance import Header, InstanceRow, SeriesRow, StudyRow, is_uid

_DATE = re.compile(r"\d{8}")
_TIME = re.compile(r"\d{2}(\d{2}(\d{2}(\.\d{1,6})?)?)?")
_TAG = re.compile(r"[0-9A-Fa-f]{8}")
_END_OF_RANGE = "~"
_UIDS_MAX = 1000
_PATTERN_CHARACTERS_MAX = 256
_WILDCARDS_MAX = 16


class Kind(StrEnum):
    """How a value is matched."""

    EQUAL = "equal"
    ANY_OF = "any of"
    PATTERN = "pattern"
    RANGE = "range"
    CONTAINS = "contains"


@dataclass(frozen=True, slots=True)
class Match:
    """One condition.

    Attributes
    ----------
    attribute
        What is looked at.
    kind
        How.
    values
        EQUAL: one; ANY_OF: several; PATTERN: one with `*` and `?`; RANGE: lowest and highest, as sortable texts, an
        empty one for an open end; CONTAINS: patterns, one of which some member of a list has to meet.
    """

    attribute: Attribute
    kind: Kind
    values: tuple[Any, ...]

    def accepts(self, value: Any) -> bool:
        """Whether a value of the index meets the condition."""
        if self.kind is Kind.RANGE:
            low, high = self.values
            return bool(value) and low <= value and (not high or value <= high)
        if self.kind is Kind.PATTERN:
            return _matcher(self.values[0])(value or "") is not None
        if self.kind is Kind.CONTAINS:
            return any(_matcher(pattern)(member) for member in value for pattern in self.values)
        return value in self.values


@dataclass(frozen=True, slots=True)
class Query:
    """What is searched for.

    Attributes
    ----------
    matches
        All of them have to be met.
    limit, offset
        Which part of the answer; None for all of it.
    include
        Further tags wanted in the answer, or None for every one that is kept.
    capped
        Whether the limit is ours and not the asker's.
    notes
        Sentences for the answer's Warning header.
    """

    matches: tuple[Match, ...] = ()
    limit: int | None = None
    offset: int = 0
    include: frozenset[str] | None = frozenset()
    capped: bool = False
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Found:
    """One answer: the rows from the study down to the level that was searched."""

    study: StudyRow
    series: SeriesRow | None = None
    instance: InstanceRow | None = None


def by_uid(study_uid: str | None = None, series_uid: str | None = None, sop_uid: str | None = None) -> Query:
    """Everything of a study, a series or an instance."""
    uids = (("0020000D", study_uid), ("0020000E", series_uid), ("00080018", sop_uid))
    return Query(tuple(Match(BY_TAG[tag], Kind.EQUAL, (uid,)) for tag, uid in uids if uid is not None))


def parse(level: Level, parameters: Iterable[tuple[str, str]], scope: Query | None = None) -> Query:
    """Read the query of a request.

    Parameters
    ----------
    level
        What is searched.
    parameters
        Names and values, decoded. Names are tags or keywords, or `limit`, `offset`, `includefield`, `fuzzymatching`.
    scope
        Conditions that the path adds (`by_uid`).

    Raises
    ------
    BadQuery
        If a parameter is unknown, cannot be matched on this level, or is malformed.
    """
    matches = list(scope.matches) if scope else []
    wanted, offset, notes = limits.QUERY_RESULTS_MAX + 1, 0, []
    include: set[str] | None = set()
    for name, value in parameters:
        if name == "limit":
            wanted = _count(name, value)
        elif name == "offset":
            offset = _count(name, value)
        elif name == "includefield":
            include = _included(include, value)
        elif name == "fuzzymatching":
            if value not in {"true", "false"}:
                raise BadQuery("fuzzymatching is true or false", parameter=name)
            if value == "true":
                notes.append("The fuzzymatching parameter is not supported. Only literal matching has been performed.")
        elif name == "accept":
            continue
        else:
            matches.extend(_match(_attribute(name, level), value))
    capped = wanted > limits.QUERY_RESULTS_MAX
    fields = None if include is None else frozenset(include)
    return Query(tuple(matches), min(wanted, limits.QUERY_RESULTS_MAX), offset, fields, capped, tuple(notes))


def to_json(found: Found, query: Query) -> Header:
    """One answer as a data set of the DICOM JSON Model (PS3.18 section 10.6.3.3)."""
    study, series, instance = found.study, found.series, found.instance
    level = Level.INSTANCE if instance else Level.SERIES if series else Level.STUDY
    kept: Header = {
        **study.attributes,
        **(series.attributes if series else {}),
        **(instance.header if instance else {}),
    }
    answer: Header = {tag: {"vr": BY_TAG[tag].vr} for tag in _DEFAULTS[level] if tag not in kept}
    wanted = None if query.include is None else _DEFAULTS[level] | query.include | _ALWAYS
    answer.update({tag: item for tag, item in kept.items() if wanted is None or tag in wanted})
    answer["0020000D"] = {"vr": "UI", "Value": [study.study_uid]}
    answer["00080061"] = {"vr": "CS", "Value": list(study.modalities)} if study.modalities else {"vr": "CS"}
    answer["00201206"] = {"vr": "IS", "Value": [study.series]}
    answer["00201208"] = {"vr": "IS", "Value": [study.instances]}
    answer["00080056"] = {"vr": "CS", "Value": ["ONLINE"]}
    if series:
        answer["0020000E"] = {"vr": "UI", "Value": [series.series_uid]}
        answer["00201209"] = {"vr": "IS", "Value": [series.instances]}
    return dict(sorted(answer.items()))


_ALWAYS = frozenset({"00080005"})
_DEFAULTS = {
    level: frozenset(
        attribute.tag
        for attribute in INDEXED
        if attribute.level <= level and attribute.column not in {"modalities", "issuer", "protocol_name"}
    )
    for level in Level
}


def _attribute(name: str, level: Level) -> Attribute:
    tag = _tag(name)
    attribute = BY_TAG.get(tag)
    if attribute is None:
        raise BadQuery("the attribute is not one that can be matched", parameter=tag)
    if attribute.level > level:
        raise BadQuery("the attribute is not of the level that is searched", parameter=tag)
    return attribute


def _tag(name: str) -> str:
    if _TAG.fullmatch(name):
        tag = name.upper()
        if int(tag[3], 16) & 1 or not dictionary_has_tag(int(tag, 16)):
            raise BadQuery("there is no such attribute", parameter=tag)
        return tag
    number = tag_for_keyword(name) if name.isidentifier() else None
    if number is None:
        raise BadQuery("there is no such attribute or parameter")
    return f"{number:08X}"


def _count(name: str, value: str) -> int:
    if not (value.isascii() and value.isdecimal() and len(value) <= 9):
        raise BadQuery("it is a whole number, 0 or above", parameter=name)
    return int(value)


def _included(include: set[str] | None, value: str) -> set[str] | None:
    if value == "all" or include is None:
        return None
    return include | {_tag(name) for name in value.split(",") if name}


def _match(attribute: Attribute, value: str) -> list[Match]:
    """The condition of one parameter; none at all for an empty value (universal matching)."""
    if not value or value == "*":
        return []
    if len(value) > _PATTERN_CHARACTERS_MAX and attribute.vr != "UI":
        raise BadQuery("the value is too long", parameter=attribute.tag)
    return [_MATCHERS.get(attribute.vr, _text)(attribute, value)]


def _uids(attribute: Attribute, value: str) -> Match:
    uids = tuple(re.split(r"[,\\]", value))
    if not all(is_uid(uid) for uid in uids) or len(uids) > _UIDS_MAX:
        raise BadQuery("it is a list of UIDs, separated by commas", parameter=attribute.tag)
    return Match(attribute, Kind.ANY_OF, uids)


def _span(attribute: Attribute, value: str) -> Match:
    form = _DATE if attribute.vr == "DA" else _TIME
    low, dash, high = value.partition("-")
    bounds = (low, high) if dash else (low,)
    if not any(bounds) or not all(not bound or form.fullmatch(bound) for bound in bounds):
        raise BadQuery("it is a date or time, or a range of them", parameter=attribute.tag)
    if not dash and attribute.vr == "DA":
        return Match(attribute, Kind.EQUAL, (low,))
    if not dash:
        return Match(attribute, Kind.RANGE, (low, low + _END_OF_RANGE))
    return Match(attribute, Kind.RANGE, (low, high + _END_OF_RANGE if high else ""))


def _number(attribute: Attribute, value: str) -> Match:
    text = value.strip()
    if not re.fullmatch(r"-?\d{1,9}", text):
        raise BadQuery("it is a whole number", parameter=attribute.tag)
    return Match(attribute, Kind.EQUAL, (int(text),))


def _text(attribute: Attribute, value: str) -> Match:
    text = value.casefold() if attribute.vr == "PN" else value
    if text.count("*") + text.count("?") > _WILDCARDS_MAX:
        raise BadQuery("there are too many wildcards", parameter=attribute.tag)
    if attribute.column == "modalities":
        return Match(attribute, Kind.CONTAINS, tuple(part for part in re.split(r"[,\\]", text) if part))
    return Match(attribute, Kind.PATTERN if "*" in text or "?" in text else Kind.EQUAL, (text,))


_MATCHERS = {"UI": _uids, "DA": _span, "TM": _span, "IS": _number, "US": _number}


@lru_cache(maxsize=256)
def _matcher(pattern: str) -> Any:
    return re.compile(translate(pattern.replace("[", "[[]"))).match
