"""A file of a site: what it may say, what comes of it, and that nothing hostile costs more than a refusal."""

import dataclasses
import os
import re
from pathlib import Path

import pytest

from bithive.limits import (
    PIPELINE_FILE_BYTES_MAX,
    PIPELINE_FILE_DEPTH_MAX,
    PIPELINE_FILE_VALUES_MAX,
    PIPELINE_FILES_MAX,
)
from bithive.offer import DataClass, Urgency
from pipelines.catalog import declared, pipelines
from pipelines.errors import PipelineFileRefused
from pipelines.file_text import parsed
from pipelines.file_values import is_sct
from pipelines.from_bundle import pipeline_of
from pipelines.from_file import pipeline_from, read
from pipelines.match import match, why_not
from pipelines.outputs import LEFT, MeasurementOutput, SegmentOutput
from pipelines.series import CT_IMAGE_STORAGE, SeriesHeader
from pipelines.site import Site, references, site, stamp
from tests.common.installed import installed

FILE = """\
name: site_spleen
title: Spleen of our ward
bundle:
  name: spleen_ct_segmentation
  version: "0.5.9"
intended_use: Volume of the spleen before and after treatment, by our haematologists.
"""
FULL = (
    FILE
    + """\
series:
  modality: CT
  regions: [abdomen]
  body_parts: [ABDOMEN, "CHEST ABDOMEN"]
  body_part_required: true
  words_for: [portal, "venous phase"]
  words_against: [arterial]
  planes: [axial]
  slices_min: 20
  spacing_mm_max: 3
  extent_mm_min: 80
  contrast: any
  age_years: [21, 90]
outputs:
  spleen:
    label: Spleen (ward)
    code: {value: "78961009", scheme: SCT, meaning: Spleen}
    site: {value: "818983003", scheme: SCT, meaning: Abdomen}
    colour: [1, 2, 3]
    laterality: left
data_class: P2
data_class_reason: Headers are not in the payload and the field never reaches the head.
urgency: HIGH
timeout_s: 77
validated_age_years: [30, 60]
on: true
"""
)
HEADER = SeriesHeader(
    series_uid="1.2",
    modality="CT",
    sop_classes=frozenset({CT_IMAGE_STORAGE}),
    body_part="ABDOMEN",
    series_description="Abdomen portal 2.0",
    image_type=("ORIGINAL", "PRIMARY", "AXIAL"),
    instances=100,
    rows=512,
    columns=512,
    spacing_mm=(0.8, 0.8, 2.0),
    gap_free=True,
    plane="axial",
)


@pytest.fixture
def bundles(tmp_path):
    bundle = installed(tmp_path / "store")
    return {bundle.name: bundle}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "files").mkdir()
    return tmp_path / "files"


def looked(folder: Path, bundles, **files: str | bytes) -> Site:
    for name, content in files.items():
        (folder / f"{name}.yaml").write_bytes(content if isinstance(content, bytes) else content.encode())
    return site(folder, bundles, declared())


def told(found: Site) -> list[tuple[str, int, str]]:
    return [(problem.file, problem.line, problem.code) for problem in found.problems]


def test_a_short_file_is_what_the_bundle_says_under_the_sites_name(folder, bundles):
    found = looked(folder, bundles, spleen=FILE)
    assert found.problems == ()
    pipeline = found.pipelines["site_spleen"]
    by_itself = pipelines(bundles)["spleen_ct_segmentation"]
    assert pipeline.selector == by_itself.selector
    assert (pipeline.title, pipeline.data_class, pipeline.withheld) == ("Spleen of our ward", DataClass.P3, "")
    assert pipeline.intended_use.startswith("Research use only, not for diagnosis. Volume of the spleen")
    on = pipelines(bundles, own=found.pipelines)
    assert "site_spleen" in on
    assert "spleen_ct_segmentation" not in on, "the bundle is not run twice"
    taken = [item.pipeline.name for item in match([HEADER], on) if item.pipeline.name not in declared()]
    assert taken == ["site_spleen"]


def test_a_full_file_decides_everything(folder, bundles):
    (pipeline,) = looked(folder, bundles, spleen=FULL).pipelines.values()
    assert (pipeline.data_class, pipeline.urgency, pipeline.timeout_s) == (DataClass.P2, Urgency.HIGH, 77.0)
    assert pipeline.validated_age_years == (30.0, 60.0)
    segment = next(item for item in pipeline.outputs if isinstance(item, SegmentOutput))
    assert (segment.label, segment.type.value, segment.colour_rgb) == ("Spleen (ward)", "78961009", (1, 2, 3))
    assert segment.laterality == LEFT
    volume = next(item for item in pipeline.outputs if isinstance(item, MeasurementOutput))
    assert (volume.finding.value, volume.finding_site.value) == ("78961009", "818983003")
    refusals = {
        "other-body-part": {"body_part": "PELVIS"},
        "body-part-not-shown": {"body_part": ""},
        "other-name": {"series_description": "Abdomen arterial portal"},
        "other-plane": {"plane": "coronal"},
        "too-few-slices": {"instances": 19},
        "too-coarse": {"spacing_mm": (0.8, 0.8, 3.1)},
        "outside-population": {"patient_age_years": 20.0},
    }
    assert why_not(HEADER, pipeline) is None
    assert why_not(dataclasses.replace(HEADER, series_description="Abd Venous-Phase"), pipeline) is None
    assert why_not(dataclasses.replace(HEADER, series_description="Abdomen"), pipeline) == "other-name"
    for code, members in refusals.items():
        assert why_not(dataclasses.replace(HEADER, **members), pipeline) == code


@pytest.mark.parametrize(
    ("before", "after", "line"),
    [
        ("title:", "titel:", 2),
        ("name: site_spleen", "name: a b", 1),
        ("name: site_spleen", "name: intracranial_volume_t1", 1),
        ("title: Spleen of our ward", f"title: {'x' * 65}", 2),
        ('version: "0.5.9"', "version: 0.5", 5),
        ('version: "0.5.9"', 'version: "0.6.0"', 5),
        ('version: "0.5.9"', f"sha256: {'0' * 64}", 5),
        ('  version: "0.5.9"\n', "", 3),
        ('version: "0.5.9"', 'version: "0.5.9"\n  from: http://example.org/a.zip', 6),
        ('version: "0.5.9"', 'version: "0.5.9"\n  from: https://example.org/a.zip', 3),
        ("modality: CT", "modality: MR", 8),
        ("regions: [abdomen]", "regions: [belly]", 9),
        ("slices_min: 20", "slices_min: 0", 15),
        ("slices_min: 20", "slices_min: 2.5", 15),
        ("slices_min: 20", "slices_min: yes", 15),
        ("age_years: [21, 90]", "age_years: [90, 21]", 19),
        ("contrast: any", "weighting: T1", 18),
        ("contrast: any", "views: [PA]", 18),
        ("  spleen:\n", "  liver:\n", 21),
        ('value: "78961009"', 'value: "78961008"', 23),
        ('value: "78961009"', "value: 78961009", 23),
        ("scheme: SCT", "scheme: SNOMED", 23),
        ("colour: [1, 2, 3]", "colour: [1, 2, 256]", 25),
        ("laterality: left", "laterality: both", 26),
        ("data_class_reason: Headers are not in the payload and the field never reaches the head.\n", "", 27),
        ("data_class: P2", "data_class: P0", 27),
        ("urgency: HIGH", "urgency: soon", 29),
        ("timeout_s: 77", "timeout_s: .inf", 30),
        ("on: true", "on: 'true'", 32),
        ("on: true", "on: true\non: false", 33),
    ],
)
def test_what_is_wrong_is_named_by_its_line(folder, bundles, before, after, line):
    assert before in FULL
    found = looked(folder, bundles, spleen=FULL.replace(before, after, 1), other=FILE.replace("site_", "other_"))
    assert told(found) == [("spleen.yaml", line, "pipeline-file-refused")]
    assert set(found.pipelines) == {"other_spleen"}, "nobody else is kept from anything"


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"", 1),
        (b"- a\n- b\n", 1),
        (b"\xff\xfe\x00", 1),
        (b"a: \x00", 1),
        (b"a: [1, 2", 1),
        (b"name: &x site_spleen\n", 1),
        (b"a: &a [x, x]\nb: &b [*a, *a]\n", 1),
        (b"name: x_y\ntitle: *x\n", 2),
        (b"name: !!python/object/apply:os.system [echo]\n", 1),
        (b"name: !!str x_y\n", 1),
        (b"name: x_y\n---\nname: y_z\n", 2),
        (b"a: " + b"[" * 2000, 1),
        (b"? [a]\n: b\n", 1),
        (b"<<: {name: x_y}\n", 1),
        (b"a: 2020-01-01\n", 1),
        (b"a: " + b"9" * 5000 + b"\n", 1),
        (b"a: 1e999\n", 1),
        (b"x" * (PIPELINE_FILE_BYTES_MAX + 1), 1),
        (b"a: [" + b"1," * (PIPELINE_FILE_VALUES_MAX + 1) + b"]", 1),
    ],
    ids=range(19),
)
def test_hostile_files_are_refused_by_their_line(folder, bundles, content, line):
    found = looked(folder, bundles, spleen=content, other=FILE)
    assert told(found) == [("spleen.yaml", line, "pipeline-file-refused")]
    assert set(found.pipelines) == {"site_spleen"}


def test_a_file_at_the_limit_is_read_and_one_byte_more_is_not():
    filled = FILE.encode() + b"#" * (PIPELINE_FILE_BYTES_MAX - len(FILE))
    assert read(filled).name == "site_spleen"
    with pytest.raises(PipelineFileRefused, match="bytes"):
        read(filled + b"#")


def test_depth_and_number_of_files_have_limits(folder, bundles, tmp_path):
    deep = b"a: " + b"[" * (PIPELINE_FILE_DEPTH_MAX - 1) + b"1" + b"]" * (PIPELINE_FILE_DEPTH_MAX - 1)
    assert isinstance(parsed(deep).value, dict)
    with pytest.raises(PipelineFileRefused, match="nested"):
        parsed(deep.replace(b"1", b"[1]"))
    for number in range(PIPELINE_FILES_MAX):
        (folder / f"f{number:04}.yaml").write_text(f"{number}")
    assert len(looked(folder, bundles).problems) == PIPELINE_FILES_MAX
    found = looked(folder, bundles, z=FILE)
    assert found.pipelines == {}
    assert "more than" in found.problems[-1].detail


def test_the_example_of_the_documents_is_one(folder, bundles):
    page = (Path(__file__).resolve().parents[3] / "docs" / "pipelines" / "from-bundles.md").read_text()
    (example,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    (pipeline,) = looked(folder, bundles, example=example).pipelines.values()
    assert why_not(HEADER, pipeline) is None


def test_two_files_with_one_name_declare_nothing(folder, bundles):
    found = looked(folder, bundles, a=FILE, b=FILE, c=FILE.replace("site_", "third_"))
    assert told(found) == [("a.yaml", 1, "pipeline-file-refused"), ("b.yaml", 1, "pipeline-file-refused")]
    assert "b.yaml" in found.problems[0].detail
    assert set(found.pipelines) == {"third_spleen"}


def test_an_absent_bundle_is_said_and_waited_for(folder, bundles):
    assert told(looked(folder, {}, spleen=FILE)) == [("spleen.yaml", 4, "bundle-absent")]
    assert looked(folder, bundles).problems == ()


def test_a_bundle_that_gives_no_pipeline_says_why(folder, tmp_path):
    bundle = installed(tmp_path / "us", "spleen_ct_segmentation", modality="US")
    assert told(looked(folder, {bundle.name: bundle}, spleen=FILE)) == [("spleen.yaml", 4, "modality-unserved")]


def test_the_name_of_another_bundle_is_not_taken(folder, bundles, tmp_path):
    other = installed(tmp_path / "other", "liver_ct", ("liver",))
    found = looked(folder, {**bundles, "liver_ct": other}, spleen=FILE.replace("site_spleen", "liver_ct"))
    assert told(found) == [("spleen.yaml", 1, "pipeline-file-refused")]


def test_what_is_off_takes_nothing(folder, bundles):
    found = looked(folder, bundles, spleen=FILE + "on: false\n")
    on = pipelines(bundles, own=found.pipelines)
    assert why_not(HEADER, on["site_spleen"]) == "switched-off"


def test_weights_and_licence_count_for_a_file_too(folder, bundles):
    own = looked(folder, bundles, spleen=FILE).pipelines
    assert pipelines(bundles, ready=lambda _: False, own=own)["site_spleen"].withheld == "weights-absent"
    assert pipelines(bundles, accepted=lambda _: False, own=own)["site_spleen"].withheld == "licence-not-accepted"


def test_a_declared_task_may_be_narrowed_and_keeps_its_outputs(folder, tmp_path):
    from models.catalog import Catalog

    bundles = Catalog(tmp_path / "empty").built_in()
    task = pipelines()["intracranial_volume_t1"]
    text = FILE.replace("spleen_ct_segmentation", task.bundle).replace("0.5.9", task.bundle_version)
    (pipeline,) = looked(folder, bundles, tiv=f"{text}series:\n  age_years: [65, 90]\n").pipelines.values()
    assert pipeline.selector == dataclasses.replace(task.selector, age_years=(65.0, 90.0))
    assert [type(item) for item in pipeline.outputs] == [type(item) for item in task.outputs]
    found = looked(folder, bundles, tiv=f"{text}data_class: P1\ndata_class_reason: {'x' * 20}\n")
    assert told(found) == [("tiv.yaml", 7, "pipeline-file-refused")], "a head is never P1"


def test_what_is_no_plain_file_is_refused_or_passed_over(folder, bundles, tmp_path):
    (folder / "folder.yaml").mkdir()
    os.mkfifo(folder / "pipe.yaml")
    (folder / "gone.yaml").symlink_to(tmp_path / "nowhere")
    (folder / ".hidden.yaml").write_text("broken: [")
    (folder / "readme.txt").write_text("broken: [")
    found = looked(folder, bundles, spleen=FILE)
    assert [name for name, _, _ in told(found)] == ["folder.yaml", "gone.yaml", "pipe.yaml"]
    assert set(found.pipelines) == {"site_spleen"}


def test_a_folder_that_is_not_there_declares_nothing(tmp_path):
    assert site(tmp_path / "nowhere", {}, {}) == Site({}, {}, ())
    assert stamp(tmp_path / "nowhere") == ()
    assert references(tmp_path / "nowhere") == {}


def test_where_bundles_are_had_from(folder, bundles):
    digest = "ab" * 32
    looked(
        folder,
        bundles,
        a=FILE.replace('"0.5.9"', f'"0.5.9"\n  from: https://example.org/s.zip\n  from_sha256: {digest}'),
        b=FILE.replace("site_", "b_").replace("spleen_ct", "liver_ct").replace('"0.5.9"', '"1.0"\n  from: ../liver_ct'),
        c="broken: [",
    )
    found = references(folder)
    assert set(found) == {"site_spleen", "spleen_ct_segmentation", "b_spleen", "liver_ct_segmentation"}
    assert (found["site_spleen"].source, found["site_spleen"].sha256) == ("https://example.org/s.zip", digest)
    assert found["b_spleen"].source == str(folder.absolute() / "../liver_ct")


@pytest.mark.parametrize(
    ("value", "is_one"), [("78961009", True), ("78961008", False), ("279706003", True), ("123", False), ("a", False)]
)
def test_identifiers_of_snomed_ct(value, is_one):
    assert is_sct(value) is is_one


def test_every_identifier_of_our_table_is_one():
    from pipelines.anatomy import entries

    assert [
        row["value"]
        for row in entries().values()
        if "value" in row and "scheme" not in row and not is_sct(row["value"])
    ] == []


def test_what_differs_between_several_series_is_not_for_a_file_to_say(tmp_path):
    channels = {"num_channels": 2, "channel_def": {"0": "T1", "1": "FLAIR"}}
    bundle = installed(tmp_path, "two_series", ("lesion",), "MR", inputs=channels, task="brain lesions")
    base = pipeline_of(bundle)
    text = "name: two_series\ntitle: Two\nbundle: {{name: two_series, version: 0.5.9}}\nseries:\n  {0}\nintended_use: Made for this test alone, by nobody.\n"
    made = pipeline_from(read(text.format("spacing_mm_max: 1.5").encode()), bundle, base)
    assert [role.selector.spacing_mm_max for role in made.roles] == [1.5, 1.5]
    for member in ("weighting: T1", "contrast: any", "words_for: [brain]"):
        with pytest.raises(PipelineFileRefused, match="several series"):
            pipeline_from(read(text.format(member).encode()), bundle, base)
