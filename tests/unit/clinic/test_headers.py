import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sr._snomed_dict import mapping
from pydicom.sr.codedict import codes

from clinic import views
from clinic.headers import geometry_refusal, input_digest, series_header
from pipelines.catalog import pipelines
from pipelines.match import why_not
from tests.common import planar
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


def planar_header(*datasets):
    return series_header(rows_of(datasets)[0])


def test_a_radiograph_and_what_it_says():
    found = planar_header(planar.radiograph(planar.chest(), ImageLaterality="L", PatientAge="62"))
    assert (found.planar, found.modality, found.body_part, found.laterality) == (True, "CR", "CHEST", "L")
    assert (found.views, found.colour, found.for_processing, found.frames) == (frozenset({"PA"}), False, False, 1)
    assert (found.spacing_mm, found.rows, found.columns) == ((0.2, 0.2, 1.0), 256, 220)
    assert found.gap_free


def test_an_age_without_its_unit_is_in_years():
    assert planar_header(planar.radiograph(planar.chest(), patient={"PatientAge": "62"})).patient_age_years == 62


@pytest.mark.parametrize(
    ("members", "found"),
    [
        ({"ViewPosition": "p.a."}, {"PA"}),
        ({"ViewPosition": None, "ViewCodeSequence": "399348003"}, {"AP"}),
        ({"ViewPosition": None, "ViewCodeSequence": "R-10236"}, {"LL"}),
        ({"ViewPosition": None, "ViewCodeSequence": "399368009"}, {"OTHER"}),
        ({"ViewPosition": "PA", "ViewCodeSequence": "272479007"}, {"PA"}),
        ({"ViewPosition": "PA", "ViewCodeSequence": "399173006"}, {"PA LL"}),
        ({"ViewPosition": None}, set()),
        ({"ViewPosition": "-"}, set()),
    ],
)
def test_views_by_word_and_by_code(members, found):
    code = members.pop("ViewCodeSequence", None)
    dataset = planar.radiograph(planar.chest(), **members)
    if code:
        item = Dataset()
        item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code, "SCT", "view"
        dataset.ViewCodeSequence = [item]
    assert planar_header(dataset).views == found


def test_view_codes_are_those_of_the_standard():
    theirs = {
        "272479007": codes.cid4010.PosteroAnterior,
        "399348003": codes.cid4010.AnteroPosterior,
        "399173006": codes.cid4010.LeftLateral,
        "399198007": codes.cid4010.RightLateral,
        "399067008": codes.cid4010.LateralProjection,
        "399033003": codes.cid4010.Frontal,
        "399135007": codes.cid4010.LeftAnteriorOblique,
        "399356000": codes.cid4010.RightAnteriorOblique,
        "399006002": codes.cid4010.LeftPosteriorOblique,
        "399038007": codes.cid4010.RightPosteriorOblique,
        "399182000": codes.cid4010.ObliqueProjection,
        "399061009": codes.cid4010.AxialProjection,
    }
    assert {code: concept.value for code, concept in theirs.items()} == {code: code for code in theirs}
    snomed = {code for code in views._CODES if code.isdigit()}
    assert snomed == set(theirs)
    for code in set(views._CODES) - snomed:
        assert views._CODES[mapping["SRT"][code]] == views._CODES[code]


def test_what_images_of_a_planar_series_do_not_share_counts_against_it():
    chest = planar.chest()
    found = planar_header(
        planar.radiograph(chest, number=2),
        planar.radiograph(np.stack([chest] * 3, axis=-1), view="LL", body_part="HAND", number=1, PixelSpacing=[1, 1]),
        planar.radiograph(np.stack([chest] * 4), view="", number=3),
    )
    assert found.views == {"PA", "LL", ""}
    assert (found.body_part, found.colour, found.spacing_mm) == ("HAND CHEST", True, None)
    assert (found.instances, found.frames) == (3, 6)


@pytest.mark.parametrize(
    ("dataset", "code"),
    [
        (
            lambda: planar.radiograph(planar.chest(), sop_class=planar.DX_FOR_PROCESSING, modality="DX"),
            "for-processing",
        ),
        (lambda: planar.radiograph(planar.chest(), photometric="CMYK"), "unsupported-pixels"),
        (lambda: planar.radiograph(planar.chest(), NumberOfFrames=5000), "too-many-frames"),
        (lambda: planar.radiograph(planar.chest()), None),
    ],
)
def test_planar_images_that_cannot_be_read_are_told_by_their_headers(dataset, code):
    rows, _ = rows_of([dataset()])
    assert geometry_refusal(rows) == code
    found = series_header(rows)
    assert found.gap_free is (code is None)
    assert found.for_processing is (code == "for-processing")


def test_a_capture_among_slices_does_not_make_the_series_planar():
    rows, _ = rows_of(
        [
            *make_series(),
            planar.capture(planar.chest(), "MR", study_uid="1.2.3.100", series_uid="1.2.3.100.1", number=9),
        ]
    )
    assert not series_header(rows).planar
    assert geometry_refusal(rows) == "no-geometry"


@pytest.mark.parametrize(
    ("orientation", "plane"),
    [
        ([1, 0, 0, 0, 1, 0], "axial"),
        ([1, 0, 0, 0, 0.9, 0.4358899], "axial"),
        ([1, 0, 0, 0, 0, -1], "coronal"),
        ([0, 1, 0, 0, 0, -1], "sagittal"),
        ([1, 0, 0, 0, 0.7071068, 0.7071068], "oblique"),
    ],
)
def test_how_slices_lie(orientation, plane):
    rows, _ = rows_of(make_series(orientation=orientation))
    assert series_header(rows).plane == plane
