"""A hub with everything that pages show, in memory: clinical side, ledger, accounts, and no cell."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from api.accounts import Accounts, MemoryAccountStore
from api.app import create_app
from api.progress import Progress
from api.services import Services, Vitals, absent
from bithive.clock import ManualClock
from bithive.outbox import Event
from bithive.receipt import Receipt
from clinic.access_log import AccessLog, MemoryAccessStore
from clinic.workitem import Measured, Workitem
from clinic.workitem_store import MemoryWorkitemStore
from economy.economy import Economy
from economy.store import MemoryStore
from inference.findings import Findings
from pipelines.catalog import Repertoire, pipelines
from pipelines.outputs import MeasurementOutput, SegmentOutput
from pipelines.series import PLANAR_STORAGES
from pipelines.spec import Pipeline, SeriesSelector
from tests.common.clinic_side import ClinicSide
from tests.common.dicom_factory import INSTITUTION, head_series, make_series
from tests.common.planar_written import SCORED, PlanarCase
from tests.common.written import many

OURS = {"Sec-Fetch-Site": "same-origin"}
PATIENT = {"PatientName": "Grünwald^Zoë^^Dr", "PatientID": "PID-<b>4711</b>", "SpecificCharacterSet": "ISO_IR 192"}
HOSTILE = {"PatientName": '<script>alert("x")</script>^\'"&', "PatientID": '"><img src=x onerror=alert(1)>'}


def planar_selector(modality: str) -> SeriesSelector:
    """Takes any planar series of a modality."""
    never = re.compile("(?!)")
    return replace(
        SCORED.selector,
        modality=modality,
        sop_classes=PLANAR_STORAGES,
        planar=True,
        body_parts=frozenset({"CHEST"}),
        shown_by_words=re.compile(""),
        contrary_words=never,
        other_anatomy_words=never,
        derived_words=never,
        contrast_words=never,
        with_contrast=True,
        spacing_mm_max=float("inf"),
        slices_min=1,
        extent_mm_min=0.0,
        age_years=(0.0, 120.0),
    )


class PageHouse:
    """The services behind the pages, and what happens to studies in them.

    Parameters
    ----------
    folder
        For the state folder.
    """

    def __init__(self, folder: Path) -> None:
        self.clock = ManualClock()
        self.progress = Progress()
        self.side = ClinicSide(folder, self.clock, store=MemoryWorkitemStore(self.progress.announce))
        self.accounts = Accounts(MemoryAccountStore(), self.clock, self.side.ids)
        self.economy = Economy.on(MemoryStore(), folder / "keys", self.clock, self.side.ids, 86_400)
        self.woken = 0
        self.services = Services(
            settings=self.side.settings,
            clock=self.clock,
            ids=self.side.ids,
            institution=INSTITUTION,
            accounts=self.accounts,
            progress=self.progress,
            vitals=Vitals(),
            archive=self.side.archive,
            blobs=self.side.blobs,
            intake=self.side.intake,
            access_log=AccessLog(MemoryAccessStore(), self.clock),
            workitems=self.side.store,
            volumes=self.side.volumes,
            reviews=self.side.reviews,
            flow=self.side.flow,
            broker=absent(),
            economy=self.economy,
            ledger=self.economy.ledger,
            wake=self._wake,
        )
        self.app = create_app(self.services)

    def _wake(self) -> None:
        self.woken += 1

    def close(self) -> None:
        """Let go of threads."""
        self.progress.close()
        self.side.intake.close()
        self.economy.close()

    def token(self, role: str, name: str = "", institution: str | None = INSTITUTION) -> str:
        """An access token of a new account."""
        of = institution if role in {"clinician", "pacs", "administrator"} else None
        return self.accounts.token(self.accounts.add(name or f"{role}.one", role, of))

    def receive_head(self, uid: str = "1.2.3.100", patient: dict[str, str] | None = None) -> str:
        """A head arrives that the T1 pipeline takes; its Study Instance UID."""
        members = {"StudyDescription": "MR head", "StudyDate": "20261120", "StudyTime": "091500"}
        self.side.receive(
            head_series(
                study_uid=uid, series_uid=f"{uid}.1", patient=PATIENT if patient is None else patient, **members
            )
        )
        self.side.settle()
        return uid

    def receive_other(self, uid: str = "1.2.3.300", patient: dict[str, str] | None = None) -> str:
        """A CT arrives that no pipeline takes; its Study Instance UID."""
        series = make_series(
            shape=(8, 16, 16),
            modality="CT",
            study_uid=uid,
            series_uid=f"{uid}.1",
            patient=patient or {},
            description="Abdomen",
        )
        self.side.receive(series)
        self.side.settle()
        return uid

    def lease(self) -> tuple[str, str]:
        """A cell takes the open Offer and begins; the Offer's and the Attempt's id."""
        offer_id = self.side.network.open[-1]
        attempt_id = self.side.network.lease(offer_id)
        self._book(offer_id)
        members = {"stage": "segmenting", "fraction": 0.42, "node": "nod_00000000000000000000000001"}
        self.side.network.tell("attempt.progressed", offer_id, attempt_id=attempt_id, **members)
        self.side.settle()
        return offer_id, attempt_id

    def finish(self, offer_id: str, attempt_id: str, findings: Findings | None = None) -> Workitem:
        """The Attempt is accepted, charged and written; its Workitem."""
        self._accept(self.side.network.accept(offer_id, attempt_id, findings))
        self.side.settle()
        return self.side.workitems(offer_id=offer_id)[-1]

    def done(self, uid: str = "1.2.3.100", patient: dict[str, str] | None = None) -> Workitem:
        """A head from door to door."""
        self.receive_head(uid, patient)
        return self.finish(*self.lease())

    def done_many(self, count: int, empty: Collection[int] = ()) -> Workitem:
        """A head from door to door, by a pipeline that looks for many structures."""
        self.receive_head()
        body = many(self.side.volumes.source(INSTITUTION, "1.2.3.100.1"), count, empty=empty)
        means = self.side.flow._means
        name, outputs = "intracranial_volume_t1", body.context.pipeline.outputs
        now = means.repertoire()
        wanted = Repertoire(now.bundles, {name: replace(now.pipelines[name], outputs=outputs)})
        self.side.flow._means = replace(means, repertoire=lambda: wanted)
        offer_id, attempt_id = self.lease()
        return self.finish(offer_id, attempt_id, body.findings)

    def done_planar(self, case: PlanarCase, modality: str) -> Workitem:
        """Radiographs or ultrasound from door to door, by the pipeline of the case; its Workitem."""
        pipeline = replace(
            case.context.pipeline, name="intracranial_volume_t1", selector=planar_selector(modality), withheld=""
        )
        self.offer_pipeline(pipeline)
        self.side.receive(case.series)
        self.side.settle()
        return self.finish(*self.lease(), case.findings)

    def done_structures(self, name: str = "brain_structures104_t1") -> Workitem:
        """A head whose newest analysis is of a declared pipeline of many structures, with made-up values."""
        pipeline = pipelines()[name]
        item = self.done()
        segments = {one.mask: one.label for one in pipeline.outputs if isinstance(one, SegmentOutput)}
        outputs = [one for one in pipeline.outputs if isinstance(one, MeasurementOutput)]
        measured = tuple(
            Measured(one.measurement, one.label or segments[one.mask], 0.37 * (place % 29) + 0.2, one.unit.value)
            for place, one in enumerate(outputs)
        )
        self.side.store._workitems[item.workitem_id] = replace(item, pipeline=name, measured=measured)
        self.offer_pipeline(pipeline)
        return self.side.workitems()[-1]

    def offer_pipeline(self, pipeline: Pipeline) -> None:
        """From now on this pipeline alone is on, for the flow and for the pages."""
        now = self.side.flow._means.repertoire()
        wanted = Repertoire(now.bundles, {pipeline.name: pipeline})
        self.side.flow._means = replace(self.side.flow._means, repertoire=lambda: wanted)
        self.app.state.services = replace(self.services, repertoire=lambda: wanted)

    def failed(self, uid: str = "1.2.3.200") -> Workitem:
        """A head whose analysis ends without findings."""
        self.receive_head(uid)
        offer_id = self.side.network.open[-1]
        self.side.network.exhaust(offer_id, "implausible-findings")
        self.side.settle()
        return self.side.workitems(offer_id=offer_id)[-1]

    def _book(self, offer_id: str) -> None:
        offer = self.side.network.offers[offer_id][0]
        names = ("offer_id", "institution", "bundle", "bundle_version", "work_units", "deadline_ms")
        body = {name: getattr(offer, name) for name in names} | {"at_ms": self.clock.now_ms()}
        self.economy.booking.take(Event("offer.opened", offer_id, body))

    def _accept(self, receipt: Receipt) -> None:
        names = ("offer_id", "attempt_id", "cell", "node", "bundle", "bundle_version", "work_units")
        body = {name: getattr(receipt, name) for name in names}
        body |= {"institution": INSTITUTION, "operator": "op", "receipt_digest": receipt.digest}
        self.economy.booking.take(Event("attempt.accepted", receipt.attempt_id, body | {"at_ms": self.clock.now_ms()}))
