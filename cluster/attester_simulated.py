"""The simulated attester: software that vouches for itself. It proves nothing to anybody who does not trust it already.

It exists so that attestation and key release can be built, tested and shown without the hardware that real attestation
needs. Everything that it makes says `simulated`, and no network side outside a demonstration takes it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from bithive.clock import Clock
from bithive.keys import SigningKey
from bithive.settings import Mode, Settings
from cluster.attestation import NOBODY, SIMULATED, AppraisalPolicy, Evidence

_ROOT = Path(__file__).resolve().parent.parent
_PACKAGES = ("bithive", "models", "inference", "pipelines", "cluster")


class SimulatedAttester:
    """Signs evidence with a key that is a file like any other.

    Parameters
    ----------
    key
        What it signs with.
    clock
        Time.
    """

    kind = SIMULATED

    def __init__(self, key: SigningKey, clock: Clock) -> None:
        self._key, self._clock = key, clock

    def attest(self, nonce: str, cell: str, cell_key: str, box_key: str) -> Evidence:
        """Evidence of this very software, as it reads its own files.

        Parameters
        ----------
        nonce
            What the network side asked with.
        cell, cell_key
            Whom it is about.
        box_key
            The X25519 public key that payload keys are to be wrapped to.
        """
        draft = Evidence(SIMULATED, nonce, cell, cell_key, measurement(), box_key, self._clock.now_ms(), "")
        return draft.signed(self._key)


def policy_of(settings: Settings) -> AppraisalPolicy:
    """What evidence counts at this hub: none, but in a demonstration that of this very software by the keys it names."""
    keys = frozenset(settings.network.simulated_attesters)
    if not keys or settings.mode is not Mode.DEMO:
        return NOBODY
    return AppraisalPolicy({SIMULATED: keys}, frozenset({measurement()}), simulated=True)


def measurement(root: Path = _ROOT, packages: Sequence[str] = _PACKAGES) -> str:
    """SHA-256 over name and content of every file of the software that a node runs, hexadecimal."""
    digest = hashlib.sha256(b"bithive.measurement.v1\x00")
    for package in packages:
        files = [path for path in sorted((root / package).rglob("*.py")) if path.is_file()]
        for path in files:
            name, content = path.relative_to(root).as_posix().encode(), path.read_bytes()
            digest.update(len(name).to_bytes(4, "big") + name + len(content).to_bytes(8, "big") + content)
    return digest.hexdigest()
