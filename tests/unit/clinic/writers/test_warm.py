from clinic.writers.warm import warm
from pipelines.catalog import pipelines


def test_one_of_each_kind_is_written_for_every_pipeline():
    for pipeline in pipelines().values():
        assert warm(pipeline) == 3
