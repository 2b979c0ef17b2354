from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from api.commands.models import card_rows, pull_each
from bithive.cli import main
from models.catalog import BUNDLES, Catalog
from pipelines.site import Reference, references
from tests.common.zoo import zoo_bundle

NAME = "spleen_ct_segmentation"


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """A mirror folder with a sound bundle and a hostile one, as the environment names it."""
    folder = tmp_path / "mirror"
    zoo_bundle(folder, NAME, roi=(8, 8, 8))
    zoo_bundle(folder, "hostile", roi=(8, 8, 8), change={"x": "$open('/etc/passwd')"})
    monkeypatch.setenv("BITHIVE_MODEL_MIRRORS", os.pathsep.join([str(tmp_path / "absent"), str(folder)]))
    monkeypatch.setenv("BITHIVE_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("COLUMNS", "200")
    return folder


def test_without_weights(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("BITHIVE_MODELS__STORE", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "160")
    assert main(["models", "list"]) == 0
    assert "weights-absent" in capsys.readouterr().out
    assert main(["models", "verify"]) == 1
    assert "intracranial_t1" in capsys.readouterr().out
    assert main(["models", "pull", "no_such"]) == 1
    assert "bundle-absent" in capsys.readouterr().err


def test_the_card_says_what_it_is_for(tmp_path):
    rows = dict(card_rows(Catalog(tmp_path).bundle("intracranial_t1")))
    assert all(rows[name] for name in ("intended use", "population", "eval metrics", "license", "sha256"))


def test_a_bundle_is_pulled_by_naming_it_listed_shown_and_verified(mirror, tmp_path, capsys):
    assert main(["models", "audit", NAME]) == 0
    assert "configuration" in capsys.readouterr().out
    assert main(["models", "pull", NAME]) == 0
    assert f"{NAME} 0.5.9: Apache-2.0" in capsys.readouterr().out
    assert main(["models", "list"]) == 0
    row = next(line for line in capsys.readouterr().out.splitlines() if NAME in line)
    assert "verified" in row
    assert "the zoo or a mirror" in row
    assert main(["models", "card", NAME]) == 0
    shown = capsys.readouterr().out
    assert all(word in shown for word in ("signed by", "audit", "Apache-2.0", "spleen", "openvino"))
    assert main(["models", "verify"]) == 1
    assert f"{NAME} 0.5.9: verified" in capsys.readouterr().out
    assert main(["models", "audit", NAME]) == 0
    assert "signed by" in capsys.readouterr().out

    path = tmp_path / "state" / "models" / "bundles" / NAME / "configs" / "inference.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "x": 1}))
    assert main(["models", "list"]) == 0
    assert "bundle-changed" in capsys.readouterr().out
    assert main(["models", "verify"]) == 1
    assert f"{NAME} 0.5.9: bundle-changed" in capsys.readouterr().out
    assert main(["models", "audit", NAME]) == 1
    assert main(["models", "card", NAME]) == 1
    assert "bundle-changed" in capsys.readouterr().err
    assert main(["models", "pull", NAME]) == 0
    assert main(["models", "card", NAME]) == 0


def test_each_refusal_is_shown_with_its_code(mirror, tmp_path, capsys):
    assert main(["models", "audit", "hostile"]) == 1
    shown = capsys.readouterr().out
    assert "expression-refused" in shown
    assert "refused" in shown
    assert main(["models", "pull", "hostile"]) == 1
    assert "expression-refused" in capsys.readouterr().err
    assert main(["models", "list"]) == 0
    assert "hostile" not in capsys.readouterr().out
    unsupported = zoo_bundle(tmp_path, "unsupported", roi=(8, 8, 8), change={"inferer": {"_target_": "SliceInferer"}})
    assert main(["models", "audit", str(unsupported)]) == 1
    assert "bundle-needs" in capsys.readouterr().out
    (tmp_path / "broken.zip").write_bytes(b"no zip")
    assert main(["models", "audit", str(tmp_path / "broken.zip")]) == 1
    assert "archive-refused" in capsys.readouterr().out
    assert main(["models", "audit", "no_such"]) == 1
    assert "bundle-absent" in capsys.readouterr().err


def test_what_comes_with_bithive_is_audited_too(mirror, capsys):
    assert main(["models", "audit", "intracranial_t1"]) == 0
    assert "comes with BitHive" in capsys.readouterr().out


def test_a_digest_goes_with_one_name(mirror):
    assert main(["models", "pull", NAME, "hostile", "--sha256", "0" * 64]) != 0


def test_one_that_cannot_be_had_stops_no_other_and_is_told(mirror, capsys):
    assert main(["models", "pull", "no_such", NAME]) == 1
    told = capsys.readouterr()
    assert f"{NAME} 0.5.9: Apache-2.0" in told.out
    assert "no_such: not fetched, bundle-absent" in told.err


def test_what_cannot_be_had_is_told_with_its_code_and_the_rest_is_had(mirror, tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    (tmp_path / "built_in").mkdir()
    shutil.copytree(BUNDLES / "intracranial_t1", tmp_path / "built_in" / "intracranial_t1")
    models = Catalog(tmp_path / "store", (mirror,), folder=tmp_path / "built_in")
    console = Console(record=True, width=200)
    wanted = {name: Reference() for name in ("intracranial_t1", NAME)}
    assert pull_each(models, wanted, console, renew=False) == {NAME: NAME}
    assert "intracranial_t1: not fetched, download-failed" in console.export_text()


def test_a_file_of_the_site_says_where_its_bundle_is(mirror, tmp_path, capsys):
    files = tmp_path / "state" / "pipelines"
    files.mkdir(parents=True)
    packed = shutil.make_archive(str(tmp_path / "ward_ct"), "zip", mirror, NAME)
    digest = hashlib.sha256(Path(packed).read_bytes()).hexdigest()
    text = (
        "name: ward_spleen\ntitle: Spleen of our ward\n"
        f'bundle:\n  name: {NAME}\n  version: "0.5.9"\n  from: ../../ward_ct.zip\n  from_sha256: "{digest}"\n'
        "intended_use: Volume of the spleen before and after treatment.\n"
    )
    (files / "ward.yaml").write_text(text)
    assert main(["pipelines", "list"]) == 0
    assert "ward.yaml:4: " in capsys.readouterr().out
    (files / "ward.yaml").write_text(text.replace(digest, "0" * 64))
    assert main(["models", "pull", "ward_spleen"]) == 1
    assert "weights-differ" in capsys.readouterr().err
    (files / "ward.yaml").write_text(text)
    assert main(["models", "pull", "ward_spleen"]) == 0
    assert f"{NAME} 0.5.9" in capsys.readouterr().out
    assert main(["pipelines", "show", "ward_spleen"]) == 0
    assert "ward.yaml" in capsys.readouterr().out


def test_what_is_installed_is_not_fetched_again_for_a_file_that_names_it(mirror, tmp_path, capsys):
    assert main(["models", "pull", NAME]) == 0
    files = tmp_path / "state" / "pipelines"
    files.mkdir(parents=True)
    (files / "ward.yaml").write_text(
        "name: ward_spleen\ntitle: Spleen of our ward\n"
        f'bundle: {{name: {NAME}, version: "0.5.9", from: gone.zip, from_sha256: "{"0" * 64}"}}\n'
        "intended_use: Volume of the spleen before and after treatment.\n"
    )
    models = Catalog(tmp_path / "state" / "models")
    before = models.bundle(NAME).folder.resolve()
    known = {name: item for name, item in references(files).items() if name not in models.bundles()}
    assert set(known) == {"ward_spleen"}
    assert main(["models", "pull", "ward_spleen"]) == 1
    assert models.bundle(NAME).folder.resolve() == before, "what cannot be had takes nothing away"


def test_a_card_says_where_weights_come_from(tmp_path):
    models = Catalog(tmp_path)
    assert "in the wheel of deepbet 1.0.2" in dict(card_rows(models.bundle("intracranial_t1")))["weights"]
    assert dict(card_rows(models.bundle("lungs_ct")))["weights"] == "none: it is made of rules"
    assert "by sononet" in dict(card_rows(models.bundle("fetal_planes")))["weights"]
