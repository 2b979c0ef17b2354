"""What must hold before the hub starts. Each check refuses with a code and one sentence."""

from __future__ import annotations

import fcntl
import ipaddress
import os
import sys
from importlib import metadata, util
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from api.errors import AssertionsOff, DemoExposed, NotOurPackage, SecretAbsent, StateBusy, TlsAbsent
from bithive.errors import BadSettings, TwoRuntimes
from bithive.settings import Mode, Settings

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("bithive", "models", "inference", "pipelines", "clinic", "cluster", "economy", "api")
SECRET_LENGTH_MIN = 32


def check(settings: Settings) -> None:
    """Raise the leaf of `BadSettings` that keeps this process from starting, if any."""
    check_interpreter()
    check_packages()
    check_runtimes()
    check_secret(settings)
    check_listening(settings)
    check_peers(settings)


def check_interpreter(optimize: int | None = None) -> None:
    """Assertions guard against our own bugs, so they stay on. Raises `AssertionsOff`."""
    if sys.flags.optimize if optimize is None else optimize:
        raise AssertionsOff("do not start Python with -O or PYTHONOPTIMIZE: BitHive keeps its assertions on")


def check_packages(root: Path = ROOT) -> None:
    """Each top-level package is ours, not a namesake on the path. Raises `NotOurPackage`."""
    for name in PACKAGES:
        spec = util.find_spec(name)
        found = Path(spec.origin).resolve().parent.parent if spec and spec.origin else None
        if found != root:
            raise NotOurPackage(f"the package {name!r} is not BitHive's; another one hides it on the Python path")


def check_runtimes(installed: frozenset[str] | None = None) -> None:
    """The two builds of onnxruntime overwrite each other's files. Raises `TwoRuntimes`."""
    names = _installed() if installed is None else installed
    if {"onnxruntime", "onnxruntime-gpu"} <= names:
        raise TwoRuntimes("onnxruntime and onnxruntime-gpu overwrite each other; uninstall both, then install one")


def check_secret(settings: Settings) -> None:
    """Production has no default secret. Raises `SecretAbsent`."""
    given = settings.secret.get_secret_value() if settings.secret else ""
    if given and len(given) < SECRET_LENGTH_MIN:
        raise SecretAbsent(f"BITHIVE_SECRET is shorter than {SECRET_LENGTH_MIN} characters")
    if not given and settings.mode is Mode.PRODUCTION:
        raise SecretAbsent(f"set BITHIVE_SECRET to at least {SECRET_LENGTH_MIN} random characters")


def check_listening(settings: Settings) -> None:
    """Loopback, or TLS. Raises `DemoExposed`, `TlsAbsent` or `BadSettings`."""
    http = settings.http
    if settings.mode is Mode.DEMO and not is_loopback(http.host):
        raise DemoExposed("a demonstration listens on loopback only; remove BITHIVE_HTTP__HOST")
    if (http.tls_certificate is None) != (http.tls_key is None):
        raise BadSettings("BITHIVE_HTTP__TLS_CERTIFICATE and BITHIVE_HTTP__TLS_KEY go together")
    for path in (http.tls_certificate, http.tls_key):
        if path is not None and not path.is_file():
            raise BadSettings("a TLS file that the settings name is not there")
    if not is_loopback(http.host) and http.tls_certificate is None and not http.trust_proxy:
        raise TlsAbsent(
            "listening on anything but loopback needs BITHIVE_HTTP__TLS_CERTIFICATE and BITHIVE_HTTP__TLS_KEY, "
            "or BITHIVE_HTTP__TRUST_PROXY behind a proxy that ends TLS"
        )


def check_peers(settings: Settings) -> None:
    """Tokens and payloads leave this machine by TLS only. Raises `TlsAbsent`."""
    for name, address in (
        ("BITHIVE_CLINIC__NETWORK_URL", settings.clinic.network_url),
        ("BITHIVE_CELL__HUB_URL", settings.cell.hub_url),
    ):
        parts = urlsplit(address or "")
        if address and parts.scheme != "https" and not is_loopback(parts.hostname or ""):
            raise TlsAbsent(f"{name} must be an https address")


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def lock_state(state: Path) -> IO[bytes]:
    """Take the state folder for this process; hold what is returned.

    Raises
    ------
    StateBusy
        If another hub holds it.
    """
    state.mkdir(parents=True, exist_ok=True)
    file = (state / "hub.lock").open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise StateBusy("another hub uses this state folder; stop it, or give another BITHIVE_STATE") from None
    return file


def site_secret(settings: Settings) -> bytes:
    """The secret that everything of this site is derived from; a demonstration makes and keeps its own."""
    if settings.secret is not None:
        return settings.secret.get_secret_value().encode()
    assert settings.mode is Mode.DEMO, "check_secret came first"
    path = settings.state / "secret"
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_bytes()
    with os.fdopen(handle, "wb") as file:
        file.write(os.urandom(32).hex().encode())
        file.flush()
        os.fsync(file.fileno())
    return path.read_bytes()


def _installed() -> frozenset[str]:
    wanted = ("onnxruntime", "onnxruntime-gpu")
    return frozenset(name for name in wanted if _has(name))


def _has(distribution: str) -> bool:
    try:
        metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True
