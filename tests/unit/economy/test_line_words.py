from __future__ import annotations

import pytest

from economy.charges import Flag
from economy.entry import Account, Phase
from economy.line_words import FLAGS, REASONS, plain, ratio, words
from economy.rewards import Speed

CREDIT = Account("pty_00000000000000000000000001", "credit", "EUR")


def test_every_flag_and_every_reason_of_a_rule_has_words():
    assert set(FLAGS) == {str(flag) for flag in Flag}
    assert {str(speed) for speed in Speed} <= set(REASONS)


@pytest.mark.parametrize(
    ("kind", "facts", "code", "phase", "expected"),
    [
        ("credit.granted", {}, "credit", Phase.SINGLE, "Credit line granted"),
        (
            "charge.settled",
            {"work_units": 1460, "bundle": "t1", "bundle_version": "1.0.0", "flag": "above-hold"},
            "credit",
            Phase.POST,
            "Study charged: 1\u202f460 work units, t1 1.0.0, above the hold, the rest is owed",
        ),
        ("charge.settled", {"work_units": 1}, "payable", Phase.SINGLE, "Share of a study's charge: 1 work unit"),
        ("epoch.paid", {"epoch": 3}, "earned", Phase.PENDING, "Reward, held: epoch 3"),
        ("epoch.paid", {"epoch": 3}, "work", Phase.SINGLE, "Work paid for and retired: epoch 3"),
        (
            "entry.corrected",
            {"corrects": "a/1", "reason": "typed-twice"},
            "credit",
            Phase.SINGLE,
            "Correction: of a/1, typed twice",
        ),
        ("points.awarded", {}, "credit", Phase.SINGLE, "Points awarded"),
        (
            "work.measured",
            {"quality_bp": 9_500, "speed_bp": 12_500},
            "work",
            Phase.SINGLE,
            "Work accepted: quality 0.95, speed 1.25",
        ),
    ],
)
def test_a_line_says_what_it_was_for(kind, facts, code, phase, expected):
    assert words(kind, facts, CREDIT._replace(code=code), phase) == expected


def test_facts_of_any_type_and_length_do_no_harm():
    facts = {
        "epoch": None,
        "work_units": "many",
        "bundle": "\u202e\n=1",
        "quality_bp": True,
        "reason": "x" * 500,
        "flag": 7,
    }
    said = words("a.b", facts, CREDIT, Phase.SINGLE)
    assert said.isprintable()
    assert len(said) < 200
    assert said.startswith("A b: ")
    assert plain("\x00\u2028a") == "a"


def test_ratios():
    assert [ratio(bp) for bp in (10_000, 12_500, 1, 0, 9_900)] == ["1.0", "1.25", "0.0001", "0.0", "0.99"]
