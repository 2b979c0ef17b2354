"""The settings of Ray that must be in force, each with how that is seen: a table, and no Ray."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

_TLS = ("RAY_USE_TLS", "RAY_TLS_SERVER_CERT", "RAY_TLS_SERVER_KEY", "RAY_TLS_CA_CERT")


@dataclass(frozen=True, slots=True)
class Found:
    """What was found of a running Ray.

    Attributes
    ----------
    environments
        Of its processes, by their names.
    config
        What its GCS hands to every machine.
    storage
        Names in the folder where the GCS keeps its state.
    storage_folder
        That folder, as it was asked for.
    proxies
        HTTP proxies of Serve.
    usage_told
        Whether it reports its use to somebody.
    commands
        Command lines of its processes.
    """

    environments: Mapping[str, Mapping[str, str]]
    config: Mapping[str, Any]
    storage: frozenset[str]
    storage_folder: str
    proxies: int
    usage_told: bool
    commands: Mapping[str, tuple[str, ...]]


def _every(found: Found, name: str, value: str | None = None) -> bool:
    """Whether all processes have a variable, with that value if one is given."""
    held = [environment.get(name) for environment in found.environments.values()]
    return bool(held) and all(one and value in (None, one) for one in held)


def _token(found: Found) -> bool:
    tokens = {environment.get("RAY_AUTH_TOKEN") for environment in found.environments.values()}
    return _every(found, "RAY_AUTH_MODE", "token") and len(tokens) == 1 and None not in tokens and "" not in tokens


def _rocksdb(found: Found) -> bool:
    told = found.config.get("gcs_storage") == "rocksdb" and found.config.get("gcs_storage_path") == found.storage_folder
    return told and any(name.startswith(("CURRENT", "MANIFEST")) for name in found.storage)


_CHECKS: dict[str, Callable[[Found], bool]] = {
    "token": _token,
    "dashboard": lambda found: not any("--include-dashboard=true" in word for word in _words(found)),
    "spilling": lambda found: found.config.get("automatic_object_spilling_enabled") is False,
    "usage-statistics": lambda found: not found.usage_told and _every(found, "RAY_USAGE_STATS_ENABLED", "0"),
    "storage": _rocksdb,
    "proxy": lambda found: found.proxies == 0,
}


def differing(found: Found, *, tls: bool) -> list[str]:
    """Names of the settings that are not in force.

    Parameters
    ----------
    found
        What was found.
    tls
        Whether the machines are to speak TLS with each other.
    """
    wrong = [name for name, holds in _CHECKS.items() if not holds(found)]
    if tls and not (_every(found, _TLS[0], "1") and all(_every(found, name) for name in _TLS[1:])):
        wrong.append("tls")
    return wrong


def _words(found: Found) -> list[str]:
    return [word.lower() for command in found.commands.values() for word in command]
