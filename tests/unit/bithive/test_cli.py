from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bithive.cli import COMMANDS, main

ROOT = Path(__file__).resolve().parents[3]
HEAVY = (
    "torch",
    "monai",
    "ray",
    "openvino",
    "scipy",
    "highdicom",
    "pydicom",
    "fastapi",
    "sqlalchemy",
    "numpy",
    "httpx2",
)


def _run(*arguments, **variables):
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BITHIVE_")}
    return subprocess.run(
        [sys.executable, "-m", "bithive", *arguments],
        cwd=ROOT,
        env={**kept, **variables},
        capture_output=True,
        text=True,
    )


def test_the_overview_names_every_command():
    done = _run("--help")
    assert done.returncode == 0
    assert all(name in done.stdout for name in COMMANDS)
    assert _run().stdout == done.stdout


def test_the_overview_imports_nothing_heavy():
    ask = (
        f"import sys; from bithive.cli import main; main([]); print([name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", ask], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_unknown_command():
    done = _run("sevre")
    assert done.returncode == 2
    assert "serve" in done.stderr


def test_version():
    assert _run("--version").stdout.startswith("bithive ")


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_each_command_has_help(name, capsys):
    assert main([name, "--help"]) == 0
    assert "Usage" in capsys.readouterr().out


def test_settings_that_are_refused_are_one_sentence():
    done = _run("settings", BITHIVE_DATABSE__URL="x")
    assert done.returncode == 2
    assert done.stderr.strip() == "bithive: not a setting: BITHIVE_DATABSE__URL [bad-settings]"
    done = _run("settings", BITHIVE_HTTP__PORT="99999")
    assert done.returncode == 2
    assert "http.port" in done.stderr
    assert "Traceback" not in done.stderr


def test_settings_mask_secrets():
    done = _run("settings", "--json", BITHIVE_SECRET="very-secret-" * 4, BITHIVE_CELL__TOKEN="also-secret")
    assert done.returncode == 0
    assert "secret-" not in done.stdout
    assert '"BITHIVE_SECRET": "***"' in done.stdout
    assert '"BITHIVE_CLINIC__NETWORK_TOKEN": null' in done.stdout


def test_a_cell_without_a_hub(tmp_path):
    done = _run("node", "run", BITHIVE_STATE=str(tmp_path))
    assert done.returncode == 2
    assert "BITHIVE_CELL__HUB_URL" in done.stderr


def test_accounts(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("BITHIVE_STATE", str(tmp_path))

    def account(*arguments):
        code = main(["account", *arguments])
        said = capsys.readouterr()
        return code, said.out.strip(), said.err

    code, token, _ = account("add", "pacs", "--role", "pacs")
    assert (code, len(token)) == (0, 43)
    code, _, complaint = account("add", "pacs", "--role", "pacs")
    assert code == 1
    assert "account-exists" in complaint
    assert "pacs" in account("list")[1]
    assert account("token", "pacs")[1] != token
    assert account("link", "pacs")[1].startswith("http://127.0.0.1:8042/enter#token=")
    assert account("disable", "pacs")[0] == 0
    assert "disabled" in account("list")[1]
    assert account("disable", "nobody")[0] == 1
    own = account("add", "cell", "--role", "cell", "--institution", "own")
    assert own[0] == 0
    assert "ins_" in account("list")[1]
