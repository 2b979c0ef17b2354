"""Transforms of transforms: a chain under another stage's name, and a network whose answer is a step on the way."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from inference.steps import Compose, Inferer, Item, Keyed, Keys, Network

STAGES = ("preparing", "locating", "segmenting", "measuring")


class Staged(Keyed):
    """A chain that belongs to one stage of the run, whatever its transforms belong to elsewhere.

    Parameters
    ----------
    keys
        What it is about; the chain's own transforms name theirs.
    stage
        One of `STAGES`.
    transforms
        In order.
    """

    def __init__(self, keys: Keys, stage: str, transforms: Sequence[Callable[[Item], Item]]) -> None:
        super().__init__(keys)
        if stage not in STAGES:
            raise TypeError("a chain belongs to a stage")
        self.stage = stage  # type: ignore[misc]
        self._chain = Compose(transforms)

    def __call__(self, data: Item) -> Item:
        for transform in self._chain.transforms:
            data = transform(data)
        return data


class Inferd(Keyed):
    """Run a network on one image of one channel.

    Parameters
    ----------
    keys
        Of the array: float32, axes (x, y, z).
    into
        Key of the answer: axes (batch, channel, x, y, z); a view that holds until the network's next call.
    network, inferer
        The network, and the inferer that calls it.
    """

    def __init__(self, keys: Keys, into: str, network: Network, inferer: Inferer) -> None:
        super().__init__(keys)
        self.into, self.network, self.inferer = into, network, inferer

    def __call__(self, data: Item) -> Item:
        return {**data, self.into: self.inferer(data[self.key][None, None], self.network)}
