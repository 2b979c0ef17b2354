"""One engine with the networks of one bundle, warm in a process of its own.

Started with one line of JSON as its argument. It loads, runs each network once on the probe and says so; then it answers
each line with the seconds of one run of every network.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np

from inference.engine import Candidate, NetworkFile, make
from inference.parity import probe


def main() -> None:
    """Load, answer the probe into files, then run once per line."""
    given = json.loads(sys.argv[1])
    before = time.perf_counter()
    engine = make(Candidate(given["engine"], "cpu"), given["threads"])
    networks = []
    for number, (path, kind, shape) in enumerate(given["networks"]):
        network, inputs = engine.network(NetworkFile(Path(path), kind), shape), probe(shape)
        np.save(f"{given['answers']}-{number}.npy", network(inputs))
        networks.append((network, inputs))
    loaded = {"seconds": time.perf_counter() - before, "version": engine.version, "precision": engine.precision}
    print(json.dumps(loaded), flush=True)
    for _ in sys.stdin:
        before = time.perf_counter()
        for network, inputs in networks:
            network(inputs)
        print(json.dumps({"seconds": time.perf_counter() - before}), flush=True)


if __name__ == "__main__":
    main()
