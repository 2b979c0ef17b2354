"""What the network's own machine answers to a canary before any cell is asked.

It runs where every cell's bundles run, in a process without privileges; nothing heavy is loaded into the hub. A machine
that cannot run a bundle knows no answer, and gives benchmarks instead.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from bithive.clock import Clock
from bithive.errors import BitHiveError
from bithive.log import get
from bithive.offer import Offer, OfferKeys
from cluster.bundle_process import BundleProcess
from cluster.errors import RunnerDied
from cluster.failures import FAILURES, Fate
from cluster.plan import Plan
from cluster.work import Assignment

_IDLE_S = 120.0


class Unfit(Exception):
    """The bundle refuses the image: any cell would say the same, so it tests nothing."""


class Answers(Protocol):
    """Whoever knows answers."""

    def answer(self, offer: Offer, keys: OfferKeys, payload: bytes) -> bytes | None:
        """The Findings of an Offer's payload, as a cell would send them; None where they cannot be known here.

        Raises `Unfit` when the bundle refuses the payload.
        """

    def rest(self) -> None:
        """Let go of what has not been needed for a while."""


class NoAnswers:
    """A machine that runs no bundles."""

    def answer(self, _offer: Offer, _keys: OfferKeys, _payload: bytes) -> bytes | None:
        return None

    def rest(self) -> None:
        return


class BundleAnswers:
    """Answers by a bundle process, started when the first is asked for and ended when none is for two minutes.

    Parameters
    ----------
    plan
        What it loads, and how: at the lowest priority, since nobody waits for it.
    clock
        Time.
    started
        Makes the process.
    """

    def __init__(self, plan: Plan, clock: Clock, started: Callable[[Plan], BundleProcess] = BundleProcess) -> None:
        self._plan, self._clock, self._started = plan, clock, started
        self._process: BundleProcess | None = None
        self._used_s = 0.0

    def answer(self, offer: Offer, keys: OfferKeys, payload: bytes) -> bytes | None:
        """As the protocol says. Whatever else goes wrong is logged by its code and means that there is no answer."""
        self._used_s = self._clock.monotonic_s()
        try:
            process = self._running()
            produced = process.run(
                Assignment.unleased(offer, keys), memoryview(payload), lambda _stage, _fraction: None
            )
        except RunnerDied as error:
            self.close()
            get().warning("canary.unanswered", bundle=offer.bundle, code=error.code)
            return None
        except BitHiveError as error:
            code = getattr(error, "failure", error.code)
            get().warning("canary.unanswered", bundle=offer.bundle, code=code)
            if FAILURES.get(code) is Fate.FINAL:
                raise Unfit(code) from error
            return None
        finally:
            self._used_s = self._clock.monotonic_s()
        return bytes(produced.findings)

    def rest(self) -> None:
        """End the process when it has had nothing to do for two minutes."""
        if self._process is not None and self._clock.monotonic_s() - self._used_s >= _IDLE_S:
            self.close()

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is not None:
            process.close()

    def _running(self) -> BundleProcess:
        if self._process is None or not self._process.alive:
            self.close()
            process = self._started(self._plan)
            process.start()
            self._process = process
        return self._process
