"""A network side on a real server, and requests to it."""

from collections.abc import Generator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from cluster import protocol
from cluster.broker import Durations
from tests.common.network_requests import ROOT, Ask
from tests.common.network_server import Hub, network_hub


@pytest.fixture
def hub(tmp_path: Path) -> Generator[Hub]:
    with network_hub(tmp_path, Durations(retry_pause_s=0.05)) as running:
        yield running


@pytest.fixture
def ask(hub: Hub) -> Generator[Ask]:
    """A request as somebody: `ask("institution", "GET", "/events")`."""
    with httpx2.Client(base_url=hub.url, timeout=20, trust_env=False) as client:

        def request(who: str | None, method: str, path: str, **rest: Any) -> httpx2.Response:
            headers = {protocol.VERSION_HEADER: "1", **rest.pop("headers", {})}
            if who is not None:
                headers["Authorization"] = f"Bearer {hub.tokens.get(who, who)}"
            return client.request(method, ROOT + path, headers=headers, **rest)

        yield request
