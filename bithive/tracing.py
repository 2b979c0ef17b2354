"""Traces of a study from upload to Receipt: nothing at all unless an operator names where they go.

A span has a name from `NAMES` and attributes from `ALLOWED`, each checked by name and by form: what does not fit is
dropped, so that no element of a patient's data set can leave this way by mistake. What joins the spans of one study is
a random number in a W3C `traceparent` (Trace Context, section 3.2), made from no identifier of the study. Until
`begin` is called every function here does nothing and no library is loaded.
"""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Protocol

from bithive.errors import BitHiveError

Attribute = str | int

NAMES = frozenset(
    {
        "study.received",
        "series.judged",
        "offer.made",
        "volume.read",
        "payload.sealed",
        "offer.announced",
        "payload.sent",
        "payload.received",
        "offer.waited",
        "attempt",
        "stage",
        "findings.received",
        "findings.checked",
        "findings.taken",
        "findings.fetched",
        "objects.encoded",
        "objects.stored",
    }
)
"""Everything that a span may be called."""

_CODE = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,63}")
_VERSION = re.compile(r"\d{1,4}(\.\d{1,4}){0,3}")
_ID = re.compile(r"(off|att|cel|nod)_[0-9A-Z]{26}")
_COUNT_MAX = 2**53


def _matches(pattern: re.Pattern[str]) -> Callable[[Attribute], bool]:
    return lambda value: isinstance(value, str) and len(value) <= 64 and pattern.fullmatch(value) is not None


def _is_count(value: Attribute) -> bool:
    return type(value) is int and 0 <= value < _COUNT_MAX


ALLOWED: Mapping[str, Callable[[Attribute], bool]] = {
    "offer": _matches(_ID),
    "attempt": _matches(_ID),
    "cell": _matches(_ID),
    "node": _matches(_ID),
    "bundle": _matches(_NAME),
    "bundle_version": _matches(_VERSION),
    "pipeline": _matches(_NAME),
    "urgency": _matches(re.compile("HIGH|MEDIUM|LOW")),
    "data_class": _matches(re.compile("P[0-3]")),
    "state": _matches(re.compile("[A-Z_]+")),
    "stage": _matches(_NAME),
    "code": _matches(_CODE),
    "size_bytes": _is_count,
    "instances": _is_count,
    "refused": _is_count,
    "objects": _is_count,
    "tries": _is_count,
}
"""Attributes that a span may have, and the form of each: no UID, name, date, digest or free text fits any of them."""


class Span(Protocol):
    """Something that takes time."""

    @property
    def traceparent(self) -> str:
        """What a child names as its parent; empty when nothing is traced."""

    def note(self, **attributes: Attribute) -> None:
        """Add attributes; those that are not allowed are dropped."""


class Recorder(Protocol):
    """Where spans go: `bithive.tracing_otel`, or a list in a test."""

    def start(self, name: str, parent: str, start_ms: int | None, attributes: Mapping[str, Attribute]) -> Recorded:
        """Begin a span now or at `start_ms`, as a child of `parent` or as a new trace."""

    def close(self) -> None:
        """Send what waits, and end."""


class Recorded(Span, Protocol):
    """A span of a Recorder."""

    def end(self, end_ms: int | None, code: str) -> None:
        """It ended now or at `end_ms`; with an error unless `code` is empty."""


class _Nothing:
    """The span of what is not traced."""

    traceparent = ""

    def note(self, **_attributes: Attribute) -> None:
        pass


NOTHING: Span = _Nothing()
_KEPT_MAX = 10_000
_CURRENT: ContextVar[str] = ContextVar("bithive_span", default="")
_lock = threading.Lock()
_kept: OrderedDict[tuple[str, ...], str] = OrderedDict()
_recorder: Recorder | None = None


def begin(recorder: Recorder) -> None:
    """Trace from now on."""
    global _recorder  # noqa: PLW0603 - one per process, as the log
    _recorder = recorder


def end() -> None:
    """Trace no more; what waits is sent."""
    global _recorder
    ended, _recorder = _recorder, None
    with _lock:
        _kept.clear()
    if ended is not None:
        ended.close()


def is_on() -> bool:
    """Whether anything is traced in this process."""
    return _recorder is not None


def current() -> str:
    """The `traceparent` of the span that this code runs in; empty when there is none."""
    return _CURRENT.get()


@contextmanager
def span(name: str, parent: str = "", start_ms: int | None = None, **attributes: Attribute) -> Iterator[Span]:
    """A span around a block of code.

    Parameters
    ----------
    name
        One of `NAMES`.
    parent
        A `traceparent`; by default the span that this code runs in, else a new trace.
    start_ms
        When it began, if that was before now.
    attributes
        Of `ALLOWED`.
    """
    if _recorder is None:
        yield NOTHING
        return
    opened = _recorder.start(_named(name), parent or current(), start_ms, allowed(attributes))
    token, code = _CURRENT.set(opened.traceparent), ""
    try:
        yield opened
    except BitHiveError as error:
        code = error.code
        raise
    except BaseException:
        code = "fault"
        raise
    finally:
        _CURRENT.reset(token)
        opened.end(None, code)


def child(name: str, **attributes: Attribute) -> AbstractContextManager[Span]:
    """As `span`, but only within one: code that may run on its own begins no trace."""
    return span(name, current(), None, **attributes) if current() else untraced()


def record(name: str, parent: str, start_ms: int, end_ms: int, code: str = "", **attributes: Attribute) -> str:
    """A span that is over.

    Parameters
    ----------
    name, parent, attributes
        As for `span`; without a parent it begins a trace.
    start_ms, end_ms
        Milliseconds since the epoch.
    code
        Why it failed, if it did.

    Returns
    -------
    str
        Its `traceparent`, for children; empty when nothing is traced.
    """
    if _recorder is None:
        return ""
    made = _recorder.start(_named(name), parent, start_ms, allowed(attributes))
    made.end(max(start_ms, end_ms), code)
    return made.traceparent


def remember(key: tuple[str, ...], traceparent: str) -> None:
    """Keep a `traceparent` in memory under a key that leaves this process never; the oldest of many are forgotten."""
    if _recorder is None or not traceparent:
        return
    with _lock:
        _kept[key] = traceparent
        _kept.move_to_end(key)
        while len(_kept) > _KEPT_MAX:
            _kept.popitem(last=False)


def recall(key: tuple[str, ...]) -> str:
    """What `remember` kept, or an empty text."""
    if _recorder is None:
        return ""
    with _lock:
        return _kept.get(key, "")


def sampled(traceparent: str) -> str:
    """The same if its trace is kept, else an empty text: what is not kept need not be told to anybody."""
    return traceparent if traceparent.endswith("-01") else ""


def allowed(attributes: Mapping[str, Attribute]) -> dict[str, Attribute]:
    """Those that may leave."""
    return {name: value for name, value in attributes.items() if name in ALLOWED and ALLOWED[name](value)}


@contextmanager
def untraced() -> Iterator[Span]:
    """A block that is part of no trace."""
    yield NOTHING


def _named(name: str) -> str:
    assert name in NAMES, f"no span is called {name!r}"
    return name
