"""What the ledger's addresses remember between requests: the proofs' state tree, the trial balance, the last check."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bithive.errors import BitHiveError
from bithive.log import get

if TYPE_CHECKING:
    from bithive.clock import Clock
    from economy.check import Checked
    from economy.claims import ClaimTree
    from economy.periods import TrialBalance
    from economy.proofs import Proofs
    from economy.store import Store


@dataclass(frozen=True, slots=True)
class CheckRun:
    """One replay of the whole log.

    Attributes
    ----------
    started_ms, ended_ms
        When; 0 for the latter while it runs.
    done, total
        Entries replayed so far, and of how many.
    checked
        What was found; nothing while it runs, or when it could not be finished.
    failure
        Code of the error that ended it.
    """

    started_ms: int
    ended_ms: int = 0
    done: int = 0
    total: int = 0
    checked: Checked | None = None
    failure: str = ""


class LedgerDesk:
    """One for a hub; safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._proofs: tuple[Store, Proofs] | None = None
        self._trial: tuple[Store, TrialBalance] | None = None
        self._claims: tuple[Store, int, ClaimTree] | None = None
        self._run: CheckRun | None = None
        self._adding = threading.Lock()

    def proofs(self, store: Store) -> Proofs:
        """The one maker of proofs, which keeps the newest seal's state tree."""
        from economy.proofs import Proofs

        with self._lock:
            if self._proofs is None or self._proofs[0] is not store:
                self._proofs = (store, Proofs(store))
            return self._proofs[1]

    def trial_balance(self, store: Store) -> TrialBalance:
        """All accounts added up; again only once something was recorded since, and by one caller at a time."""
        from economy.periods import trial_balance_of

        with self._adding, store.reading() as snapshot:
            seq = snapshot.head().seq
            if self._trial is None or self._trial[0] is not store or self._trial[1].seq != seq:
                self._trial = (store, trial_balance_of(snapshot))
            return self._trial[1]

    def claims(self, store: Store, epoch: int) -> ClaimTree:
        """The claims that an epoch published; the tree asked for last is kept. Raises `EpochUnknown`."""
        from economy.epoch import claims_of

        with self._adding:
            if self._claims is None or self._claims[:2] != (store, epoch):
                self._claims = (store, epoch, claims_of(store, epoch))
            return self._claims[2]

    @property
    def last_check(self) -> CheckRun | None:
        """The check that runs or ran last, since this process began."""
        return self._run

    def begin_check(self, store: Store, clock: Clock) -> threading.Thread | None:
        """Replay the whole log in a thread of its own; nothing happens while one runs."""
        with self._lock:
            if self._run is not None and not self._run.ended_ms:
                return None
            self._run = CheckRun(clock.now_ms())
        thread = threading.Thread(target=self._check, args=(store, clock), name="ledger-check", daemon=True)
        thread.start()
        return thread

    def _check(self, store: Store, clock: Clock) -> None:
        from economy.check import check

        run = self._run
        assert run is not None, "a check that runs has begun"

        def progress(done: int, total: int) -> None:
            self._run = replace(run, done=done, total=total)

        try:
            checked = check(store, progress=progress)
            ended = replace(run, done=checked.entries, total=checked.entries, checked=checked)
        except BitHiveError as error:
            ended = replace(run, failure=error.code)
        except Exception as error:  # noqa: BLE001 - whatever ends a check, the page says so
            get().error("ledger.check_failed", exc_info=error)
            ended = replace(run, failure="internal")
        self._run = replace(ended, ended_ms=max(clock.now_ms(), 1))
