"""What can be asked for: the declaration agrees with DICOM and with the tables."""

from __future__ import annotations

import pytest
from pydicom.datadict import dictionary_VR

from clinic.attributes import BY_TAG, INDEXED, SERIES_TAGS, STUDY_TAGS, Level, columns, of_series, of_study
from clinic.tables_archive_sql import INSTANCES, SERIES, STUDIES

TABLES = {Level.STUDY: STUDIES, Level.SERIES: SERIES, Level.INSTANCE: INSTANCES}


@pytest.mark.parametrize("attribute", INDEXED, ids=lambda attribute: attribute.keyword)
def test_each_attribute_is_dicoms_and_has_a_column(attribute):
    assert dictionary_VR(attribute.tag) == attribute.vr
    assert attribute.column in TABLES[attribute.level].c


def test_ps3_18_requires_these():
    required = "StudyDate StudyTime AccessionNumber ModalitiesInStudy ReferringPhysicianName PatientName PatientID "
    required += "StudyInstanceUID StudyID Modality SeriesInstanceUID SeriesNumber PerformedProcedureStepStartDate "
    required += "PerformedProcedureStepStartTime SOPClassUID SOPInstanceUID InstanceNumber"
    assert set(required.split()) <= {attribute.keyword for attribute in INDEXED}
    assert len(BY_TAG) == len(INDEXED)


def test_values_of_a_header():
    header = {
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": "DOE^Straße"}]},
        "00200011": {"vr": "IS", "Value": [7]},
        "00280010": {"vr": "US", "Value": [512]},
        "00200013": {"vr": "IS", "Value": ["not a number"]},
        "00081030": {"vr": "LO", "Value": ["x" * 1000]},
    }
    study, series, instance = (columns(header, level) for level in Level)
    assert (study["patient_name"], len(study["study_description"]), study["study_date"]) == ("doe^strasse", 256, "")
    assert (series["series_number"], instance["rows"], instance["instance_number"]) == (7, 512, None)
    assert set(of_study(header)) == {"00100010", "00081030"}
    assert set(of_series(header)) == {"00200011"}
    assert {"00080005"} == STUDY_TAGS & SERIES_TAGS
