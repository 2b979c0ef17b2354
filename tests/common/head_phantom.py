"""Phantoms of a head on CT and MR: scalp, skull, brain and ventricles as ellipsoids of known density."""

from __future__ import annotations

from tests.common.body_phantom import Ellipsoid

SCALP = Ellipsoid((0, 0, 0), (86, 106, 96), -60)
SKULL = Ellipsoid((0, 0, 0), (80, 100, 90), 900)
BRAIN = Ellipsoid((0, 0, 0), (66, 84, 70), 32)
VENTRICLES = Ellipsoid((0, 0, 0), (20, 36, 16), 8)
CALCIFICATION = Ellipsoid((10, 50, 20), (9, 9, 9), 300)
HEAD_CT = (SCALP, SKULL, BRAIN, VENTRICLES, CALCIFICATION)
