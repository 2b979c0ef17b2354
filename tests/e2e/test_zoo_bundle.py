"""A bundle in exactly the zoo's form: named, pulled, matched, run and written, without a line of code."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pydicom
import pytest

from bithive.limits import BUNDLE_EXPANDED_BYTES_MAX
from tests.common.blocks import Blocks, ct_study
from tests.common.hub import Hub
from tests.common.zoo import zoo_bundle
from tests.e2e.answers import fetched, segments, settled
from tests.e2e.conftest import Zoo

pytestmark = pytest.mark.heavy

CENTRES = (0.2, 0.7)
TURNED = (0.984807753, 0.173648178, 0.0, -0.173648178, 0.984807753, 0.0)
"""Rows and columns turned by 10 degrees about the body's axis."""
SPLEEN = (slice(14, 34), slice(20, 52), slice(24, 60))


@pytest.fixture(scope="module")
def done(zoo: Zoo, tmp_path_factory: pytest.TempPathFactory) -> tuple[Blocks, dict[str, Any], Path, Hub]:
    """A turned CT with one block, as the hub tells of it when it has ended; its written objects as files."""
    zoo_bundle(zoo.mirror, "spleen_ct_segmentation", centres=CENTRES, roi=(48, 48, 48), overlap=0.25)
    before = zoo.hub.process.pid if zoo.hub.process else 0
    zoo.pull("spleen_ct_segmentation")
    folder = tmp_path_factory.mktemp("spleen")
    blocks = ct_study(
        folder / "in",
        {1: SPLEEN},
        CENTRES,
        spacing=(1.3, 1.1, 2.4),
        orientation=TURNED,
        origin=(-37.5, -210.25, 811.75),
    )
    assert zoo.hub.stow(blocks.files).status_code == 200
    study = zoo.hub.wait_for_state(blocks.study_uid, ["COMPLETED", "CANCELED"], 60)
    assert zoo.hub.process is not None
    assert zoo.hub.process.pid == before
    (item,) = study["workitems"]
    assert item["state"] == "COMPLETED", item
    fetched(zoo.hub, blocks.study_uid, item, folder)
    return blocks, item, folder, zoo.hub


def test_it_ran_as_the_pipeline_of_its_name(done: Any) -> None:
    _, item, folder, _ = done
    assert item["pipeline"] == "spleen_ct_segmentation"
    assert sorted(path.name for path in folder.glob("*.dcm")) == ["sc.dcm", "seg.dcm", "sr.dcm"]


def test_voxels_are_where_they_must_be(done: Any) -> None:
    blocks, _, folder, _ = done
    ((label, found),) = segments(folder / "seg.dcm", blocks.files).items()
    assert label == "Spleen"
    wanted = blocks.labels == 1
    core, shell = np.zeros_like(wanted), np.zeros_like(wanted)
    core[tuple(slice(s.start + 1, s.stop - 1) for s in SPLEEN)] = True
    shell[tuple(slice(s.start - 1, s.stop + 1) for s in SPLEEN)] = True
    assert found[core].all()
    assert not found[~shell].any()
    assert 2 * (found & wanted).sum() / (found.sum() + wanted.sum()) > 0.97


def test_frames_lie_where_the_source_s_slices_do(done: Any) -> None:
    blocks, _, folder, _ = done
    segmentation = highdicom.seg.segread(folder / "seg.dcm")
    heads = [pydicom.dcmread(file, stop_before_pixels=True) for file in blocks.files]
    places = {tuple(round(float(value), 3) for value in head.ImagePositionPatient) for head in heads}
    for group in segmentation.PerFrameFunctionalGroupsSequence:
        position = group.PlanePositionSequence[0].ImagePositionPatient
        assert tuple(round(float(value), 3) for value in position) in places
    plane = segmentation.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0]
    assert np.allclose(plane.ImageOrientationPatient, TURNED, atol=1e-6)


def test_codes_are_those_of_the_standard(done: Any) -> None:
    _, _, folder, _ = done
    segmentation = pydicom.dcmread(folder / "seg.dcm")
    (segment,) = segmentation.SegmentSequence
    kind = segment.SegmentedPropertyTypeCodeSequence[0]
    assert (kind.CodeValue, kind.CodingSchemeDesignator, kind.CodeMeaning) == ("78961009", "SCT", "Spleen")


def test_the_volume_is_that_of_the_voxels(done: Any) -> None:
    blocks, item, folder, _ = done
    found = segments(folder / "seg.dcm", blocks.files)["Spleen"].sum() * blocks.voxel_ml
    (value,) = item["measured"]
    assert (value["unit"], value["key"]) == ("mL", "spleen_volume")
    assert value["value"] == pytest.approx(found, rel=1e-5)
    assert value["value"] == pytest.approx(blocks.volume_ml(1), rel=0.03)
    report = pydicom.dcmread(folder / "sr.dcm")
    assert report.VerificationFlag == "UNVERIFIED"
    assert f"{value['value']:.6g}"[:6] in str(report)


def test_a_series_of_another_part_is_kept_with_its_code(done: Any, zoo: Zoo, tmp_path: Path) -> None:
    head = ct_study(tmp_path / "in", {}, CENTRES, number=2, BodyPartExamined="HEAD", description="Head")
    assert zoo.hub.stow(head.files).status_code == 200
    study = settled(zoo.hub, head.study_uid)
    (series,) = study["series_list"]
    assert series["unmatched"]["spleen_ct_segmentation"] == "other-body-part"


def test_a_licence_that_is_not_accepted_takes_nothing(done: Any, zoo: Zoo, tmp_path: Path) -> None:
    folder = zoo_bundle(zoo.mirror, "liver_ct_segmentation", labels={1: "liver"}, centres=CENTRES, roi=(48, 48, 48))
    (folder / "LICENSE").write_text("Creative Commons Attribution-NonCommercial 4.0 International\n")
    zoo.pull("liver_ct_segmentation")
    blocks = ct_study(tmp_path / "in", {1: SPLEEN}, CENTRES, number=3)
    assert zoo.hub.stow(blocks.files).status_code == 200
    study = zoo.hub.wait_for_state(blocks.study_uid, ["COMPLETED", "CANCELED"], 60)
    (item,) = study["workitems"]
    assert (item["pipeline"], item["state"]) == ("spleen_ct_segmentation", "COMPLETED")
    unmatched = {series["series_uid"]: series["unmatched"] for series in study["series_list"]}
    assert unmatched[blocks.series_uid]["liver_ct_segmentation"] == "licence-not-accepted"


def test_nothing_that_was_looked_for_is_an_answer_too(done: Any, zoo: Zoo, tmp_path: Path) -> None:
    blocks = ct_study(tmp_path / "in", {2: SPLEEN}, (*CENTRES, 0.3), number=4)
    assert zoo.hub.stow(blocks.files).status_code == 200
    study = zoo.hub.wait_for_state(blocks.study_uid, ["COMPLETED", "CANCELED"], 60)
    (item,) = study["workitems"]
    assert item["state"] == "COMPLETED", item
    assert "seg" not in {reference["kind"] for reference in item["references"]}


class Opens:
    """A pickle that writes a file when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (open, (str(self.path), "w"))


def opening(folder: Path, touched: Path) -> None:
    change(folder, dataset_dir=f"$open('{touched}', 'w').write('x')")


def importing(folder: Path, touched: Path) -> None:
    change(folder, preprocessing={"_target_": "subprocess.run", "args": ["touch", str(touched)]})


def pickling(folder: Path, touched: Path) -> None:
    (folder / "models" / "model.ts").unlink(missing_ok=True)
    (folder / "models" / "model.pt").write_bytes(pickle.dumps(Opens(touched)))


def oversizing(folder: Path, _touched: Path) -> None:
    with (folder / "models" / "model.ts").open("r+b") as file:
        file.truncate(BUNDLE_EXPANDED_BYTES_MAX + 1)


def change(folder: Path, **members: Any) -> None:
    path = folder / "configs" / "inference.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | members))


@pytest.mark.parametrize(
    ("code", "spoil"),
    [
        ("expression-refused", opening),
        ("target-refused", importing),
        ("pickle-refused", pickling),
        ("bundle-too-large", oversizing),
    ],
)
def test_a_hostile_bundle_is_refused_with_its_code(zoo: Zoo, tmp_path: Path, code: str, spoil: Any) -> None:
    touched = tmp_path / "touched"
    name = f"hostile_{spoil.__name__}_ct"
    spoil(zoo_bundle(zoo.mirror, name, centres=CENTRES), touched)
    refused = zoo.command("pull", name)
    shutil.rmtree(zoo.mirror / name)
    assert refused.returncode != 0
    assert code in refused.stdout + refused.stderr
    assert not touched.exists()
    assert name not in zoo.command("list").stdout


def test_a_download_that_is_not_what_was_expected_is_refused(zoo: Zoo, tmp_path: Path) -> None:
    folder = zoo_bundle(tmp_path, "other_ct", centres=CENTRES)
    packed = shutil.make_archive(str(tmp_path / "other_ct"), "zip", tmp_path, folder.name)
    refused = zoo.command("pull", "--sha256", "0" * 64, packed)
    assert refused.returncode != 0
    assert "weights-differ" in refused.stdout + refused.stderr
    assert "other_ct" not in zoo.command("list").stdout
