"""What happens to a Ray cluster of a head and two members; each scenario runs in a process with Ray's environment."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import psutil

from cluster.cluster_ray import NODE_LABEL
from cluster.register_proof import proven
from tests.common.ray_cells import CELL_KEY, RayCell, stream


def three_machines(folder: Path) -> dict[str, Any]:
    """Join, run on each and on one by name, lose a bundle process and the GCS, drain one, and end."""
    began = time.monotonic()
    cell = RayCell(folder)
    found: dict[str, Any] = {"head_s": round(time.monotonic() - began, 1)}
    try:
        _three_machines(cell, found)
    finally:
        family = psutil.Process().children(recursive=True)
        cell.close()
        _, alive = psutil.wait_procs(family, timeout=10)
        found["left"] = [process.name() for process in alive]
    return found


def _three_machines(cell: RayCell, found: dict[str, Any]) -> None:
    cell.join("plain")
    cell.join("graphic", slots=3, gpus=2)
    found["joined_s"] = cell.until(cell.serving("head", "plain", "graphic"))
    found["nodes"] = len(cell.runner.nodes())
    found["proven"] = all(proven(node.node_key, CELL_KEY, node.proof) for node in cell.runner.nodes())
    found["labels"] = sorted(_labels())
    found["joined_s"] += cell.until(lambda: len(cell.runner.replicas()) == 5)
    graphic = [state.gpu for state in cell.runner.replicas() if state.node_key == cell.key("graphic")]
    found["gpus"] = sorted(graphic)
    receipt, told = cell.attempt(1, {cell.key("plain"): "nod_plain"})
    found["named"] = receipt.node_key == told.nodes[0] == cell.key("plain") and receipt.node == "nod_plain"
    found["stages"] = told.stages[0]
    with stream(cell, 4) as going:
        going.more(8)
        found["everywhere"] = len(going.nodes)
        found["gcs"] = _kill_gcs(cell, going)
        found["bundle_process"] = _kill_bundle_process(cell, going)
        found["drained"] = _drain(cell, going)
        found["wrong"] = going.wrong
        found["count"] = going.count


def _kill_gcs(cell: RayCell, going: Any) -> dict[str, Any]:
    before = dict(going.failures)
    process = cell.runner._keeper._machine.processes()["gcs_server"]
    process.kill()
    began = time.monotonic()
    cell.until(lambda: _gcs(cell) not in (None, process.pid))
    back_s = round(time.monotonic() - began, 2)
    going.more(6)
    return {"back_s": back_s, "failures": _more(going, before), "healthy": cell.runner.healthy()}


def _gcs(cell: RayCell) -> int | None:
    found = cell.runner._keeper._machine.processes().get("gcs_server")
    return None if found is None or found.status() == psutil.STATUS_ZOMBIE else found.pid


def _kill_bundle_process(cell: RayCell, going: Any) -> dict[str, Any]:
    before = dict(going.failures)
    state = cell.runner.replicas()[0]
    os.kill(state.bundle_pid, 9)

    def anew() -> bool:
        now = {item.pid: item.bundle_pid for item in cell.runner.replicas()}
        return now.get(state.pid) not in (None, 0, state.bundle_pid)

    return {"anew_s": cell.until(anew), "failures": _more(going, before)}


def _drain(cell: RayCell, going: Any) -> dict[str, Any]:
    """The contributor of one machine ends it while everything is busy."""
    before, key = dict(going.failures), cell.key("plain")
    cell.members["plain"].terminate()
    began = time.monotonic()
    code = cell.members["plain"].wait(60)
    gone_s = round(time.monotonic() - began, 1)
    there = going.nodes[key]
    going.more(6)
    return {"gone_s": gone_s, "code": code, "failures": _more(going, before), "after": going.nodes[key] - there}


def _more(going: Any, before: dict[str, int]) -> dict[str, int]:
    return {code: count - before.get(code, 0) for code, count in going.failures.items() if count > before.get(code, 0)}


def _labels() -> set[str]:
    import ray

    return {node["Labels"][NODE_LABEL] for node in ray.nodes() if node["Alive"]}


def raylets_killed(folder: Path) -> dict[str, Any]:
    """Kill a member's raylet, then the head's, while Attempts run; how long each is away, and what was lost."""
    cell = RayCell(folder)
    found: dict[str, Any] = {}
    try:
        cell.join("plain")
        cell.until(cell.serving("head", "plain"))
        with stream(cell, 2) as going:
            going.more(4)
            for name in ("plain", "head"):
                before, had = dict(going.failures), going.nodes[cell.key(name)]
                _raylet(cell, name).kill()
                key = cell.key(name)
                back_s = cell.until(lambda key=key, had=had: going.nodes[key] > had + 2, 120)
                found[name] = {"back_s": back_s, "failures": _more(going, before)}
            found["wrong"] = going.wrong
        found["healthy"] = cell.runner.healthy()
    finally:
        cell.close()
    return found


def _raylet(cell: RayCell, name: str) -> psutil.Process:
    if name == "head":
        return cell.runner._keeper._machine.processes()["raylet"]
    member = psutil.Process(cell.members[name].pid)
    return next(process for process in member.children() if process.name() == "raylet")
