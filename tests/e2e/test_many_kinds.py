"""Studies of several kinds at once on one node with one slot: each gets its own answer, and nothing runs out of memory."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from pipelines.anatomy import anatomy
from tests.common.blocks import Block, Blocks, ct_study
from tests.common.hub import Hub
from tests.common.studies import head_study
from tests.common.zoo import zoo_bundle
from tests.e2e.answers import fetched, segments
from tests.e2e.conftest import Zoo

pytestmark = [pytest.mark.heavy, pytest.mark.soak]

ONE, MANY, HEAD = "bladder_ct_segmentation", "thoraxBones_ct_segmentation", "intracranial_volume_t1"
RIBS = tuple(f"rib_{side}_{number}" for side in ("left", "right") for number in range(1, 13))
ONE_CENTRES = (0.2, 0.7)
MANY_CENTRES = tuple((label + 0.5) / 25 for label in range(25))
SHAPE, SPACING = (54, 80, 72), (1.5, 1.5, 2.0)
LEFT_S = 180


@dataclass(frozen=True, slots=True)
class Sent:
    """A study that was sent: the pipeline that must take it, and what must come back."""

    study_uid: str
    pipeline: str
    files: list[Path]
    blocks: Blocks | None
    scale: float = 1.0


@pytest.fixture(scope="module")
def ready(zoo: Zoo) -> Zoo:
    """Both bundles are pulled, and the hub has seen them."""
    labels = {1: "urinary_bladder"}
    zoo_bundle(zoo.mirror, ONE, labels=labels, centres=ONE_CENTRES, pixdim=SPACING, roi=(48, 48, 48), overlap=0.25)
    labels = dict(enumerate(RIBS, start=1))
    zoo_bundle(zoo.mirror, MANY, labels=labels, centres=MANY_CENTRES, pixdim=SPACING, roi=(48, 48, 48), mode="gaussian")
    zoo.pull(ONE, MANY)
    return zoo


def one(folder: Path, number: int) -> Sent:
    """A pelvis with one block, as large as its number says."""
    size = number % 16
    place: Block = (slice(10, 20 + size), slice(12, 30 + 2 * size), slice(15, 40 + size))
    members = {"BodyPartExamined": "PELVIS", "description": "Pelvis 2.0"}
    blocks = ct_study(folder, {1: place}, ONE_CENTRES, 1000 + number, SHAPE, SPACING, **members)
    return Sent(blocks.study_uid, ONE, blocks.files, blocks)


def many(folder: Path, number: int) -> Sent:
    """A chest with a block for each rib but one, in an order and of sizes that are this study's own."""
    order = np.random.default_rng(number).permutation(24)
    places = {}
    for place, label in enumerate(order + 1):
        z, y, x = 4 + 16 * (place // 8), 6 + 18 * (place // 2 % 4), 8 + 30 * (place % 2)
        places[int(label)] = (slice(z, z + 8 + number % 4), slice(y, y + 10), slice(x, x + 10 + number % 7))
    places.pop(1 + number % 24)
    members = {"BodyPartExamined": "CHEST", "description": "Thorax 2.0"}
    blocks = ct_study(folder, places, MANY_CENTRES, 2000 + number, SHAPE, SPACING, **members)
    return Sent(blocks.study_uid, MANY, blocks.files, blocks)


def head(folder: Path, number: int) -> Sent:
    """The public T1 head at 2 mm, made smaller by half a per cent for each number."""
    study = head_study(folder, f"many-kinds-{number}", step=2)
    scale = 1 - 0.005 * (number % 20)
    for path in study.files:
        shrink(path, scale)
    return Sent(study.study_uid, HEAD, study.files, None, scale)


def shrink(path: Path, scale: float) -> None:
    dataset = pydicom.dcmread(path)
    dataset.PixelSpacing = [float(f"{float(value) * scale:.8g}") for value in dataset.PixelSpacing]
    dataset.ImagePositionPatient = [float(f"{float(value) * scale:.8g}") for value in dataset.ImagePositionPatient]
    dataset.SliceThickness = float(f"{float(dataset.SliceThickness) * scale:.8g}")
    if "SpacingBetweenSlices" in dataset:
        dataset.SpacingBetweenSlices = float(f"{float(dataset.SpacingBetweenSlices) * scale:.8g}")
    dataset.save_as(path)


def run(ready: Zoo, sent: list[Sent]) -> list[dict[str, Any]]:
    """Send all at once; each study when it has ended. Prints how fast that was."""
    start = time.monotonic()
    ready.hub.token("pacs")
    ready.hub.token("clinician")
    with ThreadPoolExecutor(len(sent)) as executor:
        answers = list(executor.map(lambda item: ready.hub.stow(item.files, timeout_s=LEFT_S), sent))
        assert [answer.status_code for answer in answers] == [200] * len(sent)
        ended = ["COMPLETED", "CANCELED"]
        studies = list(executor.map(lambda item: ready.hub.wait_for_state(item.study_uid, ended, LEFT_S), sent))
    spent_s = time.monotonic() - start
    peak = max((item["receipt"] or {}).get("peak_memory_bytes", 0) for study in studies for item in study["workitems"])
    print(
        f"\n{len(sent)} studies of 3 kinds at once: {spent_s:.1f} s, {len(sent) / spent_s * 60:.0f} a minute, "
        f"the node took {peak / 1e9:.2f} GB at most"
    )
    return studies


def check(hub: Hub, sent: list[Sent], studies: list[dict[str, Any]], folder: Path) -> None:
    """Each study has its own answer, and no Attempt had to be repeated."""
    whole = []
    for item, study in zip(sent, studies, strict=True):
        (workitem,) = study["workitems"]
        assert (workitem["pipeline"], workitem["state"]) == (item.pipeline, "COMPLETED"), workitem
        assert [event for event in study["events"] if event.get("code")] == []
        measured = {value["key"]: value["value"] for value in workitem["measured"]}
        if item.blocks is None:
            whole.append(measured["intracranial_volume"] / item.scale**3)
            continue
        files = fetched(hub, item.study_uid, workitem, folder / item.study_uid)
        names = RIBS if item.pipeline == MANY else ("urinary_bladder",)
        check_blocks(item.blocks, names, measured, segments(files["seg"], item.blocks.files))
    assert max(whole) / min(whole) < 1.005


def check_blocks(blocks: Blocks, names: Sequence[str], measured: dict[str, float], found: dict[str, Any]) -> None:
    """Every voxel of every structure is where this study has it, and its volume with it; the absent one is absent."""
    there = {label: names[label - 1] for label in np.unique(blocks.labels) if label}
    volumes = {f"{name}_volume": blocks.volume_ml(label) for label, name in there.items()}
    assert {key: value for key, value in measured.items() if value} == pytest.approx(volumes, rel=1e-5)
    assert set(found) == {anatomy(name, name).label for name in there.values()}
    for label, name in there.items():
        assert np.array_equal(found[anatomy(name, name).label], blocks.labels == label), name


def test_five_studies_of_three_kinds_at_once(ready: Zoo, tmp_path: Path) -> None:
    kinds = [one, many, head, one, many]
    sent = [kind(tmp_path / f"in-{number}", number) for number, kind in enumerate(kinds)]
    check(ready.hub, sent, run(ready, sent), tmp_path)


def test_ten_studies_of_three_kinds_at_once(ready: Zoo, tmp_path: Path) -> None:
    kinds = [one, many, head, one, many, one, head, many, one, many]
    sent = [kind(tmp_path / f"in-{number}", number) for number, kind in enumerate(kinds)]
    check(ready.hub, sent, run(ready, sent), tmp_path)


def test_fifty_studies_of_three_kinds_at_once(ready: Zoo, tmp_path: Path) -> None:
    kinds = [one, many, one, many, head] * 10
    sent = [kind(tmp_path / f"in-{number}", number) for number, kind in enumerate(kinds)]
    check(ready.hub, sent, run(ready, sent), tmp_path)
