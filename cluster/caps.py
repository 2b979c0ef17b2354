"""What a contributor lets the network take of a machine."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from bithive.limits import CAP_BANDWIDTH_BPS_MIN
from cluster.errors import BadCaps

WHOLE_BP = 10_000


@dataclass(frozen=True, slots=True)
class Caps:
    """Bounds that the contributor sets; 0 is no bound of its own.

    Attributes
    ----------
    threads
        Processor threads for all Attempts together.
    memory_bytes
        Main memory for all Attempts together.
    gpu_fraction_bp
        Of each GPU, in ten-thousandths; 0 keeps the GPUs out.
    bandwidth_bps
        Bits per second to and from the network side together.
    pause_when_used
        Whether no new work is taken while somebody uses the machine.

    Raises
    ------
    BadCaps
        If one is out of range.
    """

    threads: int = 0
    memory_bytes: int = 0
    gpu_fraction_bp: int = WHOLE_BP
    bandwidth_bps: int = 0
    pause_when_used: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.threads <= 1024:
            raise BadCaps("threads are 0 to 1024")
        if not 0 <= self.memory_bytes < 2**53:
            raise BadCaps("memory is a number of bytes, 0 for no bound")
        if not 0 <= self.gpu_fraction_bp <= WHOLE_BP:
            raise BadCaps("the share of a GPU is 0 to 10,000 ten-thousandths")
        if self.bandwidth_bps and not CAP_BANDWIDTH_BPS_MIN <= self.bandwidth_bps < 2**53:
            raise BadCaps("bandwidth is 0 for no bound, or enough for a Lease", bandwidth_bps_min=CAP_BANDWIDTH_BPS_MIN)

    def threads_of(self, machine_threads: int, slots: int) -> int:
        """Processor threads for one of `slots` Attempts at once, 1 at least."""
        return max(1, (min(self.threads, machine_threads) if self.threads else machine_threads) // slots)

    def slot_memory_bytes(self, slots: int) -> int:
        """Main memory for one of `slots` Attempts at once; 0 for no bound of the contributor's own."""
        return self.memory_bytes // slots

    def words(self) -> list[str]:
        """One short phrase a bound, for a person."""
        said = [
            f"{self.threads} threads" if self.threads else "all threads",
            f"{self.memory_bytes / 2**30:.1f} GiB" if self.memory_bytes else "memory as the machine can spare",
            f"{self.gpu_fraction_bp / 100:g} % of each GPU" if self.gpu_fraction_bp else "no GPU",
            f"{self.bandwidth_bps / 1e6:g} Mbit/s" if self.bandwidth_bps else "all bandwidth",
        ]
        return [*said, "pauses while the machine is used"] if self.pause_when_used else said

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """Read what `to_json` wrote. Raises `BadCaps`."""
        names = {field.name for field in fields(cls)}
        if not isinstance(value, dict) or set(value) != names:
            raise BadCaps(f"the members are exactly {', '.join(sorted(names))}")
        for name, member in value.items():
            wanted = bool if name == "pause_when_used" else int
            if type(member) is not wanted:
                raise BadCaps(f"{name} has another type")
        return cls(**value)
