"""Where a replica has its bundles run: a process that has nothing to steal and nowhere to take it.

The replica keeps the Node's key, checks what comes in and signs what goes out; the bundle process (`bundle_child`) gets
a payload and gives findings. What is measured is measured from here, by the kernel's accounts. When it dies the Attempt
fails, the replica lives on, and the next thing that is asked for starts another.
"""

from __future__ import annotations

import os
import re
import secrets
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, get_type_hints

from bithive.clock import Clock, SystemClock
from bithive.limits import BUNDLE_THREADS_MAX, FINDINGS_BYTES_MAX
from bithive.log import get
from bithive.receipt import Method
from cluster import gpu_nvml
from cluster.bundle_channel import fraction, memory_file, sealed_content, size, word
from cluster.bundle_start import Child, Program, start_child
from cluster.errors import RunnerDied, WorkFailed
from cluster.failures import known
from cluster.loading import Stock
from cluster.measure import OutsideMeter
from cluster.plan import Plan
from cluster.sandbox import Confinement
from cluster.shelves import ShelfState
from cluster.work import Assignment, Produced, Progress, coded, payload_digest, volume_of
from inference import calibration
from inference.engine import threads_of
from inference.memory import loaded_bytes
from models.bundle import Bundle
from models.catalog import Catalog

PULSE_S = 0.5
"""How often whoever waits is asked whether it still does, and the process is looked at."""

_STOP_S = 5.0
_LOOK_S = 0.25
_FOR_LACK_OF_ROOM = "out-of-memory"
_RESIDENT_FACTOR, _RESIDENT_MORE = 1.25, 512 << 20
_NAME = re.compile(r"[\w.:+-]{1,80}", re.ASCII)
_METHOD = get_type_hints(Method)
_BEGINNING = ("loading", 0.0)

Payload = bytes | bytearray | memoryview


def _nobody(_stage: str, _fraction: float) -> None:
    pass


class BundleProcess:
    """One bundle process at a time, started anew when it has died. `state`, `alive` and `pid` are for any thread.

    Parameters
    ----------
    plan
        What it loads, and how.
    clock
        Measures.
    program
        What is started; the bundle process itself unless a test says otherwise.
    """

    def __init__(self, plan: Plan, clock: Clock | None = None, program: Program | None = None) -> None:
        self._plan, self._clock, self._program = plan, clock or SystemClock(), program or Program()
        store = Path(plan.store)
        self._stock = Stock(partial(Catalog, store, trusted_keys=plan.trusted_keys), store, self._clock, verify=False)
        self._name = secrets.token_hex(8)
        self._child: Child | None = None
        self._one, self._saying = threading.Lock(), threading.Lock()
        self._bundles: dict[str, Bundle] = {}
        self._warm: tuple[str, ...] = ()
        self._unloadable: list[tuple[str, str]] = []
        self._busy, self._last, self._looked_s = False, _BEGINNING, 0.0
        self._gpu: gpu_nvml.GpuMeter | None = None

    @property
    def alive(self) -> bool:
        """Whether there is a process now."""
        child = self._child
        return child is not None and not child.ended.is_set()

    @property
    def pid(self) -> int:
        """Of the process; 0 without one."""
        child = self._child
        return child.process.pid if child is not None and not child.ended.is_set() else 0

    def start(self) -> Confinement:
        """Start a process and load what is to be loaded first; what it has given up.

        Raises
        ------
        SandboxAbsent
            If nothing here may run bundles.
        RunnerDied
            If it dies.
        """
        with self._one:
            confinement = self._living().confinement
            for sha256 in self._plan.first:
                self._keep(sha256)
        return confinement

    def prepare(self) -> None:
        """Load the rest, as room allows; an Attempt that comes meanwhile waits for one of them at most. As `start`."""
        for sha256 in self._plan.later:
            self.keep(sha256)

    def state(self) -> ShelfState:
        """What is loaded, and what could not be loaded since this was last said."""
        with self._saying:
            unloadable, self._unloadable = tuple(self._unloadable), []
            return ShelfState(self._name, self._warm if self.alive else (), unloadable)

    def keep(self, sha256: str) -> bool:
        """Load a bundle ahead of time unless another would have to go for it; whether it is loaded. As `start`."""
        with self._one:
            return self._keep(sha256)

    def run(self, assignment: Assignment, payload: Payload, tell: Progress) -> Produced:
        """Do the work of an Attempt, its bundle loaded first if need be.

        Parameters
        ----------
        assignment
            Which.
        payload
            The plain container.
        tell
            Called in this thread with the stage and the fraction of the whole, at least every `PULSE_S`. What it raises
            stops the work and is passed on.

        Raises
        ------
        WorkFailed
            With a code of `cluster.failures`.
        RunnerDied, SandboxAbsent
            The process died, or none can be had.
        """
        with self._one:
            self._last = _BEGINNING
            tell(*self._last)
            child = self._living()
            with self._at_rest_afterwards(child):
                return self._run(child, assignment, payload, tell)

    def close(self) -> None:
        """End it, and whatever it is doing."""
        child, self._child = self._child, None
        if child is not None:
            child.end()

    def _living(self) -> Child:
        child = self._child
        if child is not None and not child.ended.is_set():
            return child
        if child is not None:
            self._buried(child)
        self._warm = ()
        self._child = child = start_child(self._plan, self._program)
        return child

    def _buried(self, child: Child) -> None:
        child.end()
        get().warning("bundle_process.ended", exit_code=child.process.returncode, code=RunnerDied.code)
        self._child, self._busy = None, False

    @contextmanager
    def _at_rest_afterwards(self, child: Child) -> Iterator[None]:
        """What is still being done when this is left is stopped: by a word, or by force when that is not heard."""
        try:
            yield
        except RunnerDied:
            self._buried(child)
            raise
        finally:
            self._gpu = None
            if self._busy:
                self._stop(child)

    def _stop(self, child: Child) -> None:
        end_s = self._clock.monotonic_s() + _STOP_S
        with suppress(RunnerDied, WorkFailed):
            child.channel.send({"order": "stop"})
            while (left_s := end_s - self._clock.monotonic_s()) > 0 and self._busy:
                message = child.channel.receive(min(left_s, _LOOK_S))
                if message is not None and "stage" not in message:
                    self._learn(message)
        if self._busy:
            self._buried(child)

    def _keep(self, sha256: str) -> bool:
        child = self._living()
        if sha256 in self._warm:
            return True
        with self._at_rest_afterwards(child):
            try:
                order = self._given(sha256)
                order |= {"order": "keep", "memory_bytes": loaded_bytes(self._bundles[sha256])}
                return self._asked(child, order, _nobody).get("kept") is True
            except WorkFailed as error:
                self._note(sha256, error.failure)
                return False

    def _run(self, child: Child, assignment: Assignment, payload: Payload, tell: Progress) -> Produced:
        sha256 = assignment.bundle_sha256
        try:
            order = self._given(sha256) | {"order": "run", "memory_bytes": assignment.memory_bytes}
            method = _method(self._asked(child, order, tell).get("taken"))
        except WorkFailed as error:
            self._note(sha256, error.failure)
            raise
        bundle, on_gpu = self._bundles[sha256], method.device != "cpu"
        try:
            meter = self._meter(child, on_gpu=on_gpu)
            volume_of(bundle, assignment, payload)
            sealed, findings = memory_file(payload), memory_file()
            try:
                child.channel.send({"order": "go"}, (sealed, findings))
                digest = payload_digest(assignment, payload)  # while the process has begun to work
                content = sealed_content(findings, size(self._answer(child, tell), "finished", FINDINGS_BYTES_MAX))
                measured = meter.read(on_gpu=on_gpu)
            finally:
                os.close(sealed)
                os.close(findings)
        except OSError as error:
            raise RunnerDied("what runs the bundle is gone") from error
        names = (bundle.name, bundle.version, bundle.sha256)
        return Produced(*names, method, assignment.work_units, digest, len(payload), content, measured)

    def _given(self, sha256: str) -> dict[str, Any]:
        """Where a bundle lies, verified; only its name when it is loaded. Raises `WorkFailed`."""
        if sha256 in self._warm and sha256 in self._bundles:
            return {"sha256": sha256}
        with coded(self._name):
            bundle, weights = self._stock.find(sha256)
        self._bundles[sha256] = bundle
        paths = {name: str(path.resolve()) for name, path in weights.items()}
        return {"sha256": sha256, "folder": str(bundle.folder.resolve()), "weights": paths}

    def _asked(self, child: Child, order: Mapping[str, Any], tell: Progress) -> dict[str, Any]:
        child.channel.send(order)
        self._busy = True
        return self._answer(child, tell)

    def _answer(self, child: Child, tell: Progress) -> dict[str, Any]:
        """What comes of what was asked; on the way, whoever waits is told how far it is.

        Raises
        ------
        WorkFailed
            As the process says, or because it took too much.
        RunnerDied
            If it is gone, or says what it should not.
        """
        while True:
            message = child.channel.receive(PULSE_S)
            self._look(child)
            if message is None:
                tell(*self._last)
            elif "stage" in message:
                self._last = (word(message, "stage"), fraction(message, "fraction"))
                tell(*self._last)
            elif "taken" in message:
                return message
            else:
                self._learn(message)
                if "failed" in message:
                    _report(message)
                    raise WorkFailed(known(word(message, "failed"), "runner-fault"))
                return message

    def _learn(self, message: Mapping[str, Any]) -> None:
        """Take the last word on what was asked: what is loaded now, and what was measured of it."""
        warm = message.get("warm")
        if not isinstance(warm, list) or not all(isinstance(item, str) and item in self._bundles for item in warm):
            raise RunnerDied("what runs the bundle says something that is no shelf")
        self._warm, self._busy = tuple(warm[: self._plan.warm_max]), False
        measured = message.get("calibrated")
        if isinstance(measured, str):
            folder, threads = Path(self._plan.store) / "calibration", threads_of(self._plan.threads)
            newest = self._bundles.get(str(message.get("of")))
            if newest is None or not calibration.take(folder, newest, threads, measured):
                get().warning("engine.unmeasured", code="calibration")

    def _look(self, child: Child) -> None:
        """Kill it when it holds far more than it was foretold to, or makes threads without end."""
        now_s = self._clock.monotonic_s()
        if now_s - self._looked_s < _LOOK_S:
            return
        self._looked_s = now_s
        if self._gpu is not None:
            self._gpu.sample()
        resident, threads = child.watched.held()
        most = self._plan.memory_bytes * _RESIDENT_FACTOR + _RESIDENT_MORE if self._plan.memory_bytes else resident
        if resident > most or threads > BUNDLE_THREADS_MAX:
            get().warning("bundle_process.too_large", size_bytes=resident, count=threads)
            self._buried(child)
            raise WorkFailed(_FOR_LACK_OF_ROOM)

    def _meter(self, child: Child, *, on_gpu: bool) -> OutsideMeter:
        found = gpu_nvml.visible(self._plan.gpu) if on_gpu else ()
        if found:
            self._gpu = gpu_nvml.GpuMeter(found[0], child.process.pid, self._clock)
        return OutsideMeter(child.watched, self._clock, self._gpu)

    def _note(self, sha256: str, failure: str) -> None:
        if failure != _FOR_LACK_OF_ROOM:
            with self._saying:
                self._unloadable.append((sha256, failure))


def _method(said: Any) -> Method:
    """How a bundle computes, as its process says. Raises `RunnerDied`."""
    if not isinstance(said, dict) or {name: type(value) for name, value in said.items()} != _METHOD:
        raise RunnerDied("what runs the bundle does not say how")
    if not all(_NAME.fullmatch(value) for value in said.values() if isinstance(value, str)):
        raise RunnerDied("what runs the bundle does not say how")
    return Method(**said)


def _report(message: Mapping[str, Any]) -> None:
    """Log what kind of error ended an Attempt and where it was raised, if that is all that it says."""
    told = {name: message.get(name) for name in ("exc_type", "exc_at")}
    if all(isinstance(value, str) and _NAME.fullmatch(value) for value in told.values()):
        get().warning("attempt.crashed", **told)
