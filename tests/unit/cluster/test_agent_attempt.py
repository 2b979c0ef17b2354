"""One Attempt at its cell: the cell's own gate, the Nodes that may run it, the Receipts that are kept."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bithive.keys import SigningKey
from bithive.offer import DataClass
from bithive.receipt import Receipt
from cluster.agent_attempt import Course
from cluster.agent_view import Identity
from cluster.attestation import Evidence
from cluster.attester_simulated import SimulatedAttester
from cluster.attesting import Attesting
from cluster.data_classes import Terms
from cluster.heart import Heart
from cluster.key_release import BoxKey, wrap
from cluster.labels import Tier
from cluster.network_port import NetworkSide
from cluster.protocol import Grant, Welcome
from cluster.runner import LocalRunner
from tests.common.network import Scene, scene, warm


@pytest.fixture
def stage(tmp_path: Path) -> Scene:
    return scene(tmp_path)


class Shelf:
    """Receipts that were kept."""

    def __init__(self) -> None:
        self.kept: list[tuple[Receipt, dict[str, Any] | None]] = []

    def keep(self, receipt: Receipt, counter: dict[str, Any] | None) -> None:
        self.kept.append((receipt, counter))


def course(
    stage: Scene,
    terms: Terms | None,
    shelf: Shelf | None = None,
    attesting: Attesting | None = None,
    **identity: Any,
) -> Course:
    network: NetworkSide = stage.cell.network
    runner = LocalRunner([warm()], SigningKey(bytes([7]) * 32), stage.clock)
    who = Identity(stage.cell.key.public_hex, "op", DataClass.P3, terms, **identity)
    return Course(network, runner, who, stage.clock, shelf, attesting)


def run(stage: Scene, course: Course, **offer: Any) -> str:
    """The topic that ends it, or its code."""
    stage.offer(**offer)
    welcome, grant = stage.cell.greet(), stage.cell.lease()
    heart = Heart(grant, course.nodes_of(welcome, grant), stage.clock, lambda: None)
    course.run(welcome, grant, heart)
    last = [item for item in stage.broker.notices(stage.institution, 0) if item.topic.startswith("attempt.")][-1]
    return str(last.body.get("code") or last.topic)


def own(stage: Scene, **changes: Any) -> Terms:
    terms = Terms(stage.institution, False, Tier.HOSPITAL, "DE", DataClass.P3)
    return replace(terms, **changes)


@pytest.mark.parametrize("data_class", list(DataClass))
def test_an_institutions_own_cell_runs_what_is_its_own(stage: Scene, data_class: DataClass) -> None:
    assert run(stage, course(stage, own(stage)), data_class=data_class) == "attempt.accepted"


@pytest.mark.parametrize(
    ("changes", "identity", "offer"),
    [
        ({"institution": None}, {}, {}),
        ({"institution": "ins_00000000000000000000000001"}, {}, {}),
        ({"data_class_max": DataClass.P1}, {}, {"data_class": DataClass.P2}),
        ({"tier": Tier.HOME}, {}, {"data_class": DataClass.P1}),
        ({}, {"tier": "home"}, {"data_class": DataClass.P1}),
        ({}, {"residency": "FR"}, {"residency": ("DE",)}),
        ({}, {}, {"residency": ("FR", "US")}),
    ],
    ids=str,
)
def test_the_cell_itself_refuses_what_it_was_not_admitted_for(
    stage: Scene, changes: dict[str, Any], identity: dict[str, Any], offer: dict[str, Any]
) -> None:
    """The broker is wrong here about everything, and grants it all the same."""
    one = course(stage, own(stage, **changes), **identity)
    residency = offer.pop("residency", ())
    made = stage.offer(**offer)
    welcome, grant = stage.cell.greet(), stage.cell.lease()
    grant = replace(grant, offer=replace(grant.offer, residency=residency))
    one.run(welcome, grant, Heart(grant, welcome.nodes, stage.clock, lambda: None))
    told = [item for item in stage.broker.notices(stage.institution, 0) if item.offer_id == made.offer.offer_id]
    assert [item.body.get("code") for item in told if item.topic == "attempt.failed"] == ["data-class-refused"]
    assert "attempt.accepted" not in [item.topic for item in told]


def test_a_later_answer_never_widens_the_first(stage: Scene) -> None:
    one = course(stage, None)
    one.admitted(own(stage, data_class_max=DataClass.P0))
    one.admitted(own(stage))
    assert run(stage, one) == "data-class-refused"


def test_a_kept_receipt_is_the_one_that_was_handed_in(stage: Scene) -> None:
    shelf = Shelf()
    assert run(stage, course(stage, own(stage), shelf)) == "attempt.accepted"
    assert [receipt.node for receipt, _ in shelf.kept] == [stage.cell.node]
    assert run(stage, course(stage, own(stage), shelf), image=None, voxels=7) == "offer-inconsistent"
    assert len(shelf.kept) == 1


class Taking:
    """A network side that takes every evidence."""

    def challenge(self) -> str:
        return "00" * 32

    def evidence(self, evidence: Evidence) -> int:
        return 1 << 50


def attested(stage: Scene, cell: str) -> Attesting:
    attester = SimulatedAttester(SigningKey(bytes([8]) * 32), stage.clock)
    made = Attesting(attester, Taking(), stage.cell.key.public_hex, stage.clock, bytes([9]) * 32)
    made.keep(cell)
    return made


@pytest.mark.parametrize(
    ("shown", "seed", "ended"),
    [
        (True, 9, "attempt.accepted"),
        (True, 10, "bad-wrapped-keys"),  # for another process
        (True, None, "data-class-refused"),  # plain, as to anybody
        (False, 9, "data-class-refused"),
    ],
)
def test_a_head_of_others_is_begun_under_keys_that_open_here_alone(
    stage: Scene, shown: bool, seed: int | None, ended: str
) -> None:
    """The broker leases an institution's own cell here; that cell believes itself to be nobody's."""
    stage.offer(data_class=DataClass.P2)
    welcome, grant = stage.cell.greet(), stage.cell.lease()
    if seed is not None:
        box = BoxKey(bytes([seed]) * 32).public_hex
        sealed = wrap(grant.keys, box, grant.offer.offer_id, grant.attempt_id, stage.ids)
        grant = replace(grant, released=sealed)
    terms = Terms(None, True, Tier.DATACENTER, "DE", DataClass.P2)
    one = course(stage, terms, None, attested(stage, welcome.cell) if shown else None)
    one.run(welcome, grant, Heart(grant, welcome.nodes, stage.clock, lambda: None))
    notices = stage.broker.notices(stage.institution, 0)
    last = [item for item in notices if item.topic in ("attempt.failed", "attempt.accepted")][-1]
    assert (last.body.get("code") or last.topic) == ended


def test_wrapped_keys_that_nobody_can_open_are_given_back(stage: Scene) -> None:
    stage.offer()
    welcome, grant = stage.cell.greet(), stage.cell.lease()
    box = BoxKey(bytes([9]) * 32).public_hex
    grant = replace(grant, released=wrap(grant.keys, box, grant.offer.offer_id, grant.attempt_id, stage.ids))
    course(stage, own(stage)).run(welcome, grant, Heart(grant, welcome.nodes, stage.clock, lambda: None))
    codes = [item.body.get("code") for item in stage.broker.notices(stage.institution, 0)]
    assert "bad-wrapped-keys" in codes


def test_the_nodes_that_may_run_it(stage: Scene) -> None:
    one = course(stage, None)
    welcome = Welcome("cel_1", {"a" * 64: "nod_a", "b" * 64: "nod_b", "c" * 64: "nod_c"}, 3.0, 15.0)
    stage.offer()
    grant: Grant = stage.cell.lease()
    assert one.nodes_of(welcome, grant) == welcome.nodes
    some = one.nodes_of(welcome, replace(grant, nodes=("nod_c", "nod_gone", "nod_a")))
    assert list(some.values()) == ["nod_c", "nod_a"]
    assert one.nodes_of(welcome, replace(grant, nodes=("nod_gone",))) == {}, "no other may run it"
