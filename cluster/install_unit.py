"""The systemd unit of a machine (systemd.service(5), systemd.exec(5)): starts with the machine, ends by draining."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from bithive.errors import BadSettings

RUNNING = Path("/run/systemd/system")
UNITS = Path("/etc/systemd/system")
STOP_S = 120

_TEMPLATE = """\
# Written by `bithive node start --as unit`; `bithive node uninstall` removes it.
[Unit]
Description=BitHive node ({state})
Wants=network-online.target
After=network-online.target

[Service]
Type=exec
User={user}
WorkingDirectory={root}
Environment=PYTHONPATH={root} HIVE_CELL_OF={state} PYTHONUNBUFFERED=1{store_told}
# The namespace of a cell of several machines does not outlive a reboot; + is root outside the bounds below.
ExecStartPre=+{python} -m cluster.namespaces {state}
ExecStart={python} -m bithive node run --state {state}
Restart=on-failure
RestartSec=5
# 2: the settings are wrong, and stay so however often it is tried.
RestartPreventExitStatus=2
KillSignal=SIGTERM
KillMode=mixed
TimeoutStopSec={stop_s}
Nice=10
IOSchedulingClass=idle
LimitCORE=0
LimitNOFILE=65535
NoNewPrivileges={no_new_privileges}
{capabilities}ProtectSystem=strict
ReadWritePaths={state}{store_written}
PrivateTmp=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectClock=yes
ProtectHostname=yes
RestrictSUIDSGID=yes
LockPersonality=yes
{bounds}
[Install]
WantedBy=multi-user.target
"""

# Entering or making a network namespace as root needs it; the agent gives it up once the wall stands.
_AS_ROOT = "CapabilityBoundingSet=CAP_SYS_ADMIN CAP_NET_ADMIN CAP_DAC_OVERRIDE CAP_SYS_PTRACE CAP_SYS_RESOURCE\n"


class How(StrEnum):
    """Where the agent runs."""

    FOREGROUND = "foreground"
    DETACHED = "detached"
    UNIT = "unit"


@dataclass(frozen=True, slots=True)
class Unit:
    """What stands in a unit.

    Attributes
    ----------
    name
        Of its file, with `.service`.
    state
        The machine's state folder.
    python, root
        The interpreter and the folder of BitHive's packages.
    user
        Who it runs as.
    threads, memory_bytes
        Bounds of the contributor, enforced by the kernel; 0 for none.
    store
        The store of weights, where it is not in the state folder.
    """

    name: str
    state: Path
    python: Path
    root: Path
    user: str
    threads: int = 0
    memory_bytes: int = 0
    store: Path | None = None

    def text(self) -> str:
        """The unit's file. Raises `BadSettings` if a path cannot stand in one."""
        for path in (self.state, self.python, self.root, self.store or self.state):
            if not path.is_absolute() or any(letter in " \t\n\"'\\%$" for letter in str(path)):
                raise BadSettings("a path with blanks, quotes, % or $ cannot stand in a unit; use another state folder")
        as_root = self.user == "root"
        bounds = [f"CPUQuota={self.threads * 100}%"] if self.threads else []
        # Beside the Attempts there are the agent and Ray.
        bounds += [f"MemoryHigh={self.memory_bytes + 2**31}"] if self.memory_bytes else []
        return _TEMPLATE.format(
            state=self.state,
            python=self.python,
            root=self.root,
            user=self.user,
            store_told=f" BITHIVE_MODELS__STORE={self.store}" if self.store else "",
            store_written=f" {self.store}" if self.store else "",
            stop_s=STOP_S,
            no_new_privileges="no" if as_root else "yes",
            capabilities=_AS_ROOT if as_root else "",
            bounds="".join(f"{line}\n" for line in bounds),
        )


def is_available(running: Path = RUNNING) -> bool:
    """Whether systemd runs here and units can be installed by this user (sd_booted(3))."""
    return running.is_dir() and os.geteuid() == 0


def install(unit: Unit, folder: Path = UNITS, run: Sequence[str] = ("systemctl",)) -> Path:
    """Write the unit, have it start with the machine, and start it; the file's path.

    Raises
    ------
    BadSettings
        If systemd declines.
    """
    path = folder / unit.name
    path.write_text(unit.text())
    path.chmod(0o644)
    for words in (("daemon-reload",), ("enable", "--now", unit.name)):
        _told((*run, *words))
    return path


def remove(name: str, folder: Path = UNITS, run: Sequence[str] = ("systemctl",)) -> bool:
    """Stop the unit and take it away; whether there was one. Raises `BadSettings` if systemd declines."""
    path = folder / name
    if not path.exists():
        return False
    _told((*run, "disable", "--now", name))
    path.unlink()
    _told((*run, "daemon-reload"))
    return True


def _told(command: Sequence[str]) -> None:
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=STOP_S + 30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        raise BadSettings("systemctl cannot be run") from None
    if ended.returncode:
        raise BadSettings(f"systemctl declined: {ended.stderr.strip()[:200]}")
