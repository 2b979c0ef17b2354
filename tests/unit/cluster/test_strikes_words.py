"""Each refusal is said in words, and only what no accident does is called a lie."""

import pytest

from bithive.limits import ATTEMPTS_MAX
from cluster import checks, errors
from cluster.cell_record import Strike
from cluster.duplicates import REPEATED
from cluster.strikes_words import CAUGHT_AFTER, WORDS, Gravity, of_node, words

REFUSALS = sorted(
    error.code
    for error in vars(errors).values()
    if isinstance(error, type) and issubclass(error, errors.ReceiptRefused) and error is not errors.ReceiptRefused
)


@pytest.mark.parametrize("code", [*REFUSALS, errors.LeaseLost.code, REPEATED])
def test_every_refusal_has_words(code: str) -> None:
    said = WORDS[code]
    assert said.meaning.endswith(".")
    assert said.advice.endswith(".")


def test_every_check_is_among_the_refusals() -> None:
    assert {error.code for error, _ in checks.CHECKS} <= set(REFUSALS)


def test_only_lies_are_caught() -> None:
    assert {code for code, said in WORDS.items() if said.gravity is Gravity.LIE} == set(CAUGHT_AFTER)
    assert words(errors.LeaseLost.code).gravity is Gravity.LATE
    assert words("a-code-of-tomorrow").gravity is Gravity.FAULT
    assert max(CAUGHT_AFTER.values()) <= ATTEMPTS_MAX


def test_a_nodes_strikes_are_its_own_and_those_of_nobody() -> None:
    strikes = [Strike(f"att_{name}", "cel_1", name, "digest-differs", 1) for name in ("nod_1", "nod_2", "")]
    assert [strike.node for strike in of_node(strikes, "nod_1")] == ["nod_1", ""]
