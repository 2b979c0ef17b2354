"""A hub with its own cell whose store of bundles is its own, so that what a test pulls stays with it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import pytest

from api.repertoire import LOOK_PERIOD_S
from tests.common.hub import MODEL_STORE, ROOT, Hub
from tests.common.servers import wait_until
from tests.common.studies import pulled

ON = (
    "intracranial_volume_t1",
    "spleen_ct_segmentation",
    "liver_ct_segmentation",
    "bladder_ct_segmentation",
    "thoraxBones_ct_segmentation",
    "other_ct",
)
"""What the tests pull and count; the declared CT tasks would come on top."""


@dataclass(frozen=True, slots=True)
class Zoo:
    """A running hub, and the mirror folder that it and its command line pull bundles from."""

    hub: Hub
    mirror: Path

    def pull(self, *names: str) -> None:
        """`bithive models pull`, as an operator runs it beside the hub; then the time after which the hub has seen it."""
        pulled = self.command("pull", *names)
        assert pulled.returncode == 0, pulled.stdout + pulled.stderr
        time.sleep(LOOK_PERIOD_S + 0.1)

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """`bithive models ...`."""
        command = [sys.executable, "-m", "bithive", "models", *words]
        return subprocess.run(
            command, env=self.hub.environment, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120
        )


@pytest.fixture(scope="session")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Generator[Zoo]:
    """Shared by the session; its cell is at work, and the T1 task's weights are in its store from the beginning."""
    pulled()
    folder = tmp_path_factory.mktemp("zoo")
    linked(MODEL_STORE / "sha256", folder / "store" / "sha256")
    (folder / "mirror").mkdir()
    hub = Hub(
        folder / "state",
        embedded=True,
        BITHIVE_MODELS__STORE=str(folder / "store"),
        BITHIVE_MODEL_MIRRORS=str(folder / "mirror"),
        BITHIVE_CLINIC__PIPELINES=",".join(ON),
    )
    try:
        hub.start()
        log = hub.state / "logs" / "cell.log"
        wait_until(lambda: log.is_file() and "cell.ready" in log.read_text(), 120, hub.process)
        yield Zoo(hub, folder / "mirror")
    finally:
        hub.stop()


def linked(source: Path, target: Path) -> None:
    """The same files under another folder, without copying them."""
    for path in source.rglob("*"):
        place = target / path.relative_to(source)
        if path.is_dir():
            place.mkdir(parents=True, exist_ok=True)
        else:
            place.parent.mkdir(parents=True, exist_ok=True)
            os.link(path, place)
