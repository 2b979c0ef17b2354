"""What every declared pipeline writes of findings that have all it declares: objects that dciodvfy finds no error in."""

import pytest

from clinic.checking import check_findings
from clinic.writers import sr, write
from clinic.writers.warm import findings_of
from pipelines.catalog import pipelines
from pipelines.outputs import SegmentOutput
from tests.common.dicom_factory import make_series
from tests.common.planar import sector, ultrasound
from tests.common.planar_written import planar_source
from tests.common.written import context, source_of
from tests.interop.test_written_objects import UNKNOWN_LABEL_MAP, faults


@pytest.mark.parametrize("pipeline", pipelines().values(), ids=lambda pipeline: pipeline.name)
def test_dciodvfy_sees_no_error(pipeline, tmp_path):
    if pipeline.selector.planar:
        source = planar_source([ultrasound(sector(60, 50))])
    else:
        source = source_of(make_series((6, 24, 22), modality=pipeline.selector.modality))
    findings = findings_of(pipeline.outputs, source.grid.shape)
    check_findings(findings, pipeline, source)
    written = write(source, findings, context(pipeline=pipeline))
    many = sum(isinstance(output, SegmentOutput) for output in pipeline.outputs) > 20
    for item in written:
        if item.sop_class == sr.COMPREHENSIVE_3D_SR or item.kind in ("map", "kos"):
            (tmp_path / f"{item.kind}.dcm").write_bytes(item.content)
            found = faults(tmp_path / f"{item.kind}.dcm")
            assert not {fault for fault in found if not many or UNKNOWN_LABEL_MAP not in fault}, item.kind
