import io

import pydicom
from pydicom.dataset import Dataset

from clinic.writers.context import coded, file_of, moment, stamp
from pipelines.outputs import Code
from tests.common.dicom_factory import make_series
from tests.common.loop_network import NODE
from tests.common.written import context, source_of


def stamped(source, **members) -> Dataset:
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.7", "1.2.3"
    dataset.SeriesInstanceUID, dataset.ContentDate, dataset.ContentTime = "1.2", "", ""
    stamp(dataset, "sc", "A description", source, context(**members))
    return dataset


def test_times_are_those_of_the_acceptance_in_the_zone_of_the_study():
    assert moment(1_800_000_000_000, "+0000") == ("20270115", "080000.000000")
    assert moment(1_800_000_000_123, "+0530") == ("20270115", "133000.123000")
    assert moment(1_800_000_000_000, "-0930") == ("20270114", "223000.000000")
    assert moment(1_800_000_000_000, "nonsense") == moment(1_800_000_000_000)


def test_a_stamp_says_who_made_it_for_whom_and_when():
    dataset = stamped(source_of(make_series(TimezoneOffsetFromUTC="+0100")))
    assert (dataset.PatientID, str(dataset.PatientName), dataset.StudyInstanceUID) == (
        "T-1",
        "Test^Patient",
        "1.2.3.100",
    )
    assert (dataset.Manufacturer, dataset.InstitutionName, dataset.DeviceSerialNumber) == (
        "BitHive",
        "Test Hospital",
        NODE,
    )
    assert dataset.InstanceCreationDate == dataset.SeriesDate == dataset.ContentDate == "20270115"
    assert dataset.InstanceCreationTime == dataset.SeriesTime == dataset.ContentTime == "090000.000000"
    assert dataset.TimezoneOffsetFromUTC == "+0100"
    assert dataset.SeriesNumber == 90_033
    (equipment,) = dataset.ContributingEquipmentSequence
    assert (equipment.DeviceSerialNumber, equipment.ContributionDateTime) == (NODE, "20270115090000.000000")
    assert "intracranial_t1" in str(dataset.SoftwareVersions)


def test_long_names_are_cut():
    assert len(stamped(source_of(make_series()), institution_name="x" * 200).InstitutionName) == 64


def test_a_file_has_its_meta_information_and_what_was_encoded_already():
    dataset = stamped(source_of(make_series()))
    last = b"\xe0\x7f\x10\x00OB\x00\x00\x02\x00\x00\x00ab"
    written = file_of("sc", dataset, [last[:5], memoryview(last)[5:]])
    again = pydicom.dcmread(io.BytesIO(written.content))
    assert again.file_meta.MediaStorageSOPInstanceUID == again.SOPInstanceUID == written.sop_uid == "1.2.3"
    assert again.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"
    assert again.PixelData == b"ab"
    assert (written.kind, written.series_uid) == ("sc", "1.2")


def test_a_code_item():
    item = coded(Code("1", "DCM", "One"))
    assert (item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning) == ("1", "DCM", "One")


def test_the_version_names_the_bundle_exactly():
    assert context().algorithm_version == "1.0.0+" + "b" * 12
