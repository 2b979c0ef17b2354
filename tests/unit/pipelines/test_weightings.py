import pytest

from pipelines.weightings import ANY, FLAIR, T1, T2, WEIGHTINGS


@pytest.mark.parametrize(
    ("weighting", "shown", "contrary"),
    [
        (T1, "t1|mprage|bravo|t1w", "t2|flair|dwi|swi|tof|stir"),
        (T2, "t2|t2w|t2 tse|3d t2 space|t2_tse_tra".replace("_", " "), "t1|flair|dwi|swi|mprage|stir|pd"),
        (FLAIR, "flair|t2 flair|dark fluid|t2 darkfluid|3d flair", "t1|dwi|swi|mprage"),
        (ANY, "t1|t2|flair|anything|", "dwi|swi|bold|tof|perf|mrs|field map|b1000"),
    ],
)
def test_words(weighting, shown, contrary):
    assert [text for text in shown.split("|") if not weighting.shown_by_words.search(text)] == []
    assert [text for text in shown.split("|") if weighting.contrary_words.search(text)] == []
    assert [text for text in contrary.split("|") if not weighting.contrary_words.search(text)] == []


def test_t2_star_is_not_t2():
    assert not T2.shown_by_words.search("t2* gre")
    assert not T2.shown_by_words.search("t2 star")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("from t1w mri image", {"T1"}),
        ("t1-weighted", {"T1"}),
        ("t2 images", {"T2"}),
        ("flair", {"FLAIR"}),
        ("t2-flair", {"FLAIR", "T2"}),
        ("t1, t2, flair", {"T1", "T2", "FLAIR"}),
        ("st1 t12 mri2", set()),
        ("", set()),
    ],
)
def test_how_metadata_names_a_weighting(text, names):
    assert {name for name, (pattern, _) in WEIGHTINGS.items() if pattern.search(text)} == names
