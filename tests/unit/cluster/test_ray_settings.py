"""The table of settings that must be in force; `tests/e2e/test_ray_cluster.py` looks at a real Ray with it."""

from dataclasses import replace
from typing import Any

import pytest

from cluster.ray_settings import Found, differing

GOOD = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "t" * 64, "RAY_USAGE_STATS_ENABLED": "0"}
TLS = {"RAY_USE_TLS": "1", "RAY_TLS_SERVER_CERT": "a", "RAY_TLS_SERVER_KEY": "b", "RAY_TLS_CA_CERT": "c"}
CONFIG = {"automatic_object_spilling_enabled": False, "gcs_storage": "rocksdb", "gcs_storage_path": "/s"}
FOUND = Found(
    environments={"gcs_server": GOOD, "raylet": GOOD},
    config=CONFIG,
    storage=frozenset({"CURRENT", "MANIFEST-000005"}),
    storage_folder="/s",
    proxies=0,
    usage_told=False,
    commands={"raylet": ("raylet", "--raylet_socket_name=x")},
)


def test_all_in_force() -> None:
    assert differing(FOUND, tls=False) == []
    secured = dict.fromkeys(FOUND.environments, GOOD | TLS)
    assert differing(replace(FOUND, environments=secured), tls=True) == []


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"environments": {}}, "token"),
        ({"environments": {"gcs_server": GOOD, "raylet": GOOD | {"RAY_AUTH_MODE": "disabled"}}}, "token"),
        ({"environments": {"gcs_server": GOOD, "raylet": GOOD | {"RAY_AUTH_TOKEN": "other"}}}, "token"),
        ({"environments": {"gcs_server": GOOD | {"RAY_AUTH_TOKEN": ""}}}, "token"),
        ({"environments": {"gcs_server": GOOD | {"RAY_USAGE_STATS_ENABLED": "1"}}}, "usage-statistics"),
        ({"usage_told": True}, "usage-statistics"),
        ({"config": CONFIG | {"automatic_object_spilling_enabled": True}}, "spilling"),
        ({"config": {}}, "spilling"),
        ({"config": CONFIG | {"gcs_storage": "memory"}}, "storage"),
        ({"config": CONFIG | {"gcs_storage_path": "/elsewhere"}}, "storage"),
        ({"storage": frozenset()}, "storage"),
        ({"proxies": 1}, "proxy"),
        ({"commands": {"dashboard": ("python", "dashboard.py", "--include-dashboard=True")}}, "dashboard"),
    ],
)
def test_one_that_is_not_in_force_is_named(changes: dict[str, Any], name: str) -> None:
    assert name in differing(replace(FOUND, **changes), tls=False)


def test_tls_is_looked_at_where_it_is_wanted() -> None:
    assert differing(FOUND, tls=True) == ["tls"]
    half = {name: GOOD | {"RAY_USE_TLS": "1"} for name in FOUND.environments}
    assert differing(replace(FOUND, environments=half), tls=True) == ["tls"]
