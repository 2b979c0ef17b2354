import numpy as np
import pytest

from inference.config import build
from inference.errors import BundleRefused
from inference.run import OwnRun
from inference.staged import Inferd, Staged
from inference.steps import Keyed, SimpleInferer


class Noted(Keyed):
    """Belongs to the last stage, and says that it ran."""

    stage = "measuring"

    def __call__(self, data):
        return {**data, "ran": (*data.get("ran", ()), self.key)}


class Chain:
    """What `inference.config.build` makes of a Compose."""

    def __init__(self, *transforms):
        self.transforms = transforms


def test_a_chain_belongs_to_the_stage_that_it_is_given():
    stages = []
    step = Staged("image", "locating", [Noted("one"), Noted("two")])
    assert step({})["ran"] == ("one", "two")
    OwnRun({"preprocessing": Chain(step), "postprocessing": Chain()}).run(
        None, lambda stage, _share: stages.append(stage)
    )
    assert stages == ["locating"]


@pytest.mark.parametrize("given", [("locating", ["no transform"]), ("elsewhere", [])])
def test_another_stage_or_something_else_than_transforms_is_refused(given):
    with pytest.raises(TypeError):
        Staged("image", *given)
    config = {
        "preprocessing": {
            "_target_": "inference.staged.Staged",
            "keys": "a",
            "stage": given[0],
            "transforms": given[1],
        },
        "postprocessing": {},
    }
    with pytest.raises(BundleRefused):
        build(config, {})


def test_a_networks_answer_is_a_member_of_the_item():
    data = Inferd("grid", "answer", lambda inputs: inputs * 2, SimpleInferer())(
        {"grid": np.ones((2, 3, 4), np.float32)}
    )
    assert data["answer"].shape == (1, 1, 2, 3, 4)
    assert (data["answer"] == 2).all()
