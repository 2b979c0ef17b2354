"""One Attempt through Serve: choose a replica, say which Node it is, send the payload there, and pass on what comes.

The Node is known before the payload leaves this machine (`choose_replica`, then `dispatch`). What crosses between the
cell's own processes are plain values of ours; nothing that came from outside the cell is ever unpickled.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import ray
from ray import serve

from bithive.receipt import Receipt
from cluster.errors import RunnerDied, WorkFailed
from cluster.plaintext import forget
from cluster.replica_ray import ReplicaState
from cluster.work import Assignment, Finished, Progress

_LOOK_S = 1.0
_CHOOSE_S = 90.0
_SILENT_S = 60.0

RAY_ERRORS = (ray.exceptions.RayError, serve.exceptions.RayServeException, ConnectionError)


class NotPlaced(Exception):
    """The cluster was joined anew before the Attempt had a replica; nothing has begun."""


@dataclass(frozen=True, slots=True)
class Placing:
    """Where an Attempt may go, and whom to tell.

    Attributes
    ----------
    handle
        Of the deployment.
    keys
        Of the Nodes that may run it.
    stale
        Whether the handle is of a cluster that this process has left.
    placed
        Told the key of the Node that was chosen.
    learn
        Told what the replica says of itself.
    stands
        Whether this machine's raylet runs. Ray ends the process that hands a payload to one that does not.
    """

    handle: Any
    keys: tuple[str, ...]
    stale: Callable[[], bool]
    placed: Callable[[str], None]
    learn: Callable[[ReplicaState], None]
    stands: Callable[[], bool]


def conduct(placing: Placing, assignment: Assignment, payload: bytearray, progress: Progress) -> Finished:
    """See an Attempt through; for a thread of its own.

    Raises
    ------
    NotPlaced
        Before anything has begun: ask again.
    WorkFailed, RunnerDied
        As `cluster.runner.Runner.run`, and whatever `progress` raises.
    """
    try:
        return asyncio.run(_conduct(placing, assignment, payload, progress))
    except ray.exceptions.ObjectStoreFullError:
        raise WorkFailed("out-of-memory") from None
    except RAY_ERRORS as error:
        raise RunnerDied from error


async def _conduct(placing: Placing, assignment: Assignment, payload: bytearray, progress: Progress) -> Finished:
    handle = placing.handle.options(method_name="run", stream=True, multiplexed_model_id=assignment.bundle_sha256)
    chosen = handle.choose_replica(placing.keys)
    selection = await _choose(chosen, placing, progress)
    try:
        if not placing.stands():
            raise NotPlaced
        placing.placed(selection.replica_metadata["node_key"])
        reference = ray.put(np.frombuffer(payload, np.uint8))
        response = handle.dispatch(selection, placing.keys, assignment, reference)
        del reference
        forget(payload)
        try:
            async for item in _items(response, placing):
                if item[0] == "finished":
                    return Finished(Receipt.from_json(item[1]), item[2])
                if item[0] == "failed":
                    raise WorkFailed(item[1])
                if item[0] == "state":
                    placing.learn(item[1])
                else:
                    progress(item[1], item[2])
        except BaseException:
            response.cancel()  # when nobody wants it any more, the replica stops too
            raise
        raise RunnerDied("the replica ended without an answer")
    finally:
        await _leave(chosen, placing)


async def _choose(chosen: Any, placing: Placing, progress: Progress) -> Any:
    """Wait for a replica that is free, as long as somebody wants the Attempt done."""
    entering = asyncio.ensure_future(chosen.__aenter__())
    waited_s = 0.0
    try:
        while True:
            done, _ = await asyncio.wait({entering}, timeout=_LOOK_S)
            if done:
                return entering.result()
            waited_s += _LOOK_S
            if placing.stale():
                raise NotPlaced
            if waited_s >= _CHOOSE_S:
                raise RunnerDied("no replica becomes free")
            progress("loading", 0.0)
    except BaseException:
        entering.cancel()
        raise


async def _items(response: Any, placing: Placing) -> AsyncIterator[Any]:
    """What the replica says, which it does at least once a second while it lives."""
    stream, silent_s = aiter(response), 0.0
    while True:
        coming = asyncio.ensure_future(anext(stream, None))
        while not (await asyncio.wait({coming}, timeout=_LOOK_S))[0]:
            silent_s += _LOOK_S
            if placing.stale() or silent_s >= _SILENT_S:
                coming.cancel()
                raise RunnerDied("nothing is heard of the replica")
        silent_s, item = 0.0, coming.result()
        if item is None:
            return
        yield item


async def _leave(chosen: Any, placing: Placing) -> None:
    """Give the replica's slot back, unless there is nobody left to give it to."""
    if placing.stale():
        return
    leaving = asyncio.ensure_future(chosen.__aexit__(None, None, None))
    await asyncio.wait({leaving}, timeout=_LOOK_S)
