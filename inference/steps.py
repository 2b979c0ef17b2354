"""What transforms of the bithive form have in common: an item, keys into it, a chain, and the plainest inferer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

Item = dict[str, Any]
Keys = str | Sequence[str]
Network = Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]
Inferer = Callable[[npt.NDArray[np.float32], Network], npt.NDArray[np.float32]]


class Keyed:
    """A transform of some members of an item; the others pass through it.

    Parameters
    ----------
    keys
        Which members.
    """

    stage: ClassVar[str] = "preparing"

    def __init__(self, keys: Keys) -> None:
        self.keys = (keys,) if isinstance(keys, str) else tuple(keys)
        if not self.keys or not all(isinstance(key, str) for key in self.keys):
            raise TypeError("a transform is given keys of an item")

    @property
    def key(self) -> str:
        """The first of them."""
        return self.keys[0]

    def __call__(self, data: Item) -> Item:
        raise NotImplementedError


class Compose:
    """A chain of transforms, in order."""

    def __init__(self, transforms: Sequence[Callable[[Item], Item]]) -> None:
        if not all(isinstance(transform, Keyed) for transform in transforms):
            raise TypeError("a chain consists of transforms")
        self.transforms = tuple(transforms)


class SimpleInferer:
    """Gives the network the whole input at once."""

    def __call__(self, inputs: npt.NDArray[np.float32], network: Network) -> npt.NDArray[np.float32]:
        return network(inputs)
