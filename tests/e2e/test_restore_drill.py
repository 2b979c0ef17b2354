"""The drills of docs/runbooks/restore.md: a hub is killed and comes back from its backup, on SQLite and on PostgreSQL."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from api.backup.live_sql import column, tool
from api.backup.taking import ALL_BLOBS, Backup
from api.backup.vault import Vault
from bithive.blobs import FileBlobs
from bithive.settings import AccountSettings, ClinicSettings, NetworkSettings
from tests.common.backups import State
from tests.common.dicom_factory import write_series
from tests.common.hub import Hub
from tests.common.servers import free_port, new_database, postgres, stop, wait_until
from tests.common.tree import ROOT

BITHIVE = Path(sys.executable).parent


def bithive(environment, *words, code=0):
    ended = subprocess.run(
        [sys.executable, "-m", "bithive", *words], env=environment, cwd=ROOT, capture_output=True, text=True
    )
    assert ended.returncode == code, ended.stdout + ended.stderr
    return ended.stdout


def cut_after(vault, at_ms):
    """Wait for a cut that is later than a moment; its time."""
    found = []

    def there():
        found[:] = [cut.at_ms for cut in map(vault.cut, vault.names()) if cut.at_ms > at_ms]
        return bool(found)

    wait_until(there, 30)
    return found[0]


def study_of(answer):
    """The study's UID as the archive's answer to STOW names it."""
    url = re.search(r"/studies/([0-9.]+)", json.dumps(answer.json()))
    assert url, answer.text
    return url[1]


@pytest.mark.heavy
def test_a_hub_killed_beside_its_backup_comes_back_as_it_was(tmp_path):
    hub, secret = Hub(tmp_path / "state"), tmp_path / "passphrase"
    secret.write_text("correct horse battery staple\n")
    secret.chmod(0o600)
    words = ["backup", "run", str(tmp_path / "vault"), "--every", "1", "--with-keys", str(secret)]
    hub.start()
    runner = subprocess.Popen(
        [sys.executable, "-m", "bithive", *words], env=hub.environment, cwd=ROOT, stdout=subprocess.PIPE
    )
    try:
        runner.stdout.readline()
        vault = Vault(tmp_path / "vault")
        one = hub.stow(write_series(tmp_path / "one"))
        assert one.status_code == 200
        between_ms = cut_after(vault, time.time_ns() // 1_000_000)
        two = hub.stow(write_series(tmp_path / "two", patient_id="OTHER"))
        assert two.status_code == 200
        cut_after(vault, time.time_ns() // 1_000_000)
    finally:
        hub.kill()
        runner.send_signal(signal.SIGKILL)
        runner.communicate()
    studies = [study_of(one), study_of(two)]
    moment = datetime.fromtimestamp(between_ms / 1000, UTC).isoformat()
    vault_words = ["backup", "restore", str(tmp_path / "vault"), "--keys", str(secret)]
    for name, more, expected in (("between", ["--at", moment], studies[:1]), ("newest", [], studies)):
        back = Hub(tmp_path / name)
        bithive(hub.environment, *vault_words, "--into", str(back.state), *more)
        bithive(back.environment, "ledger", "check")
        assert (back.state / "keys" / "ledger.key").read_bytes() == (hub.state / "keys" / "ledger.key").read_bytes()
        rows = set(column(f"sqlite:///{back.state}/clinic.db", "SELECT DISTINCT study_uid FROM studies"))
        assert rows == set(expected)
    back._tokens = hub._tokens
    back.start()
    try:
        hub._tokens.setdefault("clinician-own", restored_token(back))
        for study in studies:
            assert len(back.get(f"/dicomweb/studies/{study}/instances", "clinician")) == 4
        again = back.stow(sorted((tmp_path / "two").rglob("*.dcm")) or sorted((tmp_path / "two").iterdir()))
        assert again.status_code == 200, "what the PACS sends again is known"
        assert back.stow(write_series(tmp_path / "three", patient_id="THIRD")).status_code == 200
    finally:
        back.stop()
    bithive(back.environment, "ledger", "check")
    bithive(hub.environment, "backup", "verify", str(tmp_path / "vault"))


def restored_token(back):
    """A clinician's token; the PACS goes on with the one that it has."""
    return bithive(back.environment, "account", "add", "clinician", "--role", "clinician").strip().splitlines()[-1]


def documented(page, name):
    """The commands that a runbook gives under a mark."""
    source = (ROOT / "docs" / "runbooks" / page).read_text()
    found = re.search(rf"<!-- drill: {name} -->\n+```sh\n(.*?)```", source, re.DOTALL)
    assert found, f"{page} has no commands named {name}"
    return found[1]


def shell(commands, environment, **owner):
    ended = subprocess.run(
        ["/bin/sh", "-eu", "-c", commands], env=environment, capture_output=True, text=True, cwd="/tmp", **owner
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


def sections(url, fresh=True):
    """Settings with all four databases in one PostgreSQL."""
    name = (lambda one: new_database(url, one)) if fresh else (lambda one: f"{url.rsplit('/', 1)[0]}/{one}")
    return {
        "clinic": ClinicSettings(database_url=name("clinic")),
        "network": NetworkSettings(database_url=name("network"), ledger_database_url=name("ledger")),
        "accounts": AccountSettings(database_url=name("accounts")),
    }


def variables(sections):
    """The same as environment variables."""
    return {
        f"BITHIVE_{section}__{name}".upper(): str(value)
        for section, members in sections.items()
        for name, value in members.model_dump().items()
        if name.endswith("database_url")
    }


def now_of(engine):
    with engine.connect() as connection:
        return str(connection.execute(text("SELECT clock_timestamp()")).scalar())


@pytest.mark.heavy
def test_postgresql_goes_back_to_a_second_and_the_archive_with_it(tmp_path):
    programs = ("pg_basebackup", "pg_verifybackup", "postgres")
    owner = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}
    base = Path(f"/tmp/bithive-drill-{os.getpid()}")
    base.mkdir(mode=0o755)
    for folder in (base, base / "archive"):
        folder.mkdir(exist_ok=True)
        if owner:
            shutil.chown(folder, "postgres", "postgres")
    programs = {str(Path(tool(program)).parent) for program in programs}
    path = ":".join([*sorted(programs), str(BITHIVE), "/usr/bin", "/bin"])
    archiving = f"archive_command=test ! -f {base}/archive/%f && cp %p {base}/archive/%f"
    try:
        with postgres(tmp_path, "-c", "archive_mode=on", "-c", archiving) as url:
            plain = url.replace("+pg8000", "")
            words = {"PATH": path, "PGURL": plain, "BASE": f"{base}/base", "ARCHIVE": f"{base}/archive"}
            lived = lived_through(tmp_path, url, lambda: shell(documented("backup.md", "base"), words, **owner))
        words |= {"TIME": lived["time"], "RECOVERED": f"{base}/recovered"}
        shell(documented("restore.md", "recover"), words, **owner)
        with recovered(base, owner) as url:
            come_back(tmp_path, url, path, lived)
    finally:
        shutil.rmtree(base, ignore_errors=True)


def lived_through(tmp_path, url, base_backup):
    """A base backup, cuts, and entries and files before, between and after a moment; what is true at that moment."""
    state = State(tmp_path, **sections(url))
    state.settings.state.joinpath("secret").write_text("s" * 64)
    house, engine = state.ledger(), create_engine(url, isolation_level="AUTOCOMMIT")
    base_backup()
    with Backup.opened(state.means(b"correct horse battery"), follow=True) as backup:
        backup.cut()
        for number in range(10):
            house.fund(0, 1, f"before/{number}")
        kept = state.store(1, b"deleted between the moment and the next cut")
        time.sleep(0.05)
        lived = {"time": now_of(engine), "blobs": [kept]}
        time.sleep(0.05)
        state.delete(1)
        state.store(2, b"later")
        house.fund(0, 1, "after/1")
        cut = backup.cut(full=False)
    assert cut.databases["ledger"].restore_point
    house.ledger.close()
    state.close()
    with engine.connect() as connection:
        last = connection.execute(text("SELECT pg_walfile_name(pg_switch_wal())")).scalar()
        wait_until(
            lambda: (
                connection.execute(
                    text("SELECT last_archived_wal >= :last FROM pg_stat_archiver"), {"last": last}
                ).scalar()
                is True
            ),
            30,
        )
    engine.dispose()
    return lived


class recovered:  # noqa: N801 - a context
    """PostgreSQL on the recovered folder, once it takes writes."""

    def __init__(self, base, owner):
        self._base, self._owner, self._port = base, owner, free_port()

    def __enter__(self):
        command = [tool("postgres"), "-D", str(self._base / "recovered"), "-p", str(self._port)]
        command += ["-c", "listen_addresses=127.0.0.1", "-k", str(self._base), "-c", "archive_mode=off"]
        with (self._base / "log").open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self._base, **self._owner)
        url = f"postgresql+pg8000://bithive@127.0.0.1:{self._port}/postgres"
        self._engine = create_engine(url)
        wait_until(self._promoted, process=self._process)
        return url

    def _promoted(self):
        try:
            with self._engine.connect() as connection:
                return connection.execute(text("SELECT NOT pg_is_in_recovery()")).scalar() is True
        except Exception:
            return False

    def __exit__(self, *_raised):
        self._engine.dispose()
        stop(self._process)


def come_back(tmp_path, url, path, lived):
    """The rest of the runbook; then everything is as it was at that moment."""
    there = sections(url, fresh=False)
    secret = tmp_path / "passphrase"
    secret.write_text("correct horse battery\n")
    secret.chmod(0o600)
    words = {"BITHIVE_STATE": str(tmp_path / "out"), "BITHIVE_MODE": "demo", "PATH": path, "PYTHONPATH": str(ROOT)}
    words |= {"BACKUP": str(tmp_path / "vault"), "PASSPHRASE": str(secret), "TIME": lived["time"], **variables(there)}
    shell(documented("restore.md", "rest"), words)
    named = column(there["clinic"].database_url, ALL_BLOBS)
    assert named == lived["blobs"]
    for digest in named:
        assert FileBlobs(tmp_path / "out" / "blobs").path(digest).read_bytes().startswith(b"deleted between")
    ids = column(there["network"].ledger_database_url, "SELECT id FROM entry ORDER BY seq")
    assert ids == ["setup/all", *(f"before/{number}" for number in range(10))]
    assert (tmp_path / "out" / "keys" / "ledger.key").exists()
