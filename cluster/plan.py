"""What a replica and its bundle process load, and how: plain values, so that they can cross to another process."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Plan:
    """What a replica loads, and how.

    Attributes
    ----------
    store
        The store of weights.
    trusted_keys
        Whose installed bundles are trusted.
    first, later
        SHA-256 of the bundles to load before it is ready, and of those to load when nothing else is to do.
    engine, threads, warm_max, log_level
        As in the settings.
    memory_bytes
        What it may take.
    key_path
        The Node's own key; no bundle process is ever told where it lies.
    nice
        How much the bundle process gives way to other programs of the machine, 0 to 19 (nice(2)).
    gpu
        The graphics processors that are its own, as `CUDA_VISIBLE_DEVICES` names them; empty for none.
    """

    store: str
    trusted_keys: tuple[str, ...]
    first: tuple[str, ...]
    later: tuple[str, ...]
    engine: str
    threads: int
    warm_max: int
    memory_bytes: int
    key_path: str
    log_level: str = "info"
    nice: int = 0
    gpu: str = ""
