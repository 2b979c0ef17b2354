"""The cell's side of the network protocol over HTTP."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Protocol

import httpx2

from bithive.limits import LONG_POLL_S_MAX, RECEIPT_BYTES_MAX
from bithive.receipt import Receipt
from cluster import protocol
from cluster.errors import AttemptAbsent, CellUnknown, LeaseLost, NetworkRefused, NetworkUnreachable
from cluster.protocol import Grant, Heartbeat, Hello, Welcome

_TIMEOUT_S = 20.0
_ERRORS: dict[str, type[LeaseLost | AttemptAbsent | CellUnknown]] = {
    error.code: error for error in (LeaseLost, AttemptAbsent, CellUnknown)
}


class NetworkSide(Protocol):
    """What a cell asks of the network side.

    Every method raises `NetworkUnreachable` when nobody answers, `NetworkRefused` for any other problem.
    """

    def hello(self, hello: Hello) -> Welcome:
        """Introduce the cell."""

    def lease(self, cell: str, warm: Iterable[str], wait_s: float) -> Grant | None:
        """Ask for work, and wait for it. Raises `CellUnknown`."""

    def payload(self, grant: Grant, take: Callable[[bytes], None]) -> None:
        """Fetch the sealed payload, piece by piece. Raises `LeaseLost`."""

    def heartbeat(self, attempt_id: str, beat: Heartbeat) -> int:
        """Renew the Lease. Raises `LeaseLost`."""

    def findings(self, grant: Grant, receipt: Receipt, sealed: bytes) -> None:
        """Hand in findings and Receipt. Raises `LeaseLost`."""

    def failure(self, grant: Grant, code: str) -> None:
        """Say that it cannot be done. Raises `LeaseLost`."""


class HttpNetwork:
    """The network side at an address.

    Parameters
    ----------
    url
        Of the hub, without a path.
    token
        Credential of the cell.
    certificate
        PEM file with the authority that signed the hub's certificate; the system's own authorities when absent.
    """

    def __init__(self, url: str, token: str, certificate: Path | None = None) -> None:
        headers = {"Authorization": f"Bearer {token}", protocol.VERSION_HEADER: protocol.VERSION}
        verify = str(certificate) if certificate else True
        # Credentials of the environment (.netrc, proxies) are none of a cell's business.
        self._client = httpx2.Client(
            base_url=url.rstrip("/") + protocol.ROOT,
            headers=headers,
            timeout=_TIMEOUT_S,
            verify=verify,
            trust_env=False,
        )

    def hello(self, hello: Hello) -> Welcome:
        return Welcome.from_json(self._post("/cells/hello", hello.to_json()).json())

    def lease(self, cell: str, warm: Iterable[str], wait_s: float) -> Grant | None:
        body = {"cell": cell, "warm": list(warm), "wait_s": min(wait_s, LONG_POLL_S_MAX)}
        answer = self._post("/leases", body, timeout_s=wait_s + _TIMEOUT_S)
        return None if answer.status_code == 204 else Grant.from_json(answer.json())

    def payload(self, grant: Grant, take: Callable[[bytes], None]) -> None:
        headers = {protocol.TOKEN_HEADER: str(grant.fencing_token)}
        try:
            with self._client.stream("GET", f"/attempts/{grant.attempt_id}/payload", headers=headers) as answer:
                if answer.status_code != 200:
                    answer.read()
                    raise _problem(answer)
                for chunk in answer.iter_raw():
                    take(chunk)
        except httpx2.HTTPError as error:
            raise NetworkUnreachable from error

    def heartbeat(self, attempt_id: str, beat: Heartbeat) -> int:
        return int(self._post(f"/attempts/{attempt_id}/heartbeat", beat.to_json()).json()["expires_ms"])

    def findings(self, grant: Grant, receipt: Receipt, sealed: bytes) -> None:
        encoded = protocol.encode_receipt(receipt)
        assert len(encoded) <= RECEIPT_BYTES_MAX, "a Receipt is small"
        headers = {
            protocol.TOKEN_HEADER: str(grant.fencing_token),
            protocol.RECEIPT_HEADER: encoded,
            "Content-Type": "application/octet-stream",
        }
        self._send("POST", f"/attempts/{grant.attempt_id}/findings", sealed, headers, 10 * _TIMEOUT_S)

    def failure(self, grant: Grant, code: str) -> None:
        self._post(f"/attempts/{grant.attempt_id}/failure", {"fencing_token": grant.fencing_token, "code": code})

    def close(self) -> None:
        """Close every connection; requests that are waiting fail."""
        self._client.close()

    def _post(self, path: str, body: dict[str, Any], timeout_s: float = _TIMEOUT_S) -> httpx2.Response:
        return self._send("POST", path, json.dumps(body).encode(), {"Content-Type": "application/json"}, timeout_s)

    def _send(
        self, method: str, path: str, content: bytes, headers: dict[str, str], timeout_s: float
    ) -> httpx2.Response:
        try:
            answer = self._client.request(method, path, content=content, headers=headers, timeout=timeout_s)
        except (httpx2.HTTPError, RuntimeError) as error:  # RuntimeError: the client was closed meanwhile
            raise NetworkUnreachable from error
        if answer.status_code >= 300:
            raise _problem(answer)
        return answer


def _problem(answer: httpx2.Response) -> Exception:
    try:
        code = str(answer.json().get("code", ""))[:64]
    except (ValueError, AttributeError):
        code = ""
    if code in _ERRORS:
        return _ERRORS[code]()
    if answer.status_code >= 500:
        return NetworkUnreachable(answer_status=answer.status_code)
    return NetworkRefused(code or "unknown", answer.status_code)
