"""From Findings to DICOM objects: one file for each kind of output."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from clinic.statements import written_measurements
from clinic.writers.context import Context, Written
from clinic.writers.seg_layers import present
from clinic.writers.source import Source
from inference.findings import Findings
from pipelines.outputs import (
    ClassOutput,
    KeyImageOutput,
    MapOutput,
    MeasurementOutput,
    Output,
    PreviewOutput,
    RegionOutput,
    ScoreOutput,
    SegmentOutput,
)

__all__ = ["Context", "Source", "Written", "present", "write"]


def write(source: Source, findings: Findings, context: Context, there: Collection[str] | None = None) -> list[Written]:
    """Everything that a pipeline declares, in order: Segmentation, report, parametric maps, key images, previews.

    A structure without a voxel has no segment and no measurement. When none of the declared ones has any, there is no
    Segmentation, the report says of each that it is absent, and there is a preview only of what else was found.

    Parameters
    ----------
    source
        What was analysed.
    findings
        What was found; `clinic.checking.check_findings` has held.
    context
        The circumstances. Equal arguments give equal bytes.
    there
        Which masks and structures have a voxel, where that is known; `present(findings)`.
    """
    from clinic.writers import kos, map, sc, seg, sr  # noqa: A004 - a parametric map

    there = present(findings) if there is None else there
    outputs = context.pipeline.outputs
    declared = [item for item in outputs if isinstance(item, SegmentOutput)]
    segments = [item for item in declared if item.mask in there]
    absent = [] if segments else declared
    told = _reported(outputs, findings, there)
    maps = [item for item in outputs if isinstance(item, MapOutput)]
    asked = {item.classification: item for item in outputs if isinstance(item, ClassOutput)}
    chosen = [item for item in outputs if isinstance(item, KeyImageOutput)]
    if absent and not told and not maps:
        return [sr.write_absent(absent, source, context)]
    segmentation = seg.write(segments, source, findings, context) if segments else None
    written = [segmentation] if segmentation else []
    if told:
        written.append(sr.write(told, segments, segmentation, source, findings, context, absent=absent))
    written += [map.write(item, number, source, findings, context) for number, item in enumerate(maps, start=1)]
    selected = [kos.write(item, asked[item.classification], source, findings, context) for item in chosen]
    written += [item for item in selected if item is not None]
    previews = [item for item in outputs if isinstance(item, PreviewOutput)]
    measured = [item for item in told if isinstance(item, MeasurementOutput)]
    return written + [sc.write(item, segments, measured, source, findings, context) for item in previews]


def _reported(
    outputs: Sequence[Output], findings: Findings, there: Collection[str]
) -> list[MeasurementOutput | ScoreOutput | ClassOutput | RegionOutput]:
    """What the report has groups of, in the declared order: measurements of what is there, scores, classifications, boxes."""
    taken = {item.key for item in findings.measurements}
    measured = {item.measurement for item in written_measurements(outputs, there)} & taken
    return [
        item
        for item in outputs
        if (isinstance(item, MeasurementOutput) and item.measurement in measured)
        or isinstance(item, ScoreOutput | ClassOutput | RegionOutput)
    ]
