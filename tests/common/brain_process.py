"""A bundle in a process of its own: a Volume's container in, findings and the largest resident size out.

Run as `python -m tests.common.brain_process BUNDLE STORE MIRROR CALIBRATION VOLUME FINDINGS`; prints JSON.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from cluster.measure import give_back, peak_memory_bytes
from inference.run import load
from inference.volume import Volume
from models.catalog import Catalog


def main(name: str, store: str, mirror: str, calibration: str, volume: str, findings: str) -> None:
    """Load, run, write, and tell."""
    catalog = Catalog(Path(store), (Path(mirror),))
    assert catalog.gather(name), "the weights are not here"
    bundle = catalog.bundle(name)
    loaded = load(bundle, catalog.weights(bundle), "auto", 2, Path(calibration))
    given = Volume.from_bytes(Path(volume).read_bytes())
    give_back()
    Path("/proc/self/clear_refs").write_text("5")
    started = time.perf_counter()
    stages: list[tuple[str, float]] = []
    content = loaded.run(given, lambda stage, share: stages.append((stage, share))).to_bytes()
    seconds = time.perf_counter() - started
    Path(findings).write_bytes(content)
    told = {"peak_bytes": peak_memory_bytes(), "seconds": seconds, "engine": loaded.engine, "stages": stages}
    sys.stdout.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
