"""The cell's side of the network protocol over HTTP, versions 1 and 2."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import httpx2

from bithive.clock import Clock
from bithive.keys import SigningKey
from bithive.limits import LONG_POLL_S_MAX, RECEIPT_BYTES_MAX
from bithive.receipt import Receipt
from cluster import protocol
from cluster.attestation import Evidence
from cluster.download import Download
from cluster.errors import AttemptAbsent, BadMessage, LeaseLost, NetworkUnreachable
from cluster.network_call import TIMEOUT_S, Caller, Pace
from cluster.network_port import NetworkSide
from cluster.protocol import Grant, Heartbeat, Hello, Welcome
from cluster.protocol_join import Rotation
from cluster.protocol_lease import Pulse, Renewed, WorkRequest, grants_from_json
from cluster.protocol_words import digits, members, whole
from cluster.register_proof import rotation
from cluster.stage_times import STAGES_HEADER

__all__ = ["HttpNetwork", "NetworkSide"]

_PULSE_TIMEOUT_S = 6.0


class HttpNetwork:
    """The network side at an address.

    With a key the cell signs and speaks the highest version that both sides know; without one it speaks version 1.

    Parameters
    ----------
    url, token, certificate, key, transport, pace, clock
        As for `cluster.network_call.Caller`.
    """

    def __init__(
        self,
        url: str,
        token: str,
        certificate: Path | None = None,
        *,
        key: SigningKey | None = None,
        transport: httpx2.BaseTransport | None = None,
        pace: Pace | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._call = Caller(url, token, key, certificate, transport, pace, clock)

    @property
    def version(self) -> str:
        """The version that is spoken. Raises `NetworkUnreachable`, `ProtocolUnsupported`."""
        return self._call.version

    def hello(self, hello: Hello) -> Welcome:
        version = self._call.version
        return Welcome.from_json(self._call.post("/cells/hello", hello.to_json(version)).json(), version)

    def work(self, request: WorkRequest) -> tuple[Grant, ...]:
        if self._call.version == "1":
            warm = dict.fromkeys(bundle for node in request.nodes for bundle in node.warm)
            grant = self.lease(request.cell, warm, request.wait_s)
            return () if grant is None else (grant,)
        wait_s = min(request.wait_s, LONG_POLL_S_MAX)
        body = {**request.to_json(), "wait_s": wait_s}
        return grants_from_json(self._call.post("/leases", body, timeout_s=wait_s + TIMEOUT_S).json())

    def lease(self, cell: str, warm: Iterable[str], wait_s: float) -> Grant | None:
        """Ask for one Attempt (version 1)."""
        body = {"cell": cell, "warm": list(warm), "wait_s": min(wait_s, LONG_POLL_S_MAX)}
        answer = self._call.post("/leases", body, timeout_s=wait_s + TIMEOUT_S)
        return None if answer.status_code == 204 else Grant.from_json(answer.json())

    def pulse(self, pulse: Pulse) -> Renewed:
        if self._call.version == "1":
            return self._beats(pulse)
        return Renewed.from_json(self._call.post("/cells/pulse", pulse.to_json(), _PULSE_TIMEOUT_S).json())

    def _beats(self, pulse: Pulse) -> Renewed:
        renewed = Renewed({}, {})
        for attempt_id, beat in pulse.beats.items():
            try:
                renewed.expires_ms[attempt_id] = self.heartbeat(attempt_id, beat)
            except (LeaseLost, AttemptAbsent) as error:
                renewed.lost[attempt_id] = error.code
        return renewed

    def heartbeat(self, attempt_id: str, beat: Heartbeat) -> int:
        """Renew one Lease. Raises `LeaseLost`."""
        return int(self._call.post(f"/attempts/{attempt_id}/heartbeat", beat.to_json()).json()["expires_ms"])

    def payload(self, grant: Grant, download: Download) -> None:
        headers = {protocol.TOKEN_HEADER: str(grant.fencing_token)}
        if download.received_bytes:
            headers |= {"Range": f"bytes={download.received_bytes}-", "If-Range": download.tag}
        with self._call.stream(f"/attempts/{grant.attempt_id}/payload", headers) as answer:
            if answer.status_code == 416:  # another content than before: from the beginning, the next time
                download.begin(0, "")
                raise NetworkUnreachable("the content has changed")
            download.begin(_first(answer), answer.headers.get("etag", ""))
            for piece in answer.iter_raw():
                download.take(piece)
                self._call.moved(len(piece))

    def findings(self, grant: Grant, receipt: Receipt, sealed: bytes, stages: str = "") -> dict[str, Any] | None:
        encoded = protocol.encode_receipt(receipt)
        assert len(encoded) <= RECEIPT_BYTES_MAX, "a Receipt is small"
        headers = {
            protocol.TOKEN_HEADER: str(grant.fencing_token),
            protocol.RECEIPT_HEADER: encoded,
            "Content-Type": "application/octet-stream",
        }
        if stages:
            headers[STAGES_HEADER] = stages
        path = f"/attempts/{grant.attempt_id}/findings"
        counter = self._call.send("POST", path, sealed, headers, 10 * TIMEOUT_S).json().get("counter")
        return counter if isinstance(counter, dict) else None

    def failure(self, grant: Grant, code: str) -> None:
        self._call.post(f"/attempts/{grant.attempt_id}/failure", {"fencing_token": grant.fencing_token, "code": code})

    def challenge(self) -> str:
        """A nonce that evidence of attestation must name."""
        answer = members(self._call.post("/cells/challenge", {}).json(), {"nonce"})
        return digits(answer["nonce"])

    def evidence(self, evidence: Evidence) -> int:
        """Hand in evidence of attestation; until when it counts (milliseconds since the epoch)."""
        answer = members(self._call.post("/cells/evidence", evidence.to_json()).json(), {"attested_ms"})
        return whole(answer["attested_ms"])

    def rotate(self, cell: str, old: SigningKey, new: SigningKey) -> None:
        """Put a new key in the place of an old one, of a Node or of the cell. Repeating it changes nothing.

        After the cell's own key this client signs with the old one still: make another.
        """
        keys = (old.public_hex, new.public_hex)
        both = (rotation(old, cell, *keys), rotation(new, cell, *keys))
        self._call.post("/cells/rotate", Rotation(*keys, *both).to_json())

    def revoke(self, node: str) -> None:
        """Have everything refused that one of the cell's own Nodes signs, from now on."""
        self._call.post("/cells/revoke", {"node": node})

    def contributor_path(self) -> str:
        """A new one-time path on the hub that signs the contributor in, in a browser."""
        return str(self._call.post("/cells/contributor", {}).json()["path"])

    def counters(self, subject: str, after: int = 0) -> list[dict[str, Any]]:
        """Counter-receipts of a Node or of the cell beyond a place in its chain."""
        answer = self._call.get(f"/counter-receipts?subject={subject}&after={after}").json()
        found = answer.get("counter_receipts") if isinstance(answer, dict) else None
        if not isinstance(found, list):
            raise BadMessage("the answer holds no counter-receipts")
        return found

    def close(self) -> None:
        """Close every connection; requests that are waiting fail."""
        self._call.close()


def _first(answer: httpx2.Response) -> int:
    """Where the content of an answer begins. Raises `NetworkUnreachable` for a part that does not say."""
    if answer.status_code == 200:
        return 0
    unit, _, rest = answer.headers.get("content-range", "").partition(" ")
    first = rest.partition("-")[0]
    if unit != "bytes" or not first.isdigit():
        raise NetworkUnreachable("a part of unknown place")
    return int(first)
