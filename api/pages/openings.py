"""Every look at studies is logged, however it is reached; a page that refreshes itself is not a new look."""

from __future__ import annotations

import threading
from typing import cast

from fastapi import Request

from api.auth import Principal
from api.deps import get_services
from bithive.clock import Clock
from clinic.access_log import NO_STUDY, Access, AccessLog

QUIET_S = 900.0
KEPT_MAX = 10_000


class Openings:
    """Logs openings and searches, those of a page's own parts only when nothing was logged a short while ago.

    Parameters
    ----------
    log, clock
        Where rows go, and when it is.
    """

    def __init__(self, log: AccessLog, clock: Clock) -> None:
        self._log, self._clock = log, clock
        self._last: dict[tuple[str, str], float] = {}
        self._lock = threading.Lock()

    def opened(self, principal: Principal, study_uid: str, *, by_itself: bool = False) -> None:
        """Note that a study is shown. Returns once that is durable.

        Parameters
        ----------
        principal, study_uid
            To whom, which.
        by_itself
            Whether a page that is open already asks for a part of itself.
        """
        self._note(principal, Access.OPENED, study_uid, by_itself=by_itself)

    def searched(self, principal: Principal, *, by_itself: bool = False) -> None:
        """Note that a list of studies is shown; as `opened`."""
        self._note(principal, Access.SEARCHED, NO_STUDY, by_itself=by_itself)

    def _note(self, principal: Principal, kind: Access, study_uid: str, *, by_itself: bool) -> None:
        key, now_s = (principal.account, study_uid), self._clock.monotonic_s()
        with self._lock:
            last_s = self._last.get(key)
        if by_itself and last_s is not None and now_s - last_s < QUIET_S:
            return
        self._log.record(principal.institution or "", principal.account, kind, study_uid)
        with self._lock:
            self._last.pop(key, None)
            self._last[key] = now_s
            while len(self._last) > KEPT_MAX:
                del self._last[next(iter(self._last))]


def openings(request: Request) -> Openings:
    """The application's own."""
    state = request.app.state
    if not hasattr(state, "openings"):
        services = get_services(request)
        state.openings = Openings(services.access_log, services.clock)
    return cast(Openings, state.openings)
