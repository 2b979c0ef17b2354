"""Structured logs with an allow-list of keys.

An event is a dotted name in the past tense (`attempt.expired`); a key that is not on the list is dropped, so that no
element of a patient's data set can reach a log by mistake. Exceptions are logged by type and place only: their texts
may quote a data set.
"""

from __future__ import annotations

import logging
import re
import sys
import traceback
from collections.abc import MutableMapping
from typing import Any

import structlog

_EVENT = re.compile(r"[a-z0-9_]+(\.[a-z0-9_]+)*")
_TEXT_MAX = 200

ALLOWED = frozenset(
    {
        "event",
        "level",
        "timestamp",
        "workitem",
        "offer",
        "attempt",
        "cell",
        "node",
        "institution",
        "account",
        "role",
        "batch",
        "epoch",
        "seq",
        "entry",
        "kind",
        "state",
        "code",
        "status",
        "method",
        "route",
        "port",
        "pid",
        "count",
        "size_bytes",
        "duration_ms",
        "instances",
        "refused",
        "bundle",
        "pipeline",
        "engine",
        "stage",
        "fraction",
        "exc_type",
        "exc_at",
        "version",
        "attempts",
        "peak_memory_bytes",
        "free_bytes",
        "exit_code",
        "url_scheme",
        "file",
        "line",
    }
)


def keep_allowed(_logger: Any, _name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Drop every key that is not on the list; turn an exception into its type and place."""
    error = event.pop("exc_info", None)
    if error:
        error = sys.exc_info()[1] if error is True else error
        if isinstance(error, BaseException):
            frames = traceback.extract_tb(error.__traceback__)
            event["exc_type"] = type(error).__name__
            event["exc_at"] = f"{frames[-1].filename.rsplit('/', 1)[-1]}:{frames[-1].lineno}" if frames else ""
    if not _EVENT.fullmatch(str(event.get("event", ""))):
        event["event"] = "log.malformed"
    return {key: _short(value) for key, value in event.items() if key in ALLOWED}


class _Foreign(logging.Handler):
    """What other libraries log: who spoke and how loud, never what was said, since it may quote a data set."""

    def emit(self, record: logging.LogRecord) -> None:
        speak = get().error if record.levelno >= logging.ERROR else get().warning
        speak("library.spoke", kind=record.name, exc_info=record.exc_info and record.exc_info[1])


def configure(level: str = "info") -> None:
    """Set up logging for this process: one JSON object a line, on standard error. Safe to call again."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            keep_allowed,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    if not any(isinstance(handler, _Foreign) for handler in root.handlers):
        root.addHandler(_Foreign(logging.WARNING))
    logging.captureWarnings(capture=True)


def _short(value: Any) -> Any:
    return value[:_TEXT_MAX] if isinstance(value, str) else value


def get() -> Any:
    """The logger."""
    return structlog.get_logger()
