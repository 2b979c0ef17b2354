"""How Cells, Nodes and what becomes of their work are put for people."""

from __future__ import annotations

from collections.abc import Mapping

from api.pages import words
from api.pages.explain import title as explained
from cluster.attempt import AttemptState
from cluster.census import NodeLine

STATES: Mapping[str, tuple[str, str]] = {
    "up": ("good", "up"),
    "busy": ("run", "at work"),
    "paused": ("quiet", "paused"),
    "draining": ("warn", "draining"),
    "away": ("quiet", "away"),
    "silent": ("warn", "silent"),
    "revoked": ("bad", "revoked"),
}
"""Tone and word of where a Node stands."""

STATE_NOTES: Mapping[str, str] = {
    "up": "It takes work when there is some that it may receive.",
    "busy": "It is working for the network now.",
    "paused": "Its contributor, or somebody who uses the machine, has paused it: it takes nothing new.",
    "draining": "It finishes what it has and takes nothing new.",
    "away": "Outside its declared hours, or its contributor has left for now.",
    "silent": "It has not been heard of lately: switched off, cut off, or its agent has ended.",
    "revoked": "Its key is void. Nothing that it signs is taken any more; it must join again.",
}

TIERS: Mapping[str, str] = {
    "home": "home machine",
    "workstation": "workstation",
    "datacenter": "data centre",
    "hospital": "hospital",
}

CLASSES: Mapping[str, str] = {
    "P0": "public images",
    "P1": "de-identified, not head or face",
    "P2": "de-identified heads, genomes",
    "P3": "identified images",
}

URGENCIES: Mapping[str, str] = {"HIGH": "urgent", "MEDIUM": "routine", "LOW": "when there is time"}

ENDS: Mapping[str, tuple[str, str]] = {
    AttemptState.LEASED: ("run", "leased"),
    AttemptState.RUNNING: ("run", "running"),
    AttemptState.ACCEPTED: ("good", "accepted"),
    AttemptState.REFUSED: ("bad", "refused"),
    AttemptState.EXPIRED: ("warn", "went silent"),
    AttemptState.FAILED: ("warn", "could not do it"),
    AttemptState.WITHDRAWN: ("quiet", "withdrawn"),
}
"""Tone and word of what became of an Attempt."""


def tier(name: str) -> str:
    """A tier as said to a reader; empty when nobody said one."""
    return TIERS.get(name, name)


def hardware(node: NodeLine) -> str:
    """`8 threads, 31 GB, 2 GPUs (NVIDIA L4)`."""
    gpus = words.counted(node.gpus, "GPU") if node.gpus else ""
    named = f"{gpus} ({node.accelerator})" if gpus and node.accelerator else gpus
    return words.listed([words.counted(node.threads, "thread"), words.size(node.memory_bytes), named])


def code(name: str) -> str:
    """What a code means, in one phrase."""
    return explained(name) or name.replace("-", " ").capitalize()


def age(from_ms: int, now_ms: int) -> str:
    """How long something has lasted: `0.4 s`, `3 min 20 s`, `5 h`, `12 days`."""
    seconds = max(now_ms - from_ms, 0) / 1000
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.0f} days"
