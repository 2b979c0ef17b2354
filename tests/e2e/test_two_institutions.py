"""Two institutions share one network: each has its studies analysed, and neither can reach what is the other's."""

from __future__ import annotations

import sqlite3
from collections.abc import Generator
from dataclasses import dataclass

import httpx2
import pytest

from tests.common.cell import CellProcess, local_cell
from tests.common.hub import Hub
from tests.common.studies import Study, head_study, pulled

pytestmark = [pytest.mark.heavy, pytest.mark.soak]
VERSION = {"BitHive-Protocol": "1"}


@dataclass(frozen=True, slots=True)
class House:
    """An institution: its clinical side, its credential at the network, its study."""

    hub: Hub
    institution: str
    token: str
    study: Study


@dataclass(frozen=True, slots=True)
class Shared:
    """A network side alone, and the two institutions that use it."""

    network: Hub
    one: House
    other: House


@pytest.fixture(scope="module")
def shared_network(tmp_path_factory: pytest.TempPathFactory) -> Generator[Shared]:
    pulled()
    folder = tmp_path_factory.mktemp("institutions")
    network = Hub(folder / "network", BITHIVE_ROLE="network")
    ending: list[Hub | CellProcess] = [network]
    try:
        network.start()
        houses = []
        for name in ("one", "other"):
            state = folder / name
            hub = Hub(state, BITHIVE_ROLE="clinical", BITHIVE_CLINIC__NETWORK_URL=network.url)
            institution = _institution(hub)
            token = network.token("institution", institution)
            hub.environment["BITHIVE_CLINIC__NETWORK_TOKEN"] = token
            ending.append(hub)
            hub.start()
            cell = CellProcess(state / "cell", network.url, network.token("cell", institution), local_cell(real=True))
            ending.append(cell)
            cell.wait_for("cell.connected")
            study = head_study(state / "study", name, step=2)
            assert hub.stow(study.files).status_code == 200
            houses.append(House(hub, institution, token, study))
        yield Shared(network, *houses)
    finally:
        for item in reversed(ending):
            item.stop()


def _institution(hub: Hub) -> str:
    """The institution's own id, which its hub makes before it is first served."""
    hub.state.mkdir(parents=True)
    hub.token("pacs")
    with sqlite3.connect(f"file:{hub.state}/accounts.db?mode=ro", uri=True) as connection:
        (found,) = connection.execute("SELECT institution FROM account WHERE role = 'pacs'").fetchone()
    return str(found)


def test_each_has_its_own_study_analysed(shared_network: Shared) -> None:
    for house in (shared_network.one, shared_network.other):
        house.hub.wait_for_state(house.study.study_uid, ["COMPLETED"], 180)
        found = house.hub.get(f"/dicomweb/studies/{house.study.study_uid}/instances?includefield=00080060")
        assert [item["00080060"]["Value"][0] for item in found].count("SEG") == 1


def test_neither_has_the_other_s_study(shared_network: Shared) -> None:
    pairs = ((shared_network.one, shared_network.other), (shared_network.other, shared_network.one))
    for here, there in pairs:
        with httpx2.Client(base_url=here.hub.url, trust_env=False) as client:
            for path in ("/api/studies/{}", "/dicomweb/studies/{}/metadata", "/studies/{}"):
                answer = client.get(path.format(there.study.study_uid), headers=here.hub.headers("clinician"))
                assert answer.status_code == 404, path


def test_neither_reaches_the_other_s_offers_attempts_or_events(shared_network: Shared) -> None:
    network = shared_network.network
    with sqlite3.connect(f"file:{network.state}/network.db?mode=ro", uri=True) as connection:
        rows = connection.execute("SELECT attempt_id, offer_id, institution, cell FROM attempts").fetchall()
    assert {row[2] for row in rows} == {shared_network.one.institution, shared_network.other.institution}
    cells = {institution: {row[3] for row in rows if row[2] == institution} for institution in {row[2] for row in rows}}
    assert len(set.union(*cells.values())) == sum(map(len, cells.values())), "P3 ran on somebody else's cell"
    for house in (shared_network.one, shared_network.other):
        headers = {"Authorization": f"Bearer {house.token}", **VERSION}
        with httpx2.Client(base_url=network.url + "/network/v1", headers=headers, trust_env=False) as client:
            events = client.get("/events").json()["events"]
            own = {row[1] for row in rows if row[2] == house.institution}
            assert {event["offer_id"] for event in events} <= own
            for attempt_id, offer_id, institution, _ in rows:
                if institution == house.institution:
                    continue
                assert client.get(f"/attempts/{attempt_id}/findings").status_code == 404
                for verb in ("withdraw", "acknowledge"):
                    assert client.post(f"/offers/{offer_id}/{verb}").status_code == 404
                assert client.put(f"/offers/{offer_id}/payload", content=b"x").status_code == 404


def test_one_institution_s_cell_cannot_take_the_other_s_attempt(shared_network: Shared) -> None:
    network = shared_network.network
    with sqlite3.connect(f"file:{network.state}/network.db?mode=ro", uri=True) as connection:
        rows = connection.execute("SELECT attempt_id, institution FROM attempts").fetchall()
    for attempt_id, institution in rows:
        houses = (shared_network.one, shared_network.other)
        stranger = next(house for house in houses if house.institution != institution)
        headers = {**network.headers("cell", stranger.institution), **VERSION, "BitHive-Fencing-Token": "1"}
        with httpx2.Client(base_url=network.url + "/network/v1", headers=headers, trust_env=False) as client:
            assert client.get(f"/attempts/{attempt_id}/payload").status_code in (401, 404)
            beat = {"fencing_token": 1, "stage": "loading", "fraction": 0, "node": "nod_x"}
            assert client.post(f"/attempts/{attempt_id}/heartbeat", json=beat).status_code in (401, 404)
