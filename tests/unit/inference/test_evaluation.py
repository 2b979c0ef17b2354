"""A bundle over cases, from files to a record; and files that are no data set."""

from __future__ import annotations

import io
import json
import zipfile
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from inference import evaluation_arrays, evaluation_cases
from inference.errors import BadDataset, DatasetTooLarge, NotEvaluable, UnsupportedVolume
from inference.evaluation import evaluate
from inference.evaluation_arrays import planar
from inference.evaluation_cases import open_dataset
from inference.evaluation_task import squash, task_of
from inference.findings import Classification, Findings, Mask, Score
from inference.run import LoadedBundle
from tests.common.networks import small_bundle

ENGINE = SimpleNamespace(
    name="numpy", version="1", precision="f64", device="cpu", threads=1, deterministic=True, tf32=False, bf16=False
)
BINARY = {"kind": "binary", "score": "bright", "positive": 1, "threshold": 0.5}
PLANE = {"kind": "classes", "classification": "plane", "names": {"BRAIN cb": "brain", "Femur": "femur", "0": "femur"}}
SEGMENTS = {"kind": "segmentation", "structures": {"1": "bright"}}
NOON = 1_800_000_000_000


class Brightness:
    """Says how bright a picture is, and refuses a black one."""

    def run(self, volume, progress):
        if not volume.array.any():
            raise UnsupportedVolume("there is nothing to see")
        share = float(volume.array.mean() / np.iinfo(volume.array.dtype).max) if volume.planar else 0.5
        plane = Classification("plane", 0, "brain" if share > 0.5 else "femur", share)
        return Findings((Mask("bright", volume.array > 100),), scores=(Score("bright", share),), classes=(plane,))


def a_bundle(folder, task):
    made = small_bundle(folder)
    path = made.folder / "configs" / "metadata.json"
    metadata = json.loads(path.read_text())
    metadata["bithive"]["evaluation_task"] = task
    path.write_text(json.dumps(metadata))
    return type(made).load(made.folder)


def record_of(bundle, path, **options):
    dataset = open_dataset(path, task_of(bundle), **options)
    return evaluate(bundle, LoadedBundle(ENGINE, Brightness(), 0), dataset, NOON)


def pictures(count, seed=0):
    """Bright ones are positive; the first is black."""
    rng = np.random.default_rng(seed)
    labels = (np.arange(count) % 2).astype(np.uint8)[:, None]
    images = (rng.integers(0, 120, (count, 9, 9)) + 90 * labels[:, :, None]).astype(np.uint8)
    images[0] = 0
    return images, labels


def test_arrays_without_a_word_of_options(tmp_path):
    images, labels = pictures(60)
    np.savez_compressed(tmp_path / "set.npz", test_images=images, test_labels=labels)
    record = record_of(a_bundle(tmp_path, BINARY), tmp_path / "set.npz")
    assert (record["n"], record["refused"], record["dataset"]["split"]) == (60, {"unsupported-volume": 1}, "test")
    assert record["metrics"]["answered"]["auc"]["value"] == 1.0
    assert record["metrics"]["with_refused"]["auc"]["value"] < 1.0
    assert record["date"] == "2027-01-15T08:00:00.000Z"
    assert any("refused 1 of 60" in remark for remark in record["metrics"]["remarks"])
    assert json.dumps(record) == json.dumps(record_of(a_bundle(tmp_path, BINARY), tmp_path / "set.npz"))


def test_splits_are_chosen_and_told_apart(tmp_path):
    images, labels = pictures(12)
    members = {"train_images": images, "train_labels": labels, "val_images": images[:4], "val_labels": labels[:4, 0]}
    np.savez(tmp_path / "set.npz", **members)
    bundle = a_bundle(tmp_path, BINARY)
    plain = record_of(bundle, tmp_path / "set.npz")
    assert (plain["n"], plain["dataset"]["split"]) == (4, "val")
    both = record_of(bundle, tmp_path / "set.npz", split="all")
    assert both["n"] == 16
    assert any("training split" in remark for remark in both["metrics"]["remarks"])
    assert both["dataset"]["sha256"] != plain["dataset"]["sha256"]
    assert record_of(bundle, tmp_path / "set.npz", split="all", limit=5)["n"] == 5
    with pytest.raises(BadDataset):
        record_of(bundle, tmp_path / "set.npz", split="test")


def test_plain_arrays_in_colour_and_sixteen_bit(tmp_path):
    images, labels = pictures(8)
    np.savez(tmp_path / "set.npz", images=np.repeat(images[..., None], 3, axis=3), labels=labels)
    record = record_of(a_bundle(tmp_path, BINARY), tmp_path / "set.npz")
    assert (record["n"], record["dataset"]["split"]) == (8, "")
    red = np.zeros((2, 2, 3), np.uint8)
    red[..., 0] = 200
    assert planar(red).array.tolist() == [[[60, 60], [60, 60]]]
    assert planar(np.full((2, 2), 40_000, np.uint16)).array.dtype == np.uint16
    with pytest.raises(BadDataset):
        planar(np.zeros((2, 2), np.float32))


def test_pictures_are_named_by_file_or_folder(tmp_path):
    folder = tmp_path / "pictures"
    (folder / "Femur").mkdir(parents=True)
    for name, level in (
        ("BRAIN-CB_2.png", 220),
        ("Femur/IM-0001.tif", 40),
        ("a_femur 03.jpeg", 60),
        ("holiday.png", 9),
    ):
        Image.fromarray(np.full((8, 8), level, np.uint8)).save(folder / name)
    (folder / "LICENSE").write_text("")
    record = record_of(a_bundle(tmp_path, PLANE), folder)
    assert (record["n"], record["dataset"]["unlabelled"], record["dataset"]["form"]) == (3, 1, "pictures")
    assert record["metrics"]["answered"]["accuracy"]["value"] == 1.0
    assert squash("Brain (CB)") == "braincb"


def test_volumes_with_labels(tmp_path):
    import nibabel

    folder = tmp_path / "volumes"
    (folder / "labels").mkdir(parents=True)
    (folder / "images").mkdir()
    image = np.zeros((6, 7, 8), np.int16)
    image[2:4, 2:5, 2:6] = 500
    truth = (image > 0).astype(np.uint8)
    np.savez(folder / "case.npz", image=image, labels=truth, affine=np.diag((1.0, 2.0, 3.0, 1.0)))
    for name, array in (("a.nii.gz", image), ("a_seg.nii.gz", truth), ("images/b.nii", image), ("labels/b.nii", truth)):
        nibabel.save(nibabel.Nifti1Image(array.T, np.diag((2.0, 2.0, 2.0, 1.0))), folder / name)
    record = record_of(a_bundle(tmp_path, SEGMENTS), folder)
    assert record["n"] == 3
    assert record["metrics"]["structures"]["bright"]["dice"] == {"value": 1.0, "low": 1.0, "high": 1.0, "n": 3}
    assert record["metrics"]["each"][0]["bright"]["truth_ml"] == pytest.approx(24 * 6 / 1000)
    assert record["metrics"]["each"][1]["bright"]["volume_ml"] == pytest.approx(24 * 8 / 1000)


def test_a_bundle_of_masks_needs_no_declaration(tmp_path):
    bundle = a_bundle(tmp_path, None)
    assert task_of(bundle).structures
    for wrong in ({"kind": "binary"}, {"kind": "poetry"}, [1], {"kind": "classes", "classification": "a", "names": 3}):
        with pytest.raises(NotEvaluable):
            task_of(a_bundle(tmp_path, wrong))


def test_findings_without_what_is_asked_for(tmp_path):
    np.savez(tmp_path / "set.npz", images=np.full((2, 4, 4), 9, np.uint8), labels=np.array([0, 1]))
    with pytest.raises(NotEvaluable):
        record_of(a_bundle(tmp_path, {**BINARY, "score": "darkness"}), tmp_path / "set.npz")


def raw_npz(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def header_of(shape, dtype="|u1"):
    target = io.BytesIO()
    np.lib.format.write_array_header_1_0(target, {"descr": dtype, "fortran_order": False, "shape": shape})
    return target.getvalue()


HOSTILE = {
    "no zip": b"PK\x03\x04 nothing",
    "empty": b"",
    "a script": {"test_images.npy": b"import os", "test_labels.npy": b""},
    "not arrays": {"readme.txt": b"hello"},
    "a shape of petabytes": {"test_images.npy": header_of((1 << 40, 1 << 10, 28)), "test_labels.npy": header_of((2,))},
    "objects": {"test_images.npy": header_of((2,), "|O") + bytes(16), "test_labels.npy": header_of((2,)) + bytes(2)},
    "no labels": {"test_images.npy": header_of((2, 2, 2)) + bytes(8)},
    "fewer labels": {"test_images.npy": header_of((2, 2, 2)) + bytes(8), "test_labels.npy": header_of((1,)) + bytes(1)},
    "several labels": {
        "test_images.npy": header_of((2, 2, 2)) + bytes(8),
        "test_labels.npy": header_of((2, 14)) + bytes(28),
    },
    "other names": {"x.npy": header_of((2, 2, 2)) + bytes(8)},
    "five axes": {
        "test_images.npy": header_of((1, 1, 1, 1, 1)) + bytes(1),
        "test_labels.npy": header_of((1,)) + bytes(1),
    },
    "nothing in it": {"test_images.npy": header_of((0, 2, 2)), "test_labels.npy": header_of((0,))},
    "a label of nobody": {
        "test_images.npy": header_of((1, 2, 2)) + bytes(4),
        "test_labels.npy": header_of((1,)) + bytes([7]),
    },
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_what_is_no_data_set_is_refused(tmp_path, content):
    path = tmp_path / "set.npz"
    raw_npz(path, content) if isinstance(content, dict) else path.write_bytes(content)
    with pytest.raises(BadDataset):
        record_of(a_bundle(tmp_path, BINARY), path)


def test_folders_and_pictures_that_say_nothing(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    bundle = a_bundle(tmp_path, PLANE)
    for broken in (tmp_path / "absent.npz", folder):
        with pytest.raises(BadDataset):
            record_of(bundle, broken)
    (folder / "femur.png").write_bytes(b"\x89PNG\r\n\x1a\n no picture")
    with pytest.raises(BadDataset):
        record_of(bundle, folder)
    with pytest.raises(BadDataset):
        record_of(bundle, folder, split="test")
    with pytest.raises(BadDataset):
        record_of(a_bundle(tmp_path, SEGMENTS), folder)


def test_limits_hold_at_and_past_them(tmp_path, monkeypatch):
    images, labels = pictures(3)
    path = tmp_path / "set.npz"
    np.savez(path, images=images, labels=labels)
    bundle = a_bundle(tmp_path, BINARY)
    monkeypatch.setattr(evaluation_cases, "DATASET_CASES_MAX", 3)
    assert record_of(bundle, path)["n"] == 3
    monkeypatch.setattr(evaluation_cases, "DATASET_CASES_MAX", 2)
    with pytest.raises(DatasetTooLarge):
        record_of(bundle, path)
    with zipfile.ZipFile(path) as archive:
        size = sum(row.file_size for row in archive.infolist())
    monkeypatch.setattr(evaluation_arrays, "DATASET_BYTES_MAX", size)
    assert evaluation_arrays.npz_members(path)
    monkeypatch.setattr(evaluation_arrays, "DATASET_BYTES_MAX", size - 1)
    with pytest.raises(DatasetTooLarge):
        evaluation_arrays.npz_members(path)
    Image.fromarray(images[1]).save(tmp_path / "one.png")
    monkeypatch.setattr(evaluation_arrays, "DATASET_IMAGE_PIXELS_MAX", 81)
    assert evaluation_arrays.image_file(tmp_path / "one.png").array.shape == (1, 9, 9)
    monkeypatch.setattr(evaluation_arrays, "DATASET_IMAGE_PIXELS_MAX", 80)
    with pytest.raises(DatasetTooLarge):
        evaluation_arrays.image_file(tmp_path / "one.png")
