"""Metrics as a monitoring system reads them: bounded, true, and naming nobody."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from api import instruments, metrics, metrics_now
from bithive.offer import Urgency
from cluster.labels import Tier
from tests.common.collector import collector
from tests.common.network_house import NetworkHouse
from tests.common.page_house import PageHouse

ROOT = Path(__file__).resolve().parents[3]
OBSERVABILITY = ROOT / "packaging" / "observability"
ID = re.compile(r"[a-z]{3}_[0-9A-Z]{26}|[0-9a-f]{16,}|(\d+\.){3,}\d+")


@pytest.fixture
def network(tmp_path):
    made = NetworkHouse(tmp_path)
    yield made
    made.close()


@pytest.fixture
def scrape(network):
    client = network.browse("auditor")
    headers = {"Authorization": f"Bearer {network.token('monitor')}"}

    def read():
        answer = client.get("/metrics", headers=headers)
        assert answer.status_code == 200, answer.text
        return {
            (sample.name, *sorted(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(answer.text)
            for sample in family.samples
        }

    return read


def value(found, name, **labels):
    return found.get((f"bithive_{name}", *sorted(labels.items())))


def test_who_may_read_them(network):
    for role, status in (("auditor", 403), ("administrator", 200)):
        assert network.browse(role).get("/metrics").status_code == status
    nobody = network.browse("auditor")
    nobody.cookies.clear()
    assert nobody.get("/metrics").status_code in {303, 401}
    token = {"Authorization": f"Bearer {network.token('monitor')}"}
    assert nobody.get("/metrics", headers=token).headers["content-type"].startswith("text/plain; version=0.0.4")
    assert nobody.get("/network", headers=token).status_code == 403


def test_an_empty_hub(scrape):
    found = scrape()
    assert value(found, "spool_bytes") == 0
    assert value(found, "slots") == 0
    assert value(found, "ledger_waiting_events") == 0
    assert value(found, "disk_free_bytes") > 0


def test_what_happens_is_counted(network, scrape):
    home, hospital = network.cell(), network.cell(Tier.HOSPITAL, network.institution)
    network.work(home, 3.0)
    network.work(hospital, 0.3)
    network.work(home, 1.0, work_units=10**6)
    network.offer(urgency=Urgency.HIGH)
    network.clock.advance_s(7)
    found = scrape()
    assert value(found, "attempts_ended_total", state="ACCEPTED", code="") == 2
    assert value(found, "attempts_ended_total", state="REFUSED", code="work-units-differ") == 1
    assert value(found, "strikes_total", code="work-units-differ") == 1
    assert value(found, "attempt_seconds_bucket", state="ACCEPTED", le="0.5") == 1
    assert value(found, "attempt_seconds_count", state="ACCEPTED") == 2
    assert value(found, "offer_wait_seconds_count", urgency="MEDIUM") == 3
    assert value(found, "offers", state="OPEN", urgency="HIGH", data_class="P0") == 1
    assert value(found, "offer_oldest_seconds", urgency="HIGH") == 7
    assert value(found, "cells", tier="home", state="live") == 1
    assert value(found, "nodes", tier="hospital", state="live") == 1
    assert value(found, "slots") == 2
    assert value(found, "work_units_total") > 0
    assert value(found, "sealed_bytes_total", kind="payload") > 0
    assert value(found, "ledger_entries") > 0


def test_a_cell_that_falls_silent_and_a_node_that_is_revoked(network, scrape):
    network.cell()
    network.clock.advance_s(1000)
    found = scrape()
    assert value(found, "cells", tier="home", state="silent") == 1
    assert value(found, "nodes", tier="home", state="silent") == 1
    assert value(found, "slots") == 0


def test_a_lease_under_way(network, scrape):
    cell, _ = network.cell(), network.offer(urgency=Urgency.LOW)
    grant = cell.lease()
    assert value(scrape(), "leases", urgency="LOW", stage="leased") == 1
    cell.beat(grant, "segmenting", 0.3)
    assert value(scrape(), "leases", urgency="LOW", stage="segmenting") == 1


def test_requests_are_counted_by_the_template_of_their_address(network, scrape):
    client = network.browse("auditor")
    client.get("/network")
    client.get("/network/nodes/nod_00000000000000000000000000")
    for number in range(5):
        client.get(f"/what/strangers/ask/for/{number}")
        client.request("BREW", "/network")
    found = scrape()
    assert value(found, "http_requests_total", method="GET", route="/network", status="2xx") == 1
    assert value(found, "http_requests_total", method="GET", route="/network/nodes/{node}", status="4xx") == 1
    assert value(found, "http_requests_total", method="GET", route="none", status="4xx") == 5
    assert value(found, "http_request_seconds_count", route="/network") >= 1
    methods = {dict(key[1:])["method"] for key in found if key[0] == "bithive_http_requests_total"}
    assert methods <= {"GET", "POST", "other"}


def test_no_label_holds_an_id_an_address_or_a_word_of_a_peer(network, scrape):
    network.work(network.cell(operator="Dr Jane Roe's basement"))
    network.work(network.cell(), work_units=10**6)
    text = repr(list(scrape()))
    assert not ID.search(text)
    assert "Jane" not in text
    assert "DE" not in text


def test_as_many_lines_for_many_cells_as_for_one(network, scrape):
    network.work(network.cell())
    scrape()
    one = len(scrape())
    for _ in range(6):
        network.work(network.cell())
    assert len(scrape()) == one


def test_a_code_that_is_in_no_table_counts_as_other():
    counted = instruments.Metrics()
    assert counted.code("work-units-differ") == "work-units-differ"
    assert counted.code("DOE^JANE") == instruments.OTHER
    assert counted.code("") == ""


ASKING = """
import sys
from pathlib import Path
from starlette.testclient import TestClient
from api.app import create_app
from tests.common.page_house import PageHouse

house = PageHouse(Path(sys.argv[1]))
with TestClient(create_app(house.services), base_url="http://127.0.0.1", raise_server_exceptions=False) as client:
    for path in ("/studies/1.2.840.4711", "/dicomweb/studies/1.2.840.4711", "/api/studies/1.2.840.4711"):
        client.get(path, headers={"Authorization": f"Bearer {house.token('clinician', path[1:4])}"})
house.close()
"""


def test_the_web_framework_tells_nobody_whatever_the_environment_says(tmp_path):
    with collector() as kept:
        url = kept.url.removesuffix("/v1/traces")
        told = {"FASTAPI_OTEL_AUTO_CONFIGURE": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": url}
        environment = {**os.environ, **told, "OTEL_BSP_SCHEDULE_DELAY": "50", "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-c", ASKING, str(tmp_path)]
        ended = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=60)
        assert ended.returncode == 0, ended.stderr[-2000:]
        assert kept.bodies == []
        assert kept.headers == []


def test_a_part_that_fails_is_left_out(network, scrape, monkeypatch):
    def broken(_services):
        from bithive.errors import Unavailable

        raise Unavailable

    monkeypatch.setattr(metrics_now, "PARTS", (metrics_now.hub, broken))
    assert value(scrape(), "disk_size_bytes") > 0


def names_of_everything():
    counted = {family.name for family in instruments.Metrics().registry.collect()}
    said = Path(metrics_now.__file__).read_text()
    gauges = {f"bithive_{name}" for name in re.findall(r'_gauge\(\s*"(\w+)"', said)} | {"bithive_strikes"}
    return counted | gauges


def expressions():
    dashboard = json.loads((OBSERVABILITY / "dashboard.json").read_text())
    alerts = yaml.safe_load((OBSERVABILITY / "alerts.yml").read_text())
    shown = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]
    return shown + [rule["expr"] for group in alerts["groups"] for rule in group["rules"]]


def test_dashboard_and_alerts_ask_only_for_what_there_is():
    known = names_of_everything()
    asked = {name for text in expressions() for name in re.findall(r"\bbithive_\w+", text)}
    assert len(asked) > 15
    bare = {re.sub(r"_(bucket|count|sum|total)$", "", name) for name in asked}
    assert bare <= known, sorted(bare - known)


def test_codes_and_states_in_alerts_are_ours():
    text = " ".join(expressions())
    codes = {code for found in re.findall(r'code=~"([a-z|-]+)"', text) for code in found.split("|")}
    assert codes <= instruments.refusal_codes()
    assert metrics.router.routes


def test_a_hub_that_serves_the_clinical_side_alone(tmp_path):
    house = PageHouse(tmp_path)
    house.receive_head()
    with TestClient(house.app, base_url="http://127.0.0.1") as client:
        answer = client.get("/metrics", headers={"Authorization": f"Bearer {house.token('administrator')}"})
    house.close()
    assert 'bithive_workitems{held_up="no",state="SCHEDULED"} 1.0' in answer.text
    assert "bithive_cells" not in answer.text
