"""The hub as a process: it refuses to start, starts, is stopped, is killed."""

from __future__ import annotations

import datetime as dt
import os
import signal
import socket
import ssl
import subprocess
import sys

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from api.startup import ROOT
from tests.common.servers import answers, free_port, wait_until

SECRET = "0123456789abcdef" * 2


def _environment(state, **variables):
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BITHIVE_")}
    own = {"BITHIVE_STATE": str(state), "BITHIVE_CELL__EMBEDDED": "false", "PYTHONPATH": str(ROOT)}
    return kept | own | variables


def _serve(state, *options, **variables):
    return subprocess.Popen(
        [sys.executable, *options, "-m", "bithive", "serve"],
        env=_environment(state, **variables),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _refused(state, *options, **variables):
    process = _serve(state, *options, **variables)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 2, out + err
    assert "Traceback" not in err
    return err.strip().splitlines()[-1]


def test_refusals_are_one_sentence_with_a_code(tmp_path):
    assert _refused(tmp_path).endswith("[secret-absent]")
    assert _refused(tmp_path, BITHIVE_SECRET="short").endswith("[secret-absent]")
    assert _refused(tmp_path, BITHIVE_SECRET=SECRET, BITHIVE_HTTP__HOST="0.0.0.0").endswith("[tls-absent]")
    assert _refused(tmp_path, BITHIVE_MODE="demo", BITHIVE_HTTP__HOST="0.0.0.0").endswith("[demo-exposed]")
    assert _refused(tmp_path, "-O", BITHIVE_MODE="demo").endswith("[assertions-off]")
    assert not list(tmp_path.iterdir()), "nothing is written before the checks"


def test_a_taken_port(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert "cannot listen" in _refused(tmp_path, BITHIVE_MODE="demo", BITHIVE_HTTP__PORT=port)


def test_it_serves_stops_and_starts_again_after_a_kill(tmp_path):
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    settings = {"BITHIVE_MODE": "demo", "BITHIVE_HTTP__PORT": str(port)}
    process = _serve(tmp_path, **settings)
    wait_until(lambda: answers(f"{url}/health/live"), 60, process)
    assert _refused(tmp_path, BITHIVE_MODE="demo", BITHIVE_HTTP__PORT="0").endswith("[state-busy]")
    assert httpx2.get(f"{url}/health/ready", trust_env=False).json()["status"] == "ready"
    process.kill()
    process.communicate()
    process = _serve(tmp_path, **settings)
    wait_until(lambda: answers(f"{url}/health/live"), 60, process)
    token = subprocess.run(
        [sys.executable, "-m", "bithive", "account", "add", "dr.roe", "--role", "clinician"],
        env=_environment(tmp_path),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    headers = {"Authorization": f"Bearer {token}"}
    with httpx2.stream("GET", f"{url}/api/events", headers=headers, trust_env=False) as events:
        assert next(events.iter_lines()) == "retry: 2000"
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=20)
    assert process.returncode == 0
    assert out.strip() == f"BitHive (both) listens on {url}"
    assert '"hub.stopped"' in err
    assert "Traceback" not in err
    assert "error" not in err


@pytest.fixture
def certificate(tmp_path):
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    start = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(start)
        .not_valid_after(start + dt.timedelta(days=36500))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (tmp_path / "c.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    pem = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (tmp_path / "k.pem").write_bytes(key.private_bytes(*pem))
    return tmp_path / "c.pem", tmp_path / "k.pem"


def test_tls_for_others_and_loopback_for_itself(tmp_path, certificate):
    port = free_port()
    process = _serve(
        tmp_path / "state",
        BITHIVE_SECRET=SECRET,
        BITHIVE_HTTP__HOST="0.0.0.0",
        BITHIVE_HTTP__PORT=str(port),
        BITHIVE_HTTP__TLS_CERTIFICATE=str(certificate[0]),
        BITHIVE_HTTP__TLS_KEY=str(certificate[1]),
    )
    trust = ssl.create_default_context(cafile=str(certificate[0]))
    try:
        with httpx2.Client(verify=trust, trust_env=False) as client:

            def ready():
                try:
                    return client.get(f"https://localhost:{port}/health/ready").json()["status"] == "ready"
                except httpx2.TransportError:
                    return False

            wait_until(ready, 60, process)
            answer = client.get(f"https://localhost:{port}/health/live")
            assert "max-age" in answer.headers["strict-transport-security"]
            with pytest.raises(httpx2.TransportError):
                client.get(f"http://localhost:{port}/health/live")
    finally:
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=20)
    assert out.strip() == f"BitHive (both) listens on https://0.0.0.0:{port}"
    assert "network.silent" not in err, "the clinical side reaches its own network side over loopback"
