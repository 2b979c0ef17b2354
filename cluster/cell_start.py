"""What a cell does before it is one: Ray's environment, weights, the dialler, the wall.

All of it while the process has a single thread (a thread that exists already stays outside the wall) and before numpy or
Ray is imported. Ray reads its environment when Python starts, so the program begins anew once; and once more whenever
the cell is to start again, which happens inside the wall, with the dialler that stands outside it.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import signal
import sys
import tempfile
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from bithive.log import get
from bithive.settings import Settings
from cluster.dialled import place_of
from cluster.dialler import Dialler
from cluster.namespaces import kept_attach, make_namespace
from cluster.profile import Profile, Role, ray_token
from cluster.wall import check_wall
from cluster.wall_linux import NAMED, raise_wall

_ENDING = (signal.SIGTERM, signal.SIGINT)
_HANDED = "HIVE_DIALLER"
_FETCHED, _WALLED = "HIVE_FETCHED", "HIVE_WALLED"

# Ray reads these when Python imports it, and its processes inherit them.
_RAY_ENVIRONMENT = {
    "RAY_AUTH_MODE": "token",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_SERVE_LOG_TO_STDERR": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # How long Serve looks for a replica that has the bundle loaded before it takes any: another loads it in seconds.
    "RAY_SERVE_MULTIPLEXED_MODEL_ID_MATCHING_TIMEOUT_S": "0.25",
}


def prepare(settings: Settings, profile: Profile) -> None:
    """Begin the program anew, once, with the weights fetched and Ray's environment set.

    Parameters
    ----------
    settings, profile
        Of this machine. Its token for Ray is the cell's own; a cell of one makes one at each start.
    """
    wanted = _environment(settings, profile)
    missing = {name: value for name, value in wanted.items() if os.getenv(name) != value}
    if not os.getenv("RAY_AUTH_TOKEN"):
        missing["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    if not missing:
        return
    if not os.getenv(_FETCHED):
        _fetch(settings)
    _begin_anew(missing | {_FETCHED: "1"})


def again(dialler: Dialler | None) -> None:
    """Begin the program anew where it is, inside its wall; a dialler goes on, and is this process's still."""
    _begin_anew({_WALLED: "1"} | ({} if dialler is None else {_HANDED: dialler.hand_over()}))


def dialler_of(profile: Profile) -> Dialler:
    """What connects to the hub: the one that was handed over, or a new one.

    Raises
    ------
    BadSettings
        The hub's address is none.
    """
    handed = os.getenv(_HANDED)
    return Dialler.taken_over(handed) if handed else Dialler([place_of(profile.hub_url)])


def enter_wall(settings: Settings, profile: Profile) -> None:
    """Raise the wall, unless this process is inside it, and look at it.

    A named namespace does not outlive a reboot: root makes it anew as it was made first.

    Raises
    ------
    WallAbsent
        It cannot be raised.
    WallOpen
        It does not keep everybody else out.
    """
    spec = profile.wall
    attach = kept_attach(settings.state)
    if attach is not None and os.geteuid() == 0 and not (NAMED / spec.name).exists():
        make_namespace(spec, attach)
    if not os.getenv(_WALLED):
        raise_wall(spec)
    found = check_wall(spec)
    get().info("wall.stands", kind=spec.kind, count=len(found.addresses))


def ray_folder(settings: Settings) -> Path:
    """A short path of this cell's own: a socket's path may have 107 characters."""
    name = hashlib.sha256(str(settings.state.absolute()).encode()).hexdigest()[:10]
    return Path(tempfile.gettempdir()) / f"bithive-ray-{os.getuid()}-{name}"


@contextmanager
def told_to_end() -> Generator[threading.Event]:
    """An event that SIGTERM and SIGINT set, for as long as the block lasts."""
    ended = threading.Event()
    before = {number: signal.getsignal(number) for number in _ENDING}
    hear(ended)
    try:
        yield ended
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def hear(ended: threading.Event) -> None:
    """Have the signals set the event, whoever has put handlers of its own in between: Ray does whenever it connects."""

    def end(_number: int, _frame: FrameType | None) -> None:
        ended.set()

    for number in _ENDING:
        signal.signal(number, end)


def _environment(settings: Settings, profile: Profile) -> dict[str, str]:
    from cluster.certificates import ray_tls

    wanted = dict(_RAY_ENVIRONMENT)
    token = ray_token(settings)
    if profile.role is not Role.SINGLE and token:
        wanted["RAY_AUTH_TOKEN"] = token
    if profile.head is not None and profile.head.tls:
        wanted |= ray_tls(settings.state / "tls")
    return wanted


def _fetch(settings: Settings) -> None:
    """While there is a network; what this imports is gone with the program that follows."""
    from cluster import loading
    from models.catalog import Catalog

    loading.fetch(Catalog.of(settings))


def _begin_anew(variables: Mapping[str, str]) -> None:
    # These are Ray's and ours for this very program, not settings.
    for name, value in variables.items():
        os.putenv(name, value)
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - this very program, again
