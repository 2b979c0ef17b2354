"""Whether Findings that came back are those that a pipeline declares, in the geometry of what was sent.

The network side is not trusted: whatever it says, nothing is written into a study that was not asked for.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Sequence

import numpy as np

from clinic.refusals import FindingsRefused
from clinic.writers import Source, present
from inference.findings import Findings
from pipelines.outputs import (
    ClassOutput,
    MapOutput,
    MeasurementOutput,
    Output,
    RegionOutput,
    ScoreOutput,
    SegmentOutput,
)
from pipelines.spec import Pipeline

_SLACK_MM = 5.0
"""A box is placed on the network's grid, whose voxels may be larger than the source's."""


def check_findings(findings: Findings, pipeline: Pipeline, source: Source) -> frozenset[str]:
    """Everything the pipeline declares is there, unless it may be absent, and nothing else, in the Volume's geometry.

    Returns
    -------
    frozenset
        The masks and structures that have a voxel.

    Raises
    ------
    FindingsRefused
        If a mask, label map or map is of another geometry; if something but a score is not declared; if a structure that must be
        there is absent or empty; if a measurement of what is there is absent, or of another unit or mask; if a score is
        absent or no probability; if a classification is absent, of no frame of the Volume, or of no declared class; if
        a map is absent; if a box is of no declared key, or its middle lies outside the Volume or it is larger than that.
    """
    there = _check_structures(findings, pipeline.outputs, source)
    for check in _CHECKS:
        check(findings, pipeline.outputs, source, there)
    return there


def _check_structures(findings: Findings, outputs: Sequence[Output], source: Source) -> frozenset[str]:
    declared = {output.mask: output for output in outputs if isinstance(output, SegmentOutput)}
    if any(key not in declared for key in findings.structures):
        raise FindingsRefused("a structure is not one that the pipeline declares")
    shapes = [mask.array.shape for mask in findings.masks]
    if findings.labels is not None:
        shapes.append(findings.labels.array.shape)
    if any(shape != source.grid.shape for shape in shapes):
        raise FindingsRefused("a mask is of another geometry")
    there = present(findings)
    if any(key not in there and not output.may_be_absent for key, output in declared.items()):
        raise FindingsRefused("a mask is absent or empty")
    return there


def _check_measurements(findings: Findings, outputs: Sequence[Output], _source: Source, there: Collection[str]) -> None:
    declared = [output for output in outputs if isinstance(output, MeasurementOutput)]
    if not {item.key for item in findings.measurements} <= {output.measurement for output in declared}:
        raise FindingsRefused("a measurement is not one that the pipeline declares")
    for output in declared:
        if output.mask and output.mask not in there:
            continue
        found = findings.measurement(output.measurement)
        if found is None and output.may_be_absent:
            continue
        if found is None or found.unit != output.unit.value or (found.mask or "") not in ("", output.mask):
            raise FindingsRefused("a measurement is absent, or of another unit or mask")


def _check_scores(findings: Findings, outputs: Sequence[Output], _source: Source, _there: Collection[str]) -> None:
    """Further scores, such as a bundle's own certainty for its plausibility check, are let pass and not written."""
    for output in outputs:
        if isinstance(output, ScoreOutput):
            found = findings.score(output.score)
            if found is None or not 0.0 <= found.value <= 1.0:
                raise FindingsRefused("a score is absent, or not within 0 and 1")


def _check_classes(findings: Findings, outputs: Sequence[Output], source: Source, _there: Collection[str]) -> None:
    declared = {output.classification: output for output in outputs if isinstance(output, ClassOutput)}
    if {item.key for item in findings.classes} != set(declared):
        raise FindingsRefused("a classification is absent, or not one that the pipeline declares")
    for item in findings.classes:
        if item.frame >= source.grid.shape[0] or declared[item.key].option(item.value) is None:
            raise FindingsRefused("a classification is of no frame that was sent, or of no class that is declared")


def _check_maps(findings: Findings, outputs: Sequence[Output], source: Source, _there: Collection[str]) -> None:
    declared = {output.map for output in outputs if isinstance(output, MapOutput)}
    if {item.key for item in findings.maps} != declared:
        raise FindingsRefused("a map is absent, or not one that the pipeline declares")
    if any(item.array.shape != source.grid.shape for item in findings.maps):
        raise FindingsRefused("a map is of another geometry")


def _check_regions(findings: Findings, outputs: Sequence[Output], source: Source, _there: Collection[str]) -> None:
    declared = {output.region for output in outputs if isinstance(output, RegionOutput)}
    if not {item.key for item in findings.regions} <= declared:
        raise FindingsRefused("a box is not one that the pipeline declares")
    if not findings.regions:
        return
    z, y, x = source.grid.shape
    ends = np.array(list(itertools.product((-0.5, x - 0.5), (-0.5, y - 0.5), (-0.5, z - 0.5))))
    placed = ends @ source.grid.affine[:3, :3].T + source.grid.affine[:3, 3]
    low, high = placed.min(axis=0) - _SLACK_MM, placed.max(axis=0) + _SLACK_MM
    for item in findings.regions:
        inside = (low <= item.centre_mm).all() and (item.centre_mm <= high).all()
        if not inside or (np.asarray(item.size_mm) > high - low).any():
            raise FindingsRefused("a box lies outside what was sent, or is larger than that")


_Check = Callable[[Findings, Sequence[Output], Source, Collection[str]], None]
_CHECKS: tuple[_Check, ...] = (_check_measurements, _check_scores, _check_classes, _check_maps, _check_regions)
