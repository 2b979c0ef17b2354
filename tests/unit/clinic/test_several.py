from types import SimpleNamespace

import pytest

from clinic import refusals
from clinic.several import TELLS, differences, single


def image(**members):
    return SimpleNamespace(attributes={tag: {"vr": "DS", "Value": [value]} for tag, value in members.items()})


def groups(*counts, **members):
    return [
        [image(**{name: each[number] for name, each in members.items()}) for number in range(count)] for count in counts
    ]


ECHO, INSTANCE = "00180081", "00200013"


def test_one_of_each_group_is_kept():
    given = groups(1, 2, 1)
    assert single(given, lambda _one, _other: True) == [group[0] for group in given]


def test_what_the_header_tells_apart_is_never_the_same():
    with pytest.raises(refusals.SeveralVolumes) as refusal:
        single(groups(2, 2, **{ECHO: (4, 8)}), lambda _one, _other: True)
    assert refusal.value.context == {"count": 2, "by": "Echo Time"}
    assert "Echo Time" in refusal.value.detail


def test_pixels_are_not_read_where_the_header_suffices():
    def same(_one, _other):
        raise AssertionError

    with pytest.raises(refusals.SeveralVolumes):
        single(groups(2, 2, **{ECHO: (4, 8)}), same)


def test_few_doubled_positions_are_duplicates():
    with pytest.raises(refusals.DuplicatePositions):
        single(groups(1, 1, 2, 1, **{ECHO: (4, 8)}), lambda _one, _other: True)


def test_what_only_counts_images_is_named_last():
    with pytest.raises(refusals.SeveralVolumes) as refusal:
        single(groups(3, 3, **{INSTANCE: (1, 2, 3)}), lambda _one, _other: False)
    assert refusal.value.context == {"count": 3, "by": "Instance Number"}
    with pytest.raises(refusals.DuplicatePositions):
        single(groups(2, 2), lambda _one, _other: False)


def test_at_most_three_are_named():
    tells = list(TELLS)[:5]
    with pytest.raises(refusals.SeveralVolumes) as refusal:
        single(groups(2, 2, **dict.fromkeys(tells, (1, 2))), lambda _one, _other: True)
    assert refusal.value.context["by"].count(",") == 2


def test_an_absent_value_differs_from_a_present_one():
    assert differences({}, {ECHO: {"vr": "DS", "Value": [4]}}, TELLS) == ["Echo Time"]
    assert differences({}, {ECHO: {"vr": "DS"}}, TELLS) == []
