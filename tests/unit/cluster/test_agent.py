"""The agent with a runner in its own process, against the real broker."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from bithive.clock import SystemClock
from bithive.envelope import open_all
from bithive.errors import Refused
from bithive.ids import RandomIds
from bithive.keys import SigningKey, keyed_digest
from bithive.offer import DataClass
from bithive.receipt import Receipt
from cluster.agent import Agent, Identity
from cluster.broker import Broker, Durations
from cluster.download import Download
from cluster.errors import NetworkUnreachable, RunnerDied
from cluster.protocol import Grant, Hello, NodeGreeting
from cluster.protocol_lease import Pulse, Renewed, WorkRequest
from cluster.runner import LocalRunner
from cluster.spool import Spool, payload_name
from cluster.store import MemoryStore
from cluster.work import Assignment, Finished, Progress
from inference.errors import ImplausibleFindings
from inference.findings import Findings
from tests.common.network import SHA256, DirectNetwork, Made, make_offer, put_offer, volume, warm

KEY = SigningKey(b"\x03" * 32)


class Stage:
    """A broker on real time and one cell with a local runner."""

    def __init__(self, folder: Path, meanwhile: Callable[[], None] = lambda: None) -> None:
        self.clock = SystemClock()
        self.ids = RandomIds(self.clock)
        durations = Durations(lease_s=0.6, heartbeat_s=0.1, retry_pause_s=0.01)
        self.broker = Broker(MemoryStore(), self.clock, self.ids, Spool(folder), durations=durations)
        self.institution = self.ids.new("ins")
        self.network = DirectNetwork(self.broker, self.ids.new("cel"), self.institution)
        self.runner = LocalRunner([warm(meanwhile)], KEY, self.clock)

    def agent(self, data_class_max: DataClass = DataClass.P3, slots: int = 1) -> Agent:
        return Agent(self.network, self.runner, Identity(KEY.public_hex, "op", data_class_max), self.clock, slots, 0.1)

    def offer(self, **changes: object) -> Made:
        made = make_offer(self.ids, self.clock, self.institution, **changes)
        put_offer(self.broker, made)
        return made

    def told(self) -> list[tuple[str, object]]:
        notices = self.broker.notices(self.institution, 0)
        return [(item.topic, item.body.get("code") or item.body.get("stage")) for item in notices]


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


def test_an_offer_is_seen_through(stage: Stage) -> None:
    made = stage.offer()
    assert stage.agent().tick()
    notices = stage.broker.notices(stage.institution, 0)
    accepted = notices[-1]
    assert accepted.topic == "attempt.accepted"
    file = stage.broker.findings(stage.institution, accepted.body["attempt_id"])
    plain = open_all(made.keys.payload_key, 1, file.plain_size_bytes, [file.path.read_bytes()])
    assert keyed_digest(made.keys.digest_key, plain) == accepted.body["receipt"]["output_digest"]
    findings = Findings.from_bytes(plain, (6, 7, 8))
    assert findings.mask("bright") is not None
    assert accepted.body["receipt"]["node_key"] == KEY.public_hex
    assert not stage.agent().tick()


def test_stages_are_told(tmp_path: Path) -> None:
    pause = threading.Event()
    stage = Stage(tmp_path, lambda: pause.wait(0.25) and None)
    stage.offer()
    stage.agent().tick()
    stages = [what for topic, what in stage.told() if topic == "attempt.progressed"]
    assert "preparing" in stages
    assert set(stages) <= {"downloading", "loading", "preparing", "segmenting", "measuring", "sealing"}


def test_heartbeats_outlive_a_lease(tmp_path: Path) -> None:
    pause = threading.Event()
    stage = Stage(tmp_path, lambda: pause.wait(1.3) and None)
    stage.offer()

    def housekeeping() -> None:
        while not pause.wait(0.05):
            stage.broker.expire()

    thread = threading.Thread(target=housekeeping)
    thread.start()
    stage.agent().tick()
    pause.set()
    thread.join()
    assert stage.told()[-1][0] == "attempt.accepted"


def test_a_withdrawn_offer_stops_the_work(tmp_path: Path) -> None:
    made: list[Made] = []

    def withdraw() -> None:
        stage.broker.withdraw(stage.institution, made[0].offer.offer_id)
        threading.Event().wait(0.3)

    stage = Stage(tmp_path, withdraw)
    made.append(stage.offer())
    assert stage.agent().tick()
    assert [topic for topic, _ in stage.told() if topic != "attempt.progressed"] == [
        "offer.opened",
        "attempt.leased",
        "offer.withdrawn",
    ]


def _refuse() -> None:
    raise ImplausibleFindings


def _refuse_unknown() -> None:
    class Unheard(Refused):
        code = "unheard-of"

    raise Unheard


def _crash() -> None:
    raise ZeroDivisionError("DOE^JANE")


def _swell() -> None:
    raise MemoryError


@pytest.mark.parametrize(
    ("meanwhile", "code", "final"),
    [
        (_refuse, "implausible-findings", True),
        (_refuse_unknown, "refused", True),
        (_crash, "runner-fault", False),
        (_swell, "out-of-memory", False),
    ],
)
def test_a_failure_is_told_by_its_code(
    tmp_path: Path, meanwhile: Callable[[], None], code: str, final: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    stage = Stage(tmp_path, meanwhile)
    stage.offer()
    stage.agent().tick()
    told = stage.told()
    assert ("attempt.failed", code) in told
    assert (("offer.exhausted", code) in told) == final
    captured = capsys.readouterr()
    assert "DOE" not in captured.err


def test_a_bad_payload_is_told(stage: Stage) -> None:
    cut = volume()
    stage.offer(image=cut, voxels=cut.array.size + 1)
    stage.agent().tick()
    assert stage.told()[-1] == ("offer.exhausted", "offer-inconsistent")
    stage.offer(payload_digest="0" * 64)
    stage.agent().tick()
    assert stage.told()[-1][0] == "offer.payload-lost"
    made = stage.offer()
    path = stage.broker.spool.path(payload_name(made.offer.offer_id))
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)
    stage.agent().tick()
    assert stage.told()[-2:] == [("attempt.failed", "payload-unreadable"), ("offer.payload-lost", None)]


def test_the_agent_too_refuses_a_class_above_its_own(stage: Stage) -> None:
    """The broker believed an earlier hello; the agent's own setting has the last word."""
    stage.offer()
    agent = stage.agent(DataClass.P1)
    agent.greet()
    stage.agent(DataClass.P3).greet()
    assert agent.tick()
    assert ("attempt.failed", "data-class-refused") in stage.told()
    assert not any(topic == "attempt.progressed" for topic, _ in stage.told())


def test_the_agent_too_refuses_what_it_cannot_hold(stage: Stage) -> None:
    """The broker believed an earlier hello; what a slot may take now has the last word."""
    stage.offer(memory_bytes=1 << 30)
    stage.agent().greet()
    stage.runner = LocalRunner([warm()], KEY, stage.clock, memory_bytes=(1 << 30) - 1)
    agent = stage.agent()
    nodes = tuple(stage.runner.nodes())
    agent._welcome, agent._told = stage.network.hello(hello(1 << 30)), (frozenset({SHA256}), nodes)
    agent._slots.know(agent._welcome.nodes, nodes)
    assert agent.tick()
    assert ("attempt.failed", "memory-too-small") in stage.told()
    assert not any(topic == "attempt.progressed" for topic, _ in stage.told())


def hello(memory_bytes: int) -> Hello:
    node = NodeGreeting(KEY.public_hex, 2, memory_bytes, 0, {}, 8 << 30)
    return Hello(KEY.public_hex, "op", DataClass.P3, (node,), (SHA256,))


class Changing:
    """A runner whose bundles change; `asked` is what the agent says is warm."""

    def __init__(self, runner: LocalRunner) -> None:
        self.nodes, self.run, self.healthy, self.close = runner.nodes, runner.run, runner.healthy, runner.close
        self.here: list[str] = []

    def bundles(self) -> list[str]:
        return self.here

    def warm(self) -> list[str]:
        return self.here[:1]


def test_a_bundle_that_comes_or_goes_is_said_at_once(stage: Stage) -> None:
    runner = stage.runner = Changing(stage.runner)  # type: ignore[assignment]
    agent = stage.agent()
    stage.offer()
    assert not agent.tick()
    runner.here = [SHA256]
    assert agent.tick()
    assert stage.told()[-1][0] == "attempt.accepted"
    stage.offer()
    runner.here = ["cd" * 32]
    assert not agent.tick()
    known = stage.broker.cells.cell(stage.network.cell)
    assert known is not None
    assert known.bundles == {"cd" * 32}


def test_while_every_slot_waits_the_news_is_said_all_the_same(stage: Stage) -> None:
    runner = stage.runner = Changing(stage.runner)  # type: ignore[assignment]
    identity = Identity(KEY.public_hex, "op", DataClass.P3)
    network = Waiting(stage.broker, stage.network.cell, stage.institution)
    agent = Agent(network, stage.runner, identity, stage.clock, 1, 20.0, watch_s=0.02)
    agent.start()
    assert network.waits.wait(5)
    runner.here = [SHA256]
    for _ in range(100):
        known = stage.broker.cells.cell(stage.network.cell)
        if known is not None and known.bundles == {SHA256}:
            break
        threading.Event().wait(0.02)
    assert known is not None
    assert known.bundles == {SHA256}
    network.may_go.set()
    assert agent.drain(5)


class Waiting(DirectNetwork):
    """A network side where every request for work waits until it is told."""

    def __init__(self, broker: Broker, cell: str, institution: str) -> None:
        super().__init__(broker, cell, institution)
        self.waits, self.may_go = threading.Event(), threading.Event()

    def work(self, request: WorkRequest) -> tuple[Grant, ...]:
        self.waits.set()
        self.may_go.wait(5)
        return ()


def test_what_is_warm_is_told_with_each_request(stage: Stage) -> None:
    asked: list[list[str]] = []

    class Listening(DirectNetwork):
        def work(self, request: WorkRequest) -> tuple[Grant, ...]:
            asked.extend(list(node.warm) for node in request.nodes)
            return super().work(request)

    stage.network = Listening(stage.broker, stage.network.cell, stage.institution)
    runner = stage.runner = Changing(stage.runner)  # type: ignore[assignment]
    runner.here = [SHA256, "cd" * 32]
    stage.agent().tick()
    assert asked == [[SHA256]]


class Broken:
    """A runner that dies."""

    def __init__(self, runner: LocalRunner) -> None:
        self._runner = runner
        self.nodes, self.bundles, self.warm = runner.nodes, runner.bundles, runner.warm
        self.healthy, self.close = runner.healthy, runner.close

    def run(self, assignment: Assignment, payload: bytearray, progress: Progress) -> Finished:
        raise RunnerDied


def test_a_runner_that_dies_is_told(stage: Stage) -> None:
    stage.runner = Broken(stage.runner)  # type: ignore[assignment]
    stage.offer()
    stage.agent().tick()
    assert ("attempt.failed", "runner-died") in stage.told()


class Flaky(DirectNetwork):
    """A network side that is away every other time, and forgets to answer."""

    count = 0

    def _flicker(self) -> None:
        self.count += 1
        if self.count % 2:
            raise NetworkUnreachable

    def payload(self, grant: Grant, download: Download) -> None:
        self._flicker()
        super().payload(grant, download)

    def pulse(self, pulse: Pulse) -> Renewed:
        self._flicker()
        return super().pulse(pulse)

    def findings(self, grant: Grant, receipt: Receipt, sealed: bytes, stages: str = "") -> None:
        super().findings(grant, receipt, sealed, stages)
        self._flicker()

    def work(self, request: WorkRequest) -> tuple[Grant, ...]:
        self._flicker()
        return super().work(request)


def test_a_network_that_comes_and_goes_loses_nothing(stage: Stage) -> None:
    stage.network = Flaky(stage.broker, stage.network.cell, stage.institution)
    for _ in range(5):
        stage.offer()
    agent = stage.agent(slots=2)
    agent.start()
    threading.Event().wait(0.1)
    for _ in range(200):
        if [topic for topic, _ in stage.told()].count("attempt.accepted") == 5:
            break
        threading.Event().wait(0.05)
        stage.broker.expire()
    assert agent.drain(5)
    topics = [topic for topic, _ in stage.told()]
    assert topics.count("attempt.accepted") == 5


def test_draining_waits_for_what_runs(tmp_path: Path) -> None:
    begun = threading.Event()

    def meanwhile() -> None:
        begun.set()
        threading.Event().wait(0.3)

    stage = Stage(tmp_path, meanwhile)
    stage.offer()
    agent = stage.agent()
    agent.start()
    assert begun.wait(5)
    assert not agent.drain(0.01)
    assert agent.drain(5)
    assert stage.told()[-1][0] == "attempt.accepted"
    stage.offer()
    threading.Event().wait(0.2)
    assert stage.told()[-1][0] == "offer.opened"


def test_a_broker_that_forgot_the_cell_is_greeted_again(stage: Stage) -> None:
    agent = stage.agent()
    agent.greet()
    stage.broker.cells = type(stage.broker.cells)()
    stage.offer()
    assert not agent.tick()
    assert agent.tick()
    assert stage.told()[-1][0] == "attempt.accepted"
