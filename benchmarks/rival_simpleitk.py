"""What a user's own SimpleITK script does by rule on CT: lungs or body composition, from DICOM files to volumes.

Started with `lungs` or `composition`; answers each folder with seconds and volumes. No care is taken of airways, table,
arms or touching lungs: it is what a page of code gives.
"""

from __future__ import annotations

import json
import sys
import time

import SimpleITK


def main() -> None:
    """Answer one line of JSON for each folder."""
    rule = {"lungs": lungs, "composition": composition}[sys.argv[1]]
    print(json.dumps({"seconds": 0.0}), flush=True)
    for line in sys.stdin:
        before = time.perf_counter()
        found = rule(read(line.strip()))
        print(json.dumps({"seconds": time.perf_counter() - before, "found": found}), flush=True)


def read(folder: str) -> SimpleITK.Image:
    """A series."""
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(folder))
    return reader.Execute()


def lungs(image: SimpleITK.Image) -> dict[str, float]:
    """Air that does not touch the border, the two largest pieces, closed; volume and share below -950 HU."""
    air = SimpleITK.BinaryThreshold(image, -2000, -400)
    inside = SimpleITK.And(air, SimpleITK.Not(SimpleITK.BinaryGrindPeak(air)))
    pieces = SimpleITK.RelabelComponent(SimpleITK.ConnectedComponent(inside), sortByObjectSize=True)
    both = SimpleITK.BinaryMorphologicalClosing(SimpleITK.BinaryThreshold(pieces, 1, 2), (3, 3, 3))
    low = SimpleITK.And(both, SimpleITK.BinaryThreshold(image, -2000, -951))
    return {"lungs": _ml(both), "low": _ml(low)}


def composition(image: SimpleITK.Image) -> dict[str, float]:
    """The largest piece of anything denser than air, and bone, fat and muscle in it by their ranges."""
    body = SimpleITK.BinaryThreshold(image, -500, 4000)
    body = SimpleITK.RelabelComponent(SimpleITK.ConnectedComponent(body), sortByObjectSize=True) == 1
    ranges = {"bone": (150, 4000), "fat": (-190, -30), "muscle": (-29, 150)}
    return {
        name: _ml(SimpleITK.And(body, SimpleITK.BinaryThreshold(image, low, high)))
        for name, (low, high) in ranges.items()
    }


def _ml(mask: SimpleITK.Image) -> float:
    statistics = SimpleITK.StatisticsImageFilter()
    statistics.Execute(mask)
    x, y, z = mask.GetSpacing()
    return float(statistics.GetSum() * x * y * z / 1000.0)


if __name__ == "__main__":
    main()
