"""The gate before the score, with a network of a known answer."""

import numpy as np
import pytest

from inference.errors import NotAChestRadiograph
from inference.film_gate import RequireFrontald
from inference.radiograph import Film

FILMS = tuple(Film(0, 0, 28, np.full((28, 28), grey, np.float32)) for grey in (0.2, 0.5, 0.8))


def answering(*values):
    """Answers one film after the other."""
    left = iter(values)
    return lambda batch: np.full((len(batch), 1, 1, 1), next(left), np.float32)


def test_every_film_is_asked_alone_and_passes_unchanged():
    shapes = []
    gate = RequireFrontald("films", lambda batch: (shapes.append(batch.shape), np.zeros((1, 1, 1, 1), np.float32))[1])
    assert gate({"films": FILMS, "other": 1}) == {"films": FILMS, "other": 1}
    assert shapes == [(1, 1, 28, 28)] * 3


@pytest.mark.parametrize("answers", [(-1e-6, 1, 1), (2, 2, -3), (1, float("nan"), 1)])
def test_one_that_is_none_is_enough_to_refuse(answers):
    with pytest.raises(NotAChestRadiograph) as caught:
        RequireFrontald("films", answering(*answers))({"films": FILMS})
    assert caught.value.context["check"] == "frontal"
