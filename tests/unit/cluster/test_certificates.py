"""Certificates of a cell: a machine of it is let in, anybody else is not."""

from __future__ import annotations

import socket
import ssl
import stat
import threading
from pathlib import Path

import pytest

from bithive.clock import SystemClock
from bithive.errors import BadSettings
from cluster.certificates import issue, keep, make_authority, ray_tls

CLOCK = SystemClock()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("authority")
    make_authority(folder, "operator", CLOCK)
    return folder


def saved(folder: Path, authority: Path) -> Path:
    keep(folder, issue(authority, "10.77.0.2", CLOCK))
    return folder


def context(folder: Path, purpose: ssl.Purpose) -> ssl.SSLContext:
    made = ssl.create_default_context(purpose, cafile=str(folder / "authority.pem"))
    made.load_cert_chain(folder / "node.pem", folder / "node.key")
    made.verify_mode = ssl.CERT_REQUIRED
    return made


def talk(server: Path, client: ssl.SSLContext) -> bytes:
    """What a client hears from a server that wants to see a certificate."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            taken, _ = listening.accept()
            try:
                with context(server, ssl.Purpose.CLIENT_AUTH).wrap_socket(taken, server_side=True) as safe:
                    safe.sendall(b"in")
            except (ssl.SSLError, OSError):
                taken.close()

        thread = threading.Thread(target=answer)
        thread.start()
        try:
            with socket.create_connection(listening.getsockname(), 5) as plain:
                with client.wrap_socket(plain, server_hostname="127.0.0.1") as safe:
                    return safe.recv(2)
        finally:
            thread.join(10)


def test_two_machines_of_one_cell_know_each_other(tmp_path: Path, authority: Path) -> None:
    one, other = saved(tmp_path / "one", authority), saved(tmp_path / "other", authority)
    assert talk(one, context(other, ssl.Purpose.SERVER_AUTH)) == b"in"


def test_a_machine_of_another_cell_is_kept_out(tmp_path: Path, authority: Path) -> None:
    one, stranger = saved(tmp_path / "one", authority), tmp_path / "stranger"
    make_authority(tmp_path / "another", "another", CLOCK)
    saved(stranger, tmp_path / "another")
    trusting = context(stranger, ssl.Purpose.SERVER_AUTH)
    trusting.load_verify_locations(one / "authority.pem")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        assert talk(one, trusting) == b"in"
    nobody = ssl.create_default_context(cafile=str(one / "authority.pem"))
    with pytest.raises((ssl.SSLError, ConnectionError)):
        assert talk(one, nobody) == b"in"


def test_keys_are_for_their_owner_alone(tmp_path: Path, authority: Path) -> None:
    folder = saved(tmp_path / "tls", authority)
    for path in folder.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    told = ray_tls(folder)
    assert told.pop("RAY_USE_TLS") == "1"
    assert {Path(path).name for path in told.values()} == {"node.pem", "node.key", "authority.pem"}
    assert not (folder / "authority.key").exists()
    assert stat.S_IMODE((authority / "authority.key").stat().st_mode) == 0o600


def test_an_authority_is_made_once(authority: Path) -> None:
    before = (authority / "authority.pem").read_bytes()
    make_authority(authority, "operator", CLOCK)
    assert (authority / "authority.pem").read_bytes() == before


def test_the_head_may_have_its_own_certificate_beside_the_authority(tmp_path: Path) -> None:
    make_authority(tmp_path, "operator", CLOCK)
    keep(tmp_path, issue(tmp_path, "10.77.0.1", CLOCK))
    assert issue(tmp_path, "10.77.0.2", CLOCK).authority == (tmp_path / "authority.pem").read_text()


@pytest.mark.parametrize("address", ["", "head.example", "10.0.0.256"])
def test_what_is_no_address_gets_no_certificate(authority: Path, address: str) -> None:
    with pytest.raises(BadSettings):
        issue(authority, address, CLOCK)


def test_without_authority_or_certificate_it_is_said(tmp_path: Path) -> None:
    with pytest.raises(BadSettings):
        issue(tmp_path, "10.77.0.1", CLOCK)
    with pytest.raises(BadSettings):
        ray_tls(tmp_path)
