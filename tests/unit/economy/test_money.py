from __future__ import annotations

import pytest

from economy.entry import Asset
from economy.money import BTT, EUR, WU, decimal_text, format_amount


@pytest.mark.parametrize(
    ("amount", "asset", "text"),
    [
        (0, EUR, "0.00 EUR"),
        (1, EUR, "0.000001 EUR"),
        (167600, EUR, "0.1676 EUR"),
        (1234567800000, EUR, "1\u202f234\u202f567.80 EUR"),
        (-1500000, BTT, "\u22121.50 BTT"),
        (1460, WU, "1\u202f460 WU"),
        (15, Asset("X", 1, "fiat"), "1.5 X"),
    ],
)
def test_amounts_for_people(amount, asset, text):
    assert format_amount(amount, asset) == text


@pytest.mark.parametrize(
    ("amount", "scale", "text"), [(5, 0, "5"), (-5, 2, "-0.05"), (10**18, 18, "1." + "0" * 18), (123, 2, "1.23")]
)
def test_amounts_for_programs(amount, scale, text):
    assert decimal_text(amount, scale) == text
