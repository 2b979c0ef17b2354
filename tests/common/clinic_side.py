"""A clinical side in memory or on a database, joined to a `LoopNetwork`: everything that `clinic.flow` needs."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset

from bithive.blobs import Blobs, MemoryBlobs
from bithive.clock import ManualClock
from bithive.ids import SeededIds
from bithive.settings import ClinicSettings, Settings
from clinic.archive import Archive, MemoryArchive
from clinic.batch import StoreOutcome
from clinic.flow import Flow
from clinic.intake import Intake
from clinic.review import Reviews
from clinic.volumes import Volumes
from clinic.workitem import Workitem
from clinic.workitem_store import MemoryWorkitemStore, StudyEvent, Which, WorkitemStore
from models.catalog import Catalog
from pipelines.catalog import Repertoire, pipelines
from tests.common.dicom_factory import INSTITUTION, content_of
from tests.common.loop_network import LoopNetwork

T1 = "intracranial_volume_t1"
SECRET = "tests only: 0123456789abcdef0123456789abcdef"


class ClinicSide:
    """One institution's clinical side.

    Parameters
    ----------
    folder
        For the state folder.
    clock
        Moves when told to.
    archive, blobs, store
        Real ones to use instead of those in memory.
    on
        Names of the declared pipelines that there are; all of them when empty.
    """

    def __init__(
        self,
        folder: Path,
        clock: ManualClock | None = None,
        archive: Archive | None = None,
        blobs: Blobs | None = None,
        store: WorkitemStore | None = None,
        network: LoopNetwork | None = None,
        on: Collection[str] = (T1,),
    ) -> None:
        self.on = tuple(on)
        self.clock = clock or ManualClock()
        self.ids = SeededIds(7, self.clock)
        clinic = ClinicSettings(institution_name="Test Hospital", disk_low_bytes=0, disk_reserve_bytes=0)
        self.settings = Settings(state=folder, secret=SECRET, clinic=clinic)
        self.archive = archive or MemoryArchive()
        self.blobs = blobs or MemoryBlobs()
        self.store = store or MemoryWorkitemStore()
        self.network = network or LoopNetwork(self.clock)
        self.start()

    def start(self, **parts: Any) -> None:
        """Make flow and intake anew, as after a restart; what is durable stays."""
        self.intake = Intake(self.archive, self.blobs, self.settings, self.clock, self.ids)
        self.volumes = Volumes(self.archive, self.blobs)
        self.reviews = Reviews(self.settings, self.clock, self.archive, self.blobs, self.intake, self.store)
        members: dict[str, Any] = {
            "settings": self.settings,
            "clock": self.clock,
            "ids": self.ids,
            "archive": self.archive,
            "intake": self.intake,
            "store": self.store,
            "volumes": self.volumes,
            "repertoire": self._repertoire,
            "networks": {INSTITUTION: self.network},
        }
        self.flow = Flow(**(members | parts))

    def _repertoire(self) -> Repertoire:
        known = pipelines()
        on = {name: known[name] for name in self.on or known}
        return Repertoire(Catalog(self.settings.state / "models").bundles(), on)

    def receive(self, datasets: Iterable[Dataset | bytes], institution: str = INSTITUTION) -> list[StoreOutcome]:
        """Store instances in one request, as STOW-RS would."""
        contents = [content_of(item) if isinstance(item, Dataset) else item for item in datasets]
        return self.intake.receive(institution, [[content] for content in contents])

    def settle(self, ticks: int = 20) -> float:
        """Tick until nothing is due; the wait that the last tick asked for."""
        wait_s = 0.0
        for _ in range(ticks):
            wait_s = self.flow.tick()
            if wait_s >= 0.1:
                return wait_s
        raise AssertionError("the flow never comes to rest")

    def workitems(self, **which: Any) -> list[Workitem]:
        """Workitems of the institution."""
        return self.store.find(Which(institution=INSTITUTION, **which))

    def events(self) -> list[StudyEvent]:
        """The whole log."""
        return self.store.events_after(INSTITUTION, 0)

    def kinds(self) -> list[str]:
        """What happened, in order."""
        return [str(event.kind) for event in self.events()]
