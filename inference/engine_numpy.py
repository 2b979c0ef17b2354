"""What runs a bundle that has no network: numpy and scipy, by rules alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from inference.engine import Network, NetworkFile, threads_of
from inference.errors import BundleRefused
from models.bundle import RULES


class NumpyEngine:
    """Runs rules: every node has it, it needs no weights, and equal input gives equal bits.

    Parameters
    ----------
    threads
        0 for all that this process may use. Rules use one; the number is what a Receipt says was at hand.
    """

    name = RULES
    version = np.__version__
    precision = "f64"
    device = "cpu"
    deterministic = True
    tf32 = False
    bf16 = False

    def __init__(self, threads: int = 0) -> None:
        self.threads = threads_of(threads)

    def network(self, file: NetworkFile, input_shape: Sequence[int]) -> Network:
        """It runs none. Raises `BundleRefused`."""
        raise BundleRefused("the engine of rules runs no network", format=file.format, axes=len(input_shape))
