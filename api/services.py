"""Services: every part of the process, built once by `api.wiring` and passed to whoever needs it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Never

from api.errors import SideAbsent
from api.instruments import Metrics
from api.ledger_desk import LedgerDesk
from bithive.blobs import Blobs
from bithive.clock import Clock, SystemClock
from bithive.ids import Ids
from bithive.log import get
from bithive.settings import Settings
from cluster.network_traces import NetworkTraces
from pipelines.catalog import Repertoire, pipelines

if TYPE_CHECKING:
    from api.accounts import Accounts
    from api.progress import Progress
    from api.relay import Loop
    from clinic.access_log import AccessLog
    from clinic.archive import Archive
    from clinic.flow import Flow
    from clinic.intake import Intake
    from clinic.public_sets import PublicSets
    from clinic.review import Reviews
    from clinic.volumes import Volumes
    from clinic.workitem_store import WorkitemStore
    from cluster.broker import Broker
    from economy.economy import Economy
    from economy.ledger import Ledger


class Vitals:
    """Named checks of the parts, for `/health/ready`; parts add theirs when they start."""

    def __init__(self) -> None:
        self._checks: dict[str, Callable[[], bool]] = {}
        self._cells: Callable[[], int] = lambda: 0

    def watch(self, name: str, check: Callable[[], bool]) -> None:
        """Add a check: quick, and False while that part is not well."""
        self._checks[name] = check

    def count_cells(self, count: Callable[[], int]) -> None:
        """Say how many local cells are at work."""
        self._cells = count

    def read(self) -> tuple[dict[str, bool], int]:
        """Each check by name, and how many local cells there are. A check that raises is not well."""
        return {name: _holds(check) for name, check in self._checks.items()}, self._cells()


def _holds(check: Callable[[], bool]) -> bool:
    try:
        return check()
    except Exception as error:  # noqa: BLE001 - whatever it is, the part is not well
        get().warning("check.failed", exc_info=error)
        return False


def built_in() -> Repertoire:
    """The declared tasks alone."""
    return Repertoire({}, pipelines())


def nothing() -> None:
    """Do nothing."""


@dataclass(frozen=True, slots=True)
class Services:
    """The whole system. Where a role does not serve a side, its members are `Absent`.

    Attributes
    ----------
    settings, clock, ids
        What everything else was built from.
    institution
        The random id (`ins_...`) of this hub's own institution.
    accounts
        Who may sign in.
    progress
        The live feed of study events.
    vitals
        Whether the parts are well.
    archive, blobs, intake, access_log, workitems, volumes, reviews, flow, public_sets
        The clinical side.
    broker, economy, ledger
        The network side; `ledger` is the economy's.
    desk
        What the ledger's addresses remember between requests.
    metrics, traces
        What this process counts, and what it adds to traces of the network side.
    loops
        The hub's threads, not started.
    repertoire
        What can be run now: pipelines and bundles.
    wake
        Have the clinical flow look at once for what is due; from any thread.
    close
        Let go of databases and connections.
    """

    settings: Settings
    clock: Clock
    ids: Ids
    institution: str
    accounts: Accounts
    progress: Progress
    vitals: Vitals
    archive: Archive
    blobs: Blobs
    intake: Intake
    access_log: AccessLog
    workitems: WorkitemStore
    volumes: Volumes
    reviews: Reviews
    flow: Flow
    broker: Broker
    economy: Economy
    ledger: Ledger
    desk: LedgerDesk = field(default_factory=LedgerDesk)
    metrics: Metrics = field(default_factory=Metrics)
    traces: NetworkTraces = field(default_factory=lambda: NetworkTraces(SystemClock()))
    loops: tuple[Loop, ...] = ()
    repertoire: Callable[[], Repertoire] = built_in
    wake: Callable[[], None] = nothing
    close: Callable[[], None] = nothing
    public_sets: PublicSets = field(default_factory=lambda: absent())


class Absent:
    """Stands where a side is not served; any use of it is answered as not found."""

    def __getattr__(self, name: str) -> Never:
        raise SideAbsent


def absent() -> Any:
    """A member of a side that this process does not serve."""
    return Absent()
