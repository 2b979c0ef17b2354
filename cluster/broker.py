"""The broker: one method for each request of the network protocol, and the housekeeping between requests.

It owns order and urgency; Ray has neither. Every method reads, decides by a pure function of `moves`, and commits; when
somebody else was faster it reads again. All durations come from the `Clock`, so that whole networks can be simulated.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bithive.clock import Clock
from bithive.ids import Ids
from bithive.keys import SigningKey
from bithive.outbox import Event
from cluster.attestation import NOBODY, AppraisalPolicy, Verifier
from cluster.canary_store import CanaryStore, MemoryCanaryStore
from cluster.cell_store import CellStore, MemoryCellStore
from cluster.census import Census
from cluster.desk import WORK
from cluster.desk_institution import InstitutionDesk, SealedFile
from cluster.desk_work import WorkDesk
from cluster.duplicates import SightingKeys
from cluster.housekeeping import Housekeeping
from cluster.moves import Durations
from cluster.online import Attendance
from cluster.register_admin import Registrar
from cluster.register_store import RegisterStore
from cluster.spool import Spool
from cluster.store import Change, Store

__all__ = ["WORK", "Broker", "Durations", "SealedFile"]


class Broker(InstitutionDesk, WorkDesk, Housekeeping):
    """Use cases of the network side.

    Parameters
    ----------
    store, cells
        Offers and Attempts; Cells and Nodes (in memory when absent).
    clock, ids
        Time and identifiers.
    spool
        Sealed payloads and findings.
    durations
        Lengths of Leases and pauses, and the number of tries.
    register
        Keys of cells, and invites (in memory when absent).
    canaries
        The network's own work (in memory when absent).
    census
        What pages and metrics read; none where nobody looks.
    network_key, sighting_keys
        What counter-receipts are signed with, and under what findings are remembered (in memory when absent).
    attestation
        What evidence of attestation counts; none unless said otherwise.
    on_close
        Called by `close`.

    Attributes
    ----------
    bell
        Rings `WORK` when an Offer may be leased, and an institution's id when it has a new notice.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        ids: Ids,
        spool: Spool,
        *,
        cells: CellStore | None = None,
        durations: Durations | None = None,
        census: Census | None = None,
        register: RegisterStore | None = None,
        canaries: CanaryStore | None = None,
        network_key: SigningKey | None = None,
        sighting_keys: SightingKeys | None = None,
        attestation: AppraisalPolicy = NOBODY,
        on_close: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(store, cells or MemoryCellStore(), clock, ids, spool, durations or Durations())
        self._on_close, self.census = on_close, census
        self.register = register or self.register
        self.canaries = canaries or MemoryCanaryStore()
        self.network_key = network_key or SigningKey(ids.token())
        self.sighting_keys = sighting_keys or SightingKeys(None, ids.token)
        self.verifier = Verifier(attestation, clock, ids)
        self.attendance = Attendance(store.online, self.cells, self._tell)
        self.attendants.append(self.attendance.hear)
        self.registrar = Registrar(self.register, self.cells, clock, ids)

    def close(self) -> None:
        """Let nobody wait any more, and close the database."""
        self.bell.close()
        self.attendance.close(self._clock.now_ms())
        self._on_close()

    def _tell(self, events: Sequence[Event]) -> None:
        self.store.commit(Change(events=tuple(events)))
