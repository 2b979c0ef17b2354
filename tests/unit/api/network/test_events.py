"""Events over HTTP."""

import threading
import time
from typing import Any

from tests.common.network_requests import Ask, made, put
from tests.common.network_server import Hub


def test_waiting_ends_when_there_is_news(hub: Hub, ask: Ask) -> None:
    found: list[dict[str, Any]] = []
    thread = threading.Thread(
        target=lambda: found.extend(ask("institution", "GET", "/events", params={"wait_s": 10}).json()["events"])
    )
    thread.start()
    time.sleep(0.2)
    put(ask, made(hub))
    thread.join(5)
    assert [event["topic"] for event in found] == ["offer.opened"]


def test_waiting_ends_with_the_time(hub: Hub, ask: Ask) -> None:
    begun_s = time.perf_counter()
    assert ask("institution", "GET", "/events", params={"wait_s": 0.3}).json() == {"events": []}
    assert 0.25 < time.perf_counter() - begun_s < 3
