"""What a user's own script does: a DICOM image by pydicom, scaled by Pillow, through an ONNX network by ONNX Runtime."""

from __future__ import annotations

import json
import sys
import time

import numpy as np
import onnxruntime
import pydicom
from PIL import Image


def main() -> None:
    """Answer one line of JSON for each path read."""
    session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
    entry = session.get_inputs()[0]
    rows, columns = (int(size) for size in entry.shape[-2:])
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        before = time.perf_counter()
        pixels = pydicom.dcmread(line.strip()).pixel_array
        grey = pixels.mean(axis=-1) if pixels.ndim == 3 else pixels
        small = np.asarray(Image.fromarray(grey.astype(np.float32)).resize((columns, rows)), dtype=np.float32)
        session.run(None, {entry.name: (small / 255.0)[None, None]})
        print(json.dumps({"seconds": time.perf_counter() - before}), flush=True)


if __name__ == "__main__":
    main()
