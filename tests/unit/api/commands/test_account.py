from __future__ import annotations

import pytest

from api.commands.account import opened, public_url
from bithive.settings import Mode, load


def test_accounts_are_open_whether_or_not_the_hub_runs(tmp_path):
    settings = load(mode=Mode.DEMO, state=tmp_path)
    with opened(settings) as first, opened(settings) as second:
        first.add("pacs", "pacs")
        assert second.named("pacs").role == "pacs"


@pytest.mark.parametrize(
    ("http", "url"),
    [
        ({"port": 1}, "http://127.0.0.1:1"),
        ({"port": 1, "host": "::1"}, "http://[::1]:1"),
        ({"port": 1, "tls_certificate": "c", "tls_key": "k"}, "https://127.0.0.1:1"),
        ({"public_url": "https://hub.example/"}, "https://hub.example"),
    ],
)
def test_the_address_of_a_link(http, url):
    assert public_url(load(http=http)) == url
