"""Which engine runs a bundle on this node: each is measured once on a fixed probe, and must agree with the reference.

What was measured is kept as one small JSON file per bundle and node (`inference/node.py` says what a node is), and made
again when either changes. Several processes may measure at the same time: each writes a whole file.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from bithive.clock import Clock, SystemClock
from bithive.errors import BitHiveError
from bithive.log import get
from inference.engine import Candidate, Engine, Network, NetworkFile, candidates, make
from inference.errors import BundleRefused, EngineAbsent, EngineUnfit
from inference.node import fingerprint
from inference.parity import Answer, Parity, agreement, probe, profile_agreement
from models.bundle import Bundle

RUNS_MAX = 2
RUNS_BUDGET_S = 0.7
PATIENCE = 1.5

_FORM = 1
_PROC = Path("/proc/self")
_IN_MEMORY: dict[tuple[str, str], tuple[Shown, ...]] = {}
_UNWRITTEN: dict[str, str] = {}
_DEVICES = ("cpu", "cuda", "tensorrt")
_UNPRINTABLE = re.compile(r"[^ -~]")


@dataclass(frozen=True, slots=True)
class NetworkRun:
    """One network on one engine.

    Attributes
    ----------
    seconds
        The fastest run on the probe.
    activation_bytes
        How much the process grew over the first run: what a run takes beyond the loaded network. 0 where the system
        cannot say.
    parity
        The measure that the bundle names, reached on the probe.
    """

    seconds: float
    activation_bytes: int
    parity: float


@dataclass(frozen=True, slots=True)
class Shown:
    """What an engine has shown on this node.

    Attributes
    ----------
    candidate
        Which engine, on which device.
    verdict
        `fit`: its parity holds for every network. `slower`: given up before its parity was known, since others are far
        ahead. `unfit`: for the reason given; never used.
    reason
        Empty when fit.
    networks
        What was measured, by the network's name.
    """

    candidate: Candidate
    verdict: Literal["fit", "slower", "unfit"]
    reason: str = ""
    networks: Mapping[str, NetworkRun] = field(default_factory=dict)

    def seconds(self, names: Iterable[str] | None = None) -> float:
        """One run of each network, or of those named."""
        return sum(self.networks[name].seconds for name in (self.networks if names is None else names))


def fastest(
    bundle: Bundle, files: Mapping[str, NetworkFile], wanted: str, threads: int, folder: Path | None
) -> Candidate:
    """The engine to run a bundle with; parameters and errors as for `inference.engine.choose`.

    Nothing is measured where there is nothing to decide: when only the reference engine may run.
    """
    subject = _Subject.of(bundle, files)
    rivals = candidates(subject.parity, {file.format for file in files.values()})
    wanted_here = [rival for rival in rivals if wanted in ("auto", rival.name)]
    if not wanted_here:
        raise EngineAbsent("no engine that the bundle lists (or not the one asked for) can run it on this node")
    reference = subject.reference_among(rivals)
    if wanted_here == [reference]:
        return wanted_here[0]
    node = key(files, threads)
    known = {shown.candidate: shown for shown in read(folder, bundle, node)}
    if not _settles(known, wanted_here, wanted):
        taking_part = [rival for rival in rivals if rival in wanted_here or rival == reference]
        measured = measure(subject, taking_part, threads, patient=wanted != "auto")
        known |= {shown.candidate: shown for shown in measured}
        write(folder, bundle, node, tuple(known.values()))
    fit = [known[rival] for rival in wanted_here if known[rival].verdict == "fit"]
    if not fit:
        reasons = {rival.name: known[rival].reason for rival in wanted_here}
        raise EngineUnfit("no engine of this node shows the parity that the bundle asks for", **reasons)
    return min(fit, key=Shown.seconds).candidate


def key(files: Iterable[str], threads: int) -> dict[str, Any]:
    """What a measurement holds for: this node, and these networks (a bundle may bring one network in several forms)."""
    return {**fingerprint(threads), "networks": sorted(files)}


def _settles(known: Mapping[Candidate, Shown], wanted_here: Sequence[Candidate], wanted: str) -> bool:
    open_verdicts = () if wanted == "auto" else ("slower",)
    return all(rival in known and known[rival].verdict not in open_verdicts for rival in wanted_here)


@dataclass(frozen=True, slots=True)
class _Subject:
    """A bundle as it is measured.

    Attributes
    ----------
    reference
        The name of the engine that the others must agree with.
    parity
        By engine, in the bundle's order: what it must show.
    precision
        By engine, as declared.
    networks
        By name, the smallest first: the file, the shape of the probe, and the profile of the reference's answer if there is one.
    """

    reference: str
    parity: Mapping[str, Parity]
    precision: Mapping[str, str]
    networks: Mapping[str, tuple[NetworkFile, tuple[int, ...], Mapping[str, Sequence[int]] | None]]

    @classmethod
    def of(cls, bundle: Bundle, files: Mapping[str, NetworkFile]) -> _Subject:
        """Read the bundle's declarations. Raises `BundleRefused`."""
        listed, declared = bundle.extension["engines"], bundle.extension["networks"]
        try:
            stated = {name: Parity.from_json(row["parity"]) for name, row in listed.items() if "parity" in row}
            shapes = {name: _probe_shape(declared[name]) for name in files}
            profiles = {name: declared[name].get("probe") for name in files}
            precision = {name: str(row["precision"]) for name, row in listed.items()}
        except (KeyError, TypeError, ValueError, AttributeError):
            raise BundleRefused("the bundle's engines or networks are declared in another form") from None
        named = {parity.reference for parity in stated.values()} or {[*listed][-1]}
        if len(named) != 1 or not named <= set(listed) or not all(len(shape) in (4, 5) for shape in shapes.values()):
            raise BundleRefused("the bundle names no one reference engine of its list, or a shape of other axes")
        reference = named.pop()
        order = sorted(files, key=lambda name: math.prod(shapes[name]))
        return cls(
            reference,
            {name: stated.get(name, Parity.unnamed(reference)) for name in listed},
            precision,
            {name: (files[name], shapes[name], profiles[name]) for name in order},
        )

    def reference_among(self, rivals: Iterable[Candidate]) -> Candidate | None:
        """The reference as this node has it: on the processor, which every other device must agree with."""
        return next((rival for rival in rivals if rival == Candidate(self.reference, "cpu")), None)


def _probe_shape(row: Mapping[str, Any]) -> tuple[int, ...]:
    """`input_shape`, or the smaller `calibration_shape` of a network that takes any size and is slow at its own."""
    whole = tuple(int(size) for size in row["input_shape"])
    shape = tuple(int(size) for size in row.get("calibration_shape", whole))
    fits = len(shape) == len(whole) and shape[:2] == whole[:2]
    if not fits or not all(0 < size <= most for size, most in zip(shape, whole, strict=True)):
        raise ValueError("a probe is no larger than what the network takes")
    return shape


def measure(
    subject: _Subject, rivals: Sequence[Candidate], threads: int, patient: bool = False, clock: Clock | None = None
) -> list[Shown]:
    """Run every rival on the probe, the reference first.

    Parameters
    ----------
    subject
        What to run.
    rivals
        With the reference among them, if the node has it.
    threads
        For each engine.
    patient
        Whether to go on with an engine that is far behind another.
    clock
        The machine's own when absent.

    Raises
    ------
    EngineFault
        If the reference itself cannot run the networks.
    """
    reference = subject.reference_among(rivals)
    course = _Course(subject, threads, reference, patient, clock or SystemClock())
    ordered = sorted(rivals, key=lambda rival: rival != reference)
    started = course.clock.monotonic_s()
    shown = [course.run(rival) for rival in ordered]
    took_ms = round((course.clock.monotonic_s() - started) * 1000)
    for row in shown:
        get().info("engine.measured", engine=row.candidate.name, state=row.verdict)
    get().info("engine.calibrated", count=len(shown), duration_ms=took_ms)
    return shown


class _Course:
    """The measurement of one bundle: what the reference answered, and who is fit so far."""

    def __init__(
        self, subject: _Subject, threads: int, reference: Candidate | None, patient: bool, clock: Clock
    ) -> None:
        self.clock = clock
        self._subject, self._threads, self._reference, self._patient = subject, threads, reference, patient
        self._answers: dict[str, Answer] = {}
        self._fit: list[Shown] = []

    def run(self, rival: Candidate) -> Shown:
        """Measure one engine on every network, the smallest first."""
        shown = Shown(rival, "fit")
        try:
            engine = make(rival, self._threads)
            if engine.precision != self._subject.precision[rival.name]:
                return replace(shown, verdict="unfit", reason="it computes in another precision than the bundle says")
            for name in self._subject.networks:
                shown = self._network(engine, shown, name)
                if shown.verdict != "fit":
                    return shown
        except BitHiveError as error:
            if rival == self._reference:
                raise
            return replace(shown, verdict="unfit", reason=f"{error.code}: {error.detail}")
        self._fit.append(shown)
        return shown

    def _network(self, engine: Engine, shown: Shown, name: str) -> Shown:
        file, shape, _ = self._subject.networks[name]
        inputs = probe(shape)
        network = engine.network(file, shape)
        resident = _resident_bytes("VmRSS", forget_peak=True)
        first_s, output = self._timed(network, inputs)
        grown = max(0, _resident_bytes("VmHWM") - resident)
        answer = Answer.of(output)
        parity = self._parity(shown.candidate, name, answer)
        seconds, repeats = first_s, 0
        while repeats < RUNS_MAX and (repeats + 1) * first_s <= RUNS_BUDGET_S:
            again_s, output = self._timed(network, inputs)
            seconds, repeats = min(seconds, again_s), repeats + 1
            if repeats == 1 and engine.deterministic and Answer.of(output).checksum != answer.checksum:
                return replace(shown, verdict="unfit", reason="it gives other bits when it runs again")
        run = NetworkRun(round(seconds, 5), grown, round(parity, 7))
        shown = replace(shown, networks={**shown.networks, name: run})
        least = self._subject.parity[shown.candidate.name].least
        if parity < least:
            return replace(shown, verdict="unfit", reason=f"parity {parity:.6f} where {least} is asked for")
        if self._far_behind(shown):
            return replace(shown, verdict="slower", reason="others are far ahead on this node")
        return shown

    def _timed(self, network: Network, inputs: Any) -> tuple[float, Any]:
        started = self.clock.monotonic_s()
        output = network(inputs)
        return self.clock.monotonic_s() - started, output

    def _parity(self, rival: Candidate, name: str, answer: Answer) -> float:
        measure_name = self._subject.parity[rival.name].measure
        if rival == self._reference:
            measures = {parity.measure for parity in self._subject.parity.values()}
            self._answers[name] = answer.kept("allclose" if "allclose" in measures else measure_name)
            return 1.0
        if name in self._answers:
            return agreement(measure_name, answer, self._answers[name])
        profile = self._subject.networks[name][2]
        if profile is None:
            raise EngineUnfit("the reference engine is not here and the bundle carries no profile of its answers")
        return profile_agreement(measure_name, answer, profile)

    def _far_behind(self, shown: Shown) -> bool:
        unfinished = len(shown.networks) < len(self._subject.networks)
        if self._patient or not unfinished or not self._fit:
            return False
        return shown.seconds() > PATIENCE * min(other.seconds(shown.networks) for other in self._fit)


def read(folder: Path | None, bundle: Bundle, node: Mapping[str, Any]) -> tuple[Shown, ...]:
    """What is known of a bundle on this node; nothing where a file is absent, damaged, or about something else."""
    in_memory = _IN_MEMORY.get((bundle.sha256, _digest(node)), ())
    if folder is None or in_memory:
        return in_memory
    try:
        kept = json.loads(_path(folder, bundle, node).read_bytes())
        if (kept["form"], kept["bundle"], kept["node"]) != (_FORM, bundle.sha256, node):
            return ()
        return tuple(_shown(row) for row in kept["engines"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return ()


def write(folder: Path | None, bundle: Bundle, node: Mapping[str, Any], shown: tuple[Shown, ...]) -> None:
    """Keep what was measured, whole or not at all; where the folder cannot be written to, in this process."""
    if folder is not None:
        rows = [asdict(row) for row in shown]
        content = json.dumps({"form": _FORM, "bundle": bundle.sha256, "node": node, "engines": rows}, indent=1)
        spool = folder / f".{secrets.token_hex(12)}"
        with suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            spool.write_text(content)
            os.replace(spool, _path(folder, bundle, node))  # noqa: PTH105 - the same word as in the other stores
            return
        _UNWRITTEN[bundle.sha256] = content
    _IN_MEMORY[bundle.sha256, _digest(node)] = shown


def unwritten(bundle: Bundle) -> str:
    """What was measured of a bundle and could not be written by this process, once; empty if there is none."""
    return _UNWRITTEN.pop(bundle.sha256, "")


def take(folder: Path, bundle: Bundle, threads: int, content: str) -> bool:
    """Keep what another process measured on this node and could not write itself; whether it was in order.

    Only what `read` would read is kept, and of it only names and numbers that are known here.
    """
    try:
        kept = json.loads(content)
        named = kept["node"]["networks"]
        node = key([name for name in named if name in bundle.extension["networks"]], threads)
        shown = tuple(_shown(row) for row in kept["engines"])
        known = {str(name) for name in (*bundle.engines, *node["networks"])}
        said = {row.candidate.name for row in shown} | {name for row in shown for name in row.networks}
    except (ValueError, KeyError, TypeError, AttributeError):
        return False
    whole = (kept.get("form"), kept.get("bundle"), kept["node"]) == (_FORM, bundle.sha256, node)
    if not whole or not said <= known or not all(row.candidate.device in _DEVICES for row in shown):
        return False
    write(folder, bundle, node, tuple(replace(row, reason=_UNPRINTABLE.sub("", row.reason)[:200]) for row in shown))
    return True


def _shown(row: Any) -> Shown:
    verdict = row["verdict"]
    runs = {str(name): NetworkRun(**run) for name, run in row["networks"].items()}
    numbers = [number for run in runs.values() for number in (run.seconds, run.activation_bytes, run.parity)]
    if verdict not in ("fit", "slower", "unfit") or not all(isinstance(number, int | float) for number in numbers):
        raise ValueError("not a measurement")
    return Shown(
        Candidate(str(row["candidate"]["name"]), str(row["candidate"]["device"])), verdict, row["reason"], runs
    )


def _path(folder: Path, bundle: Bundle, node: Mapping[str, Any]) -> Path:
    return folder / f"{bundle.name}-{bundle.sha256[:16]}-{_digest(node)[:16]}.json"


def _digest(node: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(node, sort_keys=True).encode()).hexdigest()


def _resident_bytes(line: str, *, forget_peak: bool = False) -> int:
    """VmRSS or VmHWM of this process (proc(5)); 0 where there is none."""
    with suppress(OSError, ValueError, StopIteration):
        if forget_peak:
            (_PROC / "clear_refs").write_text("5")
        found = next(row for row in (_PROC / "status").read_text().splitlines() if row.startswith(line))
        return int(found.split()[1]) * 1024
    return 0
