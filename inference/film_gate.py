"""Whether a film is a frontal one of a chest, as a network of its own says: it gives no score, it lets others give one.

The network that scores was never shown anything but chests and cannot know what else there is. This one learnt chests
against what is none (`training/chest_pneumonia/gate.py`), and is asked first.
"""

from __future__ import annotations

from typing import ClassVar

from inference.errors import NotAChestRadiograph
from inference.steps import Item, Keyed, Keys, Network


class RequireFrontald(Keyed):
    """Refuse a picture that does not look like a frontal chest film as it is read: turned, inverted, or something else.

    Parameters
    ----------
    keys
        Of the tuple of `inference.radiograph.Film`.
    network
        (1, 1, rows, columns) grey levels 0 to 1 to (1, 1, 1, 1): log odds above the limit that the network brings along.

    Raises
    ------
    NotAChestRadiograph
        With the `check` `frontal`, if the answer of any film is below 0 or no number.
    """

    stage: ClassVar[str] = "preparing"

    def __init__(self, keys: Keys, network: Network) -> None:
        super().__init__(keys)
        self.network = network

    def __call__(self, data: Item) -> Item:
        for film in data[self.key]:
            answer = float(self.network(film.grey[None, None])[0, 0, 0, 0])
            if not answer >= 0:
                raise NotAChestRadiograph("it does not look like a frontal chest film as it is read", check="frontal")
        return data
