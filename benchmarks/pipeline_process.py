"""One bundle, warm in a process of its own: for each folder of DICOM files read and analysed, seconds and what was found.

Started with the bundle's name, and the folder of weights; what it does is what the clinical side and a node do between
them, without the service around it.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from clinic import reader
from inference.run import load
from models.catalog import Catalog
from tests.common.dicom_factory import files_of, rows_of


def main() -> None:
    """Load, then answer one line of JSON for each folder."""
    name, store = sys.argv[1], Path(sys.argv[2])
    models = Catalog(store)
    bundle = models.bundle(name)
    before = time.perf_counter()
    loaded = load(bundle, models.weights(bundle), calibration=store / "calibration")
    print(json.dumps({"seconds": time.perf_counter() - before, "engine": loaded.engine}), flush=True)
    for line in sys.stdin:
        rows, blobs = rows_of(files_of(Path(line.strip())))
        before = time.perf_counter()
        _grid, volume = reader.read(rows, blobs)
        read = time.perf_counter() - before
        findings = loaded.run(volume)
        spent = time.perf_counter() - before
        found = {item.key: round(item.value, 1) for item in findings.measurements[:4]}
        print(json.dumps({"seconds": spent, "reading": read, "found": found}), flush=True)


if __name__ == "__main__":
    main()
