"""A pipeline is added by one file and one bundle folder: nothing else of the product changes, and everything knows it.

A copy of the two packages gets both; the rest of the tree is linked. A process that sees that tree then takes a CT by the
new pipeline from its headers to a Segmentation, a report and a preview.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from models.bundle import Bundle

ROOT = Path(__file__).resolve().parents[3]
NAME = "dense_bone_ct"
EXAMPLE = ROOT / "examples" / NAME
SCRIPT = """
import json, sys
from pathlib import Path
import numpy as np
import pydicom
from api.repertoire import InstalledRepertoire
from bithive.clock import ManualClock
from bithive.settings import Settings
from clinic.headers import series_header
from clinic.writers import write
from cluster.loading import Stock
from inference.memory import predict
from inference.run import load
from models.catalog import Catalog
from pipelines.match import match
from tests.common.dicom_factory import make_series, rows_of
from tests.common.tables import pipelines_table
from tests.common.written import context, source_of

name, state = sys.argv[1], Path(sys.argv[2])
shape = (12, 60, 80)
z, y, x = np.indices(shape)
stored = np.full(shape, -1000, np.int16)
stored[((y - 30) / 24) ** 2 + ((x - 40) / 34) ** 2 < 1] = 40
stored[3:9, 26:34, 36:44] = 700
series = make_series(shape, (4.0, 4.0, 5.0), modality="CT", pixels=stored, description="Abdomen 5.0",
                     BodyPartExamined="ABDOMEN", RescaleSlope="1", RescaleIntercept="0")
now = InstalledRepertoire(Settings(state=state), ManualClock()).now()
header = series_header(rows_of(series)[0])
matched = [item.pipeline.name for item in match([header], now.pipelines)]
pipeline, catalog = now.pipelines[name], Catalog(state / "models")
bundle = catalog.bundle(name)
cell = Stock(lambda: catalog, state / "models", ManualClock())
source = source_of(series)
findings = load(bundle, catalog.weights(bundle), threads=1).run(source.volume)
written = write(source, findings, context(pipeline=pipeline))
print(json.dumps({
    "withheld": pipeline.withheld,
    "matched": matched,
    "announced": sorted(item.name for item in cell.bundles().values()),
    "memory": predict(bundle, shape, (4.0, 4.0, 5.0), 2).peak_bytes > 0,
    "volume_ml": findings.measurements[0].value,
    "written": sorted(item.kind for item in written),
    "row": next(line for line in pipelines_table().splitlines() if name in line),
}))
"""


@pytest.fixture
def tree(tmp_path):
    """The repository's tree, where `models` and `pipelines` are copies of their own."""
    folder = tmp_path / "tree"
    folder.mkdir()
    for path in ROOT.iterdir():
        if path.name in {"models", "pipelines"}:
            shutil.copytree(path, folder / path.name, ignore=shutil.ignore_patterns("__pycache__"))
        elif path.name.isidentifier():
            (folder / path.name).symlink_to(path)
    return folder


def add(tree: Path) -> None:
    """What CONTRIBUTING.md says: copy the file, copy the folder."""
    shutil.copy(EXAMPLE / f"{NAME}.py", tree / "pipelines" / "tasks")
    shutil.copytree(EXAMPLE / "bundle", tree / "models" / "bundles" / NAME)
    Bundle.load(tree / "models" / "bundles" / NAME)


def test_one_file_and_one_folder_are_enough(tree, tmp_path):
    before = {path for path in tree.rglob("*") if path.is_file()}
    add(tree)
    added = {path.relative_to(tree).as_posix() for path in tree.rglob("*") if path.is_file()} - {
        path.relative_to(tree).as_posix() for path in before
    }
    assert added == {
        f"pipelines/tasks/{NAME}.py",
        f"models/bundles/{NAME}/configs/inference.json",
        f"models/bundles/{NAME}/configs/metadata.json",
        f"models/bundles/{NAME}/docs/README.md",
    }
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, NAME, str(tmp_path / "state")],
        cwd=tree,
        env={"PYTHONPATH": str(tree), "PATH": "/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["withheld"] == ""
    assert NAME in told["matched"]
    assert NAME in told["announced"], "a cell offers to run it"
    assert told["memory"]
    assert told["volume_ml"] == pytest.approx(6 * 8 * 8 * 80 / 1000)
    assert told["written"] == ["sc", "seg", "sr"]
    assert told["row"] == f"| [`{NAME}`](pipelines/{NAME}.md) | Dense bone (body CT) | {NAME} 0.1.0 | P3 |"
