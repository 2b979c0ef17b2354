"""Public work from the first day: a contributed home cell does canaries and a published set, and is paid for both."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.common.cell import CellProcess, local_cell
from tests.common.dicom_factory import content_of, head_series
from tests.common.hub import MODEL_STORE, ROOT, Hub
from tests.common.servers import wait_until

HOME = {"BITHIVE_CELL__TIER": "home", "BITHIVE_CELL__DATA_CLASS_MAX": "P0"}


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    made = Hub(
        tmp_path / "hub",
        BITHIVE_NETWORK__PUBLIC_WORK_PER_HOUR="3600",
        BITHIVE_CLINIC__PIPELINES="intracranial_volume_t1,lungs_ct,composition_ct",
        BITHIVE_MODELS__STORE=str(MODEL_STORE),
    )
    made.start()
    yield made
    made.stop()


@pytest.fixture
def home(hub: Hub, tmp_path: Path) -> Iterator[CellProcess]:
    """Somebody's home: no institution, nothing vetted."""
    made = CellProcess(tmp_path / "cell", hub.url, hub.token("cell"), local_cell(real=True), HOME)
    yield made
    made.stop()


def rows(hub: Hub, database: str, query: str) -> list[tuple[object, ...]]:
    with sqlite3.connect(f"file:{hub.state / database}.db?mode=ro", uri=True) as connection:
        return connection.execute(query).fetchall()


@pytest.mark.soak
def test_a_home_does_canaries_and_a_published_set_and_nothing_of_a_patient(
    hub: Hub, home: CellProcess, tmp_path: Path
) -> None:
    patient, volunteer = head_series(), head_series(study_uid="1.2.3.200", series_uid="1.2.3.200.1")
    hub.stow(_files(tmp_path / "patient", patient))
    home.wait_for("cell.connected", 120)

    def answered() -> bool:
        return bool(rows(hub, "network", "SELECT 1 FROM canaries WHERE stage = 'answered' AND kind = 'canary'"))

    wait_until(answered, 240, hub.process)
    for dataset in volunteer:
        dataset.PatientIdentityRemoved = "YES"
    sent = _submit(hub, _folder(tmp_path / "set", volunteer), tmp_path)
    assert sent.returncode == 0, sent.stderr
    done = hub.wait_for_state("1.2.3.200", ("COMPLETED", "CANCELED"), 120)
    offer = json.loads(_member(hub, "1.2.3.200", "offer"))
    assert offer["data_class"] == "P0"
    assert done["workitems"][0]["cell"]
    assert json.loads(_member(hub, "1.2.3.100", "offer"))["data_class"] == "P2"
    leased = rows(hub, "network", "SELECT o.body FROM attempts a JOIN offers o ON o.offer_id = a.offer_id")
    assert {json.loads(str(body))["data_class"] for (body,) in leased} == {"P0"}
    ((same,),) = rows(
        hub, "network", "SELECT count(*) FROM canaries WHERE stage = 'answered' AND known_digest = given_digest"
    )
    assert same, "on the same machine a rule bundle answers the same"

    def paid() -> bool:
        return bool(rows(hub, "ledger", "SELECT 1 FROM account WHERE code = 'expense' AND debit_posted > 0"))

    wait_until(paid, 30, hub.process)


def _files(folder: Path, series: list[object]) -> list[Path]:
    return sorted(_folder(folder, series).iterdir())


def _folder(folder: Path, series: list[object]) -> Path:
    folder.mkdir()
    for number, dataset in enumerate(series):
        (folder / f"{number:03}.dcm").write_bytes(content_of(dataset))  # type: ignore[arg-type]
    return folder


def _submit(hub: Hub, folder: Path, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    token = tmp_path / "researcher.token"
    token.write_text(hub.token("researcher"))
    command = [sys.executable, "-m", "bithive", "submit", str(folder), "--hub", hub.url, "--token-file", str(token)]
    named = ["--class", "P0", "--public-set", "Volunteers", "--licence", "CC0-1.0"]
    return subprocess.run([*command, *named], env=hub.environment, cwd=ROOT, capture_output=True, text=True)


def _member(hub: Hub, study_uid: str, name: str) -> str:
    ((members,),) = rows(hub, "clinic", f"SELECT members FROM workitem WHERE study_uid = '{study_uid}'")
    return json.dumps(json.loads(str(members))[name])
