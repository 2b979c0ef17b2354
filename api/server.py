"""The hub's HTTP server: one address for others, and one on loopback for the hub's own cell and clinical side."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import uvicorn
from fastapi import FastAPI

from api.startup import is_loopback
from bithive.errors import BadSettings
from bithive.settings import Settings

GRACE_S = 5
BACKLOG = 512
STOPPING = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True, slots=True)
class Listening:
    """Where the hub listens.

    Attributes
    ----------
    public, private
        The socket for others, and the one on loopback; the same socket where the public one is plain and on loopback.
    public_url, private_url
        Their addresses, without a slash at the end.
    """

    public: socket.socket
    private: socket.socket
    public_url: str
    private_url: str


def listen(settings: Settings) -> Listening:
    """Bind before anything else starts, so that addresses are known and a taken port is said at once.

    Raises
    ------
    BadSettings
        If the port is taken or the address is not this machine's.
    """
    http = settings.http
    public = _bind(http.host, http.port)
    scheme = "https" if http.tls_certificate else "http"
    own_url = f"{scheme}://{_written(http.host)}:{public.getsockname()[1]}"
    public_url = (http.public_url or own_url).rstrip("/")
    if is_loopback(http.host) and http.tls_certificate is None:
        return Listening(public, public, public_url, own_url)
    private = _bind("127.0.0.1", 0)
    return Listening(public, private, public_url, f"http://127.0.0.1:{private.getsockname()[1]}")


def _bind(host: str, port: int) -> socket.socket:
    """A listening socket that says it is TCP: of any other asyncio leaves Nagle's algorithm on, which costs each answer of
    two parts 40 ms.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
        bound.listen(BACKLOG)
    except OSError as error:
        bound.close()
        raise BadSettings(f"cannot listen on {host} port {port}: {error.strerror}") from error
    return bound


def _written(host: str) -> str:
    return f"[{host}]" if ":" in host else host


class _Server(uvicorn.Server):
    """A server that tells when it has started and when it is asked to stop, and ends without raising the signal again.

    A plain signal handler runs between any two instructions, perhaps while a lock is held; here the event loop calls.
    """

    def __init__(self, config: uvicorn.Config, on_start: Callable[[], None], on_stop: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_start, self._on_stop = on_start, on_stop

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._on_start()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in STOPPING:
            loop.add_signal_handler(number, self._asked, number)
        try:
            yield
        finally:
            for number in STOPPING:
                loop.remove_signal_handler(number)

    def _asked(self, number: int) -> None:
        self._on_stop()
        self.handle_exit(number, None)


class _Inner(uvicorn.Server):
    """The server on loopback: its life is the other's."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def run(
    app: FastAPI, settings: Settings, where: Listening, on_start: Callable[[], None], on_stop: Callable[[], None]
) -> None:
    """Serve until a signal asks to stop; requests in flight have `GRACE_S` to end.

    Parameters
    ----------
    app
        Its lifespan starts and stops the hub's threads.
    settings, where
        As bound by `listen`.
    on_start, on_stop
        Called when the server answers, and when it is asked to stop.
    """
    http = settings.http
    outer = _Server(
        _config(app, http.trust_proxy, str(http.tls_certificate or "") or None, str(http.tls_key or "") or None),
        on_start,
        on_stop,
    )
    asyncio.run(_serve(app, outer, where))
    if not outer.started:
        raise BadSettings("the hub did not start; the log says why")


async def _serve(app: FastAPI, outer: _Server, where: Listening) -> None:
    if where.private is where.public:
        await outer.serve([where.public])
        return
    inner = _Inner(_config(app, trust_proxy=False, lifespan="off"))
    beside = asyncio.create_task(inner.serve([where.private]))
    try:
        await outer.serve([where.public])
    finally:
        inner.should_exit = True
        await beside


def _config(
    app: FastAPI, trust_proxy: bool, certificate: str | None = None, key: str | None = None, lifespan: str = "on"
) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        log_config=None,
        log_level="error",
        access_log=False,
        server_header=False,
        lifespan="off" if lifespan == "off" else "on",
        proxy_headers=trust_proxy,
        forwarded_allow_ips="127.0.0.1",
        ssl_certfile=certificate,
        ssl_keyfile=key,
        timeout_graceful_shutdown=GRACE_S,
        timeout_keep_alive=75,
    )
