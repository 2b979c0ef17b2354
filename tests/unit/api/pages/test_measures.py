from __future__ import annotations

import pytest

from api.pages.measures import compared, table, unit_of
from clinic.workitem import Measured
from pipelines.catalog import pipelines
from pipelines.outputs import MeasurementOutput, SegmentOutput


def measured_of(name):
    pipeline = pipelines()[name]
    labels = {one.mask: one.label for one in pipeline.outputs if isinstance(one, SegmentOutput)}
    outputs = [one for one in pipeline.outputs if isinstance(one, MeasurementOutput)]
    return pipeline, [
        Measured(one.measurement, one.label or labels[one.mask], float(place + 1), one.unit.value)
        for place, one in enumerate(outputs)
    ]


@pytest.mark.parametrize("name", sorted(pipelines()))
def test_every_value_of_every_pipeline_has_one_place(name):
    pipeline, measured = measured_of(name)
    shown = table(measured, pipeline)
    if len(measured) <= 6:
        assert shown is None
        return
    lines = [line for section in shown.sections for line in section.lines]
    assert sum(cell.text != "–" for line in lines for cell in line.cells) == len(measured)
    assert all(sum(cell.span for cell in line.cells) == shown.width - 1 for line in lines)
    assert len({line.name for line in lines}) == len(lines)
    assert not any(line.name.lower().startswith(("left ", "right ")) for line in lines)


def test_a_brain_of_103_structures_is_read_by_part_side_by_side():
    pipeline, measured = measured_of("brain_structures104_t1")
    shown = table(measured, pipeline)
    assert [(column.name, column.unit, column.sided) for column in shown.columns] == [
        ("Volume", "ml", True), ("Share of ICV", "%", True), ("Asymmetry", "%", False),
    ]  # fmt: skip
    titles = [section.title for section in shown.sections]
    assert titles[:3] == ["Whole", "Cerebral cortex", "Deep grey matter"]
    by_key = {item.key: item.value for item in measured}
    thalamus = next(line for section in shown.sections for line in section.lines if line.name == "Thalamus")
    right, left, *_ = (cell.text for cell in thalamus.cells)
    assert (float(right), float(left)) == (by_key["right_thalamus_volume"], by_key["left_thalamus_volume"])
    assert thalamus.cells[-1].text.startswith("+")
    assert "<svg" in str(thalamus.cells[-1].bar)


def test_lungs_are_two_lines():
    pipeline, measured = measured_of("lungs_ct")
    (section,) = table(measured, pipeline).sections
    assert [line.name for line in section.lines] == ["Both lungs", "Lung"]


def test_a_missing_value_is_a_dash_and_a_negative_one_has_a_minus():
    pipeline, measured = measured_of("lungs_ct")
    kept = [
        Measured(item.key, item.name, -850.0 if "mean" in item.key else item.value, item.unit) for item in measured[:-1]
    ]
    both, lung = table(kept, pipeline).sections[0].lines
    assert both.cells[1].text == "\N{MINUS SIGN}850"
    assert lung.cells[-2].text == "–"


def test_an_unknown_pipeline_or_key_makes_no_table():
    pipeline, measured = measured_of("lungs_ct")
    assert table(measured, None) is None
    assert table([Measured("else", "Else", 1.0, "mL")] * 20, pipeline) is None


@pytest.mark.parametrize(("sex", "shown"), [("M", 1), ("F", 1), ("O", 2), ("", 2)])
def test_ranges_are_those_for_such_a_patient(sex, shown):
    pipeline = pipelines()["intracranial_volume_t1"]
    item = Measured("intracranial_volume", "Intracranial volume", 1394.0, "mL")
    (one,) = compared([item], pipeline, sex, 40.0)
    assert str(one.plot).count('class="band"') == shown
    assert "Matsumae" in one.sources[0][1]
    assert compared([item], None, sex, None) == ()


def test_units_are_as_people_write_them():
    assert [unit_of(code) for code in ("mL", "[hnsf'U]", "1", "%", "furlong")] == ["ml", "HU", "", "%", "furlong"]
