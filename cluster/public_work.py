"""The network's own public work: it makes canaries and benchmarks as fast as contributed cells are there to do them.

They are offered like any institution's, under an institution id of the network's own, and never given to an
institution's own cell: those have work of their own. Everything is stored before it is sent, so that whatever is
repeated after a crash is the same Offer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

from bithive.clock import Clock
from bithive.envelope import PAYLOAD, open_all, seal, sealed_size_bytes
from bithive.errors import BitHiveError
from bithive.ids import Ids
from bithive.log import get
from bithive.offer import Offer
from cluster.broker import Broker
from cluster.canaries import MAKERS, Canary, Kind, Samples, Stage, image_of, offer_of
from cluster.canary_answers import Answers, Unfit
from cluster.canary_store import CanaryStore
from cluster.cell_record import CellRecord
from cluster.errors import FindingsAbsent
from cluster.filters import why_not
from cluster.private_files import write_private
from cluster.store import Notice
from models.bundle import Bundle
from models.errors import WeightsAbsent

PAUSE_S = 1.0
_HOUR_MS = 3_600_000
_NOTICES_MAX = 100
_UNFIT_MS = 3_600_000
_VOXELS = 1_000_000


class PublicWork:
    """Makes canaries, offers them, and keeps what was answered.

    Parameters
    ----------
    broker
        The network side.
    store
        Where they are kept.
    answers
        Whoever knows answers beforehand.
    clock, ids
        Time and chance.
    bundles
        What can be run, now, by name.
    samples
        Where public images lie.
    folder
        Known and given Findings of each, plain: they are of public or synthetic images.
    per_hour
        How many each contributed cell is given within an hour at most.
    """

    def __init__(
        self,
        broker: Broker,
        store: CanaryStore,
        answers: Answers,
        clock: Clock,
        ids: Ids,
        *,
        bundles: Callable[[], Mapping[str, Bundle]],
        samples: Samples,
        folder: Path,
        per_hour: float,
    ) -> None:
        self._broker, self._store, self._answers = broker, store, answers
        self._clock, self._ids, self._bundles, self._samples = clock, ids, bundles, samples
        self._folder, self._per_hour = folder, per_hour
        self.institution = broker.own_work = store.institution(ids.new("ins"))
        self._unfit: dict[str, int] = {}

    def tick(self) -> float:
        """Do what is due; the seconds until it should be asked again."""
        self._hear()
        for canary in self._store.unfinished():
            if canary.stage is Stage.READY:
                self._offer(canary)
        if self._per_hour > 0 and self._wanted():
            self._make()
        self._answers.rest()
        return PAUSE_S

    def _contributed(self) -> dict[str, set[str]]:
        """The live cells that are no institution's own and may have public work, by the bundles that they run."""
        found: dict[str, set[str]] = {}
        now_ms = self._clock.now_ms()
        for name, bundle in self._bundles().items():
            if name in MAKERS:
                running = self._broker.presence.running(bundle.sha256, now_ms)
                cells = {record.cell for record in running if not is_own_cell(record)}
                if cells:
                    found[name] = cells
        return found

    def _wanted(self) -> bool:
        """Whether another one is due: not more at once than there are cells, nor more in an hour than they are given."""
        contributed = self._contributed()
        cells = len(set().union(*contributed.values())) if contributed else 0
        if len(self._store.unfinished()) >= cells:
            return False
        # The first of each cell comes at once; the others are spread evenly over the hour.
        period_ms = round(_HOUR_MS / (self._per_hour * cells))
        now_ms = self._clock.now_ms()
        lately = self._store.made_since(now_ms - _HOUR_MS)
        return lately < cells or (lately < self._per_hour * cells and self._store.made_since(now_ms - period_ms) == 0)

    def _make(self) -> None:
        now_ms = self._clock.now_ms()
        fit = [name for name in self._contributed() if self._unfit.get(name, 0) <= now_ms]
        for name in sorted(fit, key=self._order(now_ms)):
            canary = self._made(self._bundles()[name], now_ms)
            if canary is not None:
                self._offer(canary)
                return
            self._unfit[name] = now_ms + _UNFIT_MS

    def _order(self, now_ms: int) -> Callable[[str], tuple[int, bytes]]:
        """Which bundle is tested next: by chance, but a cell that has just come is given a small one first."""
        bundles, first = self._bundles(), self._store.made_since(now_ms - _HOUR_MS) == 0
        return lambda name: (bundles[name].reference_work_units(_VOXELS) if first else 0, self._ids.token(8))

    def _made(self, bundle: Bundle, now_ms: int) -> Canary | None:
        """A new one, stored with its known answer; None where there is no image that the bundle takes."""
        seed = self._ids.token(32)
        try:
            volume = image_of(bundle.name, self._samples, seed)
        except BitHiveError as error:
            get().warning("canary.unmade", bundle=bundle.name, code=error.code)
            return None
        if volume is None:
            return None
        offer = offer_of(self._ids.new("off"), self.institution, bundle, volume, seed, now_ms)
        if not self._taken_by_any(offer):
            return None
        draft = Canary(offer.offer_id, Kind.BENCHMARK, seed.hex(), offer.to_json(), "", now_ms)
        try:
            known = self._answers.answer(offer, draft.keys, volume.to_bytes())
        except Unfit:
            return None
        if known is None:
            made = draft
        else:
            write_private(self._folder / known_name(offer.offer_id), known)
            digest = hashlib.sha256(known).hexdigest()
            made = Canary(offer.offer_id, Kind.CANARY, draft.seed, draft.offer, digest, now_ms)
        self._store.keep(made)
        get().info("canary.made", offer=offer.offer_id, bundle=bundle.name, kind=str(made.kind))
        return made

    def _taken_by_any(self, offer: Offer) -> bool:
        now_ms = self._clock.now_ms()
        running = self._broker.presence.running(offer.bundle_sha256, now_ms)
        return any(not is_own_cell(cell) and why_not(cell, offer, now_ms=now_ms) is None for cell in running)

    def _offer(self, canary: Canary) -> None:
        """Offer it and send its payload. May be repeated at any point."""
        offer, keys = Offer.from_stored(canary.offer), canary.keys
        if offer.deadline_ms <= self._clock.now_ms():
            self._store.keep(canary.at(Stage.ENDED, reason="deadline-passed", ended_ms=self._clock.now_ms()))
            return
        try:
            self._broker.offer(self.institution, offer, keys, sealed_size_bytes(offer.payload_size_bytes))
            self._send(canary)
        except BitHiveError as error:
            get().warning("canary.refused", offer=offer.offer_id, code=error.code)
            self._store.keep(canary.at(Stage.ENDED, reason=error.code, ended_ms=self._clock.now_ms()))
            return
        self._store.keep(canary.at(Stage.OPEN))

    def _send(self, canary: Canary) -> None:
        """Send its payload where it is wanted. Raises `WeightsAbsent` when the public image is gone."""
        offer = Offer.from_stored(canary.offer)
        incoming = self._broker.receive_payload(self.institution, offer.offer_id)
        if incoming is None:
            return
        try:
            volume = image_of(offer.bundle, self._samples, bytes.fromhex(canary.seed))
            if volume is None:
                raise WeightsAbsent("the public image is not here any more")
            incoming.write(list(seal(canary.keys.payload_key, PAYLOAD, volume.to_bytes())))
            self._broker.store_payload(self.institution, offer.offer_id, incoming)
        finally:
            incoming.discard()

    def _hear(self) -> None:
        """Take what happened to them, in order; each notice once, or again after a crash."""
        cursor = self._store.cursor()
        while notices := self._broker.notices(self.institution, cursor, _NOTICES_MAX):
            for notice in notices:
                self._take(notice)
                cursor = notice.seq
            self._store.move(cursor)

    def _take(self, notice: Notice) -> None:
        canary = self._store.canary(notice.offer_id)
        if canary is None or canary.stage not in (Stage.READY, Stage.OPEN):
            return
        canary = canary.at(Stage.OPEN) if canary.stage is Stage.READY else canary
        if notice.topic == "attempt.accepted":
            self._answered(canary, notice)
        elif notice.topic in ("offer.exhausted", "offer.withdrawn"):
            reason = str(notice.body.get("code", "withdrawn"))
            self._store.keep(canary.at(Stage.ENDED, reason=reason, ended_ms=notice.at_ms))
        elif notice.topic == "offer.payload-lost":
            self._send(canary)

    def _answered(self, canary: Canary, notice: Notice) -> None:
        """Keep what the cell gave beside what was known, and let the network destroy its copy."""
        attempt_id = str(notice.body["attempt_id"])
        try:
            given = self._findings(canary, attempt_id)
        except BitHiveError as error:
            get().warning("canary.unread", offer=canary.offer_id, code=error.code)
            ended = canary.at(Stage.ENDED, attempt_id=attempt_id, reason=error.code, ended_ms=notice.at_ms)
            self._store.keep(ended)
        else:
            write_private(self._folder / given_name(canary.offer_id), given)
            digest = hashlib.sha256(given).hexdigest()
            self._store.keep(
                canary.at(Stage.ANSWERED, attempt_id=attempt_id, given_digest=digest, ended_ms=notice.at_ms)
            )
            get().info("canary.answered", offer=canary.offer_id, attempt=attempt_id, kind=str(canary.kind))
        self._broker.acknowledge(self.institution, canary.offer_id)

    def _findings(self, canary: Canary, attempt_id: str) -> bytes:
        attempt = self._broker.store.attempt(attempt_id)
        if attempt is None:
            raise FindingsAbsent
        sealed = self._broker.findings(self.institution, attempt_id)
        content = sealed.path.read_bytes()
        key = canary.keys.payload_key
        return bytes(open_all(key, attempt.fencing_token, sealed.plain_size_bytes, [content]))


def is_own_cell(cell: CellRecord) -> bool:
    """Whether it is an institution's own: the network's own work is not for it."""
    return cell.institution is not None


def known_name(offer_id: str) -> str:
    """The file of a known answer."""
    return f"{offer_id}.known"


def given_name(offer_id: str) -> str:
    """The file of what a cell answered."""
    return f"{offer_id}.given"
