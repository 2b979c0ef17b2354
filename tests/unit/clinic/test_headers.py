import pydicom
import pytest

from clinic.headers import geometry_refusal, input_digest, series_header
from pipelines.catalog import pipelines
from pipelines.match import why_not
from tests.common.dicom_factory import CT, MR, files_of, head_series, make_series, rows_of


def header(series):
    return series_header(rows_of(series)[0])


def test_everything_that_a_selector_asks_for():
    series = make_series(
        (6, 4, 3), (0.5, 0.75, 2.0), BodyPartExamined="HEAD", ProtocolName="p", InversionTime=900, EchoTime=2.5
    )
    found = header(series)
    assert (found.modality, found.sop_classes, found.body_part) == ("MR", frozenset({MR}), "HEAD")
    assert (found.series_description, found.protocol_name) == ("T1 MPRAGE", "p")
    assert (found.image_type, found.mr_acquisition_type) == (("ORIGINAL", "PRIMARY"), "3D")
    assert (found.scanning_sequence, found.echo_time_ms) == (("GR",), 2.5)
    assert (found.repetition_time_ms, found.inversion_time_ms) == (2000, 900)
    assert (found.instances, found.rows, found.columns) == (6, 4, 3)
    assert found.spacing_mm == pytest.approx((0.5, 0.75, 2.0))
    assert found.gap_free
    assert found.patient_age_years == 42
    assert not found.contrast


def test_a_bare_series_is_described_as_far_as_it_goes():
    series = make_series((2, 4, 3), modality="CT")
    for item in series:
        for name in ("PatientAge", "PatientBirthDate", "SeriesDescription", "ImagePositionPatient", "ImageType"):
            del item[name]
    found = header(series)
    assert found.sop_classes == frozenset({CT})
    assert (found.spacing_mm, found.gap_free, found.patient_age_years) == (None, False, None)
    assert (found.series_description, found.image_type) == ("", ())


def test_a_series_with_a_hole_still_has_its_spacing():
    series = make_series((6, 4, 3), (1.0, 1.0, 3.0))
    del series[3]
    rows, _ = rows_of(series)
    found = series_header(rows)
    assert not found.gap_free
    assert found.spacing_mm == pytest.approx((1.0, 1.0, 3.0))
    assert geometry_refusal(rows) == "missing-slices"


def test_a_whole_series_has_no_geometry_refusal():
    assert geometry_refusal(rows_of(make_series())[0]) is None


@pytest.mark.parametrize(
    ("age", "born", "seen", "years"),
    [
        ("006M", "", "20200101", 0.5),
        ("014D", "", "20200101", 14 / 365.25),
        ("42", "", "20200101", 42),
        ("", "20000101", "20200101", 20),
        ("", "2000.01.01", "20200101", 20),
        ("", "20300101", "20200101", None),
        ("", "20001399", "20200101", None),
        ("", "", "", None),
        ("abcY", "20000101", "20200101", 20),
    ],
)
def test_ages(age, born, seen, years):
    patient = {"PatientAge": age, "PatientBirthDate": born, "StudyDate": seen}
    found = header(make_series(patient=patient)).patient_age_years
    assert found == (None if years is None else pytest.approx(years, abs=0.01))


def test_a_contrast_agent_is_told():
    assert header(make_series(ContrastBolusAgent="GADOVIST")).contrast


def test_the_digest_knows_the_instances_and_not_their_order():
    rows, _ = rows_of(make_series())
    assert input_digest(rows) == input_digest(rows[::-1])
    assert input_digest(rows) != input_digest(rows[1:])
    other, _ = rows_of(make_series(EchoTime=4))
    assert input_digest(rows) != input_digest(other)


def test_the_factory_head_suits_the_t1_pipeline():
    pipeline = pipelines()["intracranial_volume_t1"]
    assert why_not(header(head_series()), pipeline) is None


def test_the_real_head_suits_the_t1_pipeline(shared):
    rows, _ = rows_of(files_of(shared / "data" / "t1-head" / "dicom"))
    found = series_header(rows)
    assert (found.instances, found.gap_free) == (384, True)
    assert why_not(found, pipelines()["intracranial_volume_t1"]) is None


def test_what_is_put_right_is_told_and_the_widest_distance_counts(shared):
    found = series_header(rows_of(files_of(shared / "data" / "ct-head-tilted", "*.dcm"))[0])
    assert found.gap_free
    assert found.corrections == ("tilt-corrected", "spacing-corrected")
    assert found.spacing_mm[2] == pytest.approx(6.9986, abs=1e-3)
    assert found.instances == 28
    assert found.extent_mm[2] == pytest.approx(148.09, abs=0.01)


def test_an_image_sent_twice_does_not_keep_a_series_from_being_analysed():
    series = make_series((6, 4, 3), (1.0, 1.0, 3.0))
    twin = make_series((6, 4, 3), (1.0, 1.0, 3.0))[2]
    twin.SOPInstanceUID = "1.2.9"
    found = header([*series, twin])
    assert (found.gap_free, found.corrections) == (True, ("duplicates-dropped",))
    assert found.spacing_mm == pytest.approx((1.0, 1.0, 3.0))
    assert found.extent_mm == pytest.approx((3.0, 4.0, 18.0))


def test_several_volumes_are_no_block():
    both = make_series((4, 4, 3)) + make_series((4, 4, 3), series_uid="1.2.3.4", EchoTime=9)
    found = header(both)
    assert (found.gap_free, found.corrections, found.spacing_mm) == (False, (), pytest.approx((1.0, 1.0, 1.0)))
    assert geometry_refusal(rows_of(both)[0]) == "several-volumes"


@pytest.mark.parametrize(
    ("code", "stated", "expected"),
    [("12738006", "", "BRAIN"), ("72696002", "", "KNEE"), ("1", "", ""), ("72696002", "HEAD", "HEAD")],
)
def test_the_anatomic_region_stands_in_for_the_body_part(code, stated, expected):
    region = pydicom.Dataset()
    region.CodeValue, region.CodingSchemeDesignator, region.CodeMeaning = code, "SCT", "x"
    assert header(make_series(AnatomicRegionSequence=[region], BodyPartExamined=stated)).body_part == expected


def test_a_contrast_agent_in_a_sequence_is_told():
    agent = pydicom.Dataset()
    agent.CodeValue, agent.CodingSchemeDesignator, agent.CodeMeaning = "C-B03CD", "SRT", "Gadolinium"
    assert header(make_series(ContrastBolusAgentSequence=[agent])).contrast
