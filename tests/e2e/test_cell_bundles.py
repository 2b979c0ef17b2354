"""One cell with Ray and several bundles: on demand, warm first, one at a time; installed, damaged and refused meanwhile."""

import json
from collections.abc import Callable, Collection, Generator
from pathlib import Path

import numpy as np
import pytest

from bithive.envelope import open_all
from bithive.offer import MemoryTooSmall
from cluster import measure
from cluster.broker import Durations
from cluster.protocol import Grant
from inference.findings import Findings
from inference.volume import Volume
from models.bundle import Bundle
from models.catalog import Catalog
from tests.common.cell import CellProcess, ray_cell
from tests.common.network import Made, make_offer, put_offer
from tests.common.network_server import Hub, network_hub
from tests.common.servers import wait_until
from tests.common.zoo import zoo_bundle

DURATIONS = Durations(lease_s=10, heartbeat_s=0.5, retry_pause_s=0.05, attempts_max=1)
CENTRES = {"one_ct": (0.2, 0.7), "two_ct": (0.7, 0.2), "three_ct": (0.2, 0.7), "four_ct": (0.5, 0.1)}
LOW_HU, HIGH_HU = -13, 98  # scaled to 0.2 and 0.7
WHERE = np.zeros((12, 20, 16), bool)
WHERE[3:8, 4:13, 5:11] = True
IMAGE = Volume(np.where(WHERE, HIGH_HU, LOW_HU).astype(np.int16), np.diag([1.5, 1.5, 2.0, 1.0]), "HU")


class House:
    """A hub in this process, a cell of two replicas that keep one bundle each, and a store of their own.

    Attributes
    ----------
    warm
        What the cell last said it has loaded.
    """

    def __init__(self, hub: Hub, folder: Path) -> None:
        self.hub, self.folder, self.store = hub, folder, folder / "store"
        self.warm: frozenset[str] = frozenset()
        self.bundles: dict[str, Bundle] = {}
        lease = hub.broker.lease

        def listening(cell: str, warm: Collection[str] = ()) -> Grant | None:
            self.warm = frozenset(warm)
            return lease(cell, warm)

        hub.broker.lease = listening  # type: ignore[method-assign]

    def install(self, name: str) -> Bundle:
        made = zoo_bundle(self.folder / "made", name, centres=CENTRES[name], roi=(16, 16, 16))
        catalog = Catalog(self.store)
        catalog.pull(str(made))
        self.bundles[name] = catalog.bundle(name)
        return self.bundles[name]

    def start(self) -> CellProcess:
        settings = {
            "BITHIVE_MODELS__STORE": str(self.store),
            "BITHIVE_CELL__SLOTS": "2",
            "BITHIVE_CELL__THREADS": "1",
            "BITHIVE_CELL__WARM_MAX": "1",
            "BITHIVE_CELL__MEMORY_BYTES": str(measure.memory_bytes()),
            "PIP_NO_INDEX": "1",
        }
        return CellProcess(self.folder / "cell", self.hub.url, self.hub.tokens["own"], ray_cell(), settings)

    def known(self) -> frozenset[str]:
        record = self.hub.broker.cells.cell(self.hub.cells["own"])
        return record.bundles if record is not None else frozenset()

    def offer(self, name: str, memory_bytes: int = 1 << 30) -> Made:
        bundle = self.bundles[name]
        made = make_offer(
            self.hub.ids,
            self.hub.clock,
            self.hub.institution,
            IMAGE,
            bundle=bundle.name,
            bundle_version=bundle.version,
            bundle_sha256=bundle.sha256,
            work_units=bundle.reference_work_units(IMAGE.array.size),
            memory_bytes=memory_bytes,
        )
        put_offer(self.hub.broker, made)
        return made

    def ended(self, made: Made) -> tuple[str, str]:
        """The last topic of an Offer and its code."""
        notices = self.hub.broker.notices(self.hub.institution, 0, 10_000)
        last = [item for item in notices if item.offer_id == made.offer.offer_id][-1]
        return last.topic, str(last.body.get("code", ""))

    def run(self, name: str, memory_bytes: int = 1 << 30) -> tuple[str, str]:
        made = self.offer(name, memory_bytes)
        wait_until(lambda: self.ended(made)[0] in ("attempt.accepted", "offer.exhausted"), 120)
        if self.ended(made)[0] == "attempt.accepted":
            self.check(name, made)
        return self.ended(made)

    def check(self, name: str, made: Made) -> None:
        """The labels are where this very bundle puts them: channel 1 answers to the second centre."""
        notices = self.hub.broker.notices(self.hub.institution, 0, 10_000)
        last = next(item for item in reversed(notices) if item.offer_id == made.offer.offer_id)
        file = self.hub.broker.findings(self.hub.institution, last.body["attempt_id"])
        token = last.body["receipt"]["fencing_token"]
        plain = open_all(made.keys.payload_key, token, file.plain_size_bytes, [file.path.read_bytes()])
        labels = Findings.from_bytes(plain, WHERE.shape).labels  # type: ignore[arg-type]
        assert labels is not None
        scaled = np.where(WHERE, 0.7, 0.2)
        first, second = CENTRES[name]
        assert np.array_equal(labels.array == 1, np.abs(scaled - second) < np.abs(scaled - first))

    def loads(self, *names: str) -> int:
        """Run these bundles, one after the other; how many were loaded for it."""
        before = len(self.said("bundle.loaded"))
        for name in names:
            assert self.run(name) == ("attempt.accepted", "")
        return len(self.said("bundle.loaded")) - before

    def said(self, event: str) -> list[tuple[str, str]]:
        """Bundle and code of each such line of the cell's log."""
        lines = (self.folder / "cell" / "cell.log").read_text().splitlines()
        told = [json.loads(line) for line in lines if line.startswith("{")]
        return [(item.get("bundle", ""), item.get("code", "")) for item in told if item["event"] == event]


@pytest.fixture
def house(tmp_path: Path) -> Generator[House]:
    with network_hub(tmp_path, DURATIONS) as hub:
        yield House(hub, tmp_path)


@pytest.fixture
def start(house: House) -> Generator[Callable[[], CellProcess]]:
    started: list[CellProcess] = []

    def begin() -> CellProcess:
        started.append(house.start())
        return started[-1]

    yield begin
    for cell in started:
        cell.stop()


@pytest.mark.heavy
@pytest.mark.soak
def test_one_cell_serves_several_bundles(house: House, start: Callable[[], CellProcess]) -> None:
    one, two = house.install("one_ct").sha256, house.install("two_ct").sha256
    cell = start()
    cell.wait_for("cell.connected", 240)
    assert house.known() >= {one, two}

    # Both are served, each replica keeps one, and whoever has it gets it.
    for name in ("one_ct", "two_ct"):
        assert house.run(name) == ("attempt.accepted", "")
    wait_until(lambda: house.warm == {one, two}, 30)
    assert settles(house, "one_ct", "two_ct"), "the warm replica is preferred"

    # What is installed meanwhile is served without a restart, and something has to go for it.
    three = house.install("three_ct").sha256
    wait_until(lambda: three in house.known(), 30)
    dropped = len(house.said("bundle.dropped"))
    assert house.loads("three_ct") == 1
    assert len(house.said("bundle.dropped")) == dropped + 1
    wait_until(lambda: three in house.warm and len(house.warm) == 2, 30)

    # One whose weights were damaged fails with its code and is no longer offered; the others go on.
    four = house.install("four_ct")
    wait_until(lambda: four.sha256 in house.known(), 30)
    for path in Catalog(house.store).weights(four).values():
        damage(path)
    assert house.run("four_ct") == ("offer.exhausted", "weights-differ")
    assert house.said("bundle.unloadable") == [("four_ct", "weights-differ")]
    wait_until(lambda: four.sha256 not in house.known(), 30)
    assert {one, two, three} <= house.known()
    assert house.run("one_ct") == ("attempt.accepted", "")

    # What would not fit is refused: by the broker what never could, by the replica what cannot now.
    with pytest.raises(MemoryTooSmall):
        house.offer("one_ct", measure.memory_bytes() + 1)
    assert house.run("one_ct", measure.memory_bytes()) == ("offer.exhausted", "out-of-memory")
    assert house.run("one_ct") == ("attempt.accepted", "")
    assert house.known() >= {one, two, three}, "lack of room is no fault of the bundle"
    assert cell.stop() == 0


def settles(house: House, *names: str) -> bool:
    """Whether four rounds in a row load nothing, soon. Serve's router learns a moment later what a replica has loaded."""
    quiet = 0
    for _ in range(24):
        quiet = 0 if house.loads(*names) else quiet + 1
        if quiet == 4:
            return True
    return False


def damage(path: Path) -> None:
    """Change one byte, in place: the store does not look changed."""
    path.chmod(0o600)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    with path.open("r+b") as file:
        file.write(content)
