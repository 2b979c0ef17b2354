"""The store as it changes: what cannot be had is left out, what comes later is found."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from bithive.clock import ManualClock
from cluster import loading
from cluster.errors import WorkFailed
from cluster.loading import POLL_S, Stock
from models.bundle import Bundle
from models.catalog import BUNDLES, Catalog
from models.errors import BundleChanged, WeightsDiffer
from tests.common.hub import MODEL_STORE
from tests.common.zoo import zoo_bundle

T1 = "intracranial_t1"


def test_a_bundle_without_weights_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    found = set(loading.fetch(Catalog(tmp_path / "store")))
    assert not found & {T1, "fetal_planes"}
    assert "lungs_ct" in found, "rules need no weights"


def test_no_bundle_is_no_work(tmp_path: Path) -> None:
    (tmp_path / "bundles").mkdir()
    assert loading.fetch(Catalog(tmp_path / "store", folder=tmp_path / "bundles")) == []
    assert loading.load(tmp_path / "store", [], "auto", 1) == []


def test_a_mirror_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = loading.fetch(Catalog(MODEL_STORE))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    assert loading.fetch(Catalog(tmp_path / "store", (MODEL_STORE,))) == names


class House:
    """A store of its own with a folder of built-in bundles, on a clock that stands still."""

    def __init__(self, folder: Path) -> None:
        self.store, self.folder, self.clock, self.opened = folder / "store", folder / "built_in", ManualClock(), 0
        self.folder.mkdir()

    def stock(self, *, verify: bool = True) -> Stock:
        return Stock(self.open, self.store, self.clock, verify=verify)

    def open(self) -> Catalog:
        self.opened += 1
        return Catalog(self.store, folder=self.folder)

    def add(self, name: str = T1) -> None:
        shutil.copytree(BUNDLES / T1, self.folder / name)

    def pull(self, name: str = T1) -> None:
        Catalog(self.store, (MODEL_STORE,), folder=self.folder).pull(name)


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    Catalog(MODEL_STORE).weights(Catalog(MODEL_STORE).bundle(T1))
    return House(tmp_path)


def names(stock: Stock) -> list[str]:
    return sorted(bundle.name for bundle in stock.bundles().values())


def test_what_is_pulled_while_the_cell_runs_is_found_at_the_next_look(house: House) -> None:
    house.add()
    stock = house.stock()
    assert names(stock) == []
    seen = stock.changes
    house.pull()
    assert names(stock) == [], "it has just looked"
    house.clock.advance_s(POLL_S)
    assert names(stock) == [T1]
    assert stock.changes == seen + 1


def test_without_a_change_nothing_is_read_again(house: House) -> None:
    house.add()
    house.pull()
    stock = house.stock()
    assert names(stock) == [T1]
    opened = house.opened
    for _ in range(5):
        house.clock.advance_s(POLL_S)
        assert names(stock) == [T1]
    assert house.opened == opened


def test_weights_that_changed_are_left_out_and_a_new_pull_mends_it(house: House) -> None:
    house.add()
    house.pull()
    damage(house)
    stock = house.stock()
    assert names(stock) == []
    for path in house.store.glob("sha256/*/*"):
        path.unlink()
    house.pull()
    house.clock.advance_s(POLL_S)
    assert names(stock) == [T1]


def damage(house: House) -> None:
    path = next(house.store.glob("sha256/*/*"))
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)


def test_a_replica_finds_what_came_since_it_looked(house: House) -> None:
    house.add()
    house.pull()
    stock = house.stock(verify=False)
    (sha256,) = stock.bundles()
    bundle, weights = stock.find(sha256)
    assert bundle.name == T1
    assert all(path.is_file() for path in weights.values())
    with pytest.raises(WorkFailed, match="bundle-unknown"):
        stock.find("0" * 64)
    damage(house)
    with pytest.raises(WeightsDiffer):
        stock.find(sha256)


def test_what_is_installed_is_found_and_left_out_once_it_is_not_what_was_signed(house: House) -> None:
    cell, replica = house.stock(), house.stock(verify=False)
    assert names(cell) == names(replica) == []
    made = zoo_bundle(house.store.parent / "made", "small_ct", roi=(16, 16, 16))
    house.open().pull(str(made))
    house.clock.advance_s(POLL_S)
    assert names(cell) == ["small_ct"]
    (sha256,) = cell.bundles()
    assert replica.find(sha256)[0].form == "zoo"
    inference = next((house.store / "bundles").glob("small_ct/configs/inference.json"))
    inference.chmod(0o600)
    inference.write_text(inference.read_text().replace("0.5", "0.4"))
    with pytest.raises(BundleChanged):
        replica.find(sha256)
    house.clock.advance_s(POLL_S)
    assert names(cell) == []


def test_a_catalogue_that_cannot_be_read_changes_nothing(house: House) -> None:
    house.add()
    house.pull()
    stock = house.stock()
    assert names(stock) == [T1]
    (house.folder / "broken" / "configs").mkdir(parents=True)
    (house.store / "sha256" / "ff").mkdir()
    house.clock.advance_s(POLL_S)
    assert names(stock) == [T1]


def test_what_comes_with_bithive_is_first_then_the_smaller() -> None:
    bundles = Catalog(MODEL_STORE).bundles()
    first, later = loading.in_order({bundle.sha256: bundle for bundle in bundles.values()})
    assert first == (bundles[T1].sha256,)
    assert set(later) == {bundle.sha256 for name, bundle in bundles.items() if name != T1}


def test_nobody_is_asked_over_a_network_for_what_a_cell_does_not_start_with(house: House) -> None:
    house.add("another_bundle")
    assert loading.fetch(house.open()) == []
    assert names(house.stock()) == []
    from_mirror = Catalog(house.store, (MODEL_STORE,), folder=house.folder)
    assert loading.fetch(from_mirror) == ["another_bundle"]
    assert loading.fetch(house.open()) == ["another_bundle"], "it is in the store now"


def test_a_pull_that_fails_stops_no_other(house: House) -> None:
    house.add()
    house.add("another_bundle")
    mirror = house.store.parent / "mirror"
    mirror.mkdir()
    assert loading.fetch(Catalog(house.store, (mirror,), folder=house.folder)) == []
    house.pull("another_bundle")
    assert loading.fetch(house.open()) == ["another_bundle", T1], "they share a file here"


@pytest.mark.parametrize("order", [list, lambda items: list(reversed(items))])
def test_the_order_does_not_depend_on_how_they_are_listed(
    tmp_path: Path, order: Callable[[list[Bundle]], list[Bundle]]
) -> None:
    declared = json.loads((BUNDLES / T1 / "configs" / "metadata.json").read_text())
    for name, activation_bytes in (("b", 5), ("a", 5), ("c", 1)):
        shutil.copytree(BUNDLES / T1, tmp_path / name)
        declared["copyright"] = name  # or a and b were one bundle
        for network in declared["bithive"]["networks"].values():
            network["activation_bytes"] = activation_bytes
        (tmp_path / name / "configs" / "metadata.json").write_text(json.dumps(declared))
    built_in = Catalog(MODEL_STORE).bundle(T1)
    bundles = order([built_in, *(Bundle.load(tmp_path / name) for name in "abc")])
    first, later = loading.in_order({bundle.sha256: bundle for bundle in bundles})
    assert first == (built_in.sha256,)
    names = {bundle.sha256: bundle.name for bundle in bundles}
    assert [names[sha256] for sha256 in later] == ["c", "a", "b"]
