import pytest

from clinic.writers.warm import warm
from pipelines.catalog import pipelines
from pipelines.outputs import (
    ClassOutput,
    KeyImageOutput,
    MapOutput,
    MeasurementOutput,
    PreviewOutput,
    ScoreOutput,
    SegmentOutput,
)
from tests.common.dicom_factory import make_series
from tests.common.planar_written import CLASSIFIED, SCORED
from tests.common.written import many, source_of

KINDS = (
    (SegmentOutput,),
    (MeasurementOutput, ScoreOutput, ClassOutput),
    (MapOutput,),
    (KeyImageOutput,),
    (PreviewOutput,),
)
"""What each object is written of."""


@pytest.mark.parametrize("pipeline", [*pipelines().values(), SCORED, CLASSIFIED], ids=lambda pipeline: pipeline.name)
def test_one_of_each_kind_is_written_for_every_pipeline(pipeline):
    kinds = [kind for kind in KINDS if any(isinstance(output, kind) for output in pipeline.outputs)]
    assert warm(pipeline) == len(kinds) >= 2


def test_of_many_segments_the_first_are_enough():
    source = source_of(make_series((4, 8, 8)))
    assert warm(many(source, 200).context.pipeline) == 3
