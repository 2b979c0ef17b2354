import json
import logging
import warnings

import pytest
import structlog

from bithive import log


@pytest.fixture
def lines(capsys):
    root = logging.getLogger()
    before = list(root.handlers)
    log.configure("info")
    yield lambda: [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    root.handlers[:] = before
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()


def test_one_json_object_a_line(lines):
    log.get().info("attempt.accepted", attempt="att_1", count=2)
    (event,) = lines()
    assert event.pop("timestamp").endswith("Z")
    assert event == {"event": "attempt.accepted", "level": "info", "attempt": "att_1", "count": 2}


def test_a_key_that_is_not_listed_is_dropped(lines):
    log.get().info("study.received", patient_name="DOE^JANE", study_uid="1.2.3", instances=3)
    (event,) = lines()
    assert event["instances"] == 3
    assert "DOE" not in json.dumps(event)
    assert "1.2.3" not in json.dumps(event)


@pytest.mark.parametrize("name", ["received DOE^JANE", "Study.Received", "a b", "", "x\ny"])
def test_a_sentence_is_no_event(lines, name):
    log.get().info(name)
    assert lines()[0]["event"] == "log.malformed"


def test_an_exception_is_its_type_and_place(lines):
    try:
        raise ValueError("Invalid value DOE^JANE")
    except ValueError:
        log.get().exception("intake.failed")
    (event,) = lines()
    assert event["exc_type"] == "ValueError"
    assert event["exc_at"].startswith("test_log.py:")
    assert "DOE" not in json.dumps(event)


def test_a_long_text_is_cut(lines):
    log.get().info("attempt.failed", code="x" * 5000)
    assert len(lines()[0]["code"]) == 200


def test_what_is_less_severe_is_left_out(lines):
    log.get().debug("too.quiet")
    assert lines() == []


def test_other_libraries_are_heard_but_not_quoted(lines):
    logging.getLogger("pydicom").warning("Invalid value for VR UI: %r", "DOE^JANE")
    (event,) = lines()
    assert (event["event"], event["kind"], event["level"]) == ("library.spoke", "pydicom", "warning")
    assert "DOE" not in json.dumps(event)


def test_warnings_are_heard_but_not_quoted(lines):
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=False)
        logging.captureWarnings(capture=True)
        warnings.warn("Invalid value DOE^JANE", UserWarning, stacklevel=1)
    events = lines()
    assert [event["kind"] for event in events] == ["py.warnings"]
    assert "DOE" not in json.dumps(events)


def test_configuring_again_does_not_say_things_twice(lines):
    log.configure("info")
    logging.getLogger("pydicom").warning("once")
    assert len(lines()) == 1
