"""Which replica an Attempt goes to: one on a Node that may run it, rather one that has its bundle loaded."""

from __future__ import annotations

import asyncio
from typing import Any

from ray.serve.request_router import FIFOMixin, MultiplexMixin, PendingRequest, RequestRouter, RunningReplica

_PREFER_WARM_S = 0.25
"""How long only a replica that has the bundle is tried: another loads it in seconds."""


class NodeRouter(FIFOMixin, MultiplexMixin, RequestRouter):  # type: ignore[misc]
    """Routes by the keys of the Nodes that may run a request, its first argument, and by what is loaded.

    A Node that is drained is left out of them by whoever asks, so nothing new reaches it from that moment on.
    """

    def initialize_state(self, **_nothing: Any) -> None:
        self._first_asked: dict[str, float] = {}

    async def choose_replicas(
        self, candidate_replicas: list[RunningReplica], pending_request: PendingRequest | None = None
    ) -> list[list[RunningReplica]]:
        """Ranks of replicas, the first of which is tried first; empty when there is none yet."""
        if pending_request is None or not pending_request.args or not isinstance(pending_request.args[0], tuple):
            return [candidate_replicas]
        allowed = frozenset(pending_request.args[0])
        eligible = [item for item in candidate_replicas if item.replica_metadata.get("node_key") in allowed]
        pending_request.routing_context.should_backoff = True
        bundle = pending_request.metadata.multiplexed_model_id
        warm = [item for item in eligible if bundle in item.multiplexed_model_ids]
        rest = sorted((item for item in eligible if item not in warm), key=lambda item: len(item.multiplexed_model_ids))
        if warm and self._is_new(pending_request):
            return [warm]
        return [rank for rank in (warm, rest) if rank]

    def on_request_completed(self, _replica_id: Any, internal_request_id: str) -> None:
        self._first_asked.pop(internal_request_id, None)

    def _is_new(self, request: PendingRequest) -> bool:
        now_s = asyncio.get_running_loop().time()
        first_s = self._first_asked.setdefault(request.metadata.internal_request_id, now_s)
        return now_s - first_s < _PREFER_WARM_S
