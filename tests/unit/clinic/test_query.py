"""QIDO-RS queries: parsed, and refused where they are not understood."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bithive import limits
from clinic.attributes import Level
from clinic.errors import BadQuery
from clinic.instance import SeriesRow, StudyRow
from clinic.query import Found, Kind, Query, by_uid, parse, to_json

OURS = "ins_00000000000000000000000001"


@pytest.mark.parametrize(
    "parameter",
    [
        ("Nonsense", "1"),
        ("00000000", "1"),
        ("00091001", "1"),
        ("99999999", "1"),
        ("0010002", "1"),
        ("PatientWeight", "75"),
        ("SeriesInstanceUID", "1.2"),
        ("SOPInstanceUID", "1.2"),
        ("StudyDate", "2024"),
        ("StudyDate", "20240101-2024"),
        ("StudyDate", "-"),
        ("StudyTime", "1"),
        ("StudyInstanceUID", "1.2;3"),
        ("StudyInstanceUID", "1.2,*"),
        ("limit", "-1"),
        ("limit", "x"),
        ("limit", "\u0661"),
        ("offset", "1" * 10),
        ("includefield", "Nonsense"),
        ("fuzzymatching", "maybe"),
        ("PatientName", "*" * 17),
        ("PatientName", "a" * 257),
        ("patient name", "x"),
    ],
)
def test_what_is_refused(parameter):
    with pytest.raises(BadQuery):
        parse(Level.STUDY, [parameter])


def test_refusals_never_quote_a_value():
    with pytest.raises(BadQuery) as caught:
        parse(Level.STUDY, [("StudyDate", "DOE^JANE")])
    assert "DOE" not in str(caught.value)
    assert "DOE" not in str(caught.value.context)


def test_numbers_are_numbers():
    with pytest.raises(BadQuery):
        parse(Level.INSTANCE, [("InstanceNumber", "x")])
    (match,) = parse(Level.INSTANCE, [("InstanceNumber", " 7 ")]).matches
    assert match.values == (7,)


def test_tags_and_keywords_mean_the_same():
    assert parse(Level.STUDY, [("0020000d", "1.2")]) == parse(Level.STUDY, [("StudyInstanceUID", "1.2")])


@pytest.mark.parametrize("value", ["", "*"])
def test_universal_matching_is_no_condition(value):
    assert parse(Level.STUDY, [("PatientName", value), ("StudyDate", value)]).matches == ()


def test_the_path_narrows_the_query():
    query = parse(Level.INSTANCE, [("Modality", "MR")], by_uid("1.2", "1.2.3"))
    assert [match.attribute.keyword for match in query.matches] == ["StudyInstanceUID", "SeriesInstanceUID", "Modality"]


def test_pages():
    query = parse(Level.STUDY, [])
    assert (query.limit, query.offset, query.capped) == (limits.QUERY_RESULTS_MAX, 0, True)
    query = parse(Level.STUDY, [("limit", "10"), ("offset", "20")])
    assert (query.limit, query.offset, query.capped) == (10, 20, False)
    query = parse(Level.STUDY, [("limit", "999999")])
    assert (query.limit, query.capped) == (limits.QUERY_RESULTS_MAX, True)


def test_fuzzy_matching_is_declined_aloud():
    assert parse(Level.STUDY, [("fuzzymatching", "false")]).notes == ()
    assert len(parse(Level.STUDY, [("fuzzymatching", "true")]).notes) == 1


def test_kinds_of_matching():
    query = parse(
        Level.SERIES,
        [
            ("PatientName", "DOE^*"),
            ("PatientID", "X"),
            ("StudyDate", "20240101-20240201"),
            ("StudyTime", "10-"),
            ("ModalitiesInStudy", "CT,MR"),
            ("SeriesInstanceUID", "1.2,1.3"),
        ],
    )
    assert [match.kind for match in query.matches] == [
        Kind.PATTERN,
        Kind.EQUAL,
        Kind.RANGE,
        Kind.RANGE,
        Kind.CONTAINS,
        Kind.ANY_OF,
    ]
    name, _, dates, times, modalities, _ = query.matches
    assert name.accepts("doe^jane")
    assert not name.accepts(None)
    assert dates.accepts("20240201")
    assert not dates.accepts("")
    assert times.accepts("235959.99")
    assert modalities.accepts(("MR", "SEG"))


def test_answers_hold_what_is_required_and_what_was_asked_for():
    attributes = {
        "00080005": {"vr": "CS", "Value": ["ISO_IR 192"]},
        "00100020": {"vr": "LO", "Value": ["P1"]},
        "00101030": {"vr": "DS", "Value": [75.0]},
    }
    study = StudyRow(OURS, "1.2", "P1", "", attributes, ("MR", "SEG"), 2, 5, 0, 0)
    answer = to_json(Found(study), Query())
    assert answer["00080061"]["Value"] == ["MR", "SEG"]
    assert (answer["00201206"]["Value"], answer["00201208"]["Value"]) == ([2], [5])
    assert answer["00100010"] == {"vr": "PN"}
    assert "00101030" not in answer
    assert list(answer) == sorted(answer)
    weight = parse(Level.STUDY, [("includefield", "PatientWeight,00080005")])
    assert to_json(Found(study), weight)["00101030"]["Value"] == [75.0]
    everything = parse(Level.STUDY, [("includefield", "all")])
    assert "00101030" in to_json(Found(study), everything)
    series = SeriesRow(OURS, "1.2", "1.2.1", {"00080060": {"vr": "CS", "Value": ["MR"]}}, 4)
    answer = to_json(Found(study, series), Query())
    assert (answer["0020000E"]["Value"], answer["00201209"]["Value"]) == (["1.2.1"], [4])
    assert to_json(Found(replace(study, modalities=())), Query())["00080061"] == {"vr": "CS"}
