from __future__ import annotations

import pytest

from api.databases import MIGRATIONS, OF_ROLE, upgrade
from api.startup import ROOT
from bithive.settings import Mode, Role, load


@pytest.mark.parametrize("name", MIGRATIONS)
def test_each_is_made_and_brought_up_to_date_again(name, tmp_path):
    settings = load(mode=Mode.DEMO, state=tmp_path)
    for _ in range(2):
        upgrade(settings, name).close()
    assert (tmp_path / f"{name}.db").exists()
    assert (ROOT / MIGRATIONS[name] / "versions").is_dir()


def test_a_role_opens_its_own_databases_only():
    assert set(OF_ROLE[Role.BOTH]) == set(MIGRATIONS)
    assert "clinic" not in OF_ROLE[Role.NETWORK]
    assert not {"network", "ledger"} & set(OF_ROLE[Role.CLINICAL])
