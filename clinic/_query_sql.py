"""QIDO-RS conditions in SQL: the same kinds that `clinic.query.Match.accepts` means."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Table, and_, exists, or_, select

from clinic.attributes import Level
from clinic.query import Kind, Match
from clinic.tables_archive_sql import INSTANCES, SERIES, STUDIES

_TABLES = {Level.STUDY: STUDIES, Level.SERIES: SERIES, Level.INSTANCE: INSTANCES}
_LIKE = str.maketrans({"%": r"\%", "_": r"\_", "\\": r"\\", "*": "%", "?": "_"})
_OTHERS = SERIES.alias("others")


def condition(match: Match, searched: Table, *, sqlite: bool) -> ColumnElement[bool]:
    """One condition as a clause.

    Parameters
    ----------
    match
        What has to be met.
    searched
        The table of the level that is searched.
    sqlite
        Whether the database is SQLite: `GLOB` there, `LIKE` elsewhere.
    """
    if match.kind is Kind.CONTAINS:
        same_study = (_OTHERS.c.institution == searched.c.institution, _OTHERS.c.study_uid == searched.c.study_uid)
        some = select(1).where(*same_study, _patterns(_OTHERS.c.modality, match.values, sqlite=sqlite))
        return exists(some.correlate(searched))
    column = _column(match, searched)
    clause: ColumnElement[bool] = column.in_(match.values)
    if match.kind is Kind.RANGE:
        low, high = match.values
        return and_(column != "", column >= low, *([column <= high] if high else []))
    if match.kind is Kind.PATTERN:
        return _patterns(column, match.values, sqlite=sqlite)
    return clause


def _column(match: Match, searched: Table) -> Any:
    """The searched table's own column where it has one, so that its indexes are used."""
    name = match.attribute.column
    if name in {"study_uid", "series_uid"} and name in searched.c:
        return searched.c[name]
    return _TABLES[match.attribute.level].c[name]


def _patterns(column: Any, patterns: Sequence[str], *, sqlite: bool) -> ColumnElement[bool]:
    if sqlite:
        return or_(*(column.op("GLOB", is_comparison=True)(pattern.replace("[", "[[]")) for pattern in patterns))
    return or_(*(column.like(pattern.translate(_LIKE), escape="\\") for pattern in patterns))
