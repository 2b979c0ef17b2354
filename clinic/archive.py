"""The archive: which instances an institution has. The files themselves are in `bithive.blobs`.

Every row carries its institution, and every question names one: what another institution has is simply not found.
`decide` is what both stores agree on; they only load what it looks at and write what it accepts.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from typing import Protocol

from bithive import limits
from bithive.outbox import Event, MemoryOutbox, Outbox
from clinic.attributes import Level, columns, of_series, of_study
from clinic.errors import InstanceDiffers, PatientMismatch, SeriesMismatch, StudyFull
from clinic.instance import ISSUER, PATIENT_ID, InstanceRow, NewInstance, SeriesRow, StudyRow, first
from clinic.query import Found, Match, Query


class Taken(StrEnum):
    """What the archive did with an instance."""

    STORED = "stored"
    KNOWN = "known"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one instance.

    Attributes
    ----------
    sop_uid
        Which.
    taken
        STORED; KNOWN when the very same file is there already; REFUSED.
    code
        Why it was refused: `instance-differs`, `patient-mismatch`, `series-mismatch` or `study-full`.
    blob
        For `instance-differs`: the file that is stored under this UID.
    """

    sop_uid: str
    taken: Taken
    code: str = ""
    blob: str = ""


@dataclass(frozen=True, slots=True)
class SeriesChange:
    """A series that an `add` put instances into.

    Attributes
    ----------
    study_uid, series_uid
        Which.
    added
        How many instances were added.
    instances
        How many it has now.
    """

    study_uid: str
    series_uid: str
    added: int
    instances: int


Announce = Callable[[Sequence[SeriesChange]], Sequence[Event]]
Release = Callable[[Sequence[str]], None]


def quietly(_changes: Sequence[SeriesChange]) -> Sequence[Event]:
    """Announce nothing."""
    return ()


class Archive(Protocol):
    """Instances by institution, and the outbox of what happened to them."""

    @property
    def outbox(self) -> Outbox:
        """What waits to be taken."""

    def add(self, institution: str, instances: Sequence[NewInstance], announce: Announce = quietly) -> list[Outcome]:
        """Index instances whose files are durable; one outcome each, in order, in one durable transaction.

        Parameters
        ----------
        announce
            Called inside the transaction with the series that changed; its events go to the outbox with the commit.
        """

    def search(self, institution: str, level: Level, query: Query) -> list[Found]:
        """What meets every condition: studies newest first, series and instances by number."""

    def series(self, institution: str, series_uid: str) -> list[InstanceRow]:
        """The instances of a series, by Instance Number and UID; none when it is not there."""

    def study(self, institution: str, study_uid: str) -> StudyRow | None:
        """One study."""

    def instance(self, institution: str, sop_uid: str) -> InstanceRow | None:
        """One instance."""

    def delete_study(self, institution: str, study_uid: str, release: Release, events: Sequence[Event] = ()) -> bool:
        """Forget a study; whether it was there.

        Parameters
        ----------
        release
            Called inside the transaction with the digests of the files that no other instance needs. When it is cut
            short, the study is still listed and can be deleted again.
        """

    def referenced(self, blobs: Iterable[str]) -> set[str]:
        """Which of these files any institution's instance still needs."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What `decide` looks at: all that is stored under the UIDs of a request.

    Attributes
    ----------
    blobs
        SOP Instance UID to digest.
    studies
        Study Instance UID to Patient ID, its issuer, and the number of instances.
    series
        Series Instance UID to its Study Instance UID.
    """

    blobs: dict[str, str] = field(default_factory=dict)
    studies: dict[str, tuple[str, str, int]] = field(default_factory=dict)
    series: dict[str, str] = field(default_factory=dict)


def decide(known: Snapshot, instances: Sequence[NewInstance]) -> list[Outcome]:
    """Which instances are taken, in the order they came. `known` afterwards includes them."""
    return [_decide(known, instance) for instance in instances]


def _decide(known: Snapshot, instance: NewInstance) -> Outcome:
    uid, stored = instance.sop_uid, known.blobs.get(instance.sop_uid)
    if stored is not None:
        if stored == instance.blob:
            return Outcome(uid, Taken.KNOWN)
        return Outcome(uid, Taken.REFUSED, InstanceDiffers.code, stored)
    patient = (first(instance.header, PATIENT_ID), first(instance.header, ISSUER))
    held_id, held_issuer, count = known.studies.get(instance.study_uid, (*patient, 0))
    if held_id != patient[0] or (held_issuer and patient[1] and held_issuer != patient[1]):
        return Outcome(uid, Taken.REFUSED, PatientMismatch.code)
    if known.series.get(instance.series_uid, instance.study_uid) != instance.study_uid:
        return Outcome(uid, Taken.REFUSED, SeriesMismatch.code)
    if count >= limits.STUDY_INSTANCES_MAX:
        return Outcome(uid, Taken.REFUSED, StudyFull.code)
    known.blobs[uid] = instance.blob
    known.studies[instance.study_uid] = (held_id, held_issuer or patient[1], count + 1)
    known.series[instance.series_uid] = instance.study_uid
    return Outcome(uid, Taken.STORED)


def by_series(instances: Iterable[NewInstance]) -> dict[str, list[NewInstance]]:
    """Instances by Series Instance UID, in order."""
    found: dict[str, list[NewInstance]] = {}
    for instance in instances:
        found.setdefault(instance.series_uid, []).append(instance)
    return found


def new_study(institution: str, instance: NewInstance) -> StudyRow:
    """The row of a study whose first instance this is; it counts nothing yet."""
    patient, issuer = first(instance.header, PATIENT_ID), first(instance.header, ISSUER)
    came = instance.received_ms
    kept = of_study(instance.header)
    return StudyRow(institution, instance.study_uid, patient, issuer, kept, (), 0, 0, came, came)


def new_series(institution: str, instance: NewInstance) -> SeriesRow:
    """The row of a series whose first instance this is; it counts nothing yet."""
    return SeriesRow(institution, instance.study_uid, instance.series_uid, of_series(instance.header), 0)


def row_of(institution: str, instance: NewInstance) -> InstanceRow:
    """The row of an instance."""
    members = {item.name: getattr(instance, item.name) for item in fields(NewInstance)}
    return InstanceRow(**members, institution=institution)


def number_of(row: InstanceRow) -> int:
    """Instance Number for sorting; after all others when it has none."""
    number = columns(row.header, Level.INSTANCE)["instance_number"]
    return 2**31 - 1 if number is None else int(number)


class MemoryArchive:
    """The archive in dictionaries: for tests and demonstrations; gone with the process."""

    def __init__(self) -> None:
        self.outbox: MemoryOutbox = MemoryOutbox()
        self._studies: dict[tuple[str, str], StudyRow] = {}
        self._series: dict[tuple[str, str], SeriesRow] = {}
        self._instances: dict[tuple[str, str], InstanceRow] = {}
        self._lock = threading.Lock()

    def add(self, institution: str, instances: Sequence[NewInstance], announce: Announce = quietly) -> list[Outcome]:
        with self._lock:
            outcomes = decide(self._snapshot(institution, instances), instances)
            taken = [new for new, outcome in zip(instances, outcomes, strict=True) if outcome.taken is Taken.STORED]
            groups = by_series(taken)
            totals = {uid: self._count(institution, uid) + len(group) for uid, group in groups.items()}
            changes = [SeriesChange(group[0].study_uid, uid, len(group), totals[uid]) for uid, group in groups.items()]
            events = announce(changes) if changes else ()
            for group in groups.values():
                self._put(institution, group)
            for event in events:
                self.outbox.append(event)
        return outcomes

    def search(self, institution: str, level: Level, query: Query) -> list[Found]:
        with self._lock:
            candidates = sorted(self._candidates(institution, level), key=_order)
        found = [item for item in candidates if all(_meets(item, match) for match in query.matches)]
        return found[query.offset : None if query.limit is None else query.offset + query.limit]

    def series(self, institution: str, series_uid: str) -> list[InstanceRow]:
        with self._lock:
            rows = [
                row
                for row in self._instances.values()
                if row.institution == institution and row.series_uid == series_uid
            ]
        return sorted(rows, key=lambda row: (number_of(row), row.sop_uid))

    def study(self, institution: str, study_uid: str) -> StudyRow | None:
        return self._studies.get((institution, study_uid))

    def instance(self, institution: str, sop_uid: str) -> InstanceRow | None:
        return self._instances.get((institution, sop_uid))

    def delete_study(self, institution: str, study_uid: str, release: Release, events: Sequence[Event] = ()) -> bool:
        with self._lock:
            key = (institution, study_uid)
            if key not in self._studies:
                return False
            own = {at for at, row in self._instances.items() if (row.institution, row.study_uid) == key}
            needed = {row.blob for at, row in self._instances.items() if at not in own}
            release(sorted({self._instances[at].blob for at in own} - needed))
            del self._studies[key]
            self._series = {at: row for at, row in self._series.items() if (row.institution, row.study_uid) != key}
            self._instances = {at: row for at, row in self._instances.items() if at not in own}
            for event in events:
                self.outbox.append(event)
        return True

    def referenced(self, blobs: Iterable[str]) -> set[str]:
        with self._lock:
            return set(blobs) & {row.blob for row in self._instances.values()}

    def _snapshot(self, institution: str, instances: Sequence[NewInstance]) -> Snapshot:
        known = Snapshot()
        for new in instances:
            if row := self._instances.get((institution, new.sop_uid)):
                known.blobs[new.sop_uid] = row.blob
            if study := self._studies.get((institution, new.study_uid)):
                known.studies[new.study_uid] = (study.patient_id, study.issuer, study.instances)
            if series := self._series.get((institution, new.series_uid)):
                known.series[new.series_uid] = series.study_uid
        return known

    def _count(self, institution: str, series_uid: str) -> int:
        row = self._series.get((institution, series_uid))
        return row.instances if row else 0

    def _put(self, institution: str, group: Sequence[NewInstance]) -> None:
        head, last = group[0], group[-1]
        study = self._studies.get((institution, head.study_uid)) or new_study(institution, head)
        known = self._series.get((institution, head.series_uid))
        series = known or new_series(institution, head)
        issuers = [issuer for new in group if (issuer := first(new.header, ISSUER))]
        self._studies[institution, head.study_uid] = replace(
            study,
            issuer=study.issuer or next(iter(issuers), ""),
            modalities=merged(study.modalities, series.modality),
            series=study.series + (known is None),
            instances=study.instances + len(group),
            changed_ms=last.received_ms,
        )
        self._series[institution, head.series_uid] = replace(series, instances=series.instances + len(group))
        for new in group:
            self._instances[institution, new.sop_uid] = row_of(institution, new)

    def _candidates(self, institution: str, level: Level) -> Iterable[Found]:
        studies = {uid: row for (owner, uid), row in self._studies.items() if owner == institution}
        series = {uid: row for (owner, uid), row in self._series.items() if owner == institution}
        if level is Level.STUDY:
            return [Found(row) for row in studies.values()]
        if level is Level.SERIES:
            return [Found(studies[row.study_uid], row) for row in series.values()]
        rows = [row for (owner, _), row in self._instances.items() if owner == institution]
        return [Found(studies[row.study_uid], series[row.series_uid], row) for row in rows]


def merged(modalities: Sequence[str], modality: str) -> tuple[str, ...]:
    """Modalities in Study with one more."""
    return tuple(sorted({*modalities, modality} - {""}))


def _order(found: Found) -> tuple[object, ...]:
    key: tuple[object, ...] = (-found.study.created_ms, found.study.study_uid)
    if found.series:
        number = columns(found.series.attributes, Level.SERIES)["series_number"]
        key += (2**31 - 1 if number is None else number, found.series.series_uid)
    if found.instance:
        key += (number_of(found.instance), found.instance.sop_uid)
    return key


def _meets(found: Found, match: Match) -> bool:
    attribute = match.attribute
    holder = {Level.STUDY: found.study, Level.SERIES: found.series, Level.INSTANCE: found.instance}[attribute.level]
    direct: Mapping[str, object] = {
        name: getattr(holder, name)
        for name in ("study_uid", "series_uid", "sop_uid", "sop_class", "modalities")
        if hasattr(holder, name)
    }
    if attribute.column in direct:
        return match.accepts(direct[attribute.column])
    header = getattr(holder, "header", None) or getattr(holder, "attributes", {})
    return match.accepts(columns(header, attribute.level)[attribute.column])
