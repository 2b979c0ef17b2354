"""Whatever a bundle declines for reaches the study under its own code."""

import pytest

from bithive.errors import Refused
from cluster.failures import FAILURES, UNKNOWN_REFUSAL, Fate, known
from inference import errors

REFUSALS = sorted(
    (
        each
        for each in vars(errors).values()
        if isinstance(each, type) and issubclass(each, Refused) and each != Refused
    ),
    key=lambda each: each.code,
)


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda each: each.code)
def test_a_node_may_say_why_it_declines(refusal):
    assert FAILURES[refusal.code] is Fate.FINAL
    assert known(refusal.code, UNKNOWN_REFUSAL) == refusal.code


def test_what_is_not_in_the_table_is_not_passed_on():
    assert known("patient-name", UNKNOWN_REFUSAL) == UNKNOWN_REFUSAL
