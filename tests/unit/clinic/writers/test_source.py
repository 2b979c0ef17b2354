import pytest
from pydicom.dataset import Dataset

from clinic.writers.source import IDENTITY, copy_identity, neutral_dataset
from tests.common.dicom_factory import make_series, rows_of
from tests.common.written import source_of


def copied(**arguments) -> Dataset:
    rows, _ = rows_of(make_series(**arguments))
    dataset = Dataset()
    dataset.PatientID, dataset.PatientName = "nobody", "Nobody"
    copy_identity(dataset, rows[0].header)
    return dataset


def test_patient_and_study_are_copied_as_they_are():
    dataset = copied(
        patient={"PatientAge": "42", "PatientSex": "X", "StudyTime": "1050", "PatientBirthDate": "unknown"}
    )
    assert (dataset.PatientID, dataset.PatientAge, dataset.PatientSex) == ("T-1", "42", "X")
    assert (dataset.StudyTime, dataset.PatientBirthDate, dataset.AccessionNumber) == ("1050", "unknown", "A7")
    assert "SpecificCharacterSet" not in dataset


def test_what_the_source_lacks_is_empty_or_absent():
    series = make_series(shape=(2, 4, 3))
    for item in series:
        for name in ("PatientName", "AccessionNumber", "PatientAge", "StudyDescription"):
            del item[name]
    dataset = Dataset()
    copy_identity(dataset, rows_of(series)[0][0].header)
    assert dataset["PatientName"].is_empty
    assert dataset["AccessionNumber"].is_empty
    assert "PatientAge" not in dataset
    assert "StudyDescription" not in dataset


@pytest.mark.parametrize("name", ["Müller^Änne", "山田^太郎"])
def test_other_scripts_survive(name):
    dataset = copied(patient={"PatientName": name, "SpecificCharacterSet": "ISO_IR 192"})
    assert str(dataset.PatientName) == name
    assert dataset.SpecificCharacterSet == "ISO_IR 192"


def test_nothing_of_the_series_is_copied():
    dataset = copied(ProtocolName="p", OperatorsName="Someone")
    assert "ProtocolName" not in dataset
    assert "OperatorsName" not in dataset
    assert "Modality" not in dataset
    assert len(set(IDENTITY)) == len(IDENTITY)


def test_a_neutral_dataset_names_nobody_and_keeps_the_geometry():
    source = source_of(make_series((4, 6, 5), (0.5, 0.75, 2.0)))
    dataset = neutral_dataset(source, 2)
    assert "Test" not in str(dataset)
    assert list(dataset.ImagePositionPatient) == [0, 0, 4]
    assert (dataset.Rows, dataset.Columns, list(dataset.PixelSpacing)) == (6, 5, [0.75, 0.5])
    assert dataset.SOPInstanceUID == "1.2.3.100.1.3"
    assert source.series_number == 3
    assert source.frame_of_reference_uid == "1.2.3.100.9"


@pytest.mark.parametrize(
    ("patient", "years"),
    [
        ({"PatientAge": "004Y", "PatientBirthDate": ""}, 4.0),
        ({"PatientAge": "004Y", "PatientBirthDate": "20200601"}, 4.0),
        ({"PatientAge": "004Y", "PatientBirthDate": "20190102"}, None),
        ({"PatientAge": "004Y", "PatientBirthDate": "19700101"}, None),
        ({"PatientAge": "055Y", "PatientBirthDate": "20210101"}, None),
        ({"PatientAge": "", "PatientBirthDate": "20210102"}, pytest.approx(4.0, abs=0.01)),
        ({"PatientAge": "", "PatientBirthDate": ""}, None),
        ({"PatientAge": "4 years", "PatientBirthDate": "2021"}, None),
    ],
)
def test_an_age_that_the_birth_date_contradicts_is_not_known(patient, years):
    assert source_of(make_series((2, 4, 3), patient=patient)).age_years == years
