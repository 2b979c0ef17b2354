from __future__ import annotations

import pytest

from api.errors import AccountAbsent, AccountExists
from bithive.errors import BadInput
from bithive.ids import is_id


@pytest.mark.parametrize("name", ["", "a b", "é", "x" * 65, "a\n", "--", "<script>"])
def test_names_that_are_refused(accounts, name):
    with pytest.raises(BadInput):
        accounts.add(name, "pacs")


def test_roles_and_institutions_that_are_refused(accounts):
    with pytest.raises(BadInput):
        accounts.add("x", "root")
    with pytest.raises(BadInput):
        accounts.add("x", "pacs", "ins_1")


def test_what_an_account_belongs_to(accounts):
    assert accounts.add("a", "clinician").institution == accounts.institution()
    cell = accounts.add("b", "cell")
    assert cell.institution is None
    assert is_id(cell.cell, "cel")
    assert accounts.add("c", "auditor").institution is None
    other = accounts.add("d", "institution", "ins_" + "0" * 26)
    assert other.institution == "ins_" + "0" * 26


def test_a_contributor_is_one_of_a_cell(accounts):
    cell = accounts.add("rack", "cell").cell
    contributor = accounts.ensure("rack.contributor", "contributor", cell=cell)
    assert (contributor.cell, contributor.institution) == (cell, None)
    for wrong in (None, "", "cel_1", "ins_" + "0" * 26):
        with pytest.raises(BadInput):
            accounts.add("x", "contributor", cell=wrong)
    with pytest.raises(BadInput):
        accounts.add("x", "auditor", cell=cell)


def test_ensure_and_named(accounts):
    first = accounts.ensure("local-cell", "cell")
    assert accounts.ensure("local-cell", "cell") == first
    with pytest.raises(AccountExists):
        accounts.add("local-cell", "cell")
    with pytest.raises(AccountAbsent):
        accounts.named("nobody")
    with pytest.raises(AccountAbsent):
        accounts.disable("nobody")


def test_secrets_are_not_kept(accounts):
    account = accounts.add("a", "pacs")
    token = accounts.token(account)
    assert len(token) == 43
    assert token not in repr(vars(accounts._store))
