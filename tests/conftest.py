"""Fixtures of every test, and the one place that names the shared data.

A test that needs what is not here (shared data, a program of the operating system, a GPU) skips with the reason. With
`BITHIVE_TEST_STRICT=1`, as in CI, only absent shared data and an absent GPU may skip: every other skip fails.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from pathlib import Path

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from bithive.clock import ManualClock
from bithive.ids import SeededIds
from tests.common import external as programs
from tests.common import servers
from tests.common.hub import Hub

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
STRICT = os.environ.get("BITHIVE_TEST_STRICT") == "1"

_MAY_SKIP = ("shared data is not here", "no GPU")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of shared data; the test skips where it is absent."""
    if not (SHARED / "data").is_dir():
        pytest.skip("shared data is not here")
    return SHARED


@pytest.fixture
def clock() -> ManualClock:
    """A clock that moves only when told to."""
    return ManualClock()


@pytest.fixture
def ids(clock: ManualClock) -> SeededIds:
    """Reproducible identifiers."""
    return SeededIds(1, clock)


@pytest.fixture
def free_port() -> int:
    """A TCP port of the loopback address that nobody listens on. For more than one: `tests.common.servers.free_port`."""
    return servers.free_port()


@pytest.fixture(scope="session")
def external() -> Callable[[str], str]:
    """The path of a program by its name (`Orthanc`, `storescu`, `dciodvfy`, ...); skips where it is absent."""
    return programs.external


@pytest.fixture
def orthanc(tmp_path: Path) -> Generator[servers.Orthanc]:
    """A running Orthanc with its DICOMweb plug-in and its shipped storage settings."""
    with servers.orthanc(tmp_path / "orthanc") as server:
        yield server


@pytest.fixture(scope="session")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    """SQLAlchemy address of an empty database of a PostgreSQL that ends with the tests.

    Shared by the session: take a database of your own with `tests.common.servers.new_database`.
    """
    with servers.postgres(tmp_path_factory.mktemp("postgres")) as url:
        yield url


@pytest.fixture(scope="session")
def live(tmp_path_factory: pytest.TempPathFactory) -> Generator[Hub]:
    """A hub with its own cell, as `bithive serve` starts them; shared by the session."""
    from tests.common.studies import pulled

    pulled()
    hub = Hub(tmp_path_factory.mktemp("live") / "state", embedded=True)
    try:
        hub.start()
        yield hub
    finally:
        hub.stop()


_HEAVY_FOLDERS = ("golden", "e2e", "interop")
_APART = tuple(f"tests/e2e/test_{name}.py" for name in ("pipelines", "cells_killed", "contributor_day"))
"""Heavy files with a hub of their own, as long as all the others of a lane: they go to whichever process is free."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    """What starts servers or runs networks goes to one process, the rest to the other, file by file."""
    return _Scheduling(config, log)


class _Scheduling(LoadScopeScheduling):
    def _split_scope(self, nodeid: str) -> str:
        path = nodeid.split("::", maxsplit=1)[0]
        return "heavy" if path.split("/")[1] in _HEAVY_FOLDERS and path not in _APART else path


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None]:
    """In CI, turn a skip that is not excused into a failure."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    if STRICT and report.skipped and not hasattr(report, "wasxfail") and item.get_closest_marker("gpu") is None:
        _refuse_skip(report)


@pytest.hookimpl(hookwrapper=True)
def pytest_make_collect_report() -> Generator[None]:
    """The same for a module that skips as a whole."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    if STRICT and report.skipped:
        _refuse_skip(report)


def _refuse_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    if not any(excuse in reason for excuse in _MAY_SKIP):
        report.outcome = "failed"
        report.longrepr = f"a skip where nothing may skip (BITHIVE_TEST_STRICT=1): {reason}"
