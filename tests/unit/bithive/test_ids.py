import pytest

from bithive.clock import ManualClock
from bithive.ids import PREFIXES, RandomIds, SeededIds, is_id


@pytest.mark.parametrize("prefix", sorted(PREFIXES))
def test_every_kind_has_the_same_form(prefix):
    made = RandomIds(ManualClock()).new(prefix)
    assert is_id(made, prefix)
    assert len(made) == 30


def test_they_sort_by_age():
    clock = ManualClock()
    ids = RandomIds(clock)
    made = []
    for _ in range(50):
        made.append(ids.new("off"))
        clock.advance_s(0.001)
    assert made == sorted(made)


def test_ten_thousand_differ():
    ids = RandomIds(ManualClock())
    assert len({ids.new("att") for _ in range(10_000)}) == 10_000


def test_a_seed_repeats_them():
    first, second = (SeededIds(7, ManualClock()) for _ in range(2))
    assert [first.new("wit"), first.token()] == [second.new("wit"), second.token()]
    assert SeededIds(8, ManualClock()).new("wit") != SeededIds(7, ManualClock()).new("wit")


def test_an_unknown_kind_is_our_bug():
    with pytest.raises(AssertionError):
        RandomIds(ManualClock()).new("xyz")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "off",
        "off_",
        "off_" + "0" * 25,
        "off_" + "0" * 27,
        "off_" + "I" * 26,
        "off_" + "a" * 26,
        "att_" + "0" * 26,
        "off_" + "0" * 25 + "\n",
        "off_" + "../" * 8 + "00",
    ],
)
def test_what_is_not_an_id(text):
    assert not is_id(text, "off")


def test_tokens_have_the_size_asked_for():
    assert [len(RandomIds(ManualClock()).token(size)) for size in (16, 32)] == [16, 32]
