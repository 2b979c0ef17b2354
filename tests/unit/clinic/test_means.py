import pytest

from clinic.means import keys_of
from clinic.refusals import NetworkUnreachable, StaleWorkitem
from clinic.workitem_store import Change, Kind
from models.errors import BundleAbsent
from tests.common.clinic_side import ClinicSide
from tests.common.dicom_factory import INSTITUTION
from tests.unit.clinic.test_workitem import workitem


@pytest.fixture
def means(tmp_path):
    return ClinicSide(tmp_path).flow._means


def test_a_network_is_there_or_unreachable(means):
    assert means.network(INSTITUTION) is means.networks[INSTITUTION]
    with pytest.raises(NetworkUnreachable):
        means.network("ins_other")


def test_pipelines_and_their_bundles(means):
    pipeline, bundle = means.pipeline(workitem(pipeline="intracranial_volume_t1"))
    assert (pipeline.bundle, pipeline.bundle_version) == (bundle.name, bundle.version)
    with pytest.raises(BundleAbsent):
        means.pipeline(workitem(pipeline="of another version"))


def test_an_update_is_applied_to_the_newest_version(means):
    first = workitem()
    means.store.commit(Change((first,)))
    means.store.commit(Change((first.changed(2, waiting="meanwhile"),)))
    after = means.update(first, lambda now: now.changed(3, tries=now.tries + 1), means.event(first, Kind.WAITING))
    assert (after.version, after.waiting, after.tries) == (3, "meanwhile", 1)
    assert len(means.store.events_after(first.institution, 0)) == 1


def test_an_update_that_is_not_wanted_only_moves_the_cursor(means):
    first = workitem()
    means.store.commit(Change((first,)))
    told = means.event(first, Kind.WAITING)
    assert means.update(first, lambda _now: None, told, cursor=("ins_1", 5)) is None
    assert means.store.cursor("ins_1") == 5
    assert means.store.events_after("ins_1", 0) == []
    assert means.store.workitem("ins_1", "wit_1") == first


def test_what_was_taken_is_not_updated_again(means):
    first = workitem()
    means.store.commit(Change((first,)))
    assert means.update(first, lambda now: now.changed(2), taken="att_1") is not None
    again = means.store.workitem("ins_1", "wit_1")
    assert means.update(again, lambda now: now.changed(3), taken="att_1") is None
    assert means.store.workitem("ins_1", "wit_1") == again


def test_an_update_does_not_try_for_ever(means, monkeypatch):
    first = workitem()
    means.store.commit(Change((first,)))
    monkeypatch.setattr("clinic.means._TRIES_MAX", 3)
    with pytest.raises(StaleWorkitem):
        means.update(first, lambda now: now.changed(2).changed(3))


def test_an_event_names_what_it_is_about(means):
    event = means.event(workitem(), Kind.FAILED, code="x")
    assert event.detail == {"workitem": "wit_1", "series_uid": "1.2.3", "pipeline": "p", "code": "x"}


def test_keys_come_from_the_one_that_stays():
    keys = keys_of(workitem())
    assert keys == keys_of(workitem())
    assert len({keys.payload_key, keys.digest_key, workitem().key}) == 3
    with pytest.raises(AssertionError):
        keys_of(workitem(key=None))
