"""The network side over HTTP (`/network/v1`), for one institution: the same on loopback and across the world."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from typing import Any

import httpx2

from bithive.errors import BitHiveError
from bithive.limits import FINDINGS_BYTES_MAX, LONG_POLL_S_MAX
from bithive.offer import MemoryTooSmall, Offer, OfferKeys
from clinic.network import NetworkEvent, Sealed
from clinic.refusals import FindingsRefused, NetworkForbids, NetworkUnreachable, OfferRefused

PROTOCOL = "1"
_GONE = frozenset({404, 410})
_LATER = frozenset({408, 425, 429})
_MEMBERS = tuple(item.name for item in fields(NetworkEvent))
_SAID = {MemoryTooSmall.code: MemoryTooSmall}
_REQUIRED = {"seq": int, "topic": str, "at_ms": int, "offer_id": str}


class HttpNetwork:
    """Speaks the network protocol.

    Parameters
    ----------
    base_url
        Where the network side listens, for example `http://127.0.0.1:8042`.
    token
        This institution's credential.
    timeout_s
        For connecting, and for each read or write.
    """

    def __init__(self, base_url: str, token: str, timeout_s: float = 30.0) -> None:
        self._client = httpx2.Client(
            base_url=base_url.rstrip("/") + "/network/v1",
            headers={"Authorization": f"Bearer {token}", "BitHive-Protocol": PROTOCOL},
            timeout=httpx2.Timeout(timeout_s, connect=5.0),
            follow_redirects=False,
            trust_env=False,
        )
        self._timeout_s = timeout_s

    def close(self) -> None:
        """Close its connections."""
        self._client.close()

    def offer(self, offer: Offer, keys: OfferKeys, sealed_size_bytes: int) -> None:
        body = {"offer": offer.to_json(), "keys": keys.to_json(), "payload_sealed_bytes": sealed_size_bytes}
        self._ask("POST", "/offers", OfferRefused, json=body)

    def upload(self, offer_id: str, chunks: Iterable[bytes], sealed_size_bytes: int) -> None:
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(sealed_size_bytes)}
        self._ask("PUT", f"/offers/{offer_id}/payload", OfferRefused, content=chunks, headers=headers)

    def withdraw(self, offer_id: str) -> None:
        self._ask("POST", f"/offers/{offer_id}/withdraw", None)

    def acknowledge(self, offer_id: str) -> None:
        self._ask("POST", f"/offers/{offer_id}/acknowledge", None)

    def events(self, after: int, wait_s: float) -> list[NetworkEvent]:
        wait_s = min(wait_s, LONG_POLL_S_MAX)
        answer = self._ask(
            "GET",
            "/events",
            NetworkUnreachable,
            params={"after": after, "wait_s": wait_s},
            timeout=httpx2.Timeout(self._timeout_s + wait_s, connect=5.0),
        )
        try:
            return [_event(item) for item in answer.json()["events"]]
        except (ValueError, KeyError, TypeError) as error:
            raise NetworkUnreachable("its events cannot be read") from error

    @contextmanager
    def findings(self, attempt_id: str) -> Iterator[Sealed]:
        try:
            with self._client.stream("GET", f"/attempts/{attempt_id}/findings") as answer:
                if not answer.is_success:
                    answer.read()
                    raise _refusal(answer, FindingsRefused)
                size = answer.headers.get("BitHive-Plain-Size", "")
                if not (size.isascii() and size.isdigit() and int(size) <= FINDINGS_BYTES_MAX):
                    raise FindingsRefused("their size is missing or beyond the limit")
                yield Sealed(int(size), answer.iter_raw())
        except httpx2.HTTPError as error:
            raise NetworkUnreachable from error

    def _ask(self, method: str, path: str, refusal: type[BitHiveError] | None, **arguments: Any) -> httpx2.Response:
        """One request; what is not a success is raised, as `refusal` when asking again would not help."""
        try:
            answer = self._client.request(method, path, **arguments)
        except httpx2.HTTPError as error:
            raise NetworkUnreachable from error
        if answer.is_success or (refusal is None and (answer.status_code in _GONE or answer.status_code == 409)):
            return answer
        raise _refusal(answer, refusal or NetworkUnreachable)


def _refusal(answer: httpx2.Response, refusal: type[BitHiveError]) -> BitHiveError:
    """What a status means: forbidden, later, or refused, with a code of ours where the problem document has one."""
    status = answer.status_code
    if status in (401, 403):
        return NetworkForbids()
    if status >= 500 or status in _LATER:
        return NetworkUnreachable()
    code = _code(answer)
    return _SAID.get(code, refusal)(f"the network side answers {code or status}")


def _code(answer: httpx2.Response) -> str:
    try:
        code = answer.json()["code"]
    except (ValueError, KeyError, TypeError):
        return ""
    return code if isinstance(code, str) and len(code) <= 64 and code.replace("-", "").isalnum() else ""


def _event(item: dict[str, Any]) -> NetworkEvent:
    for name, kind in _REQUIRED.items():
        if not isinstance(item[name], kind):
            raise TypeError(name)
    return NetworkEvent(**{name: item[name] for name in _MEMBERS if name in item})
