"""What a machine may receive, in words: every class once, and every reason has its words."""

from itertools import product

from bithive.offer import DataClass
from cluster.data_classes import Terms, refusal
from cluster.labels import Tier
from cluster.standing_words import REASONS, may_receive

OWN = "ins_own"


def test_every_class_is_in_one_of_the_two_lists() -> None:
    for institution, vetted, tier, attested, cap in product((None, OWN), (False, True), Tier, (False, True), DataClass):
        terms = Terms(institution, vetted, tier, "", cap)
        told = may_receive(terms, attested=attested)
        assert len(told.may) + len(told.never) == len(told.lines) == len(DataClass)
        for data_class in DataClass:
            reasons = {refusal(data_class, whose, terms, attested=attested) for whose in ("ins_x", OWN)}
            assert any(text.startswith(data_class) for text in told.may) == (
                None in reasons if institution else refusal(data_class, "ins_x", terms, attested=attested) is None
            )
            assert reasons - {None} <= set(REASONS)


def test_a_home_is_told_that_nothing_of_a_patient_comes_to_it() -> None:
    told = may_receive(Terms(data_class_max=DataClass.P3))
    assert [text[:2] for text in told.may] == ["P0"]
    assert told.lines[0].startswith("may receive: P0: public or synthetic")
    assert all(line.startswith("never receives: P") for line in told.lines[1:])


def test_an_own_cell_is_told_whose_images_it_may_have() -> None:
    told = may_receive(Terms(OWN, tier=Tier.HOSPITAL, data_class_max=DataClass.P3))
    assert told.never == ()
    assert told.may[3].endswith("of its own institution alone")
