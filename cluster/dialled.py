"""HTTP through the dialler: httpx2's own transport, with its sockets connected outside the wall."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpcore2
import httpx2

from bithive.errors import BadSettings
from cluster.dialler import Dialler, Place
from cluster.errors import NetworkUnreachable

_CONNECTIONS_MAX = 100
_KEPT_MAX = 20
_KEPT_S = 30.0
_CONNECT_S = 20.0
_PORTS = {"http": 80, "https": 443}
_AT_ONCE = (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


class _Backend(httpcore2.SyncBackend):
    """Sockets by the dialler; reading, writing and TLS as ever."""

    def __init__(self, dialler: Dialler) -> None:
        self._dialler = dialler

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.NetworkStream:
        """A stream over a socket that was connected outside. Raises `httpcore2.ConnectError`."""
        assert local_address is None, "the dialler chooses"
        from httpcore2._backends.sync import SyncStream

        try:
            connected = self._dialler.connect(host, port, _CONNECT_S if timeout is None else timeout)
        except NetworkUnreachable as error:
            raise httpcore2.ConnectError(error.detail) from None
        # As httpcore2 has it for sockets of its own: a body that follows its head must not wait for an acknowledgement.
        for option in (_AT_ONCE, *(socket_options or ())):
            connected.setsockopt(*option)
        return SyncStream(connected)


class DialledTransport(httpx2.HTTPTransport):
    """For `httpx2.Client(transport=...)` inside the wall.

    Parameters
    ----------
    dialler
        Connects.
    certificate
        PEM file with the authority that signed the hub's certificate; the system's own authorities when absent.
    """

    def __init__(self, dialler: Dialler, certificate: Path | None = None) -> None:
        context = ssl.create_default_context(cafile=str(certificate) if certificate else None)
        super().__init__(verify=context, trust_env=False)
        self._pool = httpcore2.ConnectionPool(
            ssl_context=context,
            max_connections=_CONNECTIONS_MAX,
            max_keepalive_connections=_KEPT_MAX,
            keepalive_expiry=_KEPT_S,
            network_backend=_Backend(dialler),
        )


def place_of(url: str) -> Place:
    """Host and port of an address. Raises `BadSettings`."""
    parts = urlsplit(url)
    try:
        port = parts.port or _PORTS.get(parts.scheme)
    except ValueError:
        port = None
    if not parts.hostname or port is None:
        raise BadSettings("the hub's address is no http(s) URL")
    return parts.hostname, port
