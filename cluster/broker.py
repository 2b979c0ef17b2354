"""The broker: one method for each request of the network protocol, and the housekeeping between requests.

It owns order and urgency; Ray has neither. Every method reads, decides by a pure function of `moves`, and commits; when
somebody else was faster it reads again. All durations come from the `Clock`, so that whole networks can be simulated.
"""

from __future__ import annotations

from collections.abc import Callable

from bithive.clock import Clock
from bithive.ids import Ids
from cluster.cell_store import CellStore, MemoryCellStore
from cluster.desk import WORK
from cluster.desk_cell import CellDesk
from cluster.desk_institution import InstitutionDesk, SealedFile
from cluster.housekeeping import Housekeeping
from cluster.moves import Durations
from cluster.spool import Spool
from cluster.store import Store

__all__ = ["WORK", "Broker", "Durations", "SealedFile"]


class Broker(InstitutionDesk, CellDesk, Housekeeping):
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
        on_close: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(store, cells or MemoryCellStore(), clock, ids, spool, durations or Durations())
        self._on_close = on_close

    def close(self) -> None:
        """Let nobody wait any more, and close the database."""
        self.bell.close()
        self._on_close()
