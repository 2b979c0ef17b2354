import pytest

from bithive.envelope import sealed_size_bytes
from bithive.keys import derive
from bithive.offer import MemoryTooSmall
from clinic import offering
from clinic.offering import offer
from clinic.refusals import OfferRefused
from clinic.workitem import Duty, State
from inference.memory import predict
from models.errors import BundleAbsent
from pipelines.catalog import Repertoire
from tests.common.clinic_side import ClinicSide
from tests.common.dicom_factory import INSTITUTION, content_of, head_series

HEAD = [content_of(item) for item in head_series()]


@pytest.fixture
def side(tmp_path) -> ClinicSide:
    made = ClinicSide(tmp_path)
    made.network.reachable = False
    made.receive(HEAD)
    made.settle()
    made.network.reachable = True
    return made


def test_the_offer_is_stored_before_it_is_sent(side):
    (item,) = side.workitems()
    stored = {}
    send = side.network.offer

    def spy(made, keys, size_bytes):
        stored.update(side.workitems()[0].offer or {})
        send(made, keys, size_bytes)

    side.network.offer = spy
    offer(side.flow._means, item)
    assert stored == side.network.offers[item.offer_id][0].to_json()


def test_what_is_sent_again_is_the_same(side):
    (item,) = side.workitems()
    offer(side.flow._means, item)
    first, payload = side.network.offers[item.offer_id], side.network.payloads[item.offer_id]
    side.clock.advance_s(5)
    side.network.payloads.clear()
    side.start()
    offer(side.flow._means, side.workitems()[0])
    assert side.network.offers == {item.offer_id: first}
    assert side.network.payloads[item.offer_id] == payload


def test_keys_are_derived_and_sizes_hold(side):
    (item,) = side.workitems()
    offer(side.flow._means, item)
    made, keys = side.network.offers[item.offer_id]
    assert keys.digest_key == derive(item.key, "digest")
    assert keys.payload_key == derive(item.key, "payload")
    assert len(side.network.payloads[item.offer_id]) == sealed_size_bytes(made.payload_size_bytes)
    bundle = side.flow._means.repertoire().bundles["intracranial_t1"]
    assert made.work_units == bundle.reference_work_units(made.voxels)
    assert (made.bundle_sha256, made.institution) == (bundle.sha256, INSTITUTION)


def test_the_memory_is_predicted_from_bundle_and_shape(side):
    (item,) = side.workitems()
    offer(side.flow._means, item)
    made, _ = side.network.offers[item.offer_id]
    bundle = side.flow._means.repertoire().bundles["intracranial_t1"]
    volume = side.network.volume(item.offer_id)
    assert made.memory_bytes == predict(bundle, volume.array.shape, volume.spacing_mm, 2).peak_bytes > 0


def test_an_offer_from_before_the_prediction_is_made_anew(side):
    """What the network side has of it says less than today's would: its id stays with the old terms."""
    (item,) = side.workitems()
    offer(side.flow._means, item)
    (sent,) = side.workitems()
    before = {name: value for name, value in sent.offer.items() if name != "memory_bytes"}
    side.store.commit(offering.Change((sent.changed(1, offer=before, duty=Duty.OFFER),)))
    for _ in range(2):
        offer(side.flow._means, side.workitems()[0])
    (renewed,) = side.workitems()
    assert renewed.offer_id != sent.offer_id
    assert side.network.ended[sent.offer_id] == "withdrawn"
    assert renewed.offer == side.network.offers[renewed.offer_id][0].to_json()


def test_frames_beyond_the_bound_are_sealed_on_the_way(side, monkeypatch):
    monkeypatch.setattr(offering, "_SEALED_AHEAD_BYTES", 0)
    (item,) = side.workitems()
    offer(side.flow._means, item)
    assert side.network.volume(item.offer_id).array.shape == (64, 66, 62)


def test_a_payload_that_became_another_gets_another_id_and_key(side):
    (item,) = side.workitems()
    offer(side.flow._means, item)
    (sent,) = side.workitems()
    falsified = sent.changed(1, offer=sent.offer | {"payload_digest": "0" * 64}, duty=Duty.OFFER)
    side.store.commit(offering.Change((falsified,)))
    offer(side.flow._means, falsified)
    (renewed,) = side.workitems()
    assert renewed.offer_id != sent.offer_id
    assert renewed.key != sent.key
    assert side.network.ended[sent.offer_id] == "withdrawn"
    assert (renewed.offer, renewed.duty) == (None, Duty.OFFER)


def test_a_pipeline_that_is_gone_ends_the_workitem(side):
    side.start(repertoire=lambda: Repertoire({}, {}))
    (item,) = side.workitems()
    with pytest.raises(BundleAbsent):
        offer(side.flow._means, item)
    side.clock.advance_s(60)
    side.settle()
    (item,) = side.workitems()
    assert (item.state, item.reason, item.duty) == (State.CANCELED, "bundle-absent", None)


def test_an_offer_that_is_refused_ends_the_workitem(side):
    def refuse(*_):
        raise OfferRefused

    side.network.offer = refuse
    side.clock.advance_s(60)
    side.settle()
    (item,) = side.workitems()
    assert (item.state, item.reason) == (State.CANCELED, "offer-refused")
    assert "withdraw" in side.network.calls


def test_what_no_cell_can_hold_ends_the_workitem_with_its_code(side):
    def refuse(*_):
        raise MemoryTooSmall

    side.network.offer = refuse
    side.clock.advance_s(60)
    side.settle()
    (item,) = side.workitems()
    assert (item.state, item.reason) == (State.CANCELED, "memory-too-small")
