"""deepbet in a warm process of its own: a line with a NIfTI path in, seconds and volume out, image and mask in memory."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import nibabel
from deepbet import BrainExtraction


def main() -> None:
    """Answer one line of JSON for each line read."""
    extraction = BrainExtraction(no_gpu=True)
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        content = Path(line.strip()).read_bytes()
        before = time.perf_counter()
        _image, _mask, volume = extraction.run(nibabel.Nifti1Image.from_bytes(content))
        seconds = time.perf_counter() - before
        print(json.dumps({"seconds": seconds, "volume_ml": float(volume)}), flush=True)


if __name__ == "__main__":
    main()
