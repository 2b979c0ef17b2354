"""How much Findings say: much for a structure, nothing for what is empty, full or round."""

import numpy as np
import pytest

from inference.errors import BadFindings
from inference.findings import Classification, Findings, LabelMap, Mask, Measurement, Region, ScalarMap, Score
from inference.substance import substance_bits

SHAPE = (40, 64, 64)
BOX = np.zeros(SHAPE, np.bool_)
BOX[5:20, 10:40, 8:50] = True


def ball(radius: float) -> np.ndarray:
    z, y, x = np.ogrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    return (z - 20.3) ** 2 + (y - 30) ** 2 + (x - 28) ** 2 < radius**2


NOTHING = {
    "no findings": Findings(),
    "empty masks": Findings(tuple(Mask(f"m{n}", np.zeros(SHAPE, np.bool_)) for n in range(40))),
    "full masks": Findings(tuple(Mask(f"m{n}", np.ones(SHAPE, np.bool_)) for n in range(4))),
    "a box": Findings((Mask("m", BOX),)),
    "background": Findings(labels=LabelMap(np.zeros(SHAPE, np.uint8), ("a", "b"))),
    "one label": Findings(labels=LabelMap(np.full(SHAPE, 2, np.uint16), ("a", "b"))),
    "a flat map": Findings(maps=(ScalarMap("m", np.full(SHAPE, 0.3, np.float32)),)),
    "counts": Findings(measurements=tuple(Measurement(f"n{n}", float(n), "1") for n in range(50))),
    "saturated": Findings(scores=tuple(Score(f"s{n}", (0.0, 0.5, 1.0)[n % 3]) for n in range(50))),
    "certain frames": Findings(classes=tuple(Classification("plane", n, "femur", 1.0) for n in range(30))),
    "one number often": Findings(scores=tuple(Score(f"s{n}", 0.1234567) for n in range(50))),
}


@pytest.mark.parametrize("name", NOTHING)
def test_little_is_said_by(name: str) -> None:
    assert substance_bits(NOTHING[name].to_bytes()) <= 16


MUCH = {
    "an organ": Findings((Mask("m", ball(18.2)),)),
    "a small lesion": Findings((Mask("m", ball(3.2)),)),
    "structures": Findings(labels=LabelMap((ball(12.2) + ball(5.1)).astype(np.uint8), ("a", "b"))),
    "a map": Findings(maps=(ScalarMap("m", np.random.default_rng(1).random(SHAPE, np.float32)),)),
    "probabilities": Findings(
        scores=tuple(Score(f"s{n}", v) for n, v in enumerate(np.random.default_rng(2).random(18)))
    ),
    "boxes": Findings(
        regions=(
            Region("nodule", 1, (10.12345, -3.98765, 55.43219), (4.12349, 4.31234, 3.98712), 0.87654),
            Region("nodule", 2, (1.12345, -3.18765, 5.43219), (4.22349, 4.21234, 3.18712), 0.57654),
        )
    ),
}


@pytest.mark.parametrize("name", MUCH)
def test_much_is_said_by(name: str) -> None:
    assert substance_bits(MUCH[name].to_bytes()) >= 128


@pytest.mark.parametrize("content", [b"", b"BHFIND03", Findings().to_bytes()[:20], b"x" * 100])
def test_what_is_no_container(content: bytes) -> None:
    with pytest.raises(BadFindings):
        substance_bits(content)
