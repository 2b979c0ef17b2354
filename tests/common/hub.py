"""A real hub and a real cell, each a process of its own, for tests that kill, trace and measure them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import httpx2

from tests.common.servers import answers, free_port, wait_until

ROOT = Path(__file__).resolve().parents[2]
MODEL_STORE = ROOT / ".cache" / "models"
SECRET = "a secret that only the tests know: 0123456789"


def environment(state: Path, **extra: str) -> dict[str, str]:
    """What a process of BitHive is told: this state folder, the tests' model store, nothing of the caller's settings.

    Only the T1 task is on unless `extra` says otherwise, so that what a test counts does not change with the catalogue.
    """
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("BITHIVE_", "RAY_"))}
    return inherited | {
        "BITHIVE_MODE": "demo",
        "BITHIVE_STATE": str(state),
        "BITHIVE_SECRET": SECRET,
        "BITHIVE_MODELS__STORE": str(MODEL_STORE),
        "BITHIVE_CLINIC__DISK_LOW_BYTES": "0",
        "BITHIVE_CLINIC__DISK_RESERVE_BYTES": "0",
        "BITHIVE_CLINIC__PIPELINES": "intracranial_volume_t1",
        "PYTHONPATH": str(ROOT),
        **extra,
    }


class Hub:
    """A hub with its state folder; it may be killed and started again on the same port.

    Parameters
    ----------
    state
        Its folder.
    embedded
        Whether it starts a cell of its own.
    extra
        Further settings, as environment variables.
    """

    def __init__(self, state: Path, embedded: bool = False, **extra: str) -> None:
        self.state, self.port = state, free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.environment = environment(
            state,
            BITHIVE_HTTP__PORT=str(self.port),
            BITHIVE_CELL__EMBEDDED=str(embedded).lower(),
            **extra,
        )
        self.process: subprocess.Popen[bytes] | None = None
        self.authority: Path | None = None
        """PEM file of who signed its certificate, where it has one."""
        self._tokens: dict[str, str] = {}

    def start(self, before: Sequence[str] = (), wait: bool = True) -> None:
        """Start it, under the program named in `before` (for example strace) if any."""
        self.state.mkdir(parents=True, exist_ok=True)
        with (self.state / "hub.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*before, sys.executable, "-m", "bithive", "serve"],
                env=self.environment,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                cwd=ROOT,
                start_new_session=True,
            )
        if wait:
            wait_until(lambda: answers(f"{self.url}/health/live", self.authority), 60, self.process)

    @property
    def _verify(self) -> ssl.SSLContext | bool:
        return ssl.create_default_context(cafile=str(self.authority)) if self.authority else True

    def kill(self) -> None:
        """SIGKILL to its whole process group."""
        assert self.process is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(20)

    def stop(self) -> None:
        """End it as an operator would."""
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.kill()

    def token(self, role: str, institution: str | None = None) -> str:
        """A bearer token for a role; the account is made the first time."""
        name = f"{role}-{institution or 'own'}"
        if name not in self._tokens:
            more = ["--institution", institution] if institution else []
            command = [sys.executable, "-m", "bithive", "account", "add", name.lower(), "--role", role, *more]
            made = subprocess.run(command, env=self.environment, cwd=ROOT, check=True, capture_output=True, text=True)
            self._tokens[name] = made.stdout.strip().splitlines()[-1]
        return self._tokens[name]

    def headers(self, role: str, institution: str | None = None) -> dict[str, str]:
        """The Authorization header of a role."""
        return {"Authorization": f"Bearer {self.token(role, institution)}"}

    def get(self, path: str, role: str = "clinician", **headers: str) -> Any:
        """A JSON answer."""
        with httpx2.Client(timeout=60, verify=self._verify) as client:
            answer = client.get(self.url + path, headers={**self.headers(role), **headers})
            answer.raise_for_status()
            return answer.json()

    def stow(self, files: Iterable[Path], role: str = "pacs", timeout_s: float = 120) -> httpx2.Response:
        """Send instances in one STOW-RS request."""
        with httpx2.Client(timeout=timeout_s, verify=self._verify) as client:
            return client.post(
                f"{self.url}/dicomweb/studies",
                content=multipart(files),
                headers={
                    **self.headers(role),
                    "Content-Type": f'multipart/related; type="application/dicom"; boundary={BOUNDARY}',
                    "Accept": "application/dicom+json",
                },
            )

    def study(self, study_uid: str) -> dict[str, Any]:
        """What the hub says of a study."""
        found: dict[str, Any] = self.get(f"/api/studies/{study_uid}")
        return found

    def wait_for_state(self, study_uid: str, states: Sequence[str], timeout_s: float = 120) -> dict[str, Any]:
        """Wait until a Workitem of the study is in one of these states."""
        deadline = time.monotonic() + timeout_s
        seen: dict[str, Any] = {}
        while time.monotonic() < deadline:
            try:
                seen = self.study(study_uid)
            except (httpx2.HTTPError, OSError):
                time.sleep(0.2)
                continue
            if any(item["state"] in states for item in seen.get("workitems", [])):
                return seen
            time.sleep(0.1)
        raise AssertionError(f"not {states} after {timeout_s} s: {json.dumps(seen)[:3000]}")


BOUNDARY = "bithive-test-boundary"


def multipart(files: Iterable[Path]) -> Iterable[bytes]:
    """The body of a STOW-RS request, instance by instance."""
    for path in files:
        yield f"--{BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode() + path.read_bytes() + b"\r\n"
    yield f"--{BOUNDARY}--\r\n".encode()


class Cell:
    """A cell process that pulls from a hub.

    Parameters
    ----------
    hub
        Where it pulls from.
    state
        Its folder.
    """

    def __init__(self, hub: Hub, state: Path, **extra: str) -> None:
        self.state = state
        self.environment = environment(
            state,
            BITHIVE_CELL__HUB_URL=hub.url,
            BITHIVE_CELL__TOKEN=hub.token("cell", "own"),
            RAY_AUTH_MODE="token",
            RAY_AUTH_TOKEN="0" * 64,
            **extra,
        )
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; it takes work once its replica is warm."""
        self.state.mkdir(parents=True, exist_ok=True)
        with (self.state / "cell.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "bithive", "node", "run", "--parent", str(os.getpid())],
                env=self.environment,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                cwd=ROOT,
                start_new_session=True,
            )

    def kill(self) -> None:
        """SIGKILL to it and to everything that it started, Ray's processes included."""
        assert self.process is not None
        for pid in family(self.process.pid):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.process.wait(20)

    def stop(self) -> None:
        """End it as an operator would; then make sure."""
        if self.process is not None and self.process.poll() is None:
            everyone = family(self.process.pid)
            self.process.terminate()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
            for pid in everyone:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue


def family(pid: int) -> list[int]:
    """A process and all its descendants."""
    import psutil

    try:
        parent = psutil.Process(pid)
        return [pid, *(child.pid for child in parent.children(recursive=True))]
    except psutil.NoSuchProcess:
        return []


def fetch(url: str, headers: dict[str, str]) -> bytes:
    """The body of a GET."""
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=60) as answer:
        return bytes(answer.read())
