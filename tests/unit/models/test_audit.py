import json
import os
import shutil
from pathlib import Path

import pytest
import torch

from models.audit import audit
from models.errors import BadBundle
from tests.common.zoo import zoo_bundle
from tests.unit.models import zoo_shapes


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    return zoo_bundle(tmp_path_factory.mktemp("zoo"), roi=(16, 16, 16), weights="model.ts,model.pt")


@pytest.fixture
def bundle(sound, tmp_path):
    return shutil.copytree(sound, tmp_path / sound.name)


def configured(bundle, change):
    path = bundle / "configs" / "inference.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    return bundle


def described(bundle, change):
    path = bundle / "configs" / "metadata.json"
    metadata = json.loads(path.read_text())
    change(metadata)
    path.write_text(json.dumps(metadata))
    return bundle


def codes(found):
    return {check.name: check.code for check in found.checks if check.outcome == "refused"}


def test_a_bundle_of_the_zoos_form_passes_every_check(bundle):
    found = audit(bundle)
    assert found.refusal is None
    assert [check.name for check in found.checks] == [
        *(
            "metadata",
            "needs",
            "configuration",
            "networks",
            "interpreted parts",
            "derived facts",
            "transforms",
            "licence",
        )
    ]
    assert [(item.file, item.kind) for item in found.networks] == [("models/model.ts", "torchscript")]
    assert (found.version, found.licence, len(found.structures)) == ("0.5.9", "Apache-2.0", 1)
    assert found.to_json()[-1] == {"check": "licence", "outcome": "noted", "code": "", "detail": "Apache-2.0"}


def test_a_checkpoint_is_taken_only_when_nothing_better_is_there(bundle):
    (bundle / "models" / "model.ts").unlink()
    assert [item.kind for item in audit(bundle).networks] == ["checkpoint"]


def test_a_checkpoint_that_is_torchscript_is_recognised(bundle):
    (bundle / "models" / "model.ts").rename(bundle / "models" / "model.pt")
    found = audit(bundle)
    assert [(item.file, item.kind) for item in found.networks] == [("models/model.pt", "torchscript")]


@pytest.mark.parametrize("files", [[], ["a.pt", "b.pt"]])
def test_no_network_or_several_of_which_none_is_the_one(bundle, files):
    for path in (bundle / "models").iterdir():
        path.unlink()
    for name in files:
        torch.save({"a": torch.ones(1)}, bundle / "models" / name)
    assert codes(audit(bundle)) == {"networks": "bad-bundle"}


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"output_dir": "$open('/etc/passwd').read()"}, "expression-refused"),
        ({"output_dir": "$__import__('os').system('true')"}, "expression-refused"),
        ({"dataset": {"_target_": "os.system", "command": "true"}}, "target-refused"),
        ({"inferer": {"_target_": "scripts.inferer.Own"}}, "target-refused"),
        ({"other": "%other.json"}, "directive-refused"),
    ],
)
def test_a_hostile_configuration_has_its_code(bundle, change, code):
    found = audit(configured(bundle, change))
    assert found.refusal.code == code
    assert codes(found)["configuration"] == code


class Executes:
    def __reduce__(self):
        return os.system, ("touch /tmp/bithive-audit-ran",)


def test_a_pickle_that_executes_has_its_code(bundle):
    (bundle / "models" / "model.ts").unlink()
    torch.save({"a": torch.ones(1), "b": Executes()}, bundle / "models" / "model.pt")
    assert codes(audit(bundle)) == {"networks": "pickle-refused"}
    assert not Path("/tmp/bithive-audit-ran").exists()


def test_what_is_not_built_is_named(bundle):
    found = audit(configured(bundle, zoo_shapes.nodules()))
    assert found.refusal.code == "bundle-needs"
    assert "a detector" in found.refusal.detail


def test_several_series_need_names_that_are_known(bundle):
    channels = {"0": "T1c", "1": "T1", "2": "T2", "3": "FA"}

    def four(metadata):
        metadata["network_data_format"]["inputs"]["image"].update(modality="MR", num_channels=4, channel_def=channels)

    found = audit(described(configured(bundle, zoo_shapes.tumours()), four))
    assert found.refusal.code == "bundle-needs"
    assert "several series at once: T1c, T1, T2, FA" in found.refusal.detail
    channels["3"] = "FLAIR"
    known = audit(described(configured(bundle, zoo_shapes.tumours()), four))
    assert ("needs", "MR series: T1c, T1, T2, FLAIR") in [(check.name, check.detail) for check in known.checks]


@pytest.mark.parametrize("modality", ["US", "", "PT", 7])
def test_other_modalities_are_not_built(bundle, modality):
    def other(metadata):
        metadata["network_data_format"]["inputs"]["image"]["modality"] = modality

    assert codes(audit(described(bundle, other)))["needs"] == "bundle-needs"


def test_slices_without_a_size_and_clicks_are_not_built(bundle):
    slices = {"inferer": {"_target_": "SliceInferer", "roi_size": [256, 256, 1], "spatial_dim": 2}}
    assert "two dimensions" in audit(configured(bundle, slices)).refusal.detail
    clicks = {"guidance": {"_target_": "AddGuidanceSignalDeepEditd"}}
    assert "clicks" in audit(configured(bundle, clicks)).refusal.detail


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("metadata.json", "["),
        ("metadata.json", "{}"),
        ("metadata.json", '{"version": 1, "network_data_format": {}}'),
        ("metadata.json", '{"version": "1"}'),
        ("inference.json", "7"),
        ("inference.json", "[" * 100_000),
    ],
)
def test_files_that_cannot_be_read(bundle, name, content):
    (bundle / "configs" / name).write_text(content)
    assert audit(bundle).refusal.code == "bad-bundle"


def test_the_judge_has_the_last_word(bundle):
    def judge(parts):
        raise BadBundle(f"cannot do {parts['inferer']['_target_']}")

    found = audit(bundle, judge)
    assert codes(found) == {"transforms": "bad-bundle"}
    assert found.refusal.detail == "cannot do SlidingWindowInferer"


def test_a_yaml_configuration_is_read_and_a_bomb_of_aliases_is_not(bundle):
    import yaml

    path = bundle / "configs" / "inference.json"
    config = json.loads(path.read_text())
    path.unlink()
    (bundle / "configs" / "inference.yaml").write_text(yaml.safe_dump(config))
    assert audit(bundle).refusal is None
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    (bundle / "configs" / "inference.yaml").write_text("\n".join(lines))
    assert audit(bundle).refusal.code == "directive-refused"
    (bundle / "configs" / "inference.yaml").write_text("!!python/object/apply:os.system ['true']")
    assert audit(bundle).refusal.code == "bad-bundle"


def test_a_class_whose_package_is_not_here_needs_torchscript(bundle):
    from importlib.util import find_spec

    swin = configured(bundle, {"network_def": {"_target_": "SwinUNETR", "in_channels": 1, "out_channels": 2}})
    assert audit(swin).refusal is None
    (swin / "models" / "model.ts").unlink()
    found = audit(swin)
    assert (found.refusal is None) == (find_spec("einops") is not None)
    assert find_spec("einops") is not None or found.refusal.code == "bundle-needs"


@pytest.mark.parametrize("network", ["UNet", ["UNet"], {}, 7])
def test_a_network_that_is_no_object(bundle, network):
    (bundle / "models" / "model.ts").unlink()
    assert audit(configured(bundle, {"network_def": network})).refusal.code == "bad-bundle"
