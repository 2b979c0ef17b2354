"""The clinical flow: from a series in the archive to findings in the archive. One study, from door to door.

Everything it owes is stored before it is done (`Duty`), every step may be repeated, and nothing here waits for money.
`tick` does what is due and says when to come again; `listen` waits for the network's news in a thread of its own.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

from bithive.clock import Clock
from bithive.errors import BitHiveError, Fault, Unavailable
from bithive.ids import Ids
from bithive.limits import LEASE_DURATION_S
from bithive.log import get
from bithive.offer import Urgency
from bithive.outbox import Event, Relay
from bithive.settings import Settings
from clinic import judging, offering, taking, together
from clinic.archive import Archive
from clinic.data_class import Leaving
from clinic.errors import SeriesAbsent
from clinic.headers import input_digest
from clinic.intake import SERIES_CHANGED, Intake
from clinic.judging import IsReceiving
from clinic.means import Means
from clinic.network import Network
from clinic.public_sets import MemoryPublicStore, PublicStore
from clinic.refusals import NotRepeatable, WritingFailed
from clinic.uids import site_key
from clinic.volumes import Volumes
from clinic.workitem import Duty, State, Workitem
from clinic.workitem_store import Change, Kind, SeriesWatch, Which, WorkitemStore
from clinic.writers.warm import warm
from pipelines.catalog import Repertoire

IDLE_S = 30.0
POLL_S = 0.1
LISTEN_S = 20.0
BACKOFF_S = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
DEFECTS_MAX = 4
_SILENCE_MS = round(4 * LEASE_DURATION_S * 1000)
_RANK = {Urgency.HIGH: 0, Urgency.MEDIUM: 1, Urgency.LOW: 2}
_FIRST = {Duty.TAKE: 0, Duty.OFFER: 1, Duty.WITHDRAW: 2, Duty.ACKNOWLEDGE: 2}


class Flow:
    """Joins archive, pipelines and network.

    Parameters
    ----------
    settings, clock, ids
        Of this hub; `settings.secret` gives the key of written UIDs.
    archive, intake, store, volumes
        Of the clinical side.
    repertoire
        What is on and what it runs, now (`pipelines.catalog`); asked anew each time.
    networks
        Each institution's access to the network side.
    is_receiving
        Whether a request that may bring more of a study is open.
    public
        Which studies were declared public; none when absent.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        clock: Clock,
        ids: Ids,
        archive: Archive,
        intake: Intake,
        store: WorkitemStore,
        volumes: Volumes,
        repertoire: Callable[[], Repertoire],
        networks: Mapping[str, Network],
        is_receiving: IsReceiving | None = None,
        public: PublicStore | None = None,
    ) -> None:
        secret = settings.secret.get_secret_value() if settings.secret else ""
        self._means = Means(
            clock=clock,
            ids=ids,
            archive=archive,
            intake=intake,
            store=store,
            volumes=volumes,
            repertoire=repertoire,
            networks=networks,
            institution_name=settings.clinic.institution_name,
            site_key=site_key(secret),
            label_maps=settings.clinic.label_map_segmentation == "auto",
            public=public or MemoryPublicStore(),
            leaving=Leaving.of(settings),
        )
        self._quiet_s = settings.clinic.quiet_s
        self._is_receiving = is_receiving or (lambda _institution, _study_uid: False)
        self._relay = Relay(archive.outbox, self._receive)
        self._lock = threading.Lock()
        self._hearing = {institution: threading.Lock() for institution in networks}
        self._busy: set[str] = set()
        self._listening: set[str] = set()
        self._silent: dict[str, int] = {}
        self._warm = False

    def tick(self) -> float:
        """Do everything that is due.

        Returns
        -------
        float
            Seconds until something is due again, if nobody wakes the flow before.
        """
        self._relay.drain()
        waits = [IDLE_S]
        waits += [self._judge(watch) for watch in self._means.store.watched()]
        waits += [self._serve(item) for item in self._owed()]
        waits += [self._poll(name) for name in self._means.networks if name not in self._listening]
        self._watch_deadlines()
        self._warm_up()
        return max(0.0, min(waits))

    def listen(self, institution: str | None = None, wait_s: float = LISTEN_S) -> float:
        """Wait for news of the network side and take it; for a thread of its own, called again and again.

        Parameters
        ----------
        institution
            Whose news; the only one's when absent.
        wait_s
            How long to wait for the first.

        Returns
        -------
        float
            Seconds to pause before the next call.
        """
        name = institution or next(iter(self._means.networks))
        self._listening.add(name)
        return self._hear(name, wait_s)

    def rerun(self, institution: str, workitem_id: str) -> Workitem:
        """Repeat an analysis that was canceled, as a new Workitem on the series as it is now.

        Raises
        ------
        WorkitemAbsent, SeriesAbsent
            If there is none, or its series is gone.
        NotRepeatable
            If it was not canceled, or was repeated already.
        """
        item = self._means.store.workitem(institution, workitem_id)
        if item.state is not State.CANCELED or item.superseded_by is not None:
            raise NotRepeatable
        rows = self._means.archive.series(institution, item.series_uid)
        if not rows:
            raise SeriesAbsent
        pipeline, _ = self._means.pipeline(item)
        if item.inputs:
            inputs = together.again(self._means, item)
            again = judging.schedule_together(self._means, pipeline, rows[0], inputs)
        else:
            again = judging.schedule(self._means, pipeline, rows[0], input_digest(rows))
        before = item.changed(self._means.clock.now_ms(), superseded_by=again.workitem_id)
        self._means.store.commit(
            Change((before, again), (), (self._means.event(again, Kind.MATCHED, repeats=workitem_id),))
        )
        return again

    def _receive(self, event: Event) -> None:
        if event.topic == SERIES_CHANGED:
            judging.receive(self._means, event, self._quiet_s)

    def _judge(self, watch: SeriesWatch) -> float:
        try:
            return judging.judge(self._means, watch, self._is_receiving) or IDLE_S
        except Exception as error:  # noqa: BLE001 - a defect in one series stops no other
            get().error("series.failed", institution=watch.institution, exc_info=error)
            return BACKOFF_S[-1]

    def _owed(self) -> list[Workitem]:
        owed = self._means.store.find(Which(owed=True))
        return sorted(
            owed, key=lambda item: (_FIRST[item.duty or Duty.ACKNOWLEDGE], _RANK[item.urgency], item.created_ms)
        )

    def _serve(self, item: Workitem) -> float:
        """Do what is owed for a Workitem if it is due; the seconds until it should be looked at again."""
        with self._lock:
            if item.workitem_id in self._busy:
                return IDLE_S
            self._busy.add(item.workitem_id)
        try:
            item = self._means.store.workitem(item.institution, item.workitem_id)
            left_s = (item.due_ms - self._means.clock.now_ms()) / 1000
            return left_s if left_s > 0 else self._perform(item)
        finally:
            with self._lock:
                self._busy.discard(item.workitem_id)

    def _perform(self, item: Workitem) -> float:
        if item.duty is None:
            return IDLE_S
        try:
            _DUTIES[item.duty](self._means, item)
        except Unavailable as error:
            return self._postpone(item, error.code)
        except BitHiveError as error:
            return self._fail(item, error)
        except Exception as error:  # noqa: BLE001 - a defect in one study stops no other
            get().error("workitem.failed", workitem=item.workitem_id, kind=str(item.duty), exc_info=error)
            defect = WritingFailed() if item.duty is Duty.TAKE else Fault()
            return self._postpone(item, defect.code) if item.tries < DEFECTS_MAX else self._fail(item, defect)
        return 0.0

    def _postpone(self, item: Workitem, code: str) -> float:
        """Put a duty off; the study's page says why."""
        delay_s = BACKOFF_S[min(item.tries, len(BACKOFF_S) - 1)]

        def step(now: Workitem) -> Workitem | None:
            return now.postponed(code, self._means.clock.now_ms(), delay_s) if now.duty is item.duty else None

        told = () if item.waiting == code else (self._means.event(item, Kind.WAITING, code=code),)
        self._means.update(item, step, *told)
        get().warning("workitem.postponed", workitem=item.workitem_id, code=code, attempts=item.tries + 1)
        return delay_s

    def _fail(self, item: Workitem, error: BitHiveError) -> float:
        """End a Workitem for a coded reason; a duty of one that has ended is let go."""
        get().warning("workitem.canceled", workitem=item.workitem_id, code=error.code, kind=str(item.duty))

        def step(now: Workitem) -> Workitem | None:
            if not now.active:
                return now.changed(self._means.clock.now_ms(), duty=None)
            duty = None if now.offer is None else Duty.ACKNOWLEDGE if now.accepted_ms else Duty.WITHDRAW
            return now.canceled(error.code, self._means.clock.now_ms(), duty=duty, due_ms=0, stage=None)

        told = (self._means.event(item, Kind.FAILED, code=error.code),) if item.active else ()
        self._means.update(item, step, *told)
        return 0.0

    def _poll(self, institution: str) -> float:
        """Ask for news without waiting, where nobody listens: often while something is under way."""
        pause_s = self._hear(institution, 0.0)
        if pause_s:
            return pause_s
        under_way = self._means.store.find(Which(institution=institution, active=True))
        owed = self._means.store.find(Which(institution=institution, owed=True))
        now_ms = self._means.clock.now_ms()
        if any(item.due_ms <= now_ms for item in owed):
            return 0.0
        return POLL_S if under_way else IDLE_S

    def _hear(self, institution: str, wait_s: float) -> float:
        store, network = self._means.store, self._means.networks[institution]
        try:
            events = network.events(store.cursor(institution), wait_s)
        except Unavailable as error:
            count = self._silent[institution] = self._silent.get(institution, 0) + 1
            get().warning("network.silent", institution=institution, code=error.code, attempts=count)
            return BACKOFF_S[min(count, len(BACKOFF_S)) - 1]
        self._silent.pop(institution, None)
        with self._hearing[institution]:
            for event in events:
                if event.seq > store.cursor(institution):
                    owed = taking.hear(self._means, institution, event)
                    if owed is not None and owed.duty is Duty.TAKE:
                        self._serve(owed)
                        self._serve(owed)  # what is owed once it is taken: the acknowledgement
        return 0.0

    def _watch_deadlines(self) -> None:
        """Offer again what the network side seems to have forgotten: its time passed, and no word came."""
        now_ms = self._means.clock.now_ms()
        for item in self._means.store.find(Which(active=True)):
            if item.duty is None and item.offer and item.offer["deadline_ms"] + _SILENCE_MS < now_ms:
                self._means.update(
                    item, lambda now: now.changed(now_ms, duty=Duty.OFFER, due_ms=0) if now.duty is None else None
                )

    def _warm_up(self) -> None:
        """Load what the first findings would otherwise wait for."""
        if not self._warm:
            self._warm = True
            on = [pipeline for pipeline in self._means.repertoire().pipelines.values() if not pipeline.withheld]
            written: set[type] = set()
            for pipeline in on:
                kinds = {type(output) for output in pipeline.outputs}
                if not kinds <= written:
                    warm(pipeline)
                    written |= kinds


def _acknowledge(means: Means, item: Workitem) -> None:
    means.network(item.institution).acknowledge(item.offer_id)
    _discharge(means, item)


def _withdraw(means: Means, item: Workitem) -> None:
    means.network(item.institution).withdraw(item.offer_id)
    _discharge(means, item)


def _discharge(means: Means, item: Workitem) -> None:
    means.update(item, lambda now: now.changed(means.clock.now_ms(), duty=None, tries=0, waiting=None))


_DUTIES: dict[Duty, Callable[[Means, Workitem], None]] = {
    Duty.OFFER: offering.offer,
    Duty.TAKE: taking.take,
    Duty.ACKNOWLEDGE: _acknowledge,
    Duty.WITHDRAW: _withdraw,
}
