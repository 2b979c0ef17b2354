from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from api.pages.plots import Band, balance_bar, probability_bar, range_plot, reliability_plot, roc_plot

ROWS = [
    {"said": 0.1, "seen": 0.2, "low": 0.1, "high": 0.4, "cases": 25},
    {"said": 0.9, "seen": 0.8, "low": 0.6, "high": 0.9, "cases": 50},
]


def parsed(plot):
    """Well-formed, without a style or a script that the page's policy would refuse."""
    root = ET.fromstring(str(plot))
    for node in root.iter():
        assert node.tag != "script"
        assert not {"style", "onload"} & set(node.attrib)
    return root


@pytest.mark.parametrize(("value", "said"), [(1400.0, "within it"), (900.0, "below it"), (2000.0, "above it")])
def test_a_value_beside_its_ranges_says_where_it_lies(value, said):
    root = parsed(range_plot(value, "ml", [Band("men", 1265, 1673), Band("women", 1067, 1511)], "Volume"))
    label = root.get("aria-label")
    assert label.count(said) == 2
    assert "men 1\u202f265 to 1\u202f673 ml" in label
    assert root.get("role") == "img"
    mark = float(root.find("line").get("x1"))
    assert 0 < mark < 340
    assert len(root.findall("rect")) == 2


def test_what_comes_from_elsewhere_is_escaped():
    hostile = '"><script>alert(1)</script>'
    for plot in (
        range_plot(1, hostile, [Band(hostile, 0, 2)], hostile),
        roc_plot([[0, 0], [1, 1]], hostile),
        reliability_plot(ROWS, hostile, hostile),
    ):
        assert "<script" not in str(plot)
        parsed(plot)


def test_a_probability_and_its_threshold():
    root = parsed(probability_bar(0.87, 0.5, "positive"))
    assert root.get("aria-label") == "87% of 100 %; threshold 50%"
    track, fill = root.findall("rect")
    assert float(fill.get("width")) == pytest.approx(0.87 * float(track.get("width")))
    assert parsed(probability_bar(0.2, None, "unjudged")).find("line") is None


def test_left_and_right_point_to_their_sides():
    assert float(parsed(balance_bar(+10)).find("rect").get("x")) == 40
    right = parsed(balance_bar(-10)).find("rect")
    assert float(right.get("x")) + float(right.get("width")) == 40
    assert float(parsed(balance_bar(500)).find("rect").get("width")) == 40


def test_a_reliability_diagram_and_a_curve_say_their_numbers():
    root = parsed(reliability_plot(ROWS, "said", "seen"))
    assert "said 0.10, seen 0.20 (0.10 to 0.40, 25 cases)" in root.get("aria-label")
    assert len(root.findall("circle")) == 2
    assert parsed(roc_plot([[0, 0], [0.1, 0.9], [1, 1]], "AUC 0.900")).get("aria-label") == "ROC curve. AUC 0.900."
    assert parsed(reliability_plot([], "said", "seen")).findall("circle") == []
