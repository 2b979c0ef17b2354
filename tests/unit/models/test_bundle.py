import json
import subprocess
import sys
from pathlib import Path

import pytest

from bithive.offer import DataClass
from models.bundle import Bundle
from models.catalog import BUNDLES
from models.errors import BadBundle


def edit(folder, change):
    path = folder / "tiny" / "configs" / "metadata.json"
    metadata = json.loads(path.read_text())
    change(metadata)
    path.write_text(json.dumps(metadata))


def test_what_it_says(bundles):
    bundle = Bundle.load(bundles / "tiny")
    assert (bundle.name, bundle.version, bundle.engines, bundle.data_class) == (
        "tiny",
        "0.1.0",
        ("torch",),
        DataClass.P0,
    )
    assert [pinned.file for pinned in bundle.weights] == ["models/a.pt", "models/b.pt"]


@pytest.mark.parametrize(("voxels", "units"), [(1, 101), (1_000_000, 107), (1_000_001, 108), (40_402_944, 383)])
def test_reference_work_units_are_whole_and_round_up(bundles, voxels, units):
    assert Bundle.load(bundles / "tiny").reference_work_units(voxels) == units


def test_its_digest_changes_with_any_file_or_weight(bundles):
    digests = [Bundle.load(bundles / "tiny").sha256]
    (bundles / "tiny" / "configs" / "inference.json").write_text('{"a": 1}')
    digests.append(Bundle.load(bundles / "tiny").sha256)
    (bundles / "tiny" / "docs").mkdir()
    (bundles / "tiny" / "docs" / "README.md").write_text("more")
    digests.append(Bundle.load(bundles / "tiny").sha256)
    edit(bundles, lambda metadata: metadata["bithive"]["weights"][0].update(sha256="0" * 64))
    digests.append(Bundle.load(bundles / "tiny").sha256)
    assert len(set(digests)) == 4
    (bundles / "tiny" / "__pycache__").mkdir()
    (bundles / "tiny" / "__pycache__" / "x.pyc").write_bytes(b"x")
    (bundles / "tiny" / ".hidden").write_text("x")
    assert Bundle.load(bundles / "tiny").sha256 == digests[-1]


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.pop("intended_use"),
        lambda m: m.pop("bithive"),
        lambda m: m.update(bithive=[]),
        lambda m: m["bithive"].pop("weights"),
        lambda m: m["bithive"].update(weights=[]),
        lambda m: m["bithive"].update(engines={}),
        lambda m: m["bithive"].update(data_class="P9"),
        lambda m: m["bithive"].pop("work_units"),
        lambda m: m["bithive"].update(work_units={"base": -1, "per_million_voxels": 1}),
        lambda m: m["bithive"].update(work_units={"base": 1.5, "per_million_voxels": 1}),
        lambda m: m["bithive"]["weights"][0].pop("sha256"),
        lambda m: m["bithive"]["weights"][0].update(sha256="ABC"),
        lambda m: m["bithive"]["weights"][0].update(size_bytes=0),
        lambda m: m["bithive"]["weights"][0].update(file="../../outside"),
        lambda m: m["bithive"]["weights"][0].update(file="/absolute"),
        lambda m: m["bithive"]["weights"][0]["source"].update(kind="somewhere"),
        lambda m: m["bithive"]["weights"][0]["source"].update(wheel_sha256=""),
    ],
)
def test_what_is_incomplete_is_refused(bundles, change):
    edit(bundles, change)
    with pytest.raises(BadBundle):
        Bundle.load(bundles / "tiny")


def test_a_folder_that_is_no_bundle_is_refused(bundles):
    for name, content in (("metadata.json", "["), ("metadata.json", "[]")):
        (bundles / "tiny" / "configs" / name).write_text(content)
        with pytest.raises(BadBundle):
            Bundle.load(bundles / "tiny")
    (bundles / "tiny" / "configs" / "metadata.json").unlink()
    with pytest.raises(BadBundle):
        Bundle.load(bundles / "tiny")
    (bundles / "tiny").rename(bundles / "Tiny-Bundle")
    with pytest.raises(BadBundle):
        Bundle.load(bundles / "Tiny-Bundle")


@pytest.mark.parametrize("folder", sorted(BUNDLES.iterdir()), ids=lambda path: path.name)
def test_our_bundles_say_the_same_in_both_files(folder: Path):
    bundle = Bundle.load(folder)
    transforms = bundle.inference()["postprocessing"]["transforms"]
    measured = {item["measurement"] for item in transforms if item["_target_"].endswith("MeasureVolumed")}
    masks = {item["mask"] for item in transforms if item["_target_"].endswith("MeasureVolumed")}
    declared = bundle.extension["findings"]
    assert measured <= set(declared.get("measurements", ()))
    assert masks <= set(declared.get("masks", ()))
    for check in (item for item in transforms if item["_target_"].endswith("RequirePlausibled")):
        declared = bundle.extension["plausibility"][check["measurement"]]
        assert [declared["least"], declared["most"]] == check["volume_ml"]
    assert (folder / "docs" / "README.md").exists()


def test_bundles_are_read_without_any_framework():
    program = (
        "import sys, pathlib, models.catalog, models.samples, pipelines.catalog, pipelines.match, inference.memory\n"
        "models.catalog.Catalog(pathlib.Path('nowhere')).bundles(); pipelines.catalog.pipelines()\n"
        "print([name for name in ('torch', 'monai', 'openvino', 'scipy', 'nibabel') if name in sys.modules])"
    )
    root = Path(__file__).resolve().parents[3]
    shown = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True)
    assert shown.stdout == "[]\n", shown.stderr


def rules(metadata):
    metadata["bithive"].update(networks={}, weights=[], engines={"numpy": {"precision": "f64"}})


def test_a_bundle_of_rules_has_no_weights(bundles):
    edit(bundles, rules)
    bundle = Bundle.load(bundles / "tiny")
    assert (bundle.weights, bundle.engines) == ((), ("numpy",))


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m["bithive"].update(engines={"numpy": {}, "torch": {}}),
        lambda m: m["bithive"].update(engines={"openvino": {}}),
        lambda m: m["bithive"].update(networks={"models/a.pt": {}}),
        lambda m: m["bithive"].pop("networks"),
    ],
)
def test_what_needs_weights_cannot_come_without(bundles, change):
    edit(bundles, lambda metadata: (rules(metadata), change(metadata)))
    with pytest.raises(BadBundle):
        Bundle.load(bundles / "tiny")
