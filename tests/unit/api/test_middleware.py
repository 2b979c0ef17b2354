from __future__ import annotations

import json

from api.middleware import HEADERS
from bithive.limits import JSON_BODY_BYTES_MAX


def _refused(response):
    assert response.status_code == 413
    assert response.json()["code"] == "limit-exceeded"


def test_announced_body_over_the_limit(client):
    big = json.dumps({"patient_name": "x" * JSON_BODY_BYTES_MAX})
    _refused(client.post("/probe/body", content=big))


def test_unannounced_body_over_the_limit(client):
    def chunks():
        for _ in range(3):
            yield b"x" * (JSON_BODY_BYTES_MAX // 2)

    response = client.post("/probe/body", content=chunks(), headers={"Content-Type": "application/json"})
    _refused(response)


def test_length_that_is_no_number(client):
    response = client.post("/probe/body", content=b"{}", headers={"Content-Length": "-1"})
    assert response.status_code == 400


def test_json_to_a_streamed_address_is_limited_too(client):
    response = client.post(
        "/network/v1/offers", content=b"x" * (JSON_BODY_BYTES_MAX + 1), headers={"Content-Type": "application/json"}
    )
    _refused(response)


def test_safe_headers(client):
    headers = client.get("/health/live").headers
    assert all(name in headers for name in HEADERS)
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["cache-control"] == "no-store"
    assert headers["referrer-policy"] == "no-referrer"
