"""What a hub made of a study: its written objects, read with a library that is not ours."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import highdicom
import httpx2
import numpy as np
import numpy.typing as npt
import pydicom

from tests.common.hub import Hub


def fetched(hub: Hub, study_uid: str, workitem: dict[str, Any], folder: Path) -> dict[str, Path]:
    """Every written object by WADO-RS, as files by kind."""
    folder.mkdir(parents=True, exist_ok=True)
    found = {}
    accept = {"Accept": "application/dicom; transfer-syntax=*"}
    with httpx2.Client(timeout=60, headers={**hub.headers("pacs"), **accept}) as client:
        for reference in workitem["references"]:
            place = f"studies/{study_uid}/series/{reference['series_uid']}/instances/{reference['sop_uid']}"
            answer = client.get(f"{hub.url}/dicomweb/{place}")
            answer.raise_for_status()
            found[reference["kind"]] = folder / f"{reference['kind']}.dcm"
            found[reference["kind"]].write_bytes(answer.content)
    return found


def segments(path: Path, source: Sequence[Path]) -> dict[str, npt.NDArray[np.bool_]]:
    """Each segment of a Segmentation by its label, (z, y, x) in the planes of the source's files."""
    segmentation = highdicom.seg.segread(path)
    uids = [str(pydicom.dcmread(file, specific_tags=["SOPInstanceUID"]).SOPInstanceUID) for file in source]
    numbers = [number for number in segmentation.segment_numbers if number]
    stack = segmentation.get_pixels_by_source_instance(
        uids, segment_numbers=numbers, assert_missing_frames_are_empty=True
    )
    labels = [str(segmentation.get_segment_description(number).segment_label) for number in numbers]
    return {label: stack[..., place] > 0 for place, label in enumerate(labels)}


def settled(hub: Hub, study_uid: str) -> dict[str, Any]:
    """A study once its series have been judged."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        study = hub.study(study_uid)
        if study["series_list"] and not any(series["pending"] for series in study["series_list"]):
            return study
        time.sleep(0.1)
    raise AssertionError("the series was never judged")
