from __future__ import annotations

import subprocess
import sys

import pytest

from api import startup
from api.errors import (
    AssertionsOff,
    DemoExposed,
    NotOurPackage,
    SecretAbsent,
    StateBusy,
    TlsAbsent,
)
from bithive.errors import BadSettings, TwoRuntimes
from bithive.settings import Mode, load

SECRET = "0123456789abcdef" * 2


def _settings(**members):
    return load(**{"secret": SECRET, **members})


def test_sound_settings_pass():
    startup.check(_settings())
    startup.check(_settings(mode=Mode.DEMO, secret=None))


def test_optimised_python():
    with pytest.raises(AssertionsOff):
        startup.check_interpreter(1)


def test_namesake(tmp_path):
    with pytest.raises(NotOurPackage, match="bithive"):
        startup.check_packages(tmp_path)


def test_a_namesake_on_the_path_is_found_at_start(tmp_path):
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "__init__.py").write_text("")
    ask = (
        f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {str(startup.ROOT)!r}]\n"
        "from api.startup import check_packages\ncheck_packages()"
    )
    done = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, cwd=tmp_path)
    assert "not-our-package" in done.stderr


def test_both_runtimes():
    with pytest.raises(TwoRuntimes):
        startup.check_runtimes(frozenset({"onnxruntime", "onnxruntime-gpu"}))
    startup.check_runtimes(frozenset({"onnxruntime"}))


@pytest.mark.parametrize(
    ("secret", "mode"), [(None, Mode.PRODUCTION), ("short", Mode.PRODUCTION), ("short", Mode.DEMO)]
)
def test_secret(secret, mode):
    with pytest.raises(SecretAbsent):
        startup.check(_settings(secret=secret, mode=mode))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "hub.example"])
def test_anything_but_loopback_needs_tls(host):
    with pytest.raises(TlsAbsent):
        startup.check(_settings(http={"host": host}))
    startup.check(_settings(http={"host": host, "trust_proxy": True}))
    with pytest.raises(DemoExposed):
        startup.check(_settings(mode=Mode.DEMO, http={"host": host, "trust_proxy": True}))


def test_tls_files(tmp_path):
    with pytest.raises(BadSettings, match="together"):
        startup.check(_settings(http={"tls_certificate": tmp_path / "c.pem"}))
    with pytest.raises(BadSettings, match="not there"):
        startup.check(_settings(http={"tls_certificate": tmp_path / "c.pem", "tls_key": tmp_path / "k.pem"}))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_loopback(host):
    assert startup.is_loopback(host)


def test_peers_are_reached_by_tls():
    startup.check(_settings(cell={"hub_url": "http://127.0.0.1:1"}))
    startup.check(_settings(clinic={"network_url": "https://network.example"}))
    with pytest.raises(TlsAbsent):
        startup.check(_settings(cell={"hub_url": "http://hub.example"}))
    with pytest.raises(TlsAbsent):
        startup.check(_settings(clinic={"network_url": "http://network.example"}))


def test_state_folder_has_one_hub(tmp_path):
    held = startup.lock_state(tmp_path / "state")
    with pytest.raises(StateBusy):
        startup.lock_state(tmp_path / "state")
    held.close()
    startup.lock_state(tmp_path / "state").close()


def test_site_secret(tmp_path):
    assert startup.site_secret(_settings()) == SECRET.encode()
    demo = _settings(secret=None, mode=Mode.DEMO, state=tmp_path)
    first = startup.site_secret(demo)
    assert len(first) == 64
    assert startup.site_secret(demo) == first
    assert (tmp_path / "secret").stat().st_mode & 0o077 == 0
