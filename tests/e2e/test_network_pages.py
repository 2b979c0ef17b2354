"""The network's pages in a real browser: they move by themselves, say when they do not, and fit a phone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright
from starlette.testclient import TestClient

from bithive.offer import Urgency
from cluster.labels import Tier
from tests.common.dicomweb import serving
from tests.common.external import external
from tests.common.network_house import NetworkHouse

pytestmark = pytest.mark.heavy

FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"]
SIZES = {"wide": (1280, 900), "phone": (390, 844), "narrow": (360, 740)}
WAIT_MS = 15_000


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=external("chromium"), args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def network(tmp_path: Path) -> Iterator[NetworkHouse]:
    made = NetworkHouse(tmp_path)
    yield made
    made.close()


@pytest.fixture
def look(chromium: Browser, network: NetworkHouse) -> Iterator[Callable[..., Page]]:
    """A window of somebody signed in, at a size; whatever its console complains of fails the test at the end."""
    contexts, complaints = [], []
    with serving(network.app) as url:

        def open_page(client: TestClient, path: str, size: str = "wide") -> Page:
            width, height = SIZES[size]
            context = chromium.new_context(viewport={"width": width, "height": height})
            contexts.append(context)
            context.add_cookies([{"name": "bithive", "value": client.cookies["bithive"], "url": url}])
            page = context.new_page()
            page.set_default_timeout(WAIT_MS)
            page.on("pageerror", lambda error: complaints.append(str(error)))
            page.goto(url + path)
            return page

        yield open_page
        for context in contexts:
            context.close()
    assert complaints == []


def says(page: Page, selector: str, text: str) -> None:
    page.wait_for_function(
        "([where, text]) => document.querySelector(where)?.innerText.includes(text)", arg=[selector, text]
    )


def test_what_happens_appears_without_asking(network, look):
    cell = network.cell()
    page = look(network.browse("contributor", cell=cell.cell), "/network")
    says(page, "#network", "Nothing is being computed")
    link = page.locator(f'a[href="/network/nodes/{cell.node}"]').first
    link.focus()
    network.offer(urgency=Urgency.HIGH)
    grant = cell.lease()
    cell.beat(grant, "segmenting", 0.42)
    says(page, '[data-part="leases"]', "Segmenting on")
    says(page, "#live", "Live")
    assert page.get_attribute('[data-part="leases"] progress', "value") == "42"
    assert page.evaluate("document.activeElement.getAttribute('href')") == f"/network/nodes/{cell.node}"
    network.clock.advance_s(100)
    network.broker.expire()
    says(page, '[data-part="quality"]', "went silent")


def test_a_page_that_cannot_ask_says_so_and_recovers(network, look):
    network.cell()
    page = look(network.browse("auditor"), "/network")
    page.route("**/network/state", lambda route: route.abort())
    says(page, "#live", "Not live")
    page.unroute("**/network/state")
    says(page, "#live", "Live")


@pytest.mark.parametrize("size", [*SIZES])
def test_nothing_hangs_over_the_edge(network, look, size):
    cell = network.cell(Tier.DATACENTER)
    network.work(cell)
    network.work(cell, work_units=10**6)
    network.work(cell, attempt_id="att_00000000000000000000000001")
    network.offer()
    cell.beat(cell.lease(), "loading", 0.1)
    client = network.browse("contributor", cell=cell.cell)
    for path in ("/network", f"/network/nodes/{cell.node}"):
        page = look(client, path, size)
        assert page.evaluate("document.documentElement.scrollWidth") <= SIZES[size][0]
        small = page.evaluate(
            "[...document.querySelectorAll('main a.button, main button')].filter(e => e.offsetHeight < 30).length"
        )
        assert small == 0


def test_the_way_from_the_list_to_a_node_and_to_an_explanation(network, look):
    cell = network.cell()
    network.work(cell, work_units=10**6)
    page = look(network.browse("contributor", cell=cell.cell), "/network", "phone")
    page.click(f'a[href="/network/nodes/{cell.node}"]')
    says(page, "main", "What to do.")
    page.click('a[href="/docs/errors/work-units-differ"]')
    says(page, "main", "work-units-differ")
