"""`bithive pipelines`: what an operator sees of what can be run, and of files that are wrong."""

import pytest

from bithive.cli import main
from tests.common import installed as made

FILE = """\
name: ward_spleen
title: Spleen of our ward
bundle:
  name: spleen_ct_segmentation
  version: "0.5.9"
intended_use: Volume of the spleen before and after treatment.
data_class: P2
data_class_reason: The network side is a computer of this hospital.
"""


@pytest.fixture
def files(tmp_path, monkeypatch):
    """The folder of the site's files; the bundle that they name is installed, without weights."""
    monkeypatch.setenv("BITHIVE_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("COLUMNS", "200")
    store = tmp_path / "state" / "models" / "bundles"
    store.mkdir(parents=True)
    made.sign(made.installed(store), tmp_path / "state" / "keys" / "models.key")
    (tmp_path / "state" / "pipelines").mkdir()
    return tmp_path / "state" / "pipelines"


def test_all_are_listed_with_where_they_come_from_and_whether_they_are_on(files, monkeypatch, capsys):
    (files / "broken.yaml").write_text("name: ward_spleen\ntitel: x\n")
    monkeypatch.setenv("BITHIVE_CLINIC__PIPELINES", "spleen_ct_segmentation,misspelt_ct")
    assert main(["pipelines", "list"]) == 0
    shown = capsys.readouterr().out
    row = {line.split("│")[1].strip(): line for line in shown.splitlines() if line.startswith("│")}
    assert "its bundle" in row["spleen_ct_segmentation"]
    assert " on " in row["spleen_ct_segmentation"]
    assert "switched-off" in row["intracranial_volume_t1"]
    assert "broken.yaml:2: titel: there is no such member" in shown
    assert "there is no pipeline misspelt_ct" in shown


def test_a_file_is_checked_where_it_lies(files, tmp_path, capsys):
    elsewhere = tmp_path / "new.yaml"
    elsewhere.write_text(FILE)
    assert main(["pipelines", "check", str(elsewhere)]) == 0
    assert "declares ward_spleen" in capsys.readouterr().out
    elsewhere.write_text(FILE.replace("0.5.9", "0.6.0"))
    assert main(["pipelines", "check", str(elsewhere)]) == 1
    assert "new.yaml:5: bundle.version: 0.5.9 is installed [pipeline-file-refused]" in capsys.readouterr().out
    elsewhere.write_text(FILE.replace("spleen_ct_segmentation", "other_ct"))
    assert main(["pipelines", "check", str(elsewhere)]) == 0, "it can be written before the bundle is pulled"
    assert "bundle-absent" in capsys.readouterr().out
    assert main(["pipelines", "check", str(tmp_path / "nowhere.yaml")]) != 0


def test_one_is_shown_with_all_that_is_decided(files, capsys):
    (files / "ward.yaml").write_text(FILE)
    assert main(["pipelines", "show", "ward_spleen"]) == 0
    shown = capsys.readouterr().out
    for words in ("ward.yaml", "weights-absent", "SCT 78961009", "P2", "The network side is a computer", "12 or more"):
        assert words in shown, words
    assert main(["pipelines", "show", "nobody"]) == 1
    assert "pipeline-absent" in capsys.readouterr().err
