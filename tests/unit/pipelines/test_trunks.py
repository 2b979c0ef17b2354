"""What both rules on CT of the trunk ask of a series, and what each asks for itself."""

from pipelines.tasks import composition_ct, lungs_ct
from pipelines.trunks import trunk_ct


def test_the_body_part_must_be_named_and_one_of_those_shown():
    selector = trunk_ct(frozenset({"chest"}), spacing_mm_max=5.0, slices_min=20, extent_mm_min=30.0)
    assert selector.body_part_required
    assert {"CHEST", "BODY"} <= selector.body_parts
    assert not {"HEAD", "PELVIS"} & selector.body_parts
    assert selector.other_anatomy_words.search("ct brain")
    assert not selector.other_anatomy_words.search("ct chest abdomen")


def test_the_rules_differ_in_what_they_must_see():
    lungs, tissues = lungs_ct.PIPELINE.selector, composition_ct.PIPELINE.selector
    assert "PELVIS" in tissues.body_parts - lungs.body_parts
    assert (lungs.spacing_mm_max, lungs.slices_min, lungs.extent_mm_min) == (5.0, 20, 30.0)
    assert (tissues.spacing_mm_max, tissues.slices_min, tissues.extent_mm_min) == (10.0, 5, 10.0)
