"""Serve's side of scaling: its controller asks how many replicas there should be; the agent has decided that.

The agent knows what waits and until when; Serve's controller knows neither. So the decision (`cluster.scaling`) stands
in the GCS's key-value store, and the policy below, which runs in the controller, reads it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ray.experimental.internal_kv import _internal_kv_get, _internal_kv_put

_NAMESPACE = "bithive"
_KEY = b"replicas"
_READ_EVERY_S = 0.5

POLICY = "cluster.scaling_ray:Targets"


class Targets:
    """Serve's autoscaling policy: as many replicas as the agent said, as before while it has said nothing."""

    def __init__(self) -> None:
        self._targets: dict[str, int] = {}
        self._read_s = float("-inf")

    def __call__(self, context: Any) -> tuple[int, dict[str, Any]]:
        """How many replicas a deployment should have, and no state."""
        now_s = float(context.current_time or 0.0)
        if abs(now_s - self._read_s) >= _READ_EVERY_S:
            self._read_s = now_s
            self._targets = told()
        return self._targets.get(context.deployment_name, context.target_num_replicas), {}


def tell(targets: Mapping[str, int]) -> None:
    """Say how many replicas each deployment should have. Raises what Ray does when its GCS is away."""
    _internal_kv_put(_KEY, json.dumps(dict(targets)).encode(), overwrite=True, namespace=_NAMESPACE)


def told() -> dict[str, int]:
    """What was said last."""
    content = _internal_kv_get(_KEY, namespace=_NAMESPACE)
    return {str(name): int(count) for name, count in json.loads(content).items()} if content else {}
