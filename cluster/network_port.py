"""What a cell asks of the network side: the port that its agent uses."""

from __future__ import annotations

from typing import Any, Protocol

from bithive.receipt import Receipt
from cluster.download import Download
from cluster.protocol import Grant, Hello, Welcome
from cluster.protocol_lease import Pulse, Renewed, WorkRequest


class NetworkSide(Protocol):
    """The network side of one cell.

    Every method raises `NetworkUnreachable` when nobody answers, `NetworkRefused` for any other problem.
    """

    def hello(self, hello: Hello) -> Welcome:
        """Introduce the cell."""

    def work(self, request: WorkRequest) -> tuple[Grant, ...]:
        """Ask for work, and wait for it. Raises `CellUnknown`."""

    def pulse(self, pulse: Pulse) -> Renewed:
        """Renew Leases, and say how the Nodes stand. Raises `CellUnknown`."""

    def payload(self, grant: Grant, download: Download) -> None:
        """Fetch the sealed payload, or what is missing of it. Raises `LeaseLost`, and `BadEnvelope` from `download`."""

    def findings(self, grant: Grant, receipt: Receipt, sealed: bytes, stages: str = "") -> dict[str, Any] | None:
        """Hand in findings and Receipt; the counter-receipt, where there is one. Raises `LeaseLost`."""

    def failure(self, grant: Grant, code: str) -> None:
        """Say that it cannot be done. Raises `LeaseLost`."""
