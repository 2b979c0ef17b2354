"""The process that bundles run in: no network, no keys, no privileges; started by `cluster.bundle_process`.

`python -m cluster.bundle_child DESCRIPTOR`, the descriptor being one end of a pair of sockets. It confines itself before
it imports anything that reads a bundle. It knows of an Attempt its payload and what is to run, and nothing else.

Its output goes nowhere: what a bundle printed could be a patient's. An error is told by its type and place.
"""

from __future__ import annotations

import importlib
import os
import socket
import sys
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from cluster.bundle_channel import Channel, mapped, write_all
from cluster.errors import LeaseLost, RunnerDied, SandboxAbsent, WorkFailed
from cluster.sandbox import Bounds, confine

_PACKAGES = ("bithive", "models", "inference", "cluster")


def main() -> None:
    """Confine this process, then do what is asked until nobody asks any more."""
    channel = Channel(socket.socket(fileno=int(sys.argv[1])))
    asked = channel.receive()
    assert asked is not None, "it waits for as long as it takes"
    for name in _PACKAGES:  # the folder that they lie in cannot be listed afterwards
        importlib.import_module(name)
    bounds = asked["bounds"]
    try:
        confinement = confine(Bounds(**{**bounds, "readable": tuple(bounds["readable"])}))
    except SandboxAbsent as error:
        channel.send({"refused": error.detail})
        return
    _silence()
    channel.send({"confined": confinement.to_json()})
    try:
        _Bundles(channel, asked["plan"]).serve()
    except RunnerDied:
        return


def _silence() -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nowhere, stream)
    os.close(nowhere)


class _Bundles:
    """A shelf of bundles, and what is asked of it.

    Parameters
    ----------
    channel
        To the replica.
    plan
        `store`, `engine`, `threads`, `warm_max`, `memory_bytes` as in `cluster.plan`.
    """

    def __init__(self, channel: Channel, plan: dict[str, Any]) -> None:
        from cluster.shelf import Shelf, room

        self._channel, self._plan = channel, plan
        self._given: dict[str, Any] = {}
        self._shelf = Shelf(self._load, partial(room, plan["memory_bytes"]), plan["warm_max"])
        self._measured = ""

    def serve(self) -> None:
        """Until the other end is closed. Raises `RunnerDied` then."""
        orders: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {"keep": self._keep, "run": self._run}
        while True:
            asked = self._channel.receive()
            order = orders.get(str(asked and asked.get("order")))
            if asked is None or order is None:
                continue  # a word that comes too late: there is nothing to stop any more
            self._given, self._measured = asked, ""
            answer = self._answered(order, asked)
            answer |= {"warm": list(self._shelf.warm())}
            if self._measured:
                answer |= {"calibrated": self._measured, "of": asked["sha256"]}
            self._channel.send(answer)

    def _answered(self, order: Callable[[dict[str, Any]], dict[str, Any]], asked: dict[str, Any]) -> dict[str, Any]:
        from cluster.work import coded

        try:
            with coded(""):
                return order(asked)
        except WorkFailed as error:
            return {"failed": error.failure, **_place(error)}
        except LeaseLost:
            return {"failed": "stopped"}

    def _keep(self, asked: dict[str, Any]) -> dict[str, Any]:
        return {"kept": self._shelf.keep(asked["sha256"], asked["memory_bytes"])}

    def _run(self, asked: dict[str, Any]) -> dict[str, Any]:
        from cluster.work import method_of
        from inference.volume import read_payload

        warm = self._shelf.take(asked["sha256"], asked["memory_bytes"])
        self._channel.send({"taken": method_of(warm.engine)._asdict()})
        order, files = self._channel.receive_files(2)
        if order.get("order") != "go" or len(files) != 2:
            for file in files:
                os.close(file)
            raise LeaseLost
        payload, findings = files
        try:
            content = warm.engine.run(read_payload(memoryview(mapped(payload))), self._tell).to_bytes()
            write_all(findings, content)
        finally:
            os.close(payload)
            os.close(findings)
        return {"finished": len(content)}

    def _tell(self, stage: str, fraction: float) -> None:
        """Say how far it is. Raises `LeaseLost` when it is told to stop."""
        self._channel.send({"stage": stage, "fraction": fraction})
        if self._channel.receive(0.0) is not None:
            raise LeaseLost

    def _load(self, sha256: str) -> Any:
        from cluster.work import Warm
        from inference import calibration, run
        from models.bundle import Bundle

        bundle = Bundle.load(Path(self._given["folder"]))
        if bundle.sha256 != sha256:
            raise WorkFailed("bundle-changed")
        weights = {name: Path(path) for name, path in self._given["weights"].items()}
        kept = Path(self._plan["store"]) / "calibration"
        loaded = run.load(bundle, weights, self._plan["engine"], self._plan["threads"], kept)
        self._measured = calibration.unwritten(bundle)
        return Warm(bundle, loaded)


def _place(error: BaseException) -> dict[str, str]:
    """Of the error behind this one: what kind it is and where it was raised; never what it says."""
    cause = error.__cause__
    if cause is None:
        return {}
    frames = traceback.extract_tb(cause.__traceback__)
    place = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return {"exc_type": type(cause).__name__, "exc_at": place}


if __name__ == "__main__":
    main()
