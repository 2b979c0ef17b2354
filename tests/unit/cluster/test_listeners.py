"""What a namespace holds, seen through the kernel's own tables."""

from __future__ import annotations

import ipaddress
import socket
from pathlib import Path

import pytest

from cluster.listeners import Listener, listeners, standing


@pytest.mark.parametrize(
    ("family", "kind", "host", "protocol"),
    [
        (socket.AF_INET, socket.SOCK_STREAM, "127.0.0.1", "tcp"),
        (socket.AF_INET, socket.SOCK_STREAM, "0.0.0.0", "tcp"),
        (socket.AF_INET6, socket.SOCK_STREAM, "::1", "tcp"),
        (socket.AF_INET6, socket.SOCK_STREAM, "::", "tcp"),
        (socket.AF_INET, socket.SOCK_DGRAM, "127.0.0.1", "udp"),
    ],
)
def test_a_listener_is_seen_with_its_address(
    family: socket.AddressFamily, kind: socket.SocketKind, host: str, protocol: str
) -> None:
    with socket.socket(family, kind) as one:
        one.bind((host, 0))
        port = one.getsockname()[1]
        expected = Listener(protocol, ipaddress.ip_address(host), port)
        if kind == socket.SOCK_STREAM:
            assert expected not in listeners(), "bound is not listening"
            one.listen()
        assert expected in listeners()
    assert expected not in listeners()


def test_a_connection_is_no_listener() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        ports = [item.port for item in listeners()]
        assert server.getsockname()[1] in ports
        assert client.getsockname()[1] not in ports


def test_this_machine_has_loopback() -> None:
    found = standing()
    assert "lo" in found.interfaces
    assert ipaddress.ip_address("127.0.0.1") in found.addresses


def test_tables_are_read_as_the_kernel_writes_them(tmp_path: Path) -> None:
    (tmp_path / "dev").write_text("Inter-|\n face |\n    lo:  1 2\nwg0: 3 4\n")
    (tmp_path / "route").write_text(
        "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\n"
        "wg0\t00000000\t0100000A\t0003\t0\t0\t0\t00000000\t0\n"
        "wg0\t0000000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\n"
    )
    (tmp_path / "ipv6_route").write_text(
        f"{'0' * 32} 00 {'0' * 32} 00 {'0' * 32} ffffffff 00000001 00000000 00200200       lo\n"
        f"{'0' * 32} 00 {'0' * 32} 00 {'f' * 32} 00000400 00000001 00000000 00200200      wg6\n"
    )
    (tmp_path / "if_inet6").write_text("fe800000000000000000000000000001 02 40 20 80     wg0\n")
    (tmp_path / "fib_trie").write_text(
        "Main:\n  |-- 10.0.0.7\n     /32 host LOCAL\n  |-- 10.0.0.255\n     /32 link BROADCAST\n"
    )
    found = standing(tmp_path)
    assert found.interfaces == ("lo", "wg0")
    networks = [(str(route.network), route.interface) for route in found.routes]
    assert networks == [("0.0.0.0/0", "wg0"), ("10.0.0.0/24", "wg0"), ("::/0", "wg6")]
    assert found.addresses == (ipaddress.ip_address("10.0.0.7"), ipaddress.ip_address("fe80::1"))
    assert found.listeners == ()
