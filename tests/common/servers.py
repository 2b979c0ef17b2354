"""Real servers for tests: each in a folder of its own, on a free port, ended with the block."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.common.external import external, find

_DICOMWEB_PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")


def free_port() -> int:
    """A TCP port of the loopback address that nobody listens on right now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def wait_until(
    ready: Callable[[], bool], timeout_s: float = 30.0, process: subprocess.Popen[bytes] | None = None
) -> None:
    """Wait until `ready` holds; fails when the process ends or the time is up."""
    deadline = time.monotonic() + timeout_s
    while not ready():
        if process is not None and process.poll() is not None:
            raise AssertionError(f"the server ended with {process.returncode}")
        if time.monotonic() > deadline:
            raise AssertionError(f"not ready after {timeout_s} s")
        time.sleep(0.05)


def answers(url: str, authority: Path | None = None) -> bool:
    """Whether an HTTP address answers at all, with whatever status; `authority` signed its certificate."""
    context = ssl.create_default_context(cafile=str(authority)) if authority else None
    try:
        urllib.request.urlopen(url, timeout=2, context=context).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


def stop(process: subprocess.Popen[bytes], timeout_s: float = 10.0) -> None:
    """End a process that a test started, gently and then not."""
    process.terminate()
    try:
        process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(timeout_s)


@dataclass(frozen=True, slots=True)
class Orthanc:
    """A running Orthanc.

    Attributes
    ----------
    url
        Root of its HTTP server, no slash at the end.
    dicomweb_url
        Root of its DICOMweb services.
    dicom_port, ae_title
        Its DIMSE listener.
    storage
        Its folder.
    """

    url: str
    dicomweb_url: str
    dicom_port: int
    ae_title: str
    storage: Path


@contextmanager
def orthanc(folder: Path, extra: dict[str, object] | None = None) -> Generator[Orthanc]:
    """Orthanc with its DICOMweb plug-in; storage settings as its package ships them.

    Parameters
    ----------
    folder
        An empty or absent folder for its configuration, index and files.
    extra
        Members that replace those of the configuration, for example `DicomModalities`.
    """
    program = external("Orthanc")
    if not _DICOMWEB_PLUGIN.exists():
        pytest.skip("the program orthanc-dicomweb is not installed")
    folder.mkdir(parents=True, exist_ok=True)
    http_port, dicom_port = free_port(), free_port()
    members: dict[str, object] = {
        "Name": "Orthanc",
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "Plugins": [str(_DICOMWEB_PLUGIN)],
        "HttpPort": http_port,
        "DicomPort": dicom_port,
        "DicomAet": "ORTHANC",
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/", "EnableWado": False},
        "StorageCompression": False,
        "OverwriteInstances": False,
        **(extra or {}),
    }
    configuration = folder / "orthanc.json"
    configuration.write_text(json.dumps(members, indent=2))
    with (folder / "orthanc.log").open("wb") as log:
        process = subprocess.Popen([program, str(configuration)], stdout=log, stderr=log, cwd=folder)
    try:
        url = f"http://127.0.0.1:{http_port}"
        wait_until(lambda: answers(f"{url}/system"), process=process)
        yield Orthanc(url, f"{url}/dicom-web", dicom_port, "ORTHANC", folder / "storage")
    finally:
        stop(process)


@contextmanager
def postgres(folder: Path, *options: str) -> Generator[str]:
    """A PostgreSQL of its own; the SQLAlchemy address of its database `postgres`.

    Further words of its command line are given as `options`. PostgreSQL refuses to run as root; then the system's account `postgres` runs it.
    """
    initdb, server = external("initdb"), external("postgres")
    as_other = os.geteuid() == 0
    owner: dict[str, object] = {"user": "postgres", "group": "postgres", "extra_groups": []} if as_other else {}
    # Its account must be able to reach the folder, which pytest's own temporary folder does not allow.
    base = Path("/tmp") / f"bithive-postgres-{os.getpid()}-{free_port()}" if as_other else folder / "cluster"
    base.mkdir(parents=True)
    if as_other:
        shutil.chown(base, "postgres", "postgres")
    port = free_port()
    environment = {**os.environ, "LC_ALL": "C.UTF-8", "TZ": "UTC"}
    try:
        subprocess.run(
            [initdb, "-D", str(base / "data"), "-U", "bithive", "-A", "trust", "-E", "UTF8", "--no-sync"],
            check=True,
            capture_output=True,
            cwd=base,
            env=environment,
            **owner,  # type: ignore[call-overload]
        )
        process = subprocess.Popen(
            [
                server,
                "-D",
                str(base / "data"),
                "-p",
                str(port),
                "-c",
                "listen_addresses=127.0.0.1",
                "-k",
                str(base),
                *options,
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=base,
            env=environment,
            **owner,  # type: ignore[call-overload]
        )
        try:
            url = f"postgresql+pg8000://bithive@127.0.0.1:{port}/postgres"
            wait_until(lambda: _postgres_answers(url), process=process)
            yield url
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                stop(process)
    finally:
        shutil.rmtree(base, ignore_errors=True)


def new_database(url: str, name: str) -> str:
    """Make an empty database in the PostgreSQL at `url`, replacing one of that name; its address."""
    from sqlalchemy import create_engine

    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        connection.exec_driver_sql(f'CREATE DATABASE "{name}"')
    engine.dispose()
    return url.rsplit("/", 1)[0] + f"/{name}"


def _postgres_answers(url: str) -> bool:
    from sqlalchemy import create_engine
    from sqlalchemy.exc import SQLAlchemyError

    engine = create_engine(url)
    try:
        with engine.connect() as connection:
            connection.exec_driver_sql("SELECT 1")
    except (SQLAlchemyError, OSError):
        return False
    else:
        return True
    finally:
        engine.dispose()


def has_program(name: str) -> bool:
    """Whether a program is installed, for a parametrised test that must decide before it runs."""
    return find(name) is not None
