"""Cuts of a hub that runs, and what comes out of them: whole, checked, or refused by name."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing

import pytest
from sqlalchemy import update

from api.backup import keyring, pruning, restoring, taking
from api.backup.cut import Cut, born_ms
from api.backup.errors import (
    BackupAbsent,
    BackupBusy,
    BackupDamaged,
    BackupFull,
    BackupNewer,
    KeysLocked,
    RestoreRefused,
)
from api.backup.restoring import Wish, restore, verify
from api.backup.taking import Backup
from api.backup.vault import Vault
from api.commands import backup as commands
from bithive.blobs import FileBlobs, keeping, kept
from bithive.cli import main
from bithive.clock import ManualClock
from bithive.database_sql import Database
from bithive.errors import BadSettings
from bithive.ids import RandomIds, SeededIds
from bithive.outbox import Relay
from bithive.outbox_sql import SqlOutbox
from cluster.tables_sql import OUTBOX
from economy.check import check
from economy.economy import Economy
from economy.entry import Entry, move
from tests.common.backups import State, blobs_of
from tests.common.economy import Network
from tests.common.tree import ROOT


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """An empty state, made once."""
    folder = tmp_path_factory.mktemp("template")
    State(folder).close()
    return folder


@pytest.fixture
def state(template, tmp_path):
    shutil.copytree(template / "state", tmp_path / "state")
    shutil.rmtree(tmp_path / "state" / "keys")
    state = State(tmp_path)
    yield state
    state.close()


def take(state, passphrase=None):
    with Backup.opened(state.means(passphrase)) as backup:
        return backup.cut()


def out(state, cut=None, name="out", **wish):
    """Restore into a new folder; what came of it, and the folder."""
    settings = state.settings.model_copy(update={"state": state.folder / name})
    vault = Vault(state.folder / "vault")
    return restore(vault, settings, Wish(at_ms=cut.at_ms if cut else None, **wish)), settings.state


def everything(state):
    vault = Vault(state.folder / "vault")
    return list(verify(vault, [vault.cut(name) for name in vault.names()]))


def test_what_was_there_comes_back_to_the_byte(state):
    digests = sorted(state.store(number, bytes([number]) * 5000) for number in range(5))
    (state.settings.state / "pipelines").mkdir()
    (state.settings.state / "pipelines" / "né.yaml").write_text("name: x")
    spool = state.settings.state / "network" / "spool"
    spool.mkdir(parents=True)
    (spool / "att_1.aa.findings").write_bytes(b"sealed")
    house = state.ledger()
    house.fund(0, 77)
    cut = take(state)
    house.ledger.close()
    done, folder = out(state)
    assert (done.blobs, done.damage, done.has_keys, done.cut) == (5, (), False, cut)
    assert blobs_of(folder) == digests
    for digest in digests:
        assert FileBlobs(folder / "blobs").path(digest).read_bytes() == state.blobs.path(digest).read_bytes()
    assert (folder / "pipelines" / "né.yaml").read_text() == "name: x"
    assert (folder / "network" / "spool" / "att_1.aa.findings").read_bytes() == b"sealed"
    assert not (folder / "keys").exists()
    assert commands._check_ledger(folder) == []
    for name in ("accounts", "clinic", "network", "ledger"):
        with (
            closing(sqlite3.connect(folder / f"{name}.db")) as one,
            closing(sqlite3.connect(state.settings.state / f"{name}.db")) as other,
        ):
            assert list(one.iterdump()) == list(other.iterdump())
    assert everything(state) == []


def test_each_moment_comes_back_as_it_was(state):
    """Increments: stored and deleted, between cuts and across them."""
    named, cuts = [], []
    with Backup.opened(state.means()) as backup:
        pass
    with Backup.opened(state.means(), follow=True) as backup:
        for number in range(6):
            state.store(number, bytes([number]) * 100)
            if number >= 3:
                state.delete(number - 3)
            cuts.append(backup.cut(full=number == 0))
            named.append(blobs_of(state.settings.state))
    assert [bool(cut.base) for cut in cuts] == [False] + [True] * 5
    for number, (cut, expected) in enumerate(zip(cuts, named, strict=True)):
        done, folder = out(state, cut, f"out{number}")
        assert blobs_of(folder) == expected
        assert done.blobs == len(expected) == cut.blob_count
    assert everything(state) == []
    with pytest.raises(BackupAbsent):
        Vault(state.folder / "vault").at(cuts[0].at_ms - 1)


def test_a_study_deleted_while_it_is_copied_is_still_in_the_cut(state, monkeypatch):
    digest = state.store(1, b"a" * 100)
    mark = Backup._whole

    def later(self, *arguments):
        state.delete(1)
        assert not state.blobs.path(digest).exists()
        return mark(self, *arguments)

    monkeypatch.setattr(Backup, "_whole", later)
    cut = take(state)
    assert cut.missing == ()
    assert kept(state.settings.state / "blobs") == []
    monkeypatch.undo()
    done, folder = out(state)
    assert (done.blobs, blobs_of(folder)) == (1, [digest])
    state.store(2, b"b")
    state.delete(2)
    assert kept(state.settings.state / "blobs") == [], "nothing is put aside while no backup is made"


def test_what_a_dead_backup_put_aside_is_removed(state):
    digest = state.store(1, b"a")
    root = state.settings.state / "blobs"
    program = (
        "import sys\nfrom pathlib import Path\nfrom bithive.blobs import keeping\n"
        "with keeping(Path(sys.argv[1])):\n    print(flush=True)\n    sys.stdin.read()\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", program, root], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    child.stdout.readline()
    with pytest.raises(BlockingIOError), keeping(root):
        pass
    state.delete(1)
    assert [path.name for path in kept(root)] == [digest]
    child.send_signal(signal.SIGKILL)
    child.communicate()
    FileBlobs(root)
    assert kept(root) == []


def test_a_missing_and_a_changed_file_of_the_archive_are_told_and_stop_nothing(state):
    good, gone, rotten = (state.store(number, bytes([number])) for number in range(3))
    state.blobs.delete(gone)
    state.blobs.path(rotten).write_bytes(b"rotten")
    cut = take(state)
    assert sorted(cut.missing) == sorted([gone, rotten])
    done, folder = out(state)
    assert sorted(item.place for item in done.damage) == sorted([gone, rotten])
    assert (done.blobs, done.known_missing) == (1, 2)
    assert FileBlobs(folder / "blobs").path(good).exists()
    assert {item.fault for item in everything(state)} == {"missing-when-cut"}
    with Backup.opened(state.means(), follow=True) as backup:
        backup.cut()
        spool = state.blobs.spool()
        spool.write(bytes([1]))
        state.blobs.commit([spool])
        assert backup.cut(full=False).missing == (rotten,), "what came back is copied then"


def test_a_damaged_file_of_the_backup_is_found_and_can_be_left_out(state):
    digest, other = state.store(1, b"one"), state.store(2, b"two")
    take(state)
    Vault(state.folder / "vault").blob_path(digest).write_bytes(b"eno")
    with pytest.raises(BackupDamaged, match="1 files"):
        out(state)
    assert not (state.folder / "out").exists()
    assert [tuple(item) for item in everything(state)] == [(digest, "blob-damaged")]
    done, folder = out(state, incomplete=True)
    assert [item.place for item in done.damage] == [digest]
    assert FileBlobs(folder / "blobs").path(other).exists()
    assert restoring.fetch_blobs(Vault(state.folder / "vault"), folder / "blobs", [digest, other])[0] == 0


def test_files_of_the_archive_are_put_back_alone(state):
    digests = [state.store(number, bytes([number]) * 9) for number in range(3)]
    take(state)
    state.blobs.delete(digests[0])
    state.blobs.path(digests[1]).write_bytes(b"rot")
    count, damage = restoring.fetch_blobs(Vault(state.folder / "vault"), state.settings.state / "blobs", digests)
    assert (count, damage) == (2, [])
    assert [state.blobs.path(digest).read_bytes() for digest in digests] == [bytes([k]) * 9 for k in range(3)]


@pytest.mark.parametrize("suffix", ["pack", "json"])
def test_a_damaged_piece_stops_a_restore_and_an_earlier_cut_still_works(state, suffix):
    first = take(state)
    house = state.ledger()
    house.ledger.close()
    second = take(state)
    pack = state.folder / "vault" / "packs" / f"{second.cut_id}.{suffix}"
    content = bytearray(pack.read_bytes())
    content[len(content) // 2] ^= 1
    pack.write_bytes(content if suffix == "pack" else content[: len(content) // 2])
    with pytest.raises(BackupDamaged):
        out(state, second)
    assert not (state.folder / "out").exists()
    assert {item.fault for item in everything(state)} & {"piece-damaged", "index-unreadable"}
    assert out(state, first)[0].cut == first


@pytest.mark.parametrize("damage", ["truncated", "edited", "renamed", "base-gone"])
def test_a_manifest_that_is_not_what_was_written_is_refused(state, damage):
    with Backup.opened(state.means(), follow=True) as backup:
        first, second = backup.cut(), backup.cut(full=False)
    cuts = state.folder / "vault" / "cuts"
    path = cuts / f"{second.cut_id}.json"
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:-20])
    elif damage == "edited":
        path.write_text(path.read_text().replace('"blob_count": 0', '"blob_count": 1'))
    elif damage == "renamed":
        path.write_text((cuts / f"{first.cut_id}.json").read_text())
    else:
        (cuts / f"{first.cut_id}.json").unlink()
    with pytest.raises(BackupDamaged):
        out(state)
    if damage != "base-gone":
        assert out(state, first)[0].cut == first


def test_backups_of_a_newer_version_are_refused(state):
    cut = take(state)
    vault = state.folder / "vault"
    newer = Cut(**{name: getattr(cut, name) for name in cut.__slots__} | {"databases": dict(cut.databases)})
    part = newer.databases["ledger"]
    newer.databases["ledger"] = type(part)(
        **{name: getattr(part, name) for name in part.__slots__} | {"revision": "0999"}
    )
    path = vault / "cuts" / f"{cut.cut_id}.json"
    text = path.read_text()
    path.write_text(newer.to_text())
    with pytest.raises(BackupNewer, match="0999"):
        out(state)
    path.write_text(text.replace("bithive-backup-1", "bithive-backup-2"))
    with pytest.raises(BackupNewer, match="bithive-backup-2"):
        out(state)
    (vault / "bithive-backup.json").write_text(json.dumps({"format": "bithive-backup-2"}))
    with pytest.raises(BackupNewer):
        Vault(vault)


def test_a_restore_never_replaces_anything(state):
    take(state)
    (state.folder / "out").mkdir()
    (state.folder / "out" / "note").write_text("mine")
    with pytest.raises(RestoreRefused, match="holds something"):
        out(state)
    assert (state.folder / "out" / "note").read_text() == "mine"
    (state.folder / "out" / "note").unlink()
    assert out(state)[1].is_dir()
    with pytest.raises(RestoreRefused):
        out(state)
    with pytest.raises(RestoreRefused, match="ledger-mended"):
        out(state, name="third", check=lambda _folder: ["ledger-mended 1"])
    assert not (state.folder / "third").exists()


def test_keys_go_along_only_under_a_passphrase(state):
    take(state)
    assert b"k" * 32 not in b"".join(path.read_bytes() for path in state.folder.glob("vault/packs/*"))
    take(state, b"correct horse battery")
    with pytest.raises(KeysLocked):
        out(state, passphrase=b"another horse battery")
    assert not (state.folder / "out").exists()
    done, folder = out(state, passphrase=b"correct horse battery")
    assert done.has_keys
    key = folder / "keys" / "ledger.key"
    assert (key.read_bytes(), key.stat().st_mode & 0o777) == (b"k" * 32, 0o600)
    content = bytearray(keyring.lock({"keys/a": b"1"}, b"p" * 16))
    content[-1] ^= 1
    with pytest.raises(KeysLocked):
        keyring.unlock(bytes(content), b"p" * 16)
    with pytest.raises(KeysLocked, match="outside"):
        keyring.write(folder, {"../evil": b""})
    secret = state.folder / "passphrase"
    secret.write_text("short\n")
    secret.chmod(0o600)
    with pytest.raises(BadSettings):
        keyring.read_passphrase(secret)
    secret.chmod(0o644)
    with pytest.raises(BadSettings, match="others"):
        keyring.read_passphrase(secret)


def test_files_of_a_hostile_backup_stay_in_their_folder(state):
    cut = take(state)
    piece = next(iter(cut.chunks()))
    for name in ("..%2Fevil", "keys%2Fledger.key", "%2Ftmp%2Fevil", "pipelines%2F..%2F..%2Fevil", "ledger.db"):
        evil = {slot: getattr(cut, slot) for slot in cut.__slots__} | {"files": {name: (piece,)}}
        (state.folder / "vault" / "cuts" / f"{cut.cut_id}.json").write_text(Cut(**evil).to_text())
        with pytest.raises(BackupDamaged, match="outside"):
            out(state)


def test_a_key_that_is_to_be_destroyed_is_in_no_backup(tmp_path):
    folder = tmp_path / "keys"
    folder.mkdir()
    for name in ("network.key", "seen-688.key", ".seen-688.key.draft"):
        (folder / name).write_bytes(bytes(32))
    assert list(keyring.of_state(tmp_path)) == ["keys/network.key"]


def test_a_full_disk_makes_no_cut_and_harms_none(state, monkeypatch):
    first = take(state)
    state.store(1, b"x" * 100)

    def full(*_arguments):
        raise OSError(errno.ENOSPC, "no space")

    for name in ("put", "put_blobs", "seal_pack"):
        with monkeypatch.context() as patch:
            patch.setattr(taking.Writer, name, full)
            with pytest.raises(BackupFull):
                take(state)
        assert Vault(state.folder / "vault").names() == [first.cut_id]
    with Backup.opened(state.means(), follow=True) as backup:
        base = backup.cut()
        state.store(2, b"y")
        with monkeypatch.context() as patch:
            patch.setattr(taking.Writer, "put_blobs", full)
            with pytest.raises(BackupFull):
                backup.cut(full=False)
        after = backup.cut(full=False)
        assert after.base == "", "what the failed cut had read is not missed"
        assert base.cut_id < after.cut_id
    assert everything(state) == []
    assert out(state)[0].blobs == 2


KILLED = """
import os, signal, sys
from pathlib import Path
from api.backup import taking, vault
from api.backup.taking import Backup, Means
from bithive.clock import SystemClock
from bithive.ids import RandomIds
from bithive.settings import load
place = sys.argv[3]
def die(*_): os.kill(os.getpid(), signal.SIGKILL)
if place == "manifest":
    vault._write_durably = (lambda real: lambda path, content: die() if path.parent.name == "cuts" else real(path, content))(vault._write_durably)
else:
    setattr(Backup if place == "_whole" else vault.Writer, place, die)
clock = SystemClock()
means = Means(load(mode="demo", state=sys.argv[1]), vault.Vault.create(Path(sys.argv[2])), clock, RandomIds(clock))
with Backup.opened(means) as backup:
    backup.cut()
"""


@pytest.mark.parametrize("place", ["put", "_whole", "put_blobs", "seal_pack", "manifest"])
def test_a_backup_killed_halfway_leaves_no_cut_and_is_swept(state, place):
    first = take(state)
    state.store(1, b"x" * 100_000)
    ended = subprocess.run(
        [sys.executable, "-c", KILLED, state.settings.state, state.folder / "vault", place], cwd=ROOT, stderr=-3
    )
    assert ended.returncode == -signal.SIGKILL
    assert Vault(state.folder / "vault").names() == [first.cut_id]
    assert everything(state) == []
    take(state)
    assert out(state)[0].blobs == 1
    left = [
        path for path in (state.folder / "vault").rglob("*") if path.suffix == ".draft" or path.parent.name == "spool"
    ]
    assert left == []


def test_two_backups_and_a_clock_that_went_back(state):
    with Backup.opened(state.means()) as backup:
        with pytest.raises(BackupBusy), Backup.opened(state.means()):
            pass
        other = state.means()
        other = type(other)(state.settings, Vault.create(state.folder / "second"), other.clock, other.ids)
        with pytest.raises(BackupBusy), Backup.opened(other):
            pass
        backup.cut()
        name = Vault(state.folder / "vault").names()[-1]

        class Past:
            def new(self, _prefix):
                return name

        object.__setattr__(backup._means, "ids", Past())
        with pytest.raises(BackupBusy, match="clock"):
            backup.cut()
    assert born_ms(RandomIds(state.clock).new("cut")) <= state.clock.now_ms()
    with pytest.raises(BackupAbsent):
        Vault.create(state.settings.state)


def test_a_hub_that_writes_all_the_time(state):
    """Two databases written together, one after the other: no cut has the second without the first."""
    stop, failed = threading.Event(), []

    def work():
        try:
            ledger, network = (
                sqlite3.connect(state.settings.state / f"{name}.db", isolation_level=None, timeout=30)
                for name in ("ledger", "network")
            )
            for connection in (ledger, network):
                connection.execute("CREATE TABLE t (n INTEGER PRIMARY KEY, pad TEXT)")
            number = 0
            while not stop.is_set():
                number += 1
                for connection in (network, ledger):
                    connection.execute("INSERT INTO t VALUES (?, ?)", (number, "x" * 500))
            ledger.close()
            network.close()
        except Exception as error:
            failed.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        with Backup.opened(state.means(), follow=True) as backup:
            cuts = [backup.cut(full=number in (0, 4)) for number in range(8)]
    finally:
        stop.set()
        thread.join()
    assert failed == []
    assert [bool(cut.base) for cut in cuts] == [number not in (0, 4) for number in range(8)]
    last = (0, 0)
    for number, cut in enumerate(cuts[1:]):
        folder = out(state, cut, f"out{number}")[1]
        found = []
        for name in ("network", "ledger"):
            with closing(sqlite3.connect(folder / f"{name}.db")) as connection:
                found.append(connection.execute("SELECT MAX(n), COUNT(*) FROM t").fetchone())
        assert found[0][0] - found[1][0] in (0, 1), "the network's event comes before the ledger's entry"
        assert all(highest == count for highest, count in found)
        assert (found[0][0], found[1][0]) > last
        last = (found[0][0], found[1][0])


def test_events_of_the_cut_are_booked_once_after_it_is_restored(state):
    """One accepted before the cut and booked after it, one booked before it and marked as taken after it."""
    clock = ManualClock()
    network = Network(clock)
    offers = [network.ids.new("off") for _ in range(2)]
    events = [happened(offer) for offer in offers for happened in (network.opened, network.accepted)]

    def outbox(folder):
        database = Database(f"sqlite:///{folder}/network.db")
        return database, SqlOutbox(database, OUTBOX)

    def economy(folder):
        return Economy.open(state.settings.model_copy(update={"state": folder}), clock, SeededIds(3, clock))

    database, waiting = outbox(state.settings.state)
    with database.write() as connection:
        for event in events:
            waiting.append(connection, event)
    database.close()
    opened = economy(state.settings.state)
    for event in events[:2]:
        opened.booking.take(event)
    cut = take(state, b"correct horse battery")
    for event in events:
        opened.booking.take(event)
    later = opened.ledger.find(f"receipt/{events[3].body['receipt_digest']}")
    assert later is not None
    opened.close()
    folder = out(state, cut, passphrase=b"correct horse battery")[1]
    opened = economy(folder)
    try:
        assert opened.ledger.find(later.entry_id) is None
        for _ in range(2):
            database, waiting = outbox(folder)
            assert Relay(waiting, opened.booking.take).drain() == 4
            with database.write() as connection:
                connection.execute(update(OUTBOX).values(taken=0))
            database.close()
        with opened.ledger.store.reading() as snapshot:
            ids = [row.entry_id for row in snapshot.log()]
            assert [row.content for row in snapshot.log() if row.entry_id == later.entry_id] == [later.content]
        assert len(ids) == len(set(ids))
        assert sum(name.startswith("receipt/") for name in ids) == 2
        assert [finding for finding in check(opened.ledger.store).findings if "notice" not in finding.fault] == []
    finally:
        opened.close()


def test_old_cuts_go_with_what_only_they_needed(state):
    digest = state.store(1, os.urandom(200_000))
    house = state.ledger()
    legs = (move(house.source(), house.wallet(0), 1),)
    cuts = []
    with Backup.opened(state.means(), follow=True) as backup:
        for number in range(6):
            house.ledger.post(Entry(f"e/{number}", "test.done", legs, facts={"pad": os.urandom(700).hex()}))
            cuts.append(backup.cut(full=number in (0, 3, 5)))
            if number == 2:
                state.delete(1)
        before = sum(path.stat().st_size for path in (state.folder / "vault").rglob("*") if path.is_file())
        assert pruning.prune(backup.writer, cuts[2].at_ms).cuts == 0, "one of the three is not that old"
        gone = pruning.prune(backup.writer, cuts[2].at_ms + 1)
        assert (gone.cuts, gone.blobs) == (3, 1)
        assert pruning.prune(backup.writer, cuts[-1].at_ms + 10**9).cuts == 2
    house.ledger.close()
    vault = Vault(state.folder / "vault")
    assert vault.names() == [cuts[-1].cut_id]
    assert not vault.blob_path(digest).exists()
    assert before > sum(path.stat().st_size for path in (state.folder / "vault").rglob("*") if path.is_file())
    assert everything(state) == []
    assert commands._check_ledger(out(state)[1]) == []


def test_the_commands_from_one_end_to_the_other(state, monkeypatch, capsys):
    state.store(1, b"x")
    monkeypatch.setenv("BITHIVE_STATE", str(state.settings.state))
    monkeypatch.setenv("BITHIVE_MODE", "demo")
    vault, secret = str(state.folder / "vault"), state.folder / "passphrase"
    secret.write_text("correct horse battery staple\n")
    secret.chmod(0o600)
    assert main(["backup", "list", vault]) == 1
    assert "backup-absent" in capsys.readouterr().err
    assert main(["backup", "create", vault, "--with-keys", str(secret)]) == 0
    assert main(["backup", "run", vault, "--every", "1", "--cuts", "2", "--keep", "1"]) == 0
    assert main(["backup", "list", vault]) == 0
    said = capsys.readouterr().out
    assert said.count("stands alone") == 4
    assert said.count("adds to") == 2
    assert main(["backup", "verify", vault]) == 0
    assert "3 cuts: 0 findings" in capsys.readouterr().out
    target = str(state.folder / "again")
    assert main(["backup", "restore", vault, "--into", target, "--at", "2001-01-01T00:00:00Z"]) == 1
    assert main(["backup", "restore", vault, "--into", target, "--at", "soon"]) == 1
    assert main(["backup", "restore", vault, "--into", target]) == 0
    assert "1 files of the archive, each checked" in capsys.readouterr().out
    assert main(["backup", "restore", vault, "--into", target]) == 1
    assert "restore-refused" in capsys.readouterr().err
    monkeypatch.setenv("BITHIVE_STATE", target)
    (state.folder / "again" / "blobs" / blobs_of(state.folder / "again")[0][:2]).rename(state.folder / "lost")
    assert main(["backup", "blobs", vault]) == 0
    assert "1 were put back" in capsys.readouterr().out
    assert main(["backup", "prune", vault, "--keep", "0"]) == 0
    assert "forgot 1 cuts" in capsys.readouterr().out
    (Vault(state.folder / "vault").folder / "cuts" / f"{Vault(state.folder / 'vault').names()[-1]}.json").write_text(
        "{"
    )
    assert main(["backup", "list", vault]) == 1
