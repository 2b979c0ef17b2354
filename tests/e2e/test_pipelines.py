"""Every clinical task on a real study, through the whole service: STOW-RS in; SEG, SR and the rest out, or a coded no.

One hub with its cell, all weights pulled from the shared mirror by the command that an operator uses. Every study is sent
at once; each outcome is then looked at with libraries that are not ours.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pydicom
import pytest
from pydicom.uid import generate_uid

from pipelines.catalog import pipelines
from tests.common import planar
from tests.common.hub import MODEL_STORE, ROOT, Hub
from tests.common.servers import wait_until
from tests.common.studies import pulled
from tests.e2e.answers import fetched, segments
from tests.e2e.conftest import linked

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(900)]

WEIGHTS_ELSEWHERE = ("brain_tissue_t1", "brain_structures18_t1", "brain_structures104_t1", "brain_mr", "brain_ct")
LEFT_S = 700.0
SLOW = frozenset({"brain_mr", "brain_tissue_t1", "brain_structures18_t1", "brain_structures104_t1"})
"""Half a minute each and more, or the network of `brain_ct` again: switched on in soak tests only."""
HEAD_T1 = frozenset({"intracranial_volume_t1", *SLOW})


@dataclass(frozen=True, slots=True)
class Outcome:
    """A study that was sent, and what became of it."""

    files: list[Path]
    study: dict[str, Any]
    hub: Hub
    folder: Path

    def item(self, pipeline: str) -> dict[str, Any]:
        """The one Workitem of a task."""
        (found,) = [item for item in self.study["workitems"] if item["pipeline"] == pipeline]
        return dict(found)

    def objects(self, pipeline: str) -> dict[str, Path]:
        """What was written, by kind; the task was completed."""
        item = self.item(pipeline)
        assert item["state"] == "COMPLETED", item
        return fetched(self.hub, self.study["study_uid"], item, self.folder / pipeline)

    def values(self, pipeline: str) -> dict[str, float]:
        """Its measurements."""
        return {value["key"]: value["value"] for value in self.item(pipeline)["measured"]}


def _t1(shared: Path, folder: Path) -> list[Path]:
    return _renewed(sorted((shared / "data" / "t1-head" / "dicom").iterdir()), folder)


def _ct_tilted(shared: Path, folder: Path) -> list[Path]:
    return _renewed(sorted((shared / "data" / "ct-head-tilted").glob("*.dcm")), folder)


def _ct_phantom(shared: Path, folder: Path) -> list[Path]:
    return _renewed(sorted((shared / "data" / "ct-head-philips").glob("I*")), folder)


def _ct_body(shared: Path, folder: Path) -> list[Path]:
    return _renewed(sorted((shared / "data" / "ct-body-j2k").glob("CT*")), folder)


def _film(shared: Path, folder: Path) -> list[Path]:
    return _renewed([shared / "data" / "chest-xray" / "pa-1024-jpeg.dcm"], folder)


def _ultrasound(shared: Path, folder: Path) -> list[Path]:
    tiffs = sorted((shared / "data" / "us-fetal").glob("*.tiff"))
    return planar.ultrasound_stills(tiffs, folder)


def _photograph(_shared: Path, folder: Path) -> list[Path]:
    """A grey picture of a street's kind, stated to be a chest film."""
    return [planar.saved(planar.radiograph(planar.scene((512, 512))), folder / "photograph.dcm")]


STUDIES: dict[str, Callable[[Path, Path], list[Path]]] = {
    "film": _film,
    "ultrasound": _ultrasound,
    "photograph": _photograph,
    "ct-body": _ct_body,
    "ct-tilted": _ct_tilted,
    "ct-phantom": _ct_phantom,
    "t1": _t1,
}


def _renewed(paths: list[Path], folder: Path) -> list[Path]:
    """The same instances under a study of their own, so that nothing of another test is met."""
    folder.mkdir(parents=True, exist_ok=True)
    study, made = generate_uid(), []
    for path in paths:
        dataset = pydicom.dcmread(path, force=True)
        dataset.StudyInstanceUID = study
        made.append(folder / path.name)
        dataset.save_as(made[-1])
    return made


@pytest.fixture(scope="module", params=["most", pytest.param("all", marks=pytest.mark.soak)])
def switched_on(request: pytest.FixtureRequest) -> frozenset[str]:
    """The tasks that are on."""
    return frozenset(pipelines()) - (SLOW if request.param == "most" else frozenset())


@pytest.fixture(scope="module")
def served(shared: Path, tmp_path_factory: pytest.TempPathFactory, switched_on: frozenset[str]) -> Generator[Hub]:
    """A hub whose store has every weight that there is."""
    pulled()
    folder = tmp_path_factory.mktemp("pipelines")
    linked(MODEL_STORE / "sha256", folder / "store" / "sha256")
    for calibration in MODEL_STORE.glob("calibration"):
        shutil.copytree(calibration, folder / "store" / "calibration")
    hub = Hub(
        folder / "state",
        embedded=True,
        BITHIVE_MODELS__STORE=str(folder / "store"),
        BITHIVE_MODEL_MIRRORS=str(shared / "weights"),
        BITHIVE_CLINIC__PIPELINES=",".join(sorted(switched_on)),
    )
    command = [sys.executable, "-m", "bithive", "models", "pull", *WEIGHTS_ELSEWHERE, "fetal_planes"]
    done = subprocess.run(command, env=hub.environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    try:
        hub.start()
        log = hub.state / "logs" / "cell.log"
        wait_until(lambda: log.is_file() and "cell.ready" in log.read_text(), 120, hub.process)
        yield hub
    finally:
        hub.stop()


@pytest.fixture(scope="module")
def outcomes(served: Hub, shared: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    """Every study sent, and what became of it."""
    folder = tmp_path_factory.mktemp("studies")
    sent = {name: make(shared, folder / name) for name, make in STUDIES.items()}
    uids = {}
    for name, files in sent.items():
        uids[name] = str(pydicom.dcmread(files[0], force=True, stop_before_pixels=True).StudyInstanceUID)
        answer = served.stow(files)
        assert answer.status_code in (200, 202), answer.text
    found = {name: _ended(served, uid) for name, uid in uids.items()}
    return {name: Outcome(sent[name], study, served, folder / f"{name}-out") for name, study in found.items()}


def _ended(hub: Hub, uid: str) -> dict[str, Any]:
    """A study whose series were judged and whose Workitems have all ended."""
    deadline = time.monotonic() + LEFT_S
    study: dict[str, Any] = {}
    while time.monotonic() < deadline:
        study = hub.study(uid)
        judged = study["series_list"] and not any(series["pending"] for series in study["series_list"])
        if judged and all(item["state"] in ("COMPLETED", "CANCELED") for item in study["workitems"]):
            return study
        time.sleep(0.25)
    raise AssertionError(f"not ended after {LEFT_S} s: {json.dumps(study)[:3000]}")


def test_every_task_ran_on_something_real(outcomes: dict[str, Outcome], switched_on: frozenset[str]) -> None:
    completed = {
        item["pipeline"]
        for outcome in outcomes.values()
        for item in outcome.study["workitems"]
        if item["state"] == "COMPLETED"
    }
    assert completed >= switched_on - {"lungs_ct"}, "no real CT of a chest is among the data"


def test_each_task_of_a_t1_head(outcomes: dict[str, Outcome], switched_on: frozenset[str]) -> None:
    t1 = outcomes["t1"]
    assert {item["pipeline"] for item in t1.study["workitems"]} == HEAD_T1 & switched_on
    for pipeline in HEAD_T1 & switched_on:
        assert {"seg", "sr", "sc"} <= set(t1.objects(pipeline)), pipeline


def test_a_t1_head_has_the_volumes_that_it_has(outcomes: dict[str, Outcome], switched_on: frozenset[str]) -> None:
    t1 = outcomes["t1"]
    assert t1.values("intracranial_volume_t1")["intracranial_volume"] == pytest.approx(1792, rel=0.005)
    if "brain_tissue_t1" not in switched_on:
        return
    tissue = t1.values("brain_tissue_t1")
    assert tissue["brain_tissue_volume"] == pytest.approx(1224, rel=0.01)
    assert tissue["brain_tissue_share"] == pytest.approx(100 * 1224 / 1792, rel=0.01)


def test_structures_have_the_volumes_that_they_have(outcomes: dict[str, Outcome], switched_on: frozenset[str]) -> None:
    t1 = outcomes["t1"]
    if not switched_on >= SLOW:
        assert not any(item["pipeline"] in SLOW for item in t1.study["workitems"])
        return
    many = t1.values("brain_structures104_t1")
    left, right = many["left_hippocampus_volume"], many["right_hippocampus_volume"]
    assert many["hippocampus_asymmetry"] == pytest.approx(200 * (left - right) / (left + right), rel=1e-3)
    assert not any(key.startswith(("left_", "right_")) for key in t1.values("brain_structures18_t1"))


def test_grey_and_white_matter_lie_inside_the_intracranial_space(
    outcomes: dict[str, Outcome], switched_on: frozenset[str]
) -> None:
    t1 = outcomes["t1"]
    if "brain_tissue_t1" not in switched_on:
        return
    (skull,) = segments(t1.objects("intracranial_volume_t1")["seg"], t1.files).values()
    tissue = segments(t1.objects("brain_tissue_t1")["seg"], t1.files)
    both = np.logical_or.reduce(list(tissue.values()))
    assert (both & skull).sum() >= 0.99 * both.sum()


def test_a_tilted_ct_head_has_a_brain(outcomes: dict[str, Outcome]) -> None:
    values = outcomes["ct-tilted"].values("brain_ct")
    assert 1000 <= values["brain_volume"] <= 1700
    assert 20 <= values["brain_median"] <= 45


def test_a_plastic_head_is_refused(outcomes: dict[str, Outcome]) -> None:
    items = outcomes["ct-phantom"].study["workitems"]
    assert items
    assert {item["state"] for item in items} == {"CANCELED"}
    assert all(item["reason"] for item in items)


def test_an_abdomen_has_composition_and_no_lung(outcomes: dict[str, Outcome]) -> None:
    body = outcomes["ct-body"]
    assert {"seg", "sr", "sc"} <= set(body.objects("composition_ct"))
    lungs = body.item("lungs_ct")
    assert (lungs["state"], lungs["reason"]) == ("CANCELED", "no-lung")


def test_an_adult_s_film_is_scored_outside_the_population(outcomes: dict[str, Outcome]) -> None:
    film = outcomes["film"]
    item = film.item("chest_pneumonia")
    assert "outside-population" in item["remarks"]
    assert not any(statement["positive"] for statement in item["statements"])
    written = film.objects("chest_pneumonia")
    assert {"sr", "map", "sc"} <= set(written)
    assert pydicom.dcmread(written["map"]).SOPClassUID == "1.2.840.10008.5.1.4.1.1.30"


def test_a_photograph_is_refused(outcomes: dict[str, Outcome]) -> None:
    item = outcomes["photograph"].item("chest_pneumonia")
    assert (item["state"], item["reason"]) == ("CANCELED", "not-a-chest-radiograph")


def test_each_fetal_plane_is_named_and_the_best_frames_are_key_images(outcomes: dict[str, Outcome]) -> None:
    ultrasound = outcomes["ultrasound"]
    item = ultrasound.item("fetal_planes")
    assert len([statement for statement in item["statements"] if statement["frame"] is not None]) == 7
    keys = pydicom.dcmread(ultrasound.objects("fetal_planes")["kos"])
    assert keys.SOPClassUID == "1.2.840.10008.5.1.4.1.1.88.59"


def test_reports_are_read_by_another_library(outcomes: dict[str, Outcome]) -> None:
    for outcome in outcomes.values():
        for item in outcome.study["workitems"]:
            if item["state"] == "COMPLETED":
                report = highdicom.sr.srread(outcome.objects(item["pipeline"])["sr"])
                assert report.VerificationFlag == "UNVERIFIED"
