import re

from pipelines import words


def test_a_word_is_not_found_inside_a_longer_one():
    found = words.any_of("hip", r"abd\w*")
    assert [text for text in ("hip", "left hip 3mm", "abdomen", "hip2") if not found.search(text)] == []
    assert [text for text in ("chip", "hippo", "xabdomen", "") if found.search(text)] == []


def test_no_word_at_all():
    assert not words.any_of().search("anything")
    assert not words.NOTHING.search("anything")
    assert words.EVERYTHING.search("")


def test_one_that_stands_wherever():
    assert words.any_of(*words.CONTRAST, alone=words.CONTRAST_ALONE).search("t1+c")


def test_another_word_counts_only_without_an_own_one():
    found = words.any_but((r"chest",), (r"abd\w*",))
    assert found.search("ct chest")
    assert not found.search("ct chest abdomen")
    assert not found.search("abd chest")
    assert not found.search("ct\nabdomen\nchest")
    assert words.any_but(("chest",), ()).search("chest")


def test_groups_are_joined_without_those_left_out():
    groups = {"a": ("1", "2"), "b": ("3",)}
    assert words.joined(groups) == ("1", "2", "3")
    assert words.joined(groups, without=("a",)) == ("3",)


def test_every_pattern_is_one_and_written_for_lower_case():
    tables = (
        words.T1_WEIGHTED, words.T2_WEIGHTED, words.FLAIR, words.TRUNK, words.SURVEYS, words.CT_SURVEYS, words.COMPUTED,
        words.MR_COMPUTED, words.CT_COMPUTED, words.CONTRAST, words.joined(words.CONTRARY), words.joined(words.ANATOMY),
    )  # fmt: skip
    for table in tables:
        assert len(set(table)) == len(table)
        for pattern in table:
            re.compile(pattern)
            assert pattern == pattern.replace(r"\W", "").lower() or r"\W" in pattern


def test_descriptions_of_ct_as_scanners_write_them():
    derived = words.any_of(*words.SURVEYS, *words.CT_SURVEYS, *words.COMPUTED, *words.CT_COMPUTED)
    shown = "abd pv 3.0 b30f|thorax 1.0 lung|low dose chest|cap 5.0|liver arterial|routine|nativ 5mm|bone plus"
    other = "topogram 0.6 t20f|scout|premonitoring|monitoring|test bolus|dose report|mpr cor|mip tra|vrt|iodine map|perfusion"
    assert [text for text in shown.split("|") if derived.search(text)] == []
    assert [text for text in other.split("|") if not derived.search(text)] == []
