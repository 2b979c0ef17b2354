"""From a series in the archive to findings in the archive, with everything that can come in between."""

import threading

import pytest

from bithive.clock import ManualClock
from bithive.limits import OFFER_DEADLINE_S
from clinic import flow as flows
from clinic.errors import SeriesAbsent
from clinic.flow import IDLE_S
from clinic.refusals import NotRepeatable, WorkitemAbsent
from clinic.workitem import Duty, State
from tests.common.clinic_side import ClinicSide
from tests.common.dicom_factory import INSTITUTION, content_of, head_series, make_series
from tests.common.loop_network import CELL, NODE, bright

HEAD = [content_of(item) for item in head_series()]
STUDY_UID, SERIES_UID = "1.2.3.100", "1.2.3.100.1"
POINTS = 48


@pytest.fixture
def side(tmp_path) -> ClinicSide:
    return ClinicSide(tmp_path)


def offered(side: ClinicSide) -> str:
    side.receive(HEAD)
    side.settle()
    (offer_id,) = side.network.open
    return offer_id


def test_a_study_goes_from_door_to_door(side):
    offer_id = offered(side)
    side.network.run(offer_id)
    assert side.settle() == IDLE_S
    (item,) = side.workitems()
    assert (item.state, item.duty, item.key, item.reason) == (State.COMPLETED, None, None, None)
    assert (item.node, item.cell, item.fraction) == (NODE, CELL, 1.0)
    expected = bright(side.volumes.source(INSTITUTION, SERIES_UID).volume).measurements[0].value
    assert [(one.key, one.name, one.unit) for one in item.measured] == [
        ("intracranial_volume", "Intracranial volume", "mL")
    ]
    assert item.measured[0].value == pytest.approx(expected)
    assert [one.kind for one in item.references] == ["seg", "sr", "sc"]
    for reference in item.references:
        row = side.archive.instance(INSTITUTION, reference.sop_uid)
        assert (row.study_uid, row.own) == (item.study_uid, True)
    assert side.kinds() == [
        "received", "matched", "offered", "leased", "running", "running", "checked", "written", "completed",
    ]  # fmt: skip
    assert side.network.ended == {offer_id: "acknowledged"}
    side.settle()
    assert len(side.workitems()) == 1


def test_what_leaves_is_nothing_but_the_volume(side):
    offer_id = offered(side)
    (item,) = side.workitems()
    offer, keys = side.network.offers[offer_id]
    said = str(offer.to_json())
    for secret in (item.study_uid, item.series_uid, "Test", "T-1", item.key.hex(), item.workitem_id, item.input_digest):
        assert secret not in said
    assert item.key not in (keys.payload_key, keys.digest_key)
    assert (str(offer.data_class), offer.voxels) == ("P2", 64 * 66 * 62)
    assert b"1.2.3.100" not in side.network.payloads[offer_id]


def test_a_series_that_nothing_matches_is_kept_with_its_reasons(side):
    side.receive(make_series(modality="CT", description="Abdomen"))
    assert side.settle() == IDLE_S
    assert side.workitems() == []
    (watch,) = side.store.watched(INSTITUTION, "1.2.3.100")
    assert watch.unmatched == {"intracranial_volume_t1": "other-modality"}
    assert side.events()[-1].detail["reasons"] == watch.unmatched


def test_a_broken_geometry_names_its_code(side):
    series = head_series()
    del series[30]
    side.receive(series)
    assert 0 < side.settle() <= 0.5
    side.clock.advance_s(1)
    side.settle()
    (watch,) = side.store.watched(INSTITUTION, "1.2.3.100")
    assert (watch.unmatched["intracranial_volume_t1"], watch.geometry) == ("gaps", "missing-slices")


def test_a_series_in_pieces_waits_until_nothing_comes(side):
    side.receive(HEAD[:40])
    side.settle()
    side.clock.advance_s(0.3)
    side.receive(HEAD[40:])
    assert 0 < side.settle() <= 0.5
    side.clock.advance_s(0.3)
    assert side.settle() > 0
    assert side.network.open == []
    side.clock.advance_s(0.3)
    side.settle()
    assert len(side.network.open) == 1
    assert len(side.workitems()) == 1


def test_an_open_request_holds_a_series_back(side):
    open_requests = {(INSTITUTION, "1.2.3.100")}
    side.start(is_receiving=lambda *which: which in open_requests)
    side.receive(HEAD)
    assert side.settle() > 0
    assert side.workitems() == []
    open_requests.clear()
    side.settle()
    assert len(side.workitems()) == 1


def test_a_later_instance_supersedes_what_is_under_way(side):
    side.receive(HEAD[:62])
    side.settle()
    (first,) = side.network.open
    side.network.lease(first)
    side.settle()
    side.receive(HEAD[62:])
    side.settle()
    side.clock.advance_s(1)
    side.settle()
    old, new = side.workitems()
    assert (old.state, old.reason, old.superseded_by, old.key) == (State.CANCELED, "superseded", new.workitem_id, None)
    assert side.network.ended[first] == "withdrawn"
    side.network.run(side.network.open[0])
    side.settle()
    assert [item.state for item in side.workitems()] == [State.CANCELED, State.COMPLETED]
    assert "superseded" in side.kinds()


def test_a_later_instance_supersedes_what_was_finished(side):
    side.receive(HEAD[:62])
    side.settle()
    side.network.run(side.network.open[0])
    side.settle()
    side.receive(HEAD[62:])
    side.settle()
    side.clock.advance_s(1)
    side.settle()
    old, new = side.workitems()
    assert (old.state, old.superseded_by, new.state) == (State.COMPLETED, new.workitem_id, State.SCHEDULED)


def test_the_same_series_again_changes_nothing(side):
    offered(side)
    side.receive(HEAD)
    side.settle()
    assert len(side.workitems()) == 1


def test_findings_of_a_superseded_offer_are_not_written(side):
    side.receive(HEAD[:62])
    side.settle()
    (first,) = side.network.open
    attempt = side.network.lease(first)
    side.receive(HEAD[62:])
    side.settle()
    side.network.reachable = False
    side.clock.advance_s(1)
    side.settle()
    side.network.reachable = True
    side.network.accept(first, attempt)
    side.clock.advance_s(60)
    side.settle()
    old, _new = side.workitems()
    assert (old.state, old.references) == (State.CANCELED, ())


def test_an_unreachable_network_only_delays(side):
    side.network.reachable = False
    side.receive(HEAD)
    for _ in range(6):
        wait_s = side.settle()
        assert 0 < wait_s <= IDLE_S
        side.clock.advance_s(wait_s)
    (item,) = side.workitems()
    assert (item.state, item.waiting, item.duty) == (State.SCHEDULED, "network-silent", Duty.OFFER)
    assert side.kinds().count("waiting") == 1
    side.network.reachable = True
    side.clock.advance_s(60)
    side.settle()
    (item,) = side.workitems()
    assert (item.waiting, item.tries, item.duty) == (None, 0, None)
    assert len(side.network.offers) == 1


def test_an_offer_whose_time_passed_unsent_is_made_anew(side):
    side.network.reachable = False
    side.receive(HEAD)
    side.settle()
    (before,) = side.workitems()
    side.network.reachable = True
    side.clock.advance_s(OFFER_DEADLINE_S + 60)
    side.settle()
    (after,) = side.workitems()
    offer, _ = side.network.offers[after.offer_id]
    assert offer.deadline_ms > side.clock.now_ms()
    if before.offer is not None:
        assert before.offer_id != after.offer_id


def test_an_offer_the_network_forgot_is_made_again(side):
    first = offered(side)
    (before,) = side.workitems()
    side.clock.advance_s(OFFER_DEADLINE_S + 120)
    side.settle()
    side.settle()
    (after,) = side.workitems()
    assert after.offer_id != first
    assert after.offer_id in side.network.payloads
    assert before.key != after.key
    side.network.run(after.offer_id)
    side.settle()
    assert side.workitems()[0].state is State.COMPLETED


def test_an_exhausted_offer_ends_the_workitem_with_its_code(side):
    offer_id = offered(side)
    side.network.lease(offer_id)
    side.network.exhaust(offer_id, "implausible-findings")
    side.settle()
    (item,) = side.workitems()
    assert (item.state, item.reason, item.key) == (State.CANCELED, "implausible-findings", None)
    assert side.network.ended[offer_id] == "acknowledged"
    assert side.events()[-1].detail["code"] == "implausible-findings"


def test_an_expired_attempt_is_followed_by_another(side):
    offer_id = offered(side)
    attempt = side.network.lease(offer_id)
    side.network.tell("attempt.expired", offer_id, attempt_id=attempt)
    side.settle()
    (item,) = side.workitems()
    assert (item.state, item.stage, item.waiting) == (State.IN_PROGRESS, None, "lease-expired")
    side.network.run(offer_id)
    side.settle()
    (item,) = side.workitems()
    assert item.state is State.COMPLETED
    assert side.kinds().count("completed") == 1


def test_a_lost_payload_is_sent_again_under_the_same_id(side):
    offer_id = offered(side)
    first = side.network.payloads.pop(offer_id)
    side.network.tell("offer.payload-lost", offer_id)
    side.settle()
    assert side.network.payloads[offer_id] == first
    assert len(side.network.offers) == 1


def test_a_canceled_analysis_can_be_repeated_once(side):
    offer_id = offered(side)
    side.network.exhaust(offer_id, "engine-fault")
    side.settle()
    (failed,) = side.workitems()
    again = side.flow.rerun(INSTITUTION, failed.workitem_id)
    with pytest.raises(NotRepeatable):
        side.flow.rerun(INSTITUTION, failed.workitem_id)
    side.settle()
    side.network.run(again.offer_id)
    side.settle()
    assert side.store.workitem(INSTITUTION, failed.workitem_id).superseded_by == again.workitem_id
    assert side.store.workitem(INSTITUTION, again.workitem_id).state is State.COMPLETED
    with pytest.raises(NotRepeatable):
        side.flow.rerun(INSTITUTION, again.workitem_id)
    with pytest.raises(WorkitemAbsent):
        side.flow.rerun("ins_00000000000000000000000002", failed.workitem_id)


def test_a_deleted_series_is_not_repeated(side):
    offer_id = offered(side)
    side.network.exhaust(offer_id, "engine-fault")
    side.settle()
    side.archive.delete_study(INSTITUTION, "1.2.3.100", lambda _blobs: None)
    with pytest.raises(SeriesAbsent):
        side.flow.rerun(INSTITUTION, side.workitems()[0].workitem_id)


def test_a_study_deleted_before_its_offer_ends_its_workitem(side):
    side.network.reachable = False
    side.receive(HEAD)
    side.settle()
    side.archive.delete_study(INSTITUTION, "1.2.3.100", lambda _blobs: None)
    side.volumes.forget(INSTITUTION, "1.2.3.100.1")
    side.network.reachable = True
    side.clock.advance_s(60)
    side.settle()
    (item,) = side.workitems()
    assert (item.state, item.reason) == (State.CANCELED, "series-absent")


def test_another_institution_without_a_network_waits_and_harms_nobody(side):
    other = "ins_00000000000000000000000002"
    side.receive(head_series(study_uid="1.2.9", series_uid="1.2.9.1"), other)
    side.receive(HEAD)
    side.settle()
    side.network.run(side.network.open[0])
    side.settle()
    assert side.workitems()[0].state is State.COMPLETED
    (theirs,) = side.store.find(flows.Which(institution=other))
    assert (theirs.state, theirs.waiting) == (State.SCHEDULED, "network-silent")


def test_a_defect_in_one_study_stops_no_other(side, monkeypatch):
    broken = side.volumes.source

    def source(institution, series_uid, *rest):
        if series_uid == "1.2.3.100.1":
            raise ZeroDivisionError
        return broken(institution, series_uid, *rest)

    monkeypatch.setattr(side.volumes, "source", source)
    side.receive(HEAD)
    side.receive(head_series(study_uid="1.2.9", series_uid="1.2.9.1"))
    for _ in range(flows.DEFECTS_MAX + 2):
        side.settle()
        side.clock.advance_s(60)
    states = {item.series_uid: (item.state, item.reason) for item in side.workitems()}
    assert states == {"1.2.3.100.1": (State.CANCELED, "fault"), "1.2.9.1": (State.SCHEDULED, None)}


def test_listening_takes_findings_without_a_tick(side):
    offer_id = offered(side)
    side.network.run(offer_id)
    assert side.flow.listen(wait_s=0) == 0.0
    assert side.workitems()[0].state is State.COMPLETED
    assert side.network.ended == {offer_id: "acknowledged"}
    side.network.reachable = False
    assert side.flow.listen(wait_s=0) > 0


def test_two_listeners_and_a_tick_at_once_write_once(side):
    offer_id = offered(side)
    side.network.run(offer_id)
    threads = [threading.Thread(target=side.flow.listen, kwargs={"wait_s": 0}) for _ in range(2)]
    threads.append(threading.Thread(target=side.flow.tick))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    side.settle()
    assert side.workitems()[0].state is State.COMPLETED
    assert side.kinds().count("completed") == side.kinds().count("checked") == 1


def test_the_more_urgent_goes_first(side, monkeypatch):
    side.network.reachable = False
    for number in (1, 2):
        side.receive(head_series(study_uid=f"1.2.{number}", series_uid=f"1.2.{number}.1"))
        side.settle()
        side.clock.advance_s(0.001)
    last = side.workitems()[-1]
    side.store.commit(flows.Change((last.changed(1, urgency=flows.Urgency.HIGH),)))
    side.network.reachable = True
    side.clock.advance_s(60)
    side.settle()
    assert next(iter(side.network.payloads)) == last.offer_id


class Killed(BaseException):
    """Not an Exception: nothing in the flow may catch it, as nothing catches SIGKILL."""


class Fuse:
    """Burns at the n-th call of anything that is durable or leaves the process."""

    def __init__(self, calls: int) -> None:
        self.left = calls

    def burn(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise Killed


def fused(target, names, fuse: Fuse):
    """`target` whose methods may be cut off before or after they did their work."""

    class Proxy:
        def __getattr__(self, name):
            inner = getattr(target, name)
            if name not in names:
                return inner

            def call(*arguments, **keywords):
                fuse.burn()
                answer = inner(*arguments, **keywords)
                fuse.burn()
                return answer

            return call

    return Proxy()


def walk(side: ClinicSide, fuse: Fuse) -> bool:
    """Run a study with a fuse; whether it burned. Whatever happens, afterwards everything starts anew."""
    network = fused(side.network, {"offer", "upload", "withdraw", "acknowledge", "events", "findings"}, fuse)
    side.start(
        store=fused(side.store, {"commit"}, fuse),
        intake=fused(side.intake, {"store_results"}, fuse),
        networks={INSTITUTION: network},
    )
    try:
        for _ in range(8):
            side.flow.tick()
            for offer_id in side.network.open:
                if not any(event.topic == "attempt.accepted" for event in side.network.stream):
                    side.network.run(offer_id)
    except Killed:
        return True
    return False


@pytest.mark.parametrize("calls", range(1, POINTS + 3))
def test_killed_anywhere_the_study_still_ends_exactly_once(tmp_path, calls):
    side = ClinicSide(tmp_path, ManualClock())
    side.receive(HEAD)
    burned = walk(side, Fuse(calls))
    side.start()
    for _ in range(4):
        side.clock.advance_s(1)
        side.settle()
        for offer_id in side.network.open:
            if not any(event.topic == "attempt.accepted" for event in side.network.stream):
                side.network.run(offer_id)
    (item,) = side.workitems()
    assert item.state is State.COMPLETED, (calls, item.reason)
    assert (item.duty, item.key) == (None, None)
    assert len(side.network.offers) == 1
    assert set(side.network.ended.values()) == {"acknowledged"}
    kinds = side.kinds()
    assert all(kinds.count(kind) == 1 for kind in ("received", "matched", "offered", "checked", "completed"))
    results = [row for row in side.archive._instances.values() if row.own]
    assert sorted(row.sop_uid for row in results) == sorted(one.sop_uid for one in item.references)
    assert burned == (calls <= POINTS), "POINTS is not the number of points any more"
