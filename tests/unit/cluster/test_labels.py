"""Tiers, countries and label words: only those that there are, and only such as Ray takes."""

import pytest

from cluster.labels import RESIDENCIES, BadLabel, Tier, is_word, key, node_labels, residency, tier, word


def test_a_tier_is_one_of_four() -> None:
    assert [tier(item) for item in ("home", "workstation", "datacenter", "hospital")] == list(Tier)
    for text in ("", "Home", "clinic"):
        with pytest.raises(BadLabel):
            tier(text)


def test_a_residency_is_a_country_or_untold() -> None:
    assert len(RESIDENCIES) == 249
    assert [residency(code) for code in ("", "DE", "fr")] == ["", "DE", "FR"]
    for code in ("XX", "DEU", "D", "ß", "EU", "UK"):
        with pytest.raises(BadLabel):
            residency(code)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("Jo Ann & Söhne", "Jo-Ann---S-hne"),
        ("..", "none"),
        ("", "none"),
        ("a" * 80, "a" * 63),
        ("-x-", "x"),
    ],
)
def test_any_text_becomes_a_word(text: str, expected: str) -> None:
    assert word(text) == expected
    assert is_word(word(text))


@pytest.mark.parametrize("text", ["", "-a", "a-", "a b", "a/b", "a" * 64, "ä", "a\n"])
def test_what_is_no_word(text: str) -> None:
    assert not is_word(text)
    with pytest.raises(BadLabel):
        key(text)


def test_ray_takes_a_nodes_labels() -> None:
    from ray._private.label_utils import validate_node_labels

    labels = node_labels(Tier.HOME, "", "Ann's & Co", "", "ab" * 32)
    validate_node_labels(labels)
    assert labels["bithive/tier"] == "home"
    assert labels["bithive/residency"] == "none"
    assert labels["bithive/accelerator"] == "cpu"
    assert len(labels["bithive/node"]) == 40
