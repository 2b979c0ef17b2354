"""Key Object Selection (PS3.3 A.35.4, PS3.16 TID 2010): of each class the frame that shows it best."""

from __future__ import annotations

from collections.abc import Sequence

from pydicom.dataset import Dataset

from clinic.statements import Best, key_frames, percent, remarks_of
from clinic.writers.context import MANUFACTURER, Context, Written, file_of, stamp
from clinic.writers.rejection import KEY_OBJECT_SELECTION
from clinic.writers.source import Source, nameless
from clinic.writers.sr import device
from clinic.writers.sr_groups import code
from inference.findings import Findings
from pipelines.outputs import ClassOutput, KeyImageOutput

__all__ = ["KEY_OBJECT_SELECTION", "write"]

_DESCRIPTION_MAX = 1024


def write(
    output: KeyImageOutput, asked: ClassOutput, source: Source, findings: Findings, context: Context
) -> Written | None:
    """The key images of one classification; None when no frame is certain enough.

    Parameters
    ----------
    output, asked
        Which frames are chosen, and of which classification.
    source, findings, context
        What was analysed, what was found, the circumstances.
    """
    best = key_frames(output, asked, findings.classified(output.classification))
    if not best:
        return None
    dataset = _document(output, asked, best, source, context)
    items = list(dataset.ContentSequence)
    kept = [item for item in items if item.ValueType != "IMAGE"]
    dataset.ContentSequence = [*kept, *(_reference(item, source) for item in best)]
    stamp(dataset, "kos", f"{asked.label}, key images", source, context)
    return file_of("kos", dataset)


def _document(
    output: KeyImageOutput, asked: ClassOutput, best: Sequence[Best], source: Source, context: Context
) -> Dataset:
    from highdicom.ko import KeyObjectSelection, KeyObjectSelectionDocument

    planes = {source.grid.planes[item.found.frame].row.sop_uid: source.grid.planes[item.found.frame] for item in best}
    evidence = [nameless(plane) for plane in planes.values()]
    made = KeyObjectSelectionDocument(
        evidence=evidence,
        content=KeyObjectSelection(
            document_title=code(output.title),
            referenced_objects=evidence,
            observer_device_context=device(context),
            description=_description(asked, best, source, context),
        ),
        series_instance_uid=context.uids.uid("kos.series"),
        series_number=1,
        sop_instance_uid=context.uids.uid(f"kos.{output.classification}"),
        instance_number=1,
        manufacturer=MANUFACTURER,
    )
    plain = Dataset()
    plain.update(dict(made.items()))
    return plain


def _description(asked: ClassOutput, best: Sequence[Best], source: Source, context: Context) -> str:
    """What each of the frames shows, in the order of the references: automatic, and seen by nobody."""
    told = ", ".join(
        f"{item.option.label}: frame {item.found.frame + 1} ({percent(item.found.certainty)})" for item in best
    )
    warned = "Outside the intended population. " if remarks_of(context.pipeline, source.age_years) else ""
    return f"{warned}Chosen automatically, not for diagnosis. {asked.label}: {told}"[:_DESCRIPTION_MAX]


def _reference(item: Best, source: Source) -> Dataset:
    """One image, and its frame where the instance has several."""
    from highdicom.sr import ImageContentItem, RelationshipTypeValues
    from pydicom.sr.codedict import codes

    plane = source.grid.planes[item.found.frame]
    return ImageContentItem(
        name=codes.SCT.Source,
        referenced_sop_class_uid=plane.row.sop_class,
        referenced_sop_instance_uid=plane.row.sop_uid,
        referenced_frame_numbers=plane.frame or None,
        relationship_type=RelationshipTypeValues.CONTAINS,
    )
