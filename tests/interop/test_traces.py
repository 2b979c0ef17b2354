"""One study's trace from the upload to the Receipt and its objects, over HTTP to a real collector; nothing of a patient in it."""

from __future__ import annotations

import time
from dataclasses import dataclass

import pytest

from api.accounts import Accounts, MemoryAccountStore
from bithive import tracing
from bithive.clock import SystemClock
from bithive.ids import RandomIds
from bithive.keys import SigningKey
from bithive.offer import DataClass, Offer
from bithive.tracing_otel import OtelRecorder
from clinic.network_http import HttpNetwork as Clinic
from clinic.workitem import State
from cluster.agent import Agent, Identity
from cluster.network_http import HttpNetwork as Cell
from cluster.runner import LocalRunner
from cluster.work import Warm
from models.catalog import Catalog
from tests.common.clinic_side import ClinicSide
from tests.common.collector import collector
from tests.common.dicom_factory import INSTITUTION, head_series
from tests.common.loop_network import bright
from tests.common.network import ThresholdEngine
from tests.common.network_server import network_hub

UID = "1.2.826.0.1.3680043.8.498.77777777"
PATIENT = {"PatientName": "MARKERFAMILY^MARKERGIVEN", "PatientID": "MARKERID4711", "PatientBirthDate": "19610203"}
MARKERS = (b"MARKER", b"4711", b"19610203", b"3680043", b"Test Hospital", b"MR head", INSTITUTION.encode())


@dataclass(frozen=True)
class Bright(ThresholdEngine):
    """Finds a head where it is bright, with the time that an engine takes."""

    def run(self, volume, progress):
        progress("preparing", 0.1)
        progress("segmenting", 0.4)
        time.sleep(0.15)
        progress("measuring", 0.9)
        return bright(volume)


@pytest.fixture
def hub(tmp_path):
    clock = SystemClock()
    accounts = Accounts(MemoryAccountStore(), clock, RandomIds(clock))
    accounts.add("own", "cell", INSTITUTION)
    accounts.add("institution", "institution", INSTITUTION)
    with network_hub(tmp_path / "hub", accounts=accounts) as running:
        yield running


@pytest.fixture
def side(hub, tmp_path):
    network = Clinic(hub.url, hub.accounts.token(hub.accounts.named("institution")))
    made = ClinicSide(tmp_path / "clinic", SystemClock(), network=network)
    yield made
    made.intake.close()
    network.close()


@pytest.fixture
def agent(hub, tmp_path):
    clock, key = SystemClock(), SigningKey(b"\x04" * 32)
    bundle = Catalog(tmp_path / "models").bundles()["intracranial_t1"]
    network = Cell(hub.url, hub.accounts.token(hub.accounts.named("own")))
    identity = Identity(key.public_hex, "op", DataClass.P3)
    working = Agent(network, LocalRunner([Warm(bundle, Bright())], key, clock), identity, clock, 1, 1.0)
    working.start()
    yield working
    working.drain(5)
    network.close()


def completed(side):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        side.flow.tick()
        items = side.workitems()
        if items and items[-1].state is State.COMPLETED and items[-1].duty is None:
            return items[-1]
        assert not items or items[-1].state is not State.CANCELED, items[-1].reason
        time.sleep(0.02)
    raise AssertionError("never completed")


def test_a_study_is_one_trace_from_upload_to_its_objects(hub, side, agent):
    with collector() as kept:
        tracing.begin(OtelRecorder(kept.url, "bithive-both"))
        try:
            side.receive(head_series(study_uid=UID, series_uid=f"{UID}.1", patient=PATIENT, StudyDescription="MR head"))
            item = completed(side)
        finally:
            tracing.end()
    spans = {span.name: span for span in kept.spans}
    assert len({span.trace for span in kept.spans}) == 1
    assert set(spans) == tracing.NAMES
    parents = {name: next((one.name for one in kept.spans if one.span == spans[name].parent), "") for name in spans}
    assert parents == {
        "study.received": "",
        "series.judged": "study.received",
        "offer.made": "series.judged",
        **dict.fromkeys(("volume.read", "payload.sealed", "offer.announced", "payload.sent"), "offer.made"),
        **dict.fromkeys(("payload.received", "offer.waited", "attempt", "findings.taken"), "offer.made"),
        **dict.fromkeys(("stage", "findings.received", "findings.checked"), "attempt"),
        **dict.fromkeys(("findings.fetched", "objects.encoded", "objects.stored"), "findings.taken"),
    }
    stages = {span.attributes["bithive.stage"]: span.duration_ms for span in kept.named("stage")}
    assert {"downloading", "segmenting", "sealing"} <= set(stages)
    assert stages["segmenting"] >= 140
    attempt = spans["attempt"]
    assert attempt.attributes["bithive.attempt"] == item.attempt_id
    assert attempt.attributes["bithive.state"] == "ACCEPTED"
    assert all(attempt.start_ms <= span.start_ms <= span.end_ms <= attempt.end_ms for span in kept.named("stage"))
    begun = [spans[name].start_ms for name in ("study.received", "offer.made", "attempt", "findings.taken")]
    assert begun == sorted(begun)


def test_nothing_of_a_patient_leaves_with_it(hub, side, agent):
    with collector() as kept:
        tracing.begin(OtelRecorder(kept.url, "bithive-both"))
        try:
            side.receive(head_series(study_uid=UID, series_uid=f"{UID}.1", patient=PATIENT, StudyDescription="MR head"))
            item = completed(side)
        finally:
            tracing.end()
    sent = kept.everything()
    assert len(sent) > 2000
    assert [marker for marker in MARKERS if marker in sent] == []
    offer, receipt = Offer.from_stored(item.offer), item.receipt
    trace = offer.traceparent.split("-")[1]
    told = repr([event.body for event in hub.broker.store.outbox.waiting()]) + repr(receipt)
    assert trace not in told
    assert trace not in repr([notice.to_json() for notice in hub.broker.notices(INSTITUTION, 0)])
    secrets = (offer.payload_digest, item.input_digest, receipt["output_digest"])
    assert not any(secret.encode() in sent for secret in secrets)


def test_without_a_collector_the_offer_carries_nothing(hub, side, agent):
    side.receive(head_series(study_uid=UID, series_uid=f"{UID}.1", patient=PATIENT))
    item = completed(side)
    assert "traceparent" not in item.offer


def test_a_collector_that_does_not_answer_holds_nobody_up(hub, side, agent):
    tracing.begin(OtelRecorder("http://127.0.0.1:9/v1/traces", "bithive-both"))
    try:
        side.receive(head_series(study_uid=UID, series_uid=f"{UID}.1", patient=PATIENT))
        begun = time.monotonic()
        completed(side)
        assert time.monotonic() - begun < 30
    finally:
        begun = time.monotonic()
        tracing.end()
    assert time.monotonic() - begun < 15
