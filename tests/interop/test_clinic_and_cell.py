"""The clinical side's own client, the broker over HTTP, and a cell's agent: they understand each other."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bithive.clock import SystemClock
from bithive.envelope import PAYLOAD, open_all, seal
from bithive.keys import SigningKey, keyed_digest
from bithive.offer import DataClass, MemoryTooSmall
from bithive.receipt import Receipt
from clinic.network import NetworkEvent
from clinic.network_http import HttpNetwork as Clinic
from cluster.agent import Agent, Identity
from cluster.broker import Durations
from cluster.network_http import HttpNetwork as Cell
from cluster.runner import LocalRunner
from cluster.spool import payload_name
from tests.common.network import Made, make_offer, warm
from tests.common.network_server import Hub, network_hub

KEY = SigningKey(b"\x04" * 32)


def send(clinic: Clinic, made: Made) -> None:
    clinic.offer(made.offer, made.keys, made.sealed_bytes)
    upload(clinic, made)


def upload(clinic: Clinic, made: Made) -> None:
    clinic.upload(made.offer.offer_id, seal(made.keys.payload_key, PAYLOAD, made.payload), made.sealed_bytes)


def events(clinic: Clinic, after: int, until: str) -> list[NetworkEvent]:
    found: list[NetworkEvent] = []
    for _ in range(100):
        found += clinic.events(found[-1].seq if found else after, 5)
        if found and found[-1].topic == until:
            return found
    raise AssertionError([event.topic for event in found])


@contextmanager
def parties(hub: Hub) -> Generator[tuple[Clinic, Agent]]:
    clock, network = SystemClock(), Cell(hub.url, hub.tokens["own"])
    identity = Identity(KEY.public_hex, "op", DataClass.P3)
    working = Agent(network, LocalRunner([warm()], KEY, clock), identity, clock, 1, 1.0)
    clinic = Clinic(hub.url, hub.tokens["institution"])
    yield clinic, working
    assert working.drain(5)
    network.close()
    clinic.close()


def test_an_offer_goes_out_and_findings_come_back(tmp_path: Path) -> None:
    with network_hub(tmp_path) as hub, parties(hub) as (clinic, working):
        working.start()
        made = make_offer(hub.ids, hub.clock, hub.institution)
        for _ in range(2):
            send(clinic, made)
        accepted = events(clinic, 0, "attempt.accepted")[-1]
        receipt = Receipt.from_json(accepted.receipt)
        receipt.check_signature()
        assert accepted.attempt_id is not None
        with clinic.findings(accepted.attempt_id) as sealed:
            plain = open_all(made.keys.payload_key, receipt.fencing_token, sealed.plain_size_bytes, sealed.chunks)
        assert keyed_digest(made.keys.digest_key, plain) == receipt.output_digest
        for _ in range(2):
            clinic.acknowledge(made.offer.offer_id)
            clinic.withdraw(made.offer.offer_id)


def test_a_lost_payload_is_sent_again(tmp_path: Path) -> None:
    with network_hub(tmp_path, Durations(retry_pause_s=0.05)) as hub, parties(hub) as (clinic, working):
        made = make_offer(hub.ids, hub.clock, hub.institution)
        send(clinic, made)
        hub.broker.spool.delete(payload_name(made.offer.offer_id))
        working.start()
        lost = events(clinic, 0, "offer.payload-lost")[-1]
        upload(clinic, made)
        assert events(clinic, lost.seq, "attempt.accepted")[-1].attempt_id is not None


def test_what_no_cell_can_hold_is_refused_by_its_own_code(tmp_path: Path) -> None:
    with network_hub(tmp_path) as hub, parties(hub) as (clinic, working):
        huge = make_offer(hub.ids, hub.clock, hub.institution, memory_bytes=1 << 50)
        clinic.offer(huge.offer, huge.keys, huge.sealed_bytes)
        clinic.withdraw(huge.offer.offer_id)
        working.greet()
        again = make_offer(hub.ids, hub.clock, hub.institution, memory_bytes=1 << 50)
        with pytest.raises(MemoryTooSmall):
            clinic.offer(again.offer, again.keys, again.sealed_bytes)
