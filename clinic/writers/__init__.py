"""From Findings to DICOM objects: one file for each kind of output."""

from __future__ import annotations

from clinic.writers.context import Context, Written
from clinic.writers.source import Source
from inference.findings import Findings
from pipelines.outputs import MeasurementOutput, PreviewOutput, SegmentOutput

__all__ = ["Context", "Source", "Written", "write"]


def write(source: Source, findings: Findings, context: Context) -> list[Written]:
    """Everything that a pipeline declares, in order: Segmentation, report, previews.

    Parameters
    ----------
    source
        What was analysed.
    findings
        What was found; `clinic.taking.check` has held.
    context
        The circumstances. Equal arguments give equal bytes.
    """
    from clinic.writers import sc, seg, sr

    outputs = context.pipeline.outputs
    segments = [item for item in outputs if isinstance(item, SegmentOutput)]
    measured = [item for item in outputs if isinstance(item, MeasurementOutput)]
    written: list[Written] = []
    if segments:
        written.append(seg.write(segments, source, findings, context))
    if measured:
        written.append(sr.write(measured, segments, written[0], source, findings, context))
    previews = [item for item in outputs if isinstance(item, PreviewOutput)]
    return written + [sc.write(item, segments, measured, source, findings, context) for item in previews]
