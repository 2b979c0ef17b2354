"""The one way into the archive: durable first, acknowledged afterwards.

Order of a commit: every file is synced, renamed to its digest, its folder synced; then one transaction indexes the
instances and puts `series.changed` into the outbox; only then do outcomes exist that an answer could be made of.
Refusals never take others with them, and a failure in between leaves nothing that anyone could mistake for stored.
"""

from __future__ import annotations

import io
import shutil
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, TYPE_CHECKING

from bithive import limits
from bithive.blobs import Blobs
from bithive.clock import Clock
from bithive.errors import BitHiveError
from bithive.ids import Ids
from bithive.log import get
from bithive.outbox import Event
from bithive.settings import Settings
from clinic import traced
from clinic.access_log import Access, AccessLog
from clinic.archive import Archive, Outcome, SeriesChange, Taken, quietly
from clinic.batch import BACKLOG_BYTES_MAX, PIECE_BYTES, Batch, Part, StoreOutcome, is_full
from clinic.errors import (
    DiskFull,
    DiskLow,
    InstanceDiffers,
    NoSpace,
    RequestTooLarge,
    StoreFailed,
    StudyAbsent,
    StudyMismatch,
)
from clinic.part10 import dataset_span

if TYPE_CHECKING:
    from pydicom import Dataset

SERIES_CHANGED = "series.changed"
_THREADS = 8
_META_BYTES = 64 * limits.KIB


class Intake:
    """Takes instances into the archive, and whole studies out of it.

    Parameters
    ----------
    archive, blobs
        Where headers and files go.
    settings
        For the water marks of the disk that holds the state folder.
    clock, ids
        For times of arrival and names of batches.
    free_bytes
        How much disk is free; asks the state folder's disk when absent.
    on_stored
        Called after a commit that put instances of others into the archive: there is something in the outbox.
    """

    def __init__(
        self,
        archive: Archive,
        blobs: Blobs,
        settings: Settings,
        clock: Clock,
        ids: Ids,
        free_bytes: Callable[[], int] | None = None,
        on_stored: Callable[[], None] | None = None,
    ) -> None:
        self._archive, self._blobs, self._clock, self._ids = archive, blobs, clock, ids
        self._low_bytes = settings.clinic.disk_low_bytes
        self._reserve_bytes = settings.clinic.disk_reserve_bytes
        self._free_bytes = free_bytes or _free_bytes_of(settings.state)
        self._on_stored = on_stored
        self._files = _Turns()
        self._batches: weakref.WeakSet[Batch] = weakref.WeakSet()
        self._registering = threading.Lock()
        self._executor = ThreadPoolExecutor(_THREADS, "intake")

    def begin(self, institution: str, study_uid: str | None = None, size_bytes: int | None = None) -> Batch:
        """Begin to receive a request.

        Parameters
        ----------
        institution
            Whose instances they are (`ins_...`).
        study_uid
            The study that the request names, if it does.
        size_bytes
            How large it says it is, if it does.

        Raises
        ------
        RequestTooLarge
            If that is over `REQUEST_BYTES_MAX`.
        DiskFull
            If the disk's reserve would be touched.
        DiskLow
            If the disk is low and the study is a new one.
        """
        if (size_bytes or 0) > limits.REQUEST_BYTES_MAX:
            raise RequestTooLarge(limit=limits.REQUEST_BYTES_MAX)
        free = self._free_bytes()
        if free - (size_bytes or 0) < self._reserve_bytes:
            raise DiskFull
        if study_uid and free < self._low_bytes and self._archive.study(institution, study_uid) is None:
            raise DiskLow
        batch = self._batch(institution, self._has_space)
        with self._registering:
            self._batches.add(batch)
        return batch

    def commit(self, batch: Batch, study_uid: str | None = None) -> list[StoreOutcome]:
        """Make everything of a batch durable that can be stored; one outcome a part, in order.

        Parameters
        ----------
        batch
            From `begin`, every part ended.
        study_uid
            Refuse instances of any other study.
        """
        batch.settle()
        for part in batch.parts:
            if study_uid and part.instance and part.instance.study_uid != study_uid:
                part.refuse(StudyMismatch.code)
        if self._free_bytes() < self._low_bytes and not batch.own:
            self._refuse_new_studies(batch)
        ready = [part for part in batch.parts if part.instance]
        if ready and batch.own:
            self._store(batch, ready)
        elif ready:
            series = {part.instance.series_uid for part in ready if part.instance}
            with traced.receiving(batch.institution, series, batch.received_ms) as span:
                traced.received(batch.institution, series, span)
                self._store(batch, ready)
                span.note(instances=len(batch.parts), refused=sum(part.instance is None for part in batch.parts))
        batch.open = False
        for part in batch.parts:
            if part.instance is None:
                part.forget()
        outcomes = [part.outcome() for part in batch.parts]
        refused = sum(not outcome.stored for outcome in outcomes)
        if self._on_stored is not None and not batch.own and refused < len(outcomes):
            self._on_stored()
        get().info(
            "batch.committed", batch=batch.id, institution=batch.institution, instances=len(outcomes), refused=refused
        )
        return outcomes

    def receive(
        self, institution: str, files: Iterable[Iterable[bytes]], study_uid: str | None = None
    ) -> list[StoreOutcome]:
        """Take instances from anything that gives their bytes: a zip archive, a folder.

        Parameters
        ----------
        files
            For each instance the chunks of its Part 10 file. An error that they raise forgets the whole batch.

        Raises
        ------
        DiskFull, DiskLow, TooManyInstances, RequestTooLarge
            As `begin` and `Batch.part`.
        """
        batch = self.begin(institution, study_uid)
        received = 0
        try:
            for chunks in files:
                part = batch.part()
                for chunk in chunks:
                    received += len(chunk)
                    if received > limits.REQUEST_BYTES_MAX:
                        raise RequestTooLarge(limit=limits.REQUEST_BYTES_MAX)
                    part.write(chunk)
                    if batch.backlog_bytes > BACKLOG_BYTES_MAX:
                        batch.wait()
                part.end()
            return self.commit(batch, study_uid)
        except BaseException:
            batch.discard()
            raise

    def store_results(self, institution: str, datasets: Sequence[Dataset | bytes]) -> list[StoreOutcome]:
        """Archive what BitHive made, just as durably. It causes no analysis, and the disk's reserve is there for it.

        An object whose SOP Instance UID is stored already counts as stored: our UIDs name their content.

        Parameters
        ----------
        datasets
            With file meta information, transfer syntax included; or Part 10 files as bytes.
        """
        batch = self._batch(institution, lambda: True, own=True)
        try:
            for dataset in datasets:
                part = batch.part()
                part.write(_content_of(dataset))
                part.end()
            return self.commit(batch)
        except BaseException:
            batch.discard()
            raise

    def delete_study(self, institution: str, study_uid: str, account: str, access_log: AccessLog) -> None:
        """Remove a study and its files, for good. Logged before anything is gone.

        Parameters
        ----------
        account
            Who wants it (`acc_...`).

        Raises
        ------
        StudyAbsent
            If the institution has no such study.
        """
        if self._archive.study(institution, study_uid) is None:
            raise StudyAbsent
        access_log.record(institution, account, Access.DELETED, study_uid)
        with self._files.alone():
            if not self._archive.delete_study(institution, study_uid, self._delete_files):
                raise StudyAbsent

    def is_receiving(self, institution: str, study_uid: str) -> bool:
        """Whether a request that brings instances of this study has not ended."""
        with self._registering:
            batches = list(self._batches)
        return any(batch.brings(institution, study_uid) for batch in batches)

    def close(self) -> None:
        """Wait for what is under way and end the threads."""
        self._executor.shutdown()

    def _batch(self, institution: str, has_space: Callable[[], bool], *, own: bool = False) -> Batch:
        now_ms = self._clock.now_ms()
        return Batch(self._ids.new("bat"), institution, now_ms, self._blobs, self._executor, has_space, own=own)

    def _has_space(self) -> bool:
        return self._free_bytes() >= self._reserve_bytes

    def _refuse_new_studies(self, batch: Batch) -> None:
        studies = {part.instance.study_uid for part in batch.parts if part.instance}
        unknown = {uid for uid in studies if self._archive.study(batch.institution, uid) is None}
        for part in batch.parts:
            if part.instance and part.instance.study_uid in unknown:
                part.refuse(NoSpace.code)

    def _store(self, batch: Batch, parts: Sequence[Part]) -> None:
        """Files, then the index; afterwards every part that is not stored is refused and its file let go."""
        instances = [part.instance for part in parts if part.instance]
        files = {instance.blob for instance in instances}
        try:
            with self._files.together():
                self._blobs.commit([part.spool for part in parts])
                announce = quietly if batch.own else self._announcer(batch)
                outcomes = self._archive.add(batch.institution, instances, announce)
                for part, outcome in zip(parts, outcomes, strict=True):
                    self._settle(part, outcome)
        except Exception as error:  # noqa: BLE001 - nothing of it is acknowledged; the sender is told so
            get().error("batch.failed", batch=batch.id, instances=len(parts), exc_info=error)
            for part in parts:
                part.refuse(NoSpace.code if is_full(error) else StoreFailed.code)
        if unneeded := files - {part.instance.blob for part in parts if part.instance}:
            self._release(unneeded)

    def _settle(self, part: Part, outcome: Outcome) -> None:
        part.known = outcome.taken is not Taken.STORED
        if outcome.taken is not Taken.REFUSED:
            return
        assert part.instance is not None, "only instances are offered to the archive"
        if outcome.code == InstanceDiffers.code and (
            part.instance.own or self._same_dataset(part.instance.blob, outcome.blob)
        ):
            part.instance = replace(part.instance, blob=outcome.blob)
        else:
            part.refuse(outcome.code)

    def _same_dataset(self, one: str, other: str) -> bool:
        """Whether two files hold the same data set, byte for byte, under different file meta information."""
        try:
            with self._blobs.open(one) as first, self._blobs.open(other) as second:
                spans = [dataset_span(file.read(_META_BYTES)) for file in (first, second)]
                if spans[0][0] != spans[1][0]:
                    return False
                for file, (_, offset) in zip((first, second), spans, strict=True):
                    file.seek(offset)
                return _equal(first, second)
        except (OSError, BitHiveError) as error:
            get().warning("comparison.failed", exc_info=error)
            return False

    def _release(self, files: Iterable[str]) -> None:
        """Delete those files that no instance needs."""
        try:
            with self._files.alone():
                self._delete_files(sorted(set(files) - self._archive.referenced(files)))
        except Exception as error:  # noqa: BLE001 - a file too many harms nobody; the outcomes are settled
            get().warning("files.kept", exc_info=error)

    def _delete_files(self, files: Sequence[str]) -> None:
        for file in files:
            self._blobs.delete(file)

    def _announcer(self, batch: Batch) -> Callable[[Sequence[SeriesChange]], list[Event]]:
        def announce(changes: Sequence[SeriesChange]) -> list[Event]:
            return [
                Event(
                    SERIES_CHANGED,
                    f"{batch.id}/{change.series_uid}",
                    {
                        "institution": batch.institution,
                        "study_uid": change.study_uid,
                        "series_uid": change.series_uid,
                        "batch": batch.id,
                        "instances": change.instances,
                        "added": change.added,
                        "one_request": change.added == change.instances,
                        "at_ms": batch.received_ms,
                    },
                )
                for change in changes
            ]

        return announce


class _Turns:
    """Many may store files at once; whoever deletes files does so alone, so that none is deleted that is wanted."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._storing = 0
        self._deleting = False

    @contextmanager
    def together(self) -> Iterator[None]:
        with self._condition:
            self._condition.wait_for(lambda: not self._deleting)
            self._storing += 1
        try:
            yield
        finally:
            with self._condition:
                self._storing -= 1
                self._condition.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        with self._condition:
            self._condition.wait_for(lambda: not self._deleting)
            self._deleting = True
            self._condition.wait_for(lambda: not self._storing)
        try:
            yield
        finally:
            with self._condition:
                self._deleting = False
                self._condition.notify_all()


def _content_of(dataset: Dataset | bytes) -> bytes:
    if isinstance(dataset, bytes):
        return dataset
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _equal(first: IO[bytes], second: IO[bytes]) -> bool:
    while True:
        one, other = first.read(PIECE_BYTES), second.read(PIECE_BYTES)
        if one != other:
            return False
        if not one:
            return True


def _free_bytes_of(folder: Path) -> Callable[[], int]:
    def free() -> int:
        place = folder
        while not place.exists() and place != place.parent:
            place = place.parent
        return shutil.disk_usage(place).free

    return free
