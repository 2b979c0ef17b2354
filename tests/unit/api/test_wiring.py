from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import contextmanager

import pytest
from starlette.testclient import TestClient

from api.app import create_app
from api.startup import ROOT
from api.wiring import wire
from bithive.clock import SystemClock
from bithive.settings import Mode, load
from pipelines.catalog import pipelines
from tests.common.installed import installed, sign

HEAVY = ("torch", "monai", "ray", "openvino", "onnxruntime", "deepbet")


@contextmanager
def hub(tmp_path, **members):
    settings = load(mode=Mode.DEMO, state=tmp_path / "state", **members)
    services = wire(settings, SystemClock(), "http://127.0.0.1:9")
    try:
        with TestClient(create_app(services), base_url="http://127.0.0.1") as client:
            yield services, client
    finally:
        services.close()


def test_the_hub_imports_nothing_that_computes(tmp_path):
    ask = (
        "import sys\n"
        "from api.app import create_app\nfrom api.wiring import Background, wire\n"
        "from bithive.clock import SystemClock\nfrom bithive.settings import load\n"
        "services = wire(load(), SystemClock(), 'http://127.0.0.1:9')\ncreate_app(services)\n"
        "services.flow._warm_up()\nservices.close()\n"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    variables = {name: value for name, value in os.environ.items() if not name.startswith("BITHIVE_")}
    variables |= {"BITHIVE_MODE": "demo", "BITHIVE_STATE": str(tmp_path), "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", ask], env=variables, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_cell_is_started_without_dicom_and_without_a_web_server():
    ask = (
        "import sys\nimport api.commands.node, cluster.cell\n"
        "print([name for name in ('pydicom', 'highdicom', 'fastapi', 'sqlalchemy', 'clinic', 'economy')"
        " if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", ask], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_both_sides(tmp_path):
    with hub(tmp_path) as (services, client):
        token = services.accounts.token(services.accounts.add("dr.roe", "clinician"))
        headers = {"Authorization": f"Bearer {token}"}
        assert client.get("/api/studies", headers=headers).json() == {"studies": []}
        assert client.get("/dicomweb/studies", headers=headers).status_code in {200, 204}
        assert client.get("/network/v1/events", headers={**headers, "BitHive-Protocol": "1"}).status_code == 403
        ready = client.get("/health/ready")
        assert ready.status_code == 503, "its threads do not run in this test"
        assert ready.json()["checks"]["accounts"] is True
        assert client.get("/health/live").status_code == 200


def test_a_network_side_knows_no_studies(tmp_path):
    with hub(tmp_path, role="network") as (services, client):
        assert not (tmp_path / "state" / "clinic.db").exists()
        token = services.accounts.token(services.accounts.add("dr.roe", "clinician"))
        headers = {"Authorization": f"Bearer {token}"}
        for path in ("/api/studies", "/dicomweb/studies"):
            answer = client.get(path, headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (404, "not-found")
        answer = client.get("/api/events", headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (404, "side-absent")


def test_a_clinical_side_has_no_ledger_and_no_broker(tmp_path):
    clinic = {"network_url": "https://network.example", "network_token": "t"}
    with hub(tmp_path, role="clinical", clinic=clinic) as (services, client):
        state = tmp_path / "state"
        assert not (state / "ledger.db").exists()
        assert not (state / "network.db").exists()
        assert client.get("/network/v1/events").status_code == 404
        assert [loop.name for loop in services.loops] == ["flow", "listening"]


def test_bundles_of_the_store_are_what_it_can_run(tmp_path):
    for name in ("spleen_ct_segmentation", "liver_ct"):
        sign(installed(tmp_path / "state" / "models" / "bundles", name), tmp_path / "state" / "keys" / "models.key")
    with hub(tmp_path) as (services, _):
        now = services.repertoire()
        assert set(now.pipelines) == {*pipelines(), "spleen_ct_segmentation", "liver_ct"}
        assert services.flow._means.repertoire() is now


def test_the_institution_and_the_secret_stay(tmp_path):
    with hub(tmp_path) as (first, _):
        pass
    with hub(tmp_path) as (second, _):
        assert second.institution == first.institution
        assert second.settings.secret == first.settings.secret
        assert second.settings.secret is not None


def test_local_credentials_are_new_at_each_start(tmp_path):
    with hub(tmp_path) as (services, _):
        first = services.accounts.token(services.accounts.ensure("local-institution", "institution"))
    with hub(tmp_path) as (services, _):
        assert services.accounts.by_token(first) is None


@pytest.mark.parametrize("path", ["/api/studies/1.2.3", "/api/workitems/wit_1", "/api/workitems/wit_1/statement"])
def test_what_is_not_there(tmp_path, path):
    with hub(tmp_path) as (services, client):
        assert client.get(path).status_code == 401
        token = services.accounts.token(services.accounts.add("dr.roe", "clinician"))
        answer = client.get(path, headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code == 404
        assert json.loads(answer.content)["code"].endswith("absent")
