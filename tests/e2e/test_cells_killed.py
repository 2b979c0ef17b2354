"""Kill -9 everything that a network of cells consists of, while studies run: nothing lost, nothing doubled.

Three Ray nodes in two cells. The home's one machine stands behind a router with NAT, so every line of these tests is also
about that; the operator's two machines stand behind walls on a bridge of their own.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Generator
from pathlib import Path

import httpx2
import pytest

from tests.common.cells import Machine, Network, network, reckoning
from tests.common.studies import Study, head_study, pulled

pytestmark = [
    pytest.mark.heavy,
    pytest.mark.timeout(900),
    pytest.mark.skipif(os.getuid() != 0, reason="only root makes the networks of several machines"),
]

STUDIES = 2
ENDED_S = 300.0
RUNNING = ("loading", "preparing", "locating", "segmenting", "measuring")


class Ward:
    """Sends studies and sees them through."""

    def __init__(self, net: Network, folder: Path) -> None:
        self.net, self.folder = net, folder
        self.sent: list[Study] = []

    def send(self, count: int = STUDIES) -> list[Study]:
        """Studies of new patients, each sent until it is acknowledged, as a PACS does."""
        studies = []
        for _ in range(count):
            number = len(self.sent) + 1
            study = head_study(self.folder / f"study-{number}", f"cells-{number}", step=2)
            self._stow(study)
            self.sent.append(study)
            studies.append(study)
        return studies

    def _stow(self, study: Study) -> None:
        for _ in range(60):
            try:
                answer = self.net.hub.stow(study.files)
            except (httpx2.HTTPError, OSError):
                time.sleep(0.5)
                continue
            assert answer.status_code == 200, answer.text
            return
        raise AssertionError("the study was never taken")

    def items(self) -> list[dict[str, object]]:
        """The Workitems of every study that was sent."""
        return [item for study in self.sent for item in self.net.hub.study(study.study_uid)["workitems"]]

    def send_until_running(self) -> None:
        """Studies while others run: a study more whenever all were complete before anybody looked."""
        deadline = time.monotonic() + 120
        self.send()
        while True:
            items = self.items()
            if any(item.get("stage") in RUNNING for item in items):
                return
            assert time.monotonic() < deadline, items
            if all(item["state"] == "COMPLETED" for item in items):
                self.send()
            time.sleep(0.02)

    def wait_completed(self) -> float:
        """Until every study that was ever sent is complete; how long it took, in seconds."""
        begun = time.monotonic()
        for study in self.sent:
            self.net.hub.wait_for_state(study.study_uid, ["COMPLETED"], ENDED_S)
        return time.monotonic() - begun

    def assert_whole(self) -> None:
        """Each study complete, once, charged once; every Lease accounted for."""
        assert [item["state"] for item in self.items()] == ["COMPLETED"] * len(self.sent)
        deadline = time.monotonic() + 20
        while (found := reckoning(self.net.hub))["charged"] != len(self.sent) and time.monotonic() < deadline:
            time.sleep(0.2)
        assert (found["accepted"], found["charged"]) == (len(self.sent),) * 2, found
        for study in self.sent:
            found = self.net.hub.get(f"/dicomweb/studies/{study.study_uid}/instances?includefield=00080060")
            kinds = [item["00080060"]["Value"][0] for item in found]
            assert kinds.count("SEG") == 1, kinds
            assert kinds.count("SR") == 1, kinds


@pytest.fixture(scope="module")
def ward(tmp_path_factory: pytest.TempPathFactory) -> Generator[Ward]:
    pulled()
    folder = tmp_path_factory.mktemp("cells")
    with network(folder) as net:
        yield Ward(net, folder / "studies")


def _kill(kind: str, *names: str) -> Callable[[Network], None]:
    def strike(net: Network) -> None:
        for name in names:
            machine: Machine = getattr(net, name)
            machine.kill(kind)

    return strike


def _kill_hub(net: Network) -> None:
    net.hub.kill()
    net.hub.start()


def _cut_home(net: Network) -> None:
    net.way.cut()
    threading.Timer(25.0, net.way.mend).start()


STRIKES: dict[str, Callable[[Network], None]] = {
    "replica": _kill("replica", "home", "head"),
    "bundle process": _kill("bundle process", "home", "head"),
    "raylet": _kill("raylet", "member"),
    "gcs": _kill("gcs", "home", "head"),
    "agent": _kill("agent", "home"),
    "hub": _kill_hub,
    "network of a cell": _cut_home,
}
IN_TEST = frozenset({"replica", "gcs", "agent"})
"""Those that `make test` has time for; the soak has all."""


@pytest.mark.parametrize(
    "kind", [kind if kind in IN_TEST else pytest.param(kind, marks=pytest.mark.soak) for kind in STRIKES]
)
def test_killed_while_studies_run(ward: Ward, kind: str) -> None:
    ward.send_until_running()
    begun = time.monotonic()
    STRIKES[kind](ward.net)
    ward.send(1)
    ward.wait_completed()
    print(f"{kind} killed: every study complete after {time.monotonic() - begun:.1f} s")
    ward.assert_whole()


def test_a_machine_that_is_drained_gets_nothing_and_fails_nothing(ward: Ward) -> None:
    home = ward.net.home
    ward.send_until_running()
    home.bithive("node", "drain", "--state", str(home.state))
    before = home.log().count('"attempt.taken"')
    ward.send(2)
    ward.wait_completed()
    assert home.log().count('"attempt.taken"') == before, "it took work after it was drained"
    assert '"attempt.failed"' not in home.log()[home.log().rindex('"cell.asked"') :]
    ward.assert_whole()
    home.bithive("node", "resume", "--state", str(home.state))


def test_nobody_outside_reaches_a_listener_of_ray(ward: Ward) -> None:
    """Every socket of every process of a machine, tried at every address by which this machine knows it."""
    import socket

    from cluster.listeners import listeners

    for machine in ward.net.machines:
        seen = {
            (item.port, str(item.address))
            for process in machine.family()[1:]
            for item in listeners(Path(f"/proc/{process.pid}/net"))
            if item.protocol == "tcp" and process.name().startswith(("raylet", "gcs_server", "ray::"))
        }
        assert seen, "Ray listens somewhere"
        for port, _ in seen:
            for address in ("127.0.0.1", ward.net.way.hub_address):
                with pytest.raises(OSError):
                    socket.create_connection((address, port), 0.3).close()
