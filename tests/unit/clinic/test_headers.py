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
