"""The transforms of a zoo bundle's postprocessing: from the network's answer to labels of the source."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from inference.labels import Decision
from inference.zoo_components import Component, FillHoles, KeepLargest, RemoveSmall
from inference.zoo_given import Given

Activation = Literal["softmax", "sigmoid"]

_LEFT_OUT = frozenset({"SaveImaged", "EnsureTyped", "ToTensord", "CastToTyped", "ToDeviced"})
_FLOATS = (None, "float", "float32", "float64", "uint8", "int", "int32", "int64")


@dataclass(frozen=True, slots=True)
class Answer:
    """What becomes of the network's answer.

    Attributes
    ----------
    decision
        How values become labels.
    interpolate
        Whether values are interpolated to the source's voxels and decided there (`Invertd` before `AsDiscreted`), or
        decided on the network's grid and the nearest label taken.
    inverted
        Whether there is an `Invertd` at all. Labels come back to the source's voxels in any case.
    on_grid, on_source
        What is done to the labels before and after they come back.
    """

    decision: Decision
    interpolate: bool
    inverted: bool
    on_grid: tuple[Component, ...]
    on_source: tuple[Component, ...]


class _State:
    """What was read so far."""

    def __init__(self, image: str, preprocessing: Any) -> None:
        self.image, self.preprocessing = image, preprocessing
        self.activation: Activation | None = None
        self.activated_back = False
        self.kind: str | None = None
        self.threshold = 0.5
        self.onehot = False
        self.inverted = False
        self.interpolate = False
        self.on_grid: list[Component] = []
        self.on_source: list[Component] = []


def answer_of(chain: Sequence[Given], image: str, preprocessing: Any) -> Answer:
    """Understand a postprocessing.

    Parameters
    ----------
    chain
        Its transforms, in order.
    image
        The key that the preprocessing works on.
    preprocessing
        As it was resolved: what an `Invertd` must invert.

    Raises
    ------
    TransformUnsupported
        Naming the transform, or its option, that cannot be carried out exactly.
    """
    state, key = _State(image, preprocessing), ""
    for given in chain:
        if given.target in _LEFT_OUT:
            continue
        own = given.key()
        if own != (key or own):
            raise given.refuse("works on another key than the transforms before it")
        if given.target not in _READERS:
            raise given.refuse("is not carried out here")
        key = own
        _READERS[given.target](given, state)
        given.done()
    if state.kind is None:
        raise Given("postprocessing", {}).refuse("does not decide for labels (AsDiscreted)")
    return Answer(
        _decision(state),
        state.interpolate,
        state.inverted,
        tuple(state.on_grid),
        tuple(state.on_source),
    )


def _decision(state: _State) -> Decision:
    """Of activations that come after the interpolation only the threshold's place counts: they are monotonic."""
    if state.kind == "argmax":
        return Decision("argmax", state.activation if state.interpolate and not state.activated_back else None)
    if state.activated_back and state.activation == "sigmoid":
        share = min(max(state.threshold, 1e-7), 1.0 - 1e-7)
        return Decision("threshold", None, math.log(share / (1.0 - share)))
    return Decision("threshold", state.activation, state.threshold)


def _activations(given: Given, state: _State) -> None:
    sigmoid, softmax = given.flag("sigmoid", False), given.flag("softmax", False)
    given.only("other", None)
    given.only("dim", 0)
    if not (sigmoid or softmax):
        return
    if (sigmoid and softmax) or state.activation is not None or state.kind is not None:
        raise given.refuse("comes twice, or after the decision")
    state.activation, state.activated_back = "sigmoid" if sigmoid else "softmax", state.inverted and state.interpolate


def _discrete(given: Given, state: _State) -> None:
    argmax, onehot, threshold = given.flag("argmax", False), given.one("to_onehot", None), given.one("threshold", None)
    given.only("rounding", None)
    given.only("dim", 0)
    given.only("keepdim", True)
    given.only("dtype", *_FLOATS)
    if onehot is not None and (isinstance(onehot, bool) or not isinstance(onehot, int)):
        raise given.refuse("has a to_onehot that is no number of classes")
    if state.kind is not None or argmax == (threshold is not None):
        raise given.refuse("decides twice, or not at all")
    if argmax:
        state.kind, state.onehot = "argmax", onehot is not None
        return
    if onehot is not None or isinstance(threshold, bool) or not isinstance(threshold, int | float):
        raise given.refuse("has a threshold that is not carried out here")
    if state.activated_back and state.activation == "softmax":
        raise given.refuse("takes a threshold of a softmax that comes after Invertd")
    state.kind, state.threshold = "threshold", float(threshold)


def _invert(given: Given, state: _State) -> None:
    if state.inverted:
        raise given.refuse("comes twice")
    if given.one("orig_keys", state.image) != state.image or given.take("transform") != state.preprocessing:
        raise given.refuse("inverts something else than the preprocessing")
    given.only("post_func", None)
    given.leave("meta_keys", "orig_meta_keys", "meta_key_postfix", "to_tensor", "device")
    nearest = given.flag("nearest_interp", True)
    state.inverted = True
    state.interpolate = not nearest and state.kind is None


def _component(make: Callable[[Given], Component]) -> Callable[[Given, _State], None]:
    def read(given: Given, state: _State) -> None:
        if state.kind is None:
            raise given.refuse("comes before the decision for labels")
        component = make(given)
        if state.kind == "threshold" or (state.onehot and not component.plain_onehot):
            raise given.refuse("works on overlapping structures, which is not carried out here")
        (state.on_source if state.inverted else state.on_grid).append(component)

    return read


def _keep_largest(given: Given) -> Component:
    given.only("is_onehot", None, False, True)
    count = given.whole("num_components", 1)
    if count < 1:
        raise given.refuse("keeps no component")
    return KeepLargest(given.labels("applied_labels"), given.flag("independent", True), _reach(given, 3), count)


def _fill_holes(given: Given) -> Component:
    return FillHoles(given.labels("applied_labels"), _reach(given, 3))


def _remove_small(given: Given) -> Component:
    given.leave("pixdim")
    union = not given.flag("independent_channels", True)
    return RemoveSmall(given.number("min_size", 64), _reach(given, 1), given.flag("by_measure", False), union)


def _reach(given: Given, default: int) -> int:
    """Connectivity: 1 over faces, 2 over edges too, 3 over corners too."""
    reach = given.whole("connectivity", default)
    if reach not in (1, 2, 3):
        raise given.refuse("has a connectivity that is none of 1, 2 and 3")
    return reach


_READERS: Mapping[str, Callable[[Given, _State], None]] = {
    "Activationsd": _activations,
    "AsDiscreted": _discrete,
    "Invertd": _invert,
    "KeepLargestConnectedComponentd": _component(_keep_largest),
    "FillHolesd": _component(_fill_holes),
    "RemoveSmallObjectsd": _component(_remove_small),
}
