import pytest

from clinic import elements

HEADER = {
    "00100010": {"vr": "PN", "Value": [{"Alphabetic": "A^B", "Ideographic": "x"}]},
    "00080060": {"vr": "CS", "Value": [" MR "]},
    "00280030": {"vr": "DS", "Value": [0.5, "0.25"]},
    "00280010": {"vr": "US", "Value": [12]},
    "00080050": {"vr": "SH"},
    "00080008": {"vr": "CS", "Value": ["A", None, "B"]},
    "00200032": {"vr": "DS", "Value": [1, "nan", 3]},
    "00200037": {"vr": "DS", "Value": ["one"]},
    "00200013": {"vr": "IS", "Value": [1.5]},
    "00420011": {"vr": "OB", "BulkDataURI": "bulkdata/00420011"},
    "00081110": "not an element",
}


def test_text_of_names_blanks_and_nothing():
    assert elements.text(HEADER, "00100010") == "A^B"
    assert elements.text(HEADER, "00080060") == "MR"
    assert elements.text(HEADER, "00080050") == elements.text(HEADER, "FFFFFFFF") == ""
    assert elements.text(HEADER, "00420011") == elements.text(HEADER, "00081110") == ""


def test_values_leave_out_what_is_null():
    assert elements.values(HEADER, "00080008") == ["A", "B"]


@pytest.mark.parametrize("tag", ["00200032", "00200037", "00080050", "FFFFFFFF"])
def test_numbers_are_finite_numbers_or_none_at_all(tag):
    assert elements.numbers(HEADER, tag) == []
    assert elements.number(HEADER, tag) is None


def test_numbers_and_integers():
    assert elements.numbers(HEADER, "00280030") == [0.5, 0.25]
    assert elements.number(HEADER, "00280030") == 0.5
    assert elements.integer(HEADER, "00280010") == 12
    assert elements.integer(HEADER, "00200013") == elements.integer(HEADER, "00080050") == 0
