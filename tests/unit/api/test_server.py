from __future__ import annotations

import socket

import pytest

from api.server import listen
from bithive.errors import BadSettings
from bithive.settings import load


def test_one_socket_where_the_public_one_is_plain_loopback():
    where = listen(load(http={"port": 0}))
    assert where.public is where.private
    assert where.public.proto == socket.IPPROTO_TCP, "else asyncio leaves Nagle's algorithm on"
    assert where.public_url == where.private_url == f"http://127.0.0.1:{where.public.getsockname()[1]}"
    where.public.close()


def test_two_where_it_is_not():
    settings = load(http={"port": 0, "host": "0.0.0.0", "trust_proxy": True, "public_url": "https://hub.example/"})
    where = listen(settings)
    assert where.private.getsockname()[0] == "127.0.0.1"
    assert where.public_url == "https://hub.example"
    assert where.private_url.startswith("http://127.0.0.1:")
    where.public.close()
    where.private.close()


def test_a_taken_port_and_an_address_of_others():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(BadSettings, match="cannot listen"):
            listen(load(http={"port": taken.getsockname()[1]}))
    with pytest.raises(BadSettings, match="cannot listen"):
        listen(load(http={"port": 0, "host": "192.0.2.1"}))
