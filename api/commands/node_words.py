"""What a contributor reads in a terminal about a machine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from bithive.clock import as_utc
from bithive.errors import BadInput
from bithive.limits import GIB
from cluster.caps import Caps
from cluster.timetable import Timetable

_STATES = {
    "up": "takes work",
    "paused": "takes nothing new for now",
    "draining": "takes nothing new and finishes what runs",
    "away": "is not there for the network",
}
_WHY = {
    "asked": "you asked for it",
    "timetable": "by its timetable",
    "in-use": "somebody uses the machine",
    "changed": "its bounds changed; it starts anew",
    "": "",
}


def status_lines(told: Mapping[str, Any]) -> Iterator[str]:
    """The answer to `status`, in words."""
    why = _WHY.get(str(told["why"]), str(told["why"]))
    until = f", until {_time(told['until_ms'])}" if told["until_ms"] else ""
    yield f"{told['state']}: {_STATES.get(str(told['state']), '')}{f' ({why}{until})' if why else until}"
    reached = f"connected to {told['hub_url']}" if told["connected"] else f"not connected to {told['hub_url']}"
    yield f"{told['role']} of {told['operator']}, {told['tier']}; {reached}{_cell(told)}"
    yield f"bounds: {', '.join(Caps.from_json(told['caps']).words())}"
    table = Timetable.from_json(told["timetable"])
    yield f"hours: {table.words()}{'' if table.always else f' ({table.zone})'}"
    for attempt in told["attempts"]:
        percent = round(100 * float(attempt.get("fraction", 0)))
        seconds = (told["now_ms"] - attempt["begun_ms"]) / 1000
        yield f"runs {attempt['bundle']} for {seconds:.0f} s: {attempt['stage']}, {percent} %"
    if not told["attempts"]:
        yield "runs nothing now"


def down_lines(joined: Mapping[str, Any] | None) -> Iterator[str]:
    """When no agent runs."""
    if joined is None:
        yield "this machine has not joined: `bithive node join INVITE`"
        return
    yield "stopped: no agent runs; `bithive node start` starts it"
    yield f"{joined['role']} of {joined['operator']}, {joined['tier']}, {joined['hub_url'] or 'no hub of its own'}"


def gib(text: str) -> int:
    """A number of GiB as bytes. Raises `BadInput`."""
    try:
        return round(float(text) * GIB)
    except (ValueError, OverflowError):
        raise BadInput("memory is a number of GiB") from None


def _cell(told: Mapping[str, Any]) -> str:
    return f" as {told['cell']}" if told["cell"] else ""


def _time(ms: int) -> str:
    return f"{as_utc(ms).strftime('%Y-%m-%d %H:%M')} UTC"
