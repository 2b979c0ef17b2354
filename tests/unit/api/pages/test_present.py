from __future__ import annotations

from dataclasses import replace

import pytest

from api.pages import evidence, present
from clinic.workitem import Event, Measured, Reference, Review, State, Workitem
from clinic.workitem_store import Kind, SeriesWatch, StudyEvent
from pipelines.from_bundle import pipeline_of
from tests.common.installed import installed

INSTITUTION = "ins_00000000000000000000000001"
ITEM = Workitem("wit_1", INSTITUTION, "1.2", "1.2.1", "intracranial_volume_t1", "0" * 64, "off_1", b"", 1000, 1000)
MEASURED = (Measured("intracranial_volume", "Intracranial volume", 1394.4, "mL"),)
DONE = replace(ITEM, state=State.COMPLETED, measured=MEASURED)
RUNNING = replace(ITEM, state=State.IN_PROGRESS, attempt_id="att_1", offer={}, node="nod_01J9ZABCDEFGHJKMNPQRSTVWXY")


@pytest.mark.parametrize(
    ("item", "tone", "label", "group"),
    [
        (ITEM, "quiet", "Waiting", "run"),
        (replace(ITEM, offer={}), "quiet", "Waiting", "run"),
        (replace(ITEM, offer={}, waiting="network-silent"), "warn", "Waiting", "run"),
        (replace(RUNNING, stage="segmenting", fraction=0.5), "run", "Running", "run"),
        (replace(RUNNING, waiting="attempt-expired"), "warn", "Waiting", "run"),
        (replace(RUNNING, accepted_ms=5), "run", "Running", "run"),
        (DONE, "good", "Finished", "review"),
        (replace(DONE, review=Review.ACCEPTED), "good", "Accepted", "done"),
        (replace(DONE, review=Review.REJECTED), "warn", "Rejected", "done"),
        (replace(ITEM, state=State.CANCELED, reason="gantry-tilt"), "bad", "Failed", "bad"),
        (replace(ITEM, state=State.CANCELED, reason="superseded"), "quiet", "Superseded", "quiet"),
        (replace(ITEM, pipeline="gone"), "quiet", "Waiting", "run"),
    ],
)
def test_every_state_has_a_word(item, tone, label, group):
    shown = present.analysis(item)
    assert (shown.tone, shown.label, shown.group) == (tone, label, group)


def test_every_legal_state_is_shown():
    for state in State:
        assert present.analysis(replace(ITEM, state=state)).label
    assert Event.CLAIM


def test_a_measurement_says_what_it_is_and_what_it_is_not():
    (shown,) = present.analysis(DONE).measurements
    assert (shown.name, shown.value, shown.unit) == ("Intracranial volume (TIV)", "1\u202f394", "ml")
    assert "never the volume of the brain" in shown.explained
    assert shown.plausible == "Passed the plausibility check (900 to 2\u202f100 ml)"


def test_many_measurements_are_counted_and_named_as_they_were_written():
    measured = tuple(Measured(f"s{number}_volume", f"Structure {number}", 0.5 * number, "mL") for number in range(104))
    shown = present.analysis(replace(DONE, pipeline="gone", measured=measured))
    assert (shown.headline, shown.counted) == ("104 structures", "104 structures")
    assert [item.name for item in shown.measurements][:2] == ["Structure 0", "Structure 1"]
    assert not shown.none_found


def test_an_analysis_that_found_nothing_says_so():
    report = Reference("sr", "1.2", "1.2.3", "1.2.3.4")
    shown = present.analysis(replace(DONE, measured=(), references=(report,)))
    assert (shown.none_found, shown.headline) == (True, "None found")
    both = replace(DONE, references=(report, Reference("seg", "1.2", "1.2.4", "1.2.4.4")))
    assert not present.analysis(both).none_found


def test_superseded_analyses_are_left_out_unless_there_is_nothing_else():
    old = replace(ITEM, workitem_id="wit_0", state=State.CANCELED, reason="superseded", superseded_by="wit_1")
    assert present.current([old, ITEM]) == [ITEM]
    assert present.current([old]) == [old]
    assert present.current([]) == []


def watch(**members):
    return SeriesWatch(INSTITUTION, "1.2", "1.2.1", 1, 1, True, 3, **{"pending": False} | members)


@pytest.mark.parametrize(
    ("watched", "label", "note"),
    [
        ([], "Received", "Waiting for the rest"),
        ([watch(pending=True)], "Received", "Waiting for the rest"),
        ([watch(unmatched={"p": "other-modality"})], "Kept", "the modality is another one"),
        ([watch(unmatched={"p": "gaps"}, geometry="gantry-tilt")], "Kept", "tilted gantry"),
        ([watch()], "Kept", "none is made for such images"),
        ([watch(unmatched={"p": "too-coarse"}), watch(unmatched={"p": "too-small"})], "Kept", "any of its 2 series"),
    ],
)
def test_a_study_without_an_analysis_says_why(watched, label, note):
    _, shown, said = present.idle(watched)
    assert shown == label
    assert note in said


def test_the_pipeline_that_came_nearest_gives_the_reason():
    code, _ = present.kept_reason(watch(unmatched={"a": "other-modality", "b": "too-coarse"}))
    assert code == "too-coarse"


def test_unknown_codes_are_not_shown_raw():
    assert present.plain_reason("zzz") == "It failed."


def event(kind, at_ms, **detail):
    return StudyEvent(INSTITUTION, "1.2", kind, at_ms, {"workitem": "wit_1"} | detail)


def test_steps_follow_the_log_and_say_each_thing_once():
    log = [
        StudyEvent(INSTITUTION, "1.2", Kind.RECEIVED, 900, {"series_uid": "1.2.1", "instances": 3}),
        event(Kind.MATCHED, 1000),
        event(Kind.LEASED, 1100, node="nod_01J9ZABCDEFGHJKMNPQRSTVWXY"),
        event(Kind.RUNNING, 1200, stage="segmenting", node="nod_01J9ZABCDEFGHJKMNPQRSTVWXY"),
        event(Kind.RUNNING, 1300, stage="segmenting"),
        event(Kind.COMPLETED, 2000),
        StudyEvent(INSTITUTION, "1.2", Kind.MATCHED, 1000, {"workitem": "wit_other"}),
    ]
    shown = evidence.steps(DONE, log)
    assert [step.label for step in shown] == [
        "Received",
        "Matched to a pipeline",
        "Leased by a cell",
        "Segmenting",
        "Finished",
    ]
    assert [step.took for step in shown] == ["", "+0.10 s", "+0.10 s", "+0.10 s", "+0.80 s"]
    assert [step.note for step in shown] == ["3 instances", "", "node …STVWXY", "", ""]
    assert evidence.lasted(DONE, shown) == "1.10 s"


def test_steps_under_way_show_what_is_still_to_come():
    shown = evidence.steps(RUNNING, [event(Kind.MATCHED, 1000), event(Kind.LEASED, 1100)])
    assert [step.tone for step in shown] == ["done", "now", "next", "next", "next", "next"]
    assert evidence.lasted(RUNNING, shown) == ""


def test_what_was_put_right_is_said_in_words():
    (step, *_) = evidence.steps(RUNNING, [event(Kind.MATCHED, 1000, corrected="tilt-corrected, unknown")])
    assert step.note == "The gantry was tilted; the planes were moved into a rectangular block"


def test_a_bundle_s_pipeline_is_called_what_the_bundle_says(tmp_path):
    known = {"spleen_ct": pipeline_of(installed(tmp_path, "spleen_ct", title="Spleen CT"))}
    measured = (Measured("spleen_volume", "Spleen", 210.4, "mL"),)
    shown = present.analysis(replace(DONE, pipeline="spleen_ct", measured=measured), known=known)
    assert (shown.title, shown.headline, shown.measurements[0].name) == ("Spleen CT", "210 ml", "Spleen")
    assert present.analysis(replace(DONE, pipeline="spleen_ct", measured=measured)).title == "spleen_ct"


def test_a_licence_that_was_not_accepted_is_the_reason_that_is_shown():
    watch = SeriesWatch(INSTITUTION, "1.2", "1.2.1", 0, 0, True, 1)
    told = {"intracranial_volume_t1": "other-modality", "liver_ct": "licence-not-accepted"}
    code, reason = present.kept_reason(replace(watch, unmatched=told))
    assert code == "licence-not-accepted"
    assert "administrator" in reason
