"""From Findings to DICOM objects: one file for each kind of output."""

from __future__ import annotations

from collections.abc import Collection

from clinic.writers.context import Context, Written
from clinic.writers.seg_layers import present
from clinic.writers.source import Source
from inference.findings import Findings
from pipelines.outputs import MeasurementOutput, PreviewOutput, SegmentOutput

__all__ = ["Context", "Source", "Written", "present", "write"]


def write(source: Source, findings: Findings, context: Context, there: Collection[str] | None = None) -> list[Written]:
    """Everything that a pipeline declares, in order: Segmentation, report, previews.

    A structure without a voxel has no segment and no measurement. When none of the declared ones has any, there is
    neither Segmentation nor preview, and the report says of each that it is absent.

    Parameters
    ----------
    source
        What was analysed.
    findings
        What was found; `clinic.taking.check_findings` has held.
    context
        The circumstances. Equal arguments give equal bytes.
    there
        Which masks and structures have a voxel, where that is known; `present(findings)`.
    """
    from clinic.writers import sc, seg, sr

    there = present(findings) if there is None else there
    outputs = context.pipeline.outputs
    declared = [item for item in outputs if isinstance(item, SegmentOutput)]
    segments = [item for item in declared if item.mask in there]
    if declared and not segments:
        return [sr.write_absent(declared, source, context)]
    measured = [item for item in outputs if isinstance(item, MeasurementOutput)]
    measured = [item for item in measured if item.mask in there and findings.measurement(item.measurement) is not None]
    written: list[Written] = []
    if segments:
        written.append(seg.write(segments, source, findings, context))
    if measured:
        written.append(sr.write(measured, segments, written[0], source, findings, context))
    previews = [item for item in outputs if isinstance(item, PreviewOutput)]
    return written + [sc.write(item, segments, measured, source, findings, context) for item in previews]
