from __future__ import annotations

import json

import pytest

from economy.entry import Policy
from economy.errors import BadPolicy
from economy.policies import in_force, load
from economy.rates import RateCard, Rates

CONTENT = {
    "currency": "EUR",
    "credit_line": 5,
    "prices": {
        "*": {"fixed": 10, "per_1000_work_units": 1},
        "spleen": {"fixed": 20, "per_1000_work_units": 2},
        "spleen@2.0": {"fixed": 30, "per_1000_work_units": 3},
    },
    "split_bp": {"node": 3333, "operator": 3333, "hub": 3334, "protocol": 0},
}


def card(**changes):
    return RateCard.read(Policy("rate-card", 1, 0, json.dumps(CONTENT | changes)))


def test_the_most_specific_price_holds():
    assert card().price("spleen", "2.0", 1999) == 35
    assert card().price("spleen", "1.0", 2000) == 24
    assert card().price("liver", "1.0", 2000) == 12


@pytest.mark.parametrize("amount", [0, 1, 2, 99, 10**12 + 1])
def test_shares_sum_to_the_charge(amount):
    shares = card().shares(amount)
    assert sum(shares.values()) == amount
    assert shares["protocol"] == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"split_bp": {"node": 10000}},
        {"split_bp": {"node": 9999, "operator": 0, "hub": 0, "protocol": 0}},
        {"split_bp": {"node": 10001, "operator": -1, "hub": 0, "protocol": 0}},
        {"prices": {"spleen": {"fixed": 1, "per_1000_work_units": 1}}},
        {"prices": {"*": {"fixed": -1, "per_1000_work_units": 1}}},
        {"prices": []},
        {"credit_line": -1},
        {"credit_line": None},
    ],
)
def test_a_malformed_card_is_refused(changes):
    with pytest.raises(BadPolicy):
        card(**changes)


def test_the_card_of_its_time():
    later = Policy("rate-card", 2, 1000, json.dumps(CONTENT))
    rates = Rates([*load(), later])
    assert rates.at(999).version == 1
    assert rates.at(1000).version == 2
    with pytest.raises(BadPolicy):
        rates.version(3)
    with pytest.raises(BadPolicy):
        in_force([later], "rate-card", 999)


@pytest.mark.parametrize(
    "text", ["", "[]", '{"kind": "a"}', '{"kind":"a","version":1,"effective_from_ms":0,"content":1.5}']
)
def test_a_file_that_is_no_policy_is_refused(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(BadPolicy):
        load(tmp_path)


def test_a_version_is_one_file(tmp_path):
    text = '{"kind":"a","version":1,"effective_from_ms":0,"content":{}}'
    for name in ("a.json", "b.json"):
        (tmp_path / name).write_text(text)
    with pytest.raises(BadPolicy):
        load(tmp_path)
