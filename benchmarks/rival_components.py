"""Connected components and hole filling by LGPL libraries, in a warm process of their own: a line with the path of a mask in, seconds out."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable

import cc3d
import fill_voids
import numpy as np


def main() -> None:
    """Answer one line of JSON for each line read: the step, and the file of the mask."""
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        step, path = line.split()
        mask = np.load(path)
        before = time.perf_counter()
        answer = STEPS[step](mask)
        print(json.dumps({"seconds": time.perf_counter() - before, "voxels": int(answer.sum())}), flush=True)


def _keep_largest(mask: np.ndarray) -> np.ndarray:
    return cc3d.largest_k(mask, k=1, connectivity=26) > 0


def _fill(mask: np.ndarray) -> np.ndarray:
    return fill_voids.fill(mask)


STEPS: dict[str, Callable[[np.ndarray], np.ndarray]] = {"keep_largest": _keep_largest, "fill_voids": _fill}

if __name__ == "__main__":
    main()
