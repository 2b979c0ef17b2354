from __future__ import annotations

from api.commands.settings import effective
from bithive.settings import load, names


def test_every_setting_is_shown_and_every_secret_masked():
    shown = effective(load(secret="very secret " * 4, clinic={"network_token": "t"}))
    assert set(shown) == set(names())
    assert shown["BITHIVE_SECRET"] == shown["BITHIVE_CLINIC__NETWORK_TOKEN"] == "***"
    assert shown["BITHIVE_CELL__TOKEN"] is None
