import io
from dataclasses import replace

import highdicom as hd
import numpy as np
import pydicom
import pytest

from clinic.refusals import MapTooLarge
from clinic.writers import map as maps
from clinic.writers import write
from inference.findings import Findings, ScalarMap
from tests.common.dicom_factory import CORONAL, make_series
from tests.common.planar_written import SALIENCY, SCORED, scored
from tests.common.written import as_frames, context, source_of

VOLUMETRIC = replace(SCORED, outputs=(SALIENCY,), validated_age_years=None)
TILT = [(-20.5, 0.3 * z + 3.25, 2 * z) for z in range(9)]
SOURCES = {
    "even": lambda: make_series((9, 10, 12), (1.5, 1.25, 2), CORONAL, origin=(-33.3, 12.125, 7)),
    "tilted": lambda: make_series((9, 10, 12), (1, 1, 2), modality="CT", positions=TILT),
    "frames": lambda: [as_frames(make_series((9, 10, 12), (1.5, 1.25, 2), CORONAL, origin=(-33.3, 12.125, 7)))],
}


def array_of(shape):
    array = np.random.default_rng(5).normal(size=shape).astype(np.float32)
    array[:2] = array[-1:] = 0
    return array


def volumetric(kind):
    source = source_of(SOURCES[kind]())
    findings = Findings(maps=(ScalarMap("saliency", array_of(source.grid.shape)),))
    (written,) = write(source, findings, context(pipeline=VOLUMETRIC))
    return source, findings, written


@pytest.mark.parametrize("kind", SOURCES)
def test_each_frame_is_that_of_its_source_image_and_lies_there(kind):
    source, findings, written = volumetric(kind)
    dataset = pydicom.dcmread(io.BytesIO(written.content))
    read = hd.pm.ParametricMap.from_dataset(dataset)
    frames = read.get_frames(apply_real_world_transform=True, dtype=np.float32)
    planes = {(plane.row.sop_uid, plane.frame): (k, plane) for k, plane in enumerate(source.grid.planes)}
    assert 0 < len(frames) <= len(planes)
    for frame, group in zip(frames, dataset.PerFrameFunctionalGroupsSequence, strict=True):
        image = group.DerivationImageSequence[0].SourceImageSequence[0]
        k, plane = planes[image.ReferencedSOPInstanceUID, int(image.get("ReferencedFrameNumber", 0))]
        assert np.array_equal(frame, source.plane(findings.maps[0].array, k))
        here = np.array(group.PlanePositionSequence[0].ImagePositionPatient, float)
        assert np.abs(here - plane.position).max() < 1e-3
    assert dataset.FrameOfReferenceUID == source.frame_of_reference_uid
    assert "frame of reference made for it" not in str(dataset.get("DerivationDescription", ""))


def test_numbers_mean_what_is_declared():
    _, findings, written = volumetric("even")
    dataset = pydicom.dcmread(io.BytesIO(written.content))
    (mapping,) = dataset.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence
    assert (mapping.RealWorldValueSlope, mapping.RealWorldValueIntercept) == (1.0, 0.0)
    array = findings.maps[0].array
    assert mapping.DoubleFloatRealWorldValueFirstValueMapped == array.min()
    assert mapping.DoubleFloatRealWorldValueLastValueMapped == array.max()
    assert mapping.MeasurementUnitsCodeSequence[0].CodeValue == "1"
    quantity = mapping.QuantityDefinitionSequence[0].ConceptCodeSequence[0]
    assert (quantity.CodeValue, quantity.CodingSchemeDesignator) == ("130402", "DCM")
    assert dataset.SOPClassUID == maps.PARAMETRIC_MAP_STORAGE
    assert dataset.SeriesDescription == "Saliency of pneumonia [MAP]"
    named = [item.ReferencedSOPInstanceUID for item in dataset.ReferencedSeriesSequence[0].ReferencedInstanceSequence]
    assert len(named) == len(set(named)) == int(dataset.NumberOfFrames) == 6


def test_a_planar_map_lies_in_a_frame_of_reference_of_its_own_and_says_so():
    case = scored()
    written = next(item for item in write(case.source, case.findings, case.context) if item.kind == "map")
    dataset = pydicom.dcmread(io.BytesIO(written.content))
    frames = hd.pm.ParametricMap.from_dataset(dataset).get_frames(dtype=np.float32)
    assert np.array_equal(frames, case.findings.maps[0].array[:1])
    assert dataset.FrameOfReferenceUID == case.context.uids.uid("map.frame")
    assert dataset.DerivationDescription == maps.SYNTHETIC
    (group,) = dataset.PerFrameFunctionalGroupsSequence
    image = group.DerivationImageSequence[0].SourceImageSequence[0]
    assert image.ReferencedSOPInstanceUID == case.series[0].SOPInstanceUID
    shared = dataset.SharedFunctionalGroupsSequence[0]
    assert [float(item) for item in shared.PixelMeasuresSequence[0].PixelSpacing] == [0.2, 0.2]
    assert shared.FrameAnatomySequence[0].AnatomicRegionSequence[0].CodeValue == "39607008"


def test_a_map_of_zeros_has_one_frame_and_a_window():
    case = scored()
    empty = replace(case.findings, maps=(ScalarMap("saliency", np.zeros(case.source.grid.shape, np.float32)),))
    written = next(item for item in write(case.source, empty, case.context) if item.kind == "map")
    dataset = pydicom.dcmread(io.BytesIO(written.content))
    assert int(dataset.NumberOfFrames) == 1
    assert float(dataset.SharedFunctionalGroupsSequence[0].FrameVOILUTSequence[0].WindowWidth) > 0


def test_several_maps_are_instances_of_one_series():
    case = scored()
    other = replace(SALIENCY, map="other")
    findings = replace(case.findings, maps=(*case.findings.maps, ScalarMap("other", case.findings.maps[0].array)))
    pipeline = replace(SCORED, outputs=(*SCORED.outputs, other))
    written = [item for item in write(case.source, findings, context(pipeline=pipeline)) if item.kind == "map"]
    assert len({item.series_uid for item in written}) == 1
    assert [pydicom.dcmread(io.BytesIO(item.content)).InstanceNumber for item in written] == [1, 2]


def test_a_map_too_large_for_an_instance_is_refused(monkeypatch):
    case = scored()
    monkeypatch.setattr(maps, "INSTANCE_BYTES_MAX", maps._REST_BYTES + 60 * 48 * 4 - 1)
    with pytest.raises(MapTooLarge):
        maps.write(SALIENCY, 1, case.source, case.findings, case.context)
    monkeypatch.setattr(maps, "INSTANCE_BYTES_MAX", maps._REST_BYTES + 60 * 48 * 4)
    assert maps.write(SALIENCY, 1, case.source, case.findings, case.context).kind == "map"
