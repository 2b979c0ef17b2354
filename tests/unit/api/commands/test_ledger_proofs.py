from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from api.commands.ledger import app, economy
from api.commands.ledger_proofs import add_to
from bithive.cli import main
from bithive.clock import ManualClock
from bithive.keys import SigningKey
from bithive.settings import load
from economy.checkpoints import Checkpoint
from economy.entry import Account, Entry, move
from economy.notes import Algorithm, VerifierKey, parse_note
from tests.common.economy import Network
from tests.common.proving import KEY, signed


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setenv("BITHIVE_STATE", str(tmp_path / "state"))

    def invoke(*arguments):
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    return invoke


@pytest.fixture
def network():
    return Network(ManualClock())


@pytest.fixture
def sealed(run, network):
    """A ledger with a seal over one charged study; the log's verifier key."""
    charge(network)
    assert run("seal").exit_code == 0
    return run("prove", "keys").output.strip()


def charge(network):
    made = network.ids.new("off")
    with economy(load()) as opened:
        opened.booking.take(network.opened(made))
        opened.booking.take(network.accepted(made))
    return made


def give(amount):
    """BTT of the network's for a node, settled at once; the node's party."""
    with economy(load()) as opened:
        network, node = opened.parties.of("network"), opened.parties.of("node", "nod_1")
        leg = move(Account(network, "issuance", "BTT"), Account(node, "earned", "BTT"), amount)
        opened.ledger.post(Entry("test/given", "test.given", (leg,)))
    return node


def balances(run):
    with economy(load()) as opened:
        return [str(item.account) for item in opened.ledger.balances()]


def test_what_is_proven_is_verified_elsewhere(run, sealed, tmp_path, monkeypatch):
    account = balances(run)[0]
    for arguments in (
        ("entry", "1"),
        ("entry", "asset/EUR"),
        ("balance", account),
        ("consistency", "1"),
        ("checkpoint",),
    ):
        assert run("prove", *arguments, "--to", tmp_path / f"{arguments[0]}.json").exit_code == 0
    assert json.loads(run("prove", "entry", "1").output)["kind"] == "entry"
    files = sorted(tmp_path.glob("*.json"))
    monkeypatch.setenv("BITHIVE_STATE", "/nonexistent/nowhere")
    verified = run("verify", *files, "--key", sealed)
    assert verified.exit_code == 0, verified.output
    assert verified.output.count("holds: ") == len(files) == 4
    assert account in verified.output


def test_a_nodes_claim_after_an_epoch(run, network, tmp_path):
    charge(network)
    assert main(["ledger", "prove", "claim", "pty_" + "0" * 26]) == 1
    node = give(500)
    assert run("close-epoch").exit_code == 0
    run("seal")
    for options in ((), ("--epoch", "1")):
        written = run("prove", "claim", node, *options, "--to", tmp_path / "claim.json")
        assert written.exit_code == 0, written.output
        verified = run("verify", tmp_path / "claim.json", "--key", run("prove", "keys").output.strip())
        assert verified.exit_code == 0, verified.output
        assert f"holds: claim: account {node}:earned:BTT, asset BTT, cumulative 500" in verified.output
    for arguments in ((node, "--epoch", "9"), ("pty_" + "0" * 26,)):
        assert main(["ledger", "prove", "claim", *arguments]) == 1


def test_a_tampered_file_among_good_ones_fails_the_command(run, sealed, tmp_path):
    good, bad = tmp_path / "good.json", tmp_path / "bad.json"
    good.write_text(run("prove", "entry", "1").output)
    bad.write_text(good.read_text().replace('"index": 0', '"index": 1'))
    verified = run("verify", bad, good, tmp_path / "absent", "--key", sealed)
    assert verified.exit_code == 1
    assert "proof-fails" in verified.output
    assert "holds: entry" in verified.output
    assert "absent: does not hold: it cannot be read" in verified.output
    huge = tmp_path / "huge.json"
    with huge.open("wb") as file:
        file.truncate(50_000_000_000)
    assert "too large" in run("verify", huge, "--key", sealed).output


def test_another_key_verifies_nothing(run, sealed, tmp_path):
    (tmp_path / "c").write_text(run("prove", "checkpoint").output)
    name = sealed.partition("+")[0]
    other = VerifierKey(name, Algorithm.ED25519, KEY.public_hex)
    assert "note-unsigned" in run("verify", tmp_path / "c", "--key", other).output
    assert main(["ledger", "verify", str(tmp_path / "c"), "--key", "nonsense"]) == 1


def test_what_is_not_there(run, sealed):
    for arguments in (
        ("entry", "99999"),
        ("balance", "a:b:C"),
        ("consistency", "99999"),
        ("checkpoint", "--seal", "9"),
    ):
        assert main(["ledger", "prove", *arguments]) == 1


def test_an_empty_ledger_has_no_keys_yet(run):
    assert run("prove", "keys").exit_code == 1
    assert main(["ledger", "prove", "checkpoint"]) == 1


def test_a_witness_with_files_alone(run, sealed, network, tmp_path, monkeypatch):
    folder, mine = tmp_path / "handed", tmp_path / "mine"
    folder.mkdir()
    options = ("--state", mine / "log.json", "--key", mine / "key", "--name", "auditor.example/1")
    run("prove", "checkpoint", "--to", folder / "checkpoint.txt")
    assert main(["ledger", "witness", str(folder), *map(str, options)]) == 2
    looked = run("witness", folder, *options, "--log", sealed)
    assert looked.exit_code == 0, looked.output
    verifier = looked.output.split()[1]
    assert verifier.startswith("auditor.example/1+")
    assert main(["ledger", "cosign", str(folder / "cosigned.txt")]) == 1
    monkeypatch.setenv("BITHIVE_NETWORK__WITNESSES", verifier)
    assert "cosigned by auditor.example/1" in run("cosign", folder / "cosigned.txt").output
    assert "was kept before" in run("cosign", folder / "cosigned.txt").output
    (tmp_path / "c.txt").write_text(run("prove", "checkpoint").output)
    checked = run("verify", tmp_path / "c.txt", "--key", sealed, "--witness", verifier)
    assert "cosigned by auditor.example/1" in checked.output
    needed = ("verify", tmp_path / "c.txt", "--key", sealed, "--witness", verifier, "--need")
    assert [run(*needed, count).exit_code for count in ("1", "2")] == [0, 1]
    charge(network)
    run("seal")
    run("prove", "checkpoint", "--to", folder / "checkpoint.txt")
    assert main(["ledger", "witness", str(folder), *map(str, options)]) == 1
    run("export", "log", "--to", folder / "log.jsonl")
    assert "grown" in run("witness", folder, *options).output


def test_a_split_view_ends_the_witness_with_evidence(run, sealed, tmp_path, capsys):
    folder, mine = tmp_path / "handed", tmp_path / "mine"
    folder.mkdir()
    options = ["--state", str(mine / "log.json"), "--key", str(mine / "key"), "--every", "1"]
    honest = run("prove", "checkpoint").output
    (folder / "checkpoint.txt").write_text(honest)
    assert run("witness", folder, *options[:-2], "--log", sealed).exit_code == 0
    key = SigningKey.load_or_create(tmp_path / "state" / "keys" / "ledger.key")
    other = Checkpoint.parse(parse_note(honest).text)._replace(root=bytes(32))
    (folder / "checkpoint.txt").write_text(signed(other, key))
    assert main(["ledger", "witness", str(folder), *options]) == 1
    said = capsys.readouterr()
    assert "[log-split]" in said.err
    evidence = next(mine.glob("*.evidence-*.json"))
    assert str(evidence) in said.out.replace("\n", "")
    judged = run("verify", evidence, "--key", sealed)
    assert "they contradict each other" in judged.output


def test_the_commands_are_the_ledgers(run):
    assert callable(add_to)
    for name in ("prove", "verify", "witness", "cosign"):
        assert run(name, "--help").exit_code == 0
