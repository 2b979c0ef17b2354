import pytest

from models.channels import kinds_of

FOUR = {"0": "T1c", "1": "T1", "2": "T2", "3": "FLAIR"}


def image(channels, count=None, modality="MR"):
    return {"modality": modality, "num_channels": len(channels) if count is None else count, "channel_def": channels}


def test_names_are_known_in_their_many_forms():
    assert kinds_of(image(FOUR)) == ("T1c", "T1", "T2", "FLAIR")
    assert kinds_of(image({"0": "FLAIR", "1": "t1-Gd", "2": "T1w"}, modality="mri")) == ("FLAIR", "T1c", "T1")


@pytest.mark.parametrize(
    "other",
    [
        {},
        image({"0": "image"}),
        image(FOUR, 3),
        image(FOUR, "4"),
        image(FOUR, True),
        image(FOUR, modality="CT"),
        image(FOUR | {"3": "ADC"}),
        image(FOUR | {"3": "T1"}),
        image(FOUR | {"3": None}),
        image({str(number): f"T{number}" for number in range(9)}),
        {"modality": "MR", "num_channels": 2, "channel_def": ["T1", "T2"]},
    ],
)
def test_whatever_else_has_none(other):
    assert kinds_of(other) == ()
