"""Wiring: everything that a process consists of, built by hand. Read this to know the whole system."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, Self

from pydantic import SecretStr

from api.accounts import Accounts
from api.accounts_sql import SqlAccountStore
from api.databases import upgrade
from api.instruments import Metrics
from api.own_work import own_work
from api.progress import Progress
from api.relay import Loop
from api.repertoire import InstalledRepertoire
from api.services import Services, Vitals, absent
from api.startup import site_secret
from api.supervise import Supervisor
from bithive import tracing
from bithive.blobs import FileBlobs
from bithive.clock import Clock
from bithive.ids import Ids, RandomIds
from bithive.outbox import Relay
from bithive.settings import Role, Settings
from clinic.access_log import AccessLog
from clinic.access_log_sql import SqlAccessStore
from clinic.archive_sql import SqlArchive
from clinic.data_class import why_not_public
from clinic.flow import Flow
from clinic.intake import Intake
from clinic.network_http import HttpNetwork
from clinic.public_sets import PublicSets
from clinic.public_sets_sql import SqlPublicStore
from clinic.review import Reviews
from clinic.volumes import Volumes
from clinic.workitem_store_sql import SqlWorkitemStore
from cluster.network_sql import open_broker
from cluster.network_traces import NetworkTraces
from economy.cosigning import witness_keys
from economy.economy import Economy

LOCAL_CELL, LOCAL_INSTITUTION = "local-cell", "local-institution"
HOUSEKEEPING_S = 0.25
EPOCHS_S = 1.0


def wire(settings: Settings, clock: Clock, private_url: str = "") -> Services:
    """Build a hub. Nothing runs yet: see `Background`.

    Parameters
    ----------
    settings
        Checked by `api.startup.check`.
    clock
        The one clock.
    private_url
        Where this very hub listens on loopback: its clinical side reaches its network side there.
    """
    settings.state.mkdir(parents=True, exist_ok=True)
    settings = settings.model_copy(update={"secret": SecretStr(site_secret(settings).decode())})
    ids, closing = RandomIds(clock), ExitStack()
    database = upgrade(settings, "accounts")
    closing.callback(database.close)
    accounts = Accounts(SqlAccountStore(database), clock, ids)
    vitals, progress, repertoire = Vitals(), Progress(), InstalledRepertoire(settings, clock)
    vitals.watch("accounts", lambda: bool(accounts.institution()))
    none = absent()
    network: dict[str, Any] = {"broker": none, "economy": none, "ledger": none}
    clinic: dict[str, Any] = dict.fromkeys(
        ("archive", "blobs", "intake", "access_log", "workitems", "volumes", "reviews", "flow", "public_sets"), none
    )
    loops: list[Loop] = []
    wake: Callable[[], None] = lambda: None  # noqa: E731 - a name for what a network role has not
    if settings.role is not Role.CLINICAL:
        network, network_loops = _network_side(settings, clock, ids, closing)
        loops += network_loops
    if settings.role is not Role.NETWORK:
        network_url, token = _network_access(settings, accounts, private_url)
        remote = HttpNetwork(network_url, token)
        closing.callback(remote.close)
        clinic, flow_loop, listening = _clinical_side(
            settings, clock, ids, accounts, progress, repertoire, remote, closing
        )
        loops += [flow_loop, listening]
        wake = flow_loop.wake
    metrics, traces = Metrics(), NetworkTraces(clock)
    if settings.role is not Role.CLINICAL:
        broker, bundles = network["broker"], lambda: repertoire.now().bundles
        loops.append(own_work(settings, clock, ids, broker, network["economy"], bundles))
        network["broker"].watchers += [metrics, traces]
    _begin_tracing(settings, closing)
    for loop in loops:
        vitals.watch(loop.name, lambda loop=loop: loop.is_well)  # type: ignore[misc]
    return Services(
        settings=settings,
        clock=clock,
        ids=ids,
        institution=accounts.institution(),
        accounts=accounts,
        progress=progress,
        vitals=vitals,
        metrics=metrics,
        traces=traces,
        loops=tuple(loops),
        repertoire=repertoire.now,
        wake=wake,
        close=closing.close,
        **clinic,
        **network,
    )


def _begin_tracing(settings: Settings, closing: ExitStack) -> None:
    """Trace if an operator says where to; the libraries for it are loaded only then."""
    if settings.tracing.endpoint is None:
        return
    from bithive.tracing_otel import OtelRecorder

    token = settings.tracing.token.get_secret_value() if settings.tracing.token else None
    tracing.begin(OtelRecorder(settings.tracing.endpoint, f"bithive-{settings.role}", settings.tracing.share, token))
    closing.callback(tracing.end)


def _network_side(
    settings: Settings, clock: Clock, ids: Ids, closing: ExitStack
) -> tuple[dict[str, Any], tuple[Loop, ...]]:
    """Broker and ledger, the loop that ends what is due and books what was accepted, and the one that closes epochs."""
    witness_keys(settings.network.witnesses)
    broker = open_broker(settings, clock, ids)
    economy = Economy.open(settings, clock, ids)
    closing.callback(economy.close)
    relay = Relay(broker.store.outbox, economy.booking.take)

    def tick() -> float:
        broker.expire()
        relay.drain()
        return HOUSEKEEPING_S

    loops = (Loop("housekeeping", tick), Loop("epochs", lambda: min(max(economy.tick(), 0.0), EPOCHS_S)))
    return {"broker": broker, "economy": economy, "ledger": economy.ledger}, loops


def _clinical_side(
    settings: Settings,
    clock: Clock,
    ids: Ids,
    accounts: Accounts,
    progress: Progress,
    repertoire: InstalledRepertoire,
    network: HttpNetwork,
    closing: ExitStack,
) -> tuple[dict[str, Any], Loop, Loop]:
    """Archive, intake and flow; the loop that does what is owed, and the one that listens to the network side."""
    database = upgrade(settings, "clinic")
    closing.callback(database.close)
    archive, blobs = SqlArchive(database), FileBlobs(settings.state / "blobs")
    public = SqlPublicStore(database)
    workitems = SqlWorkitemStore(database, clock, progress.announce)
    volumes = Volumes(archive, blobs)
    intake = Intake(archive, blobs, settings, clock, ids, on_stored=lambda: flow_loop.wake())
    closing.callback(intake.close)
    flow = Flow(
        settings=settings,
        clock=clock,
        ids=ids,
        archive=archive,
        intake=intake,
        store=workitems,
        volumes=volumes,
        repertoire=repertoire.now,
        networks={accounts.institution(): network},
        is_receiving=intake.is_receiving,
        public=public,
    )
    flow_loop = Loop("flow", flow.tick)

    def listen() -> float:
        pause_s = flow.listen()
        flow_loop.wake()
        return pause_s

    parts = {
        "archive": archive,
        "blobs": blobs,
        "intake": intake,
        "access_log": AccessLog(SqlAccessStore(database), clock),
        "workitems": workitems,
        "volumes": volumes,
        "reviews": Reviews(settings, clock, archive, blobs, intake, workitems),
        "flow": flow,
        "public_sets": PublicSets(public, clock, archive, why_not_public),
    }
    return parts, flow_loop, Loop("listening", listen)


def _network_access(settings: Settings, accounts: Accounts, private_url: str) -> tuple[str, str]:
    """Address and credential of the network side: another hub's, or this very one's."""
    if settings.clinic.network_url is not None:
        token = settings.clinic.network_token
        return settings.clinic.network_url, token.get_secret_value() if token else ""
    return private_url, accounts.token(accounts.ensure(LOCAL_INSTITUTION, "institution"))


class Background:
    """The hub's threads and its local cell, as a context.

    Parameters
    ----------
    services
        From `wire`.
    private_url
        Where the cell reaches this hub.
    """

    def __init__(self, services: Services, private_url: str) -> None:
        self._services, self._private_url = services, private_url
        self._supervisor: Supervisor | None = None

    def __enter__(self) -> Self:
        for loop in self._services.loops:
            loop.start()
        settings = self._services.settings
        if settings.cell.embedded and settings.role is not Role.CLINICAL:
            self._supervisor = _supervise(self._services, self._private_url)
        return self

    def halt(self) -> None:
        """Begin to stop, without waiting: no new ticks, no new work for the cell, nobody waits for news."""
        self._services.progress.close()
        for loop in self._services.loops:
            loop.halt()
        if self._services.settings.role is not Role.CLINICAL:
            self._services.broker.bell.close()
        if self._supervisor is not None:
            self._supervisor.halt()

    def __exit__(self, *_raised: object) -> None:
        self.halt()
        if self._supervisor is not None:
            self._supervisor.stop()
        for loop in reversed(self._services.loops):
            loop.stop()
        self._services.close()


def _supervise(services: Services, private_url: str) -> Supervisor:
    """Start the local cell. It is this institution's own: payloads of every data class may go to it."""
    account = services.accounts.ensure(LOCAL_CELL, "cell", services.institution)
    # Its token is new at each start, and so may its key be: its state folder is this hub's own.
    services.broker.registrar.release(account.cell or "")
    supervisor = Supervisor(services.settings, private_url, services.accounts.token(account), services.clock)
    started_ms = services.clock.now_ms()

    def count() -> int:
        record = services.broker.cells.cell(account.cell or "")
        return int(record is not None and record.seen_ms >= started_ms and supervisor.pid is not None)

    services.vitals.count_cells(count)
    supervisor.start()
    return supervisor
