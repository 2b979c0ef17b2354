"""A log asked over HTTP: what a hub serves to witnesses."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import httpx2

from bithive.errors import BadSettings
from bithive.limits import PROOF_BYTES_MAX
from economy.errors import CosignatureRefused, LogSilent
from economy.verify import parse_proof, path_of

_TIMEOUT_S = 20.0


class HubSource:
    """A hub at an address.

    Parameters
    ----------
    url
        Of the hub, without a path.
    token
        Credential, if the hub asks for one.
    certificate
        PEM file with the authority that signed the hub's certificate; the system's own authorities when absent.
    """

    def __init__(self, url: str, token: str = "", certificate: Path | None = None) -> None:
        if urlsplit(url).scheme not in ("http", "https"):
            raise BadSettings("a hub's address begins with http:// or https://")
        self._client = httpx2.Client(
            base_url=url.rstrip("/"),
            headers={"Accept-Encoding": "identity", **({"Authorization": f"Bearer {token}"} if token else {})},
            timeout=_TIMEOUT_S,
            verify=str(certificate) if certificate else True,
            trust_env=False,
        )

    def checkpoint(self) -> str:
        return self._get("/ledger/checkpoint")

    def consistency(self, old_size: int, new_size: int) -> list[bytes]:
        return path_of(parse_proof(self._get(f"/ledger/proofs/consistency?from={old_size}&to={new_size}")))

    def hand_back(self, text: str) -> str:
        headers = {"Content-Type": "text/plain; charset=utf-8"}
        try:
            answer = self._client.post("/ledger/cosignatures", content=text.encode(), headers=headers)
        except httpx2.HTTPError as error:
            raise LogSilent(f"the hub does not answer: {type(error).__name__}") from error
        if not answer.is_success:
            raise CosignatureRefused(f"the hub answers {answer.status_code} to the cosignature")
        return str(self._client.base_url)

    def close(self) -> None:
        """Close every connection."""
        self._client.close()

    def _get(self, path: str) -> str:
        """A text of a bounded size: whoever answers is not trusted."""
        content = bytearray()
        try:
            with self._client.stream("GET", path) as answer:
                if answer.status_code != 200:
                    raise LogSilent(f"the hub answers {answer.status_code} to {path.partition('?')[0]}")
                for chunk in answer.iter_bytes():
                    content += chunk
                    if len(content) > PROOF_BYTES_MAX:
                        raise LogSilent("the hub's answer is too large")
            return content.decode()
        except httpx2.HTTPError as error:
            raise LogSilent(f"the hub does not answer: {type(error).__name__}") from error
        except UnicodeError as error:
            raise LogSilent("the hub's answer is not UTF-8") from error
