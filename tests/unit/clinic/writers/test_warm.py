from clinic.writers.warm import warm
from pipelines.catalog import pipelines
from tests.common.dicom_factory import make_series
from tests.common.written import many, source_of


def test_one_of_each_kind_is_written_for_every_pipeline():
    for pipeline in pipelines().values():
        assert warm(pipeline) == 3


def test_of_many_segments_the_first_are_enough():
    source = source_of(make_series((4, 8, 8)))
    assert warm(many(source, 200).context.pipeline) == 3
