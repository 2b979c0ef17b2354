from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest

from models.bundle import EVALUATION, Bundle
from models.catalog import BUNDLES
from models.evaluations import FORMAT, Evaluations, is_current, is_record, method, ship, shipped


@pytest.fixture
def bundle(tmp_path):
    shutil.copytree(BUNDLES / "intracranial_t1", tmp_path / "intracranial_t1")
    (tmp_path / "intracranial_t1" / EVALUATION).unlink(missing_ok=True)
    return Bundle.load(tmp_path / "intracranial_t1")


def a_record(bundle, mark="a", date="2026-11-22T00:00:00.000Z", **members):
    base = {"format": FORMAT, "bundle": bundle.name, "version": bundle.version, "sha256": bundle.sha256}
    base |= {"method": method(bundle), "kind": "binary", "date": date, "metrics": {}}
    return base | {"dataset": {"name": "set", "sha256": mark * 64}} | members


def test_a_record_is_kept_once_for_each_data_set(bundle, tmp_path):
    store = Evaluations(tmp_path / "store")
    assert store.records(bundle) == []
    path = store.write(a_record(bundle))
    assert path.relative_to(tmp_path / "store").as_posix() == f"evaluations/{bundle.name}/{'a' * 64}.json"
    store.write(a_record(bundle, date="2026-11-23T00:00:00.000Z"))
    store.write(a_record(bundle, "b", "2026-11-24T00:00:00.000Z"))
    assert [row["dataset"]["sha256"][0] for row in store.records(bundle)] == ["b", "a"]
    assert [path.name for path in path.parent.iterdir() if path.name.startswith(".")] == []


def test_a_card_carries_its_records_and_the_digest_stays(bundle, tmp_path):
    ship(bundle.folder, a_record(bundle))
    ship(bundle.folder, a_record(bundle, "b"))
    ship(bundle.folder, a_record(bundle, "a", "2026-11-25T00:00:00.000Z"))
    again = Bundle.load(bundle.folder)
    assert again.sha256 == bundle.sha256
    found = Evaluations(tmp_path / "store").records(again)
    assert [(row["dataset"]["sha256"][0], row["date"][:10]) for row in found] == [
        ("a", "2026-11-25"),
        ("b", "2026-11-22"),
    ]
    assert all(is_current(row, again) for row in found)


def test_a_new_card_leaves_a_record_true_and_new_weights_do_not(bundle):
    record = a_record(bundle)
    (bundle.folder / "docs" / "README.md").write_text("said better")
    assert is_current(record, Bundle.load(bundle.folder))
    path = bundle.folder / "configs" / "metadata.json"
    metadata = json.loads(path.read_text())
    metadata["bithive"]["weights"][0]["sha256"] = "0" * 64
    path.write_text(json.dumps(metadata))
    assert not is_current(record, Bundle.load(bundle.folder))


def test_a_bundle_from_elsewhere_does_not_praise_itself(bundle, tmp_path):
    ship(bundle.folder, a_record(bundle))
    assert Evaluations(tmp_path / "store").records(replace(bundle, form="zoo")) == []


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{", '{"format": 1, "records": [1, {}]}', '{"format": 9, "records": []}', "[" * 5000, "x" * (2 << 20)],
)
def test_what_cannot_be_read_is_left_out(bundle, tmp_path, content):
    (bundle.folder / EVALUATION).write_text(content)
    folder = tmp_path / "store" / "evaluations" / bundle.name
    folder.mkdir(parents=True)
    (folder / f"{'c' * 64}.json").write_text(content)
    (folder / "notes.json").write_text("{}")
    assert shipped(bundle.folder) == []
    assert Evaluations(tmp_path / "store").records(bundle) == []


def test_a_record_of_another_bundle_is_not_shown(bundle, tmp_path):
    store = Evaluations(tmp_path / "store")
    path = store.write(a_record(bundle))
    path.write_text(json.dumps(a_record(bundle) | {"bundle": "other"}))
    assert store.records(bundle) == []
    assert not is_record(a_record(bundle, dataset={"name": "x", "sha256": "../../etc"}))
