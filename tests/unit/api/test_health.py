from __future__ import annotations

from api import health


def test_it_says_what_is_not_ready(client, services):
    assert client.get(f"{health.router.prefix}/live").json()["status"] == "live"
    assert client.get("/health/ready").json() == {"status": "ready", "checks": {}, "cells": 0}
    services.vitals.watch("flow", lambda: False)
    answer = client.get("/health/ready")
    assert (answer.status_code, answer.json()["checks"]) == (503, {"flow": False})
