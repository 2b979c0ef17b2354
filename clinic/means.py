"""What the steps of the flow work with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from bithive.clock import Clock
from bithive.ids import Ids
from bithive.keys import derive
from bithive.offer import OfferKeys
from clinic.archive import Archive
from clinic.data_class import Leaving
from clinic.instance import InstanceRow
from clinic.intake import Intake
from clinic.network import Network
from clinic.public_sets import MemoryPublicStore, PublicStore
from clinic.refusals import NetworkUnreachable, StaleWorkitem
from clinic.stacking import stacked
from clinic.volumes import Volumes
from clinic.workitem import Workitem
from clinic.workitem_store import Change, Kind, StudyEvent, WorkitemStore
from clinic.writers.source import Source
from inference.volume import Volume, VolumeSet
from models.bundle import Bundle
from models.errors import BundleAbsent
from pipelines.catalog import Repertoire
from pipelines.spec import Pipeline

_TRIES_MAX = 100


@dataclass(frozen=True, slots=True)
class Means:
    """The parts of the clinical side that the flow joins.

    Attributes
    ----------
    clock, ids, archive, intake, store, volumes
        Of this hub.
    repertoire
        What is on and what it runs, now: bundles are installed while the hub runs.
    networks
        Each institution's access to the network side.
    institution_name
        Institution Name of written objects.
    site_key
        Of written UIDs.
    label_maps
        Whether many segments may become a label map.
    public
        Which studies were declared public.
    leaving
        What may leave, and whereto.
    """

    clock: Clock
    ids: Ids
    archive: Archive
    intake: Intake
    store: WorkitemStore
    volumes: Volumes
    repertoire: Callable[[], Repertoire]
    networks: Mapping[str, Network]
    institution_name: str
    site_key: bytes
    label_maps: bool = True
    public: PublicStore = field(default_factory=MemoryPublicStore)
    leaving: Leaving = field(default_factory=Leaving)

    def network(self, institution: str) -> Network:
        """An institution's access to the network side. Raises `NetworkUnreachable` when none is set up."""
        found = self.networks.get(institution)
        if found is None:
            raise NetworkUnreachable("no network side is set up for this institution")
        return found

    def pipeline(self, item: Workitem) -> tuple[Pipeline, Bundle]:
        """What a Workitem runs. Raises `BundleAbsent` when this version of BitHive has it no longer."""
        now = self.repertoire()
        pipeline = now.pipelines.get(item.pipeline)
        bundle = now.bundles.get(pipeline.bundle) if pipeline else None
        if pipeline is None or bundle is None or bundle.version != pipeline.bundle_version:
            raise BundleAbsent
        return pipeline, bundle

    def source(self, item: Workitem) -> Source:
        """The series of a Workitem with its Volume: of a planar one, those views that its pipeline takes; of several, the
        principal one, which findings belong to.

        Raises as `pipeline` and `clinic.volumes.Volumes.source`.
        """
        views = self.pipeline(item)[0].selector.image_views
        if not item.inputs:
            return self.volumes.source(item.institution, item.series_uid, item.input_digest, views)
        principal, *others = item.inputs
        source = self.volumes.source(item.institution, principal.series_uid, principal.digest, views)
        rows = (row for one in others for row in self.archive.series(item.institution, one.series_uid))
        return replace(source, consulted=tuple(rows))

    def rows(self, item: Workitem) -> tuple[InstanceRow, ...]:
        """Every instance that a Workitem's payload is made from. Raises as `source`."""
        source = self.source(item)
        return (*source.grid.rows, *source.consulted)

    def payload(self, item: Workitem) -> Volume | VolumeSet:
        """What leaves for a Workitem: its series' Volume, or those of all its series on the grid of the principal one.

        Raises as `source`, and `OtherFrameOfReference` and `BadVolume` where several series form no set.
        """
        source = self.source(item)
        if not item.inputs:
            return source.volume
        others = [self.volumes.source(item.institution, one.series_uid, one.digest) for one in item.inputs[1:]]
        return stacked([source, *others])

    def update(
        self,
        item: Workitem,
        step: Callable[[Workitem], Workitem | None],
        *events: StudyEvent,
        taken: str | None = None,
        cursor: tuple[str, int] | None = None,
    ) -> Workitem | None:
        """Change a Workitem as it is now, however often others change it meanwhile.

        Parameters
        ----------
        item
            As it was last seen.
        step
            From the newest version to the next one; None to leave it.
        events, taken, cursor
            Written with it; nothing is written when `step` gives None, but the cursor.

        Returns
        -------
        Workitem or None
            What was written; None when nothing was.
        """
        for _ in range(_TRIES_MAX):
            after = step(item)
            if after is None:
                if cursor is not None:
                    self.store.commit(Change(cursor=cursor))
                return None
            try:
                written = self.store.commit(Change((after,), (), events, taken, cursor))
            except StaleWorkitem:
                item = self.store.workitem(item.institution, item.workitem_id)
                continue
            return after if written else None
        raise StaleWorkitem

    def event(self, item: Workitem, kind: Kind, **detail: str | float | None) -> StudyEvent:
        """Something that happens to a Workitem's study now."""
        known = {"workitem": item.workitem_id, "series_uid": item.series_uid, "pipeline": item.pipeline}
        return StudyEvent(item.institution, item.study_uid, kind, self.clock.now_ms(), known | detail)


def keys_of(item: Workitem) -> OfferKeys:
    """The keys of a Workitem's Offer, both derived from the key that stays here."""
    assert item.key is not None, "a Workitem that has not ended has its key"
    return OfferKeys(payload_key=derive(item.key, "payload"), digest_key=derive(item.key, "digest"))
