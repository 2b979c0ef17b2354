"""Why a bundle, or a file of this site, gives no pipeline."""

from __future__ import annotations

from bithive.errors import Refused


class NoPipeline(Refused):
    code, title = "no-pipeline", "The bundle gives no pipeline"


class ModalityUnserved(NoPipeline):
    code, title = "modality-unserved", "The bundle is for another modality than CT or MR"


class SeveralInputs(NoPipeline):
    code, title = "several-inputs", "The bundle needs more than one image at once"


class StructuresAbsent(NoPipeline):
    code, title = "structures-absent", "The bundle names no structures that could become segments"


class PipelineFileRefused(Refused):
    """A file declares no pipeline; the context has the line, counted from 1, and later the file's name."""

    code, title = "pipeline-file-refused", "The file declares no pipeline that can be run"

    @property
    def line(self) -> int:
        """Where it is wrong."""
        return int(self.context.get("line") or 1)
