from __future__ import annotations

from economy.chart import CHART, Limit


def test_only_issuers_and_claims_are_unlimited():
    unlimited = {code for code, kind in CHART.items() if kind.limit is Limit.NONE}
    assert unlimited == {"credit-issue", "work-issue", "issuance", "receivable", "expense"}


def test_every_code_is_filed_under_a_root_that_beancount_knows():
    assert {kind.nature for kind in CHART.values()} <= {"Assets", "Liabilities", "Equity", "Income", "Expenses"}
    assert all(kind.meaning for kind in CHART.values())
