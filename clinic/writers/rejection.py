"""Rejection note (IHE RAD TF-3, Imaging Object Change Management): a Key Object Selection that takes findings back."""

from __future__ import annotations

import io
from collections.abc import Sequence

import pydicom
from pydicom.dataset import Dataset

from clinic.writers.context import IMPLEMENTATION_NAME, MANUFACTURER, Written, file_of, restamp
from clinic.writers.source import IDENTITY
from pipelines.outputs import Code

REJECTED_FOR_QUALITY = Code("113001", "DCM", "Rejected for Quality Reasons")
KEY_OBJECT_SELECTION = "1.2.840.10008.5.1.4.1.1.88.59"


def write(
    contents: Sequence[bytes], series_uid: str, sop_uid: str, observer: str, organization: str, at_ms: int
) -> Written:
    """Take back objects of one study.

    Parameters
    ----------
    contents
        The objects, Part 10 files; at least one.
    series_uid, sop_uid
        UIDs of the note and its series.
    observer, organization
        Who rejected them.
    at_ms
        When.
    """
    from highdicom.ko import KeyObjectSelection, KeyObjectSelectionDocument
    from highdicom.sr import CodedConcept, ObserverContext, PersonObserverIdentifyingAttributes
    from pydicom.sr.codedict import codes

    objects = [pydicom.dcmread(io.BytesIO(content), stop_before_pixels=True) for content in contents]
    title = CodedConcept(REJECTED_FOR_QUALITY.value, REJECTED_FOR_QUALITY.scheme, REJECTED_FOR_QUALITY.meaning)
    person = PersonObserverIdentifyingAttributes(observer, organization_name=organization)
    evidence = [_nameless(item) for item in objects]
    note = KeyObjectSelectionDocument(
        evidence=evidence,
        content=KeyObjectSelection(
            document_title=title,
            referenced_objects=evidence,
            observer_person_context=ObserverContext(codes.DCM.Person, person),
            description="Findings of an automatic analysis, rejected by a clinician",
        ),
        series_instance_uid=series_uid,
        series_number=1,
        sop_instance_uid=sop_uid,
        instance_number=1,
        manufacturer=MANUFACTURER,
    )
    dataset = Dataset()
    dataset.update(dict(note.items()))
    _take_over(dataset, objects[0])
    restamp(dataset, at_ms)
    dataset.SeriesDate, dataset.SeriesTime = dataset.InstanceCreationDate, dataset.InstanceCreationTime
    dataset.SeriesDescription = "Rejection note"
    return file_of("rejection", dataset)


def _nameless(item: Dataset) -> Dataset:
    """What highdicom needs of a referenced object, without values that it would judge."""
    plain = Dataset()
    for name in ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "Modality"):
        setattr(plain, name, item[name].value)
    if "Rows" in item:
        plain.Rows, plain.Columns = item.Rows, item.Columns
    plain.PatientID = plain.PatientName = plain.PatientBirthDate = plain.PatientSex = ""
    plain.StudyID = plain.AccessionNumber = plain.ReferringPhysicianName = ""
    plain.StudyDate = plain.StudyTime = None
    return plain


def _take_over(dataset: Dataset, item: Dataset) -> None:
    """Patient, study and equipment of the objects that are taken back."""
    for tag in IDENTITY:
        if tag in dataset:
            del dataset[tag]
        if tag in item:
            dataset[tag] = item[tag]
    for name in ("SpecificCharacterSet", "InstitutionName", "SoftwareVersions", "DeviceSerialNumber"):
        if name in item:
            dataset[name] = item[name]
    dataset.ManufacturerModelName = IMPLEMENTATION_NAME
    dataset.SeriesNumber = int(item.SeriesNumber) // 10 * 10 + 9
    if "ContributingEquipmentSequence" in dataset:
        del dataset.ContributingEquipmentSequence
