import pytest

from pipelines import words
from pipelines.regions import BODY_PARTS, REGIONS, WHOLE_BODY, body_parts, named, other_anatomy, principal


def test_the_tables_are_sound():
    assert {group for region in REGIONS.values() for group in region.words} <= set(words.ANATOMY)
    assert all(shown and shown <= set(REGIONS) for shown in BODY_PARTS.values())
    assert all(part.isalpha() and part.isupper() and len(part) <= 16 for part in BODY_PARTS)


@pytest.mark.parametrize(
    ("regions", "found"),
    [
        (["abdomen"], {"abdomen"}),
        (["abdomen"] * 11 + ["chest"], {"abdomen"}),
        (["abdomen"] * 9 + ["chest"], {"abdomen", "chest"}),
        (["abdomen", "", ""], {"abdomen"}),
        (["abdomen", "chest", "pelvis"], WHOLE_BODY),
        (["abdomen", "chest", "heart"], {"abdomen", "chest", "heart"}),
        (["", ""], set()),
        ([], set()),
    ],
)
def test_principal(regions, found):
    assert principal(regions) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("spleen_ct_segmentation", {"abdomen"}),
        ("Liver and Kidney", {"abdomen"}),
        ("prostate MRI", {"pelvis"}),
        ("Brain", {"head"}),
        ("lung nodules in the chest", {"chest"}),
        ("something", WHOLE_BODY),
        ("", WHOLE_BODY),
    ],
)
def test_named(text, found):
    assert named(text) == found


def test_body_parts():
    assert "CHESTABDPELVIS" in body_parts(frozenset({"abdomen"}))
    assert "CHEST" not in body_parts(frozenset({"abdomen"}))
    assert body_parts(WHOLE_BODY) == set(BODY_PARTS)


@pytest.mark.parametrize(
    ("regions", "refused", "taken"),
    [
        ({"abdomen"}, "knee|c-spine|head|neck|thorax|phantom|phantom abdomen|hip", "|abdomen|chest abdomen|cap|liver|tap venous|routine"),
        ({"pelvis"}, "knee|head|chest", "pelvis|hip pelvis|abdomen pelvis|prostate"),
        ({"heart"}, "knee|head|abdomen", "cardiac|chest|heart|thorax"),
        ({"head"}, "knee|neck|c-spine|chest", "head|brain|head neck|orbit"),
        (WHOLE_BODY, "phantom", "knee|head|c-spine|anything"),
    ],
)  # fmt: skip
def test_other_anatomy(regions, refused, taken):
    other = other_anatomy(frozenset(regions))
    assert [text for text in refused.split("|") if not other.search(text)] == []
    assert [text for text in taken.split("|") if other.search(text)] == []
