from __future__ import annotations

import pytest

from api.deps import get_services
from api.errors import SideAbsent
from api.services import Vitals, absent


def test_a_side_that_is_not_served():
    with pytest.raises(SideAbsent):
        absent().search("ins_1")


def test_vitals():
    vitals = Vitals()
    assert vitals.read() == ({}, 0)
    vitals.watch("well", lambda: True)
    vitals.watch("ill", lambda: False)
    vitals.watch("broken", lambda: 1 // 0 == 0)
    vitals.count_cells(lambda: 2)
    assert vitals.read() == ({"well": True, "ill": False, "broken": False}, 2)


def test_a_request_finds_its_services(client, services):
    class Request:
        app = client.app

    assert get_services(Request) is services
