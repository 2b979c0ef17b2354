"""Invites: what a cell is admitted for, and the commands that make and take back."""

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from typer.testing import CliRunner

from api.commands.account import app, opened
from api.invites import Wanted, fingerprint, make_invite
from bithive.clock import SystemClock
from bithive.errors import BadInput
from bithive.ids import RandomIds
from bithive.offer import DataClass
from bithive.settings import Mode, Settings, load
from cluster.cell_record import CellRecord, NodeRecord
from cluster.cell_store_sql import SqlCellStore
from cluster.data_classes import Terms
from cluster.errors import InviteSpent
from cluster.labels import BadLabel, Tier
from cluster.protocol_join import Invite
from cluster.register import Registration
from cluster.register_sql import registrar
from tests.common.network import SHA256 as BUNDLE

INS = "ins_" + "0" * 26


def wanted(**changes: Any) -> Wanted:
    members = {"cell": "rack", "institution": None, "tier": None, "residency": "", "data_class_max": None}
    return Wanted(**{**members, "vetted": False, "operator": "racks", **changes})


@pytest.mark.parametrize(
    ("changes", "terms"),
    [
        ({}, Terms(None, False, Tier.HOME, "", DataClass.P0)),
        ({"institution": INS}, Terms(INS, False, Tier.HOSPITAL, "", DataClass.P3)),
        (
            {"vetted": True, "tier": "datacenter", "residency": "de"},
            Terms(None, True, Tier.DATACENTER, "DE", DataClass.P2),
        ),
        ({"institution": INS, "data_class_max": "P1"}, Terms(INS, False, Tier.HOSPITAL, "", DataClass.P1)),
    ],
    ids=str,
)
def test_what_a_cell_is_admitted_for(changes: dict[str, Any], terms: Terms) -> None:
    assert wanted(**changes).terms(changes.get("institution")) == terms


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"tier": "cellar"}, BadLabel),
        ({"residency": "XX"}, BadLabel),
        ({"data_class_max": "P4"}, BadInput),
        ({"cell": "x" * 60}, BadInput),
        ({"operator": ""}, BadInput),
        ({"cell": "taken"}, BadInput),
        ({"cell": "own"}, BadInput),
    ],
    ids=str,
)
def test_what_is_no_invite(tmp_path: Path, changes: dict[str, Any], error: type[Exception]) -> None:
    settings = load(mode=Mode.DEMO, state=tmp_path)
    with opened(settings) as accounts:
        accounts.add("taken", "pacs")
        accounts.add("own", "cell", accounts.institution())
        with pytest.raises(error):
            make_invite(settings, accounts, wanted(**changes), "http://hub.example")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    monkeypatch.setenv("BITHIVE_STATE", str(tmp_path))
    monkeypatch.setenv("BITHIVE_MODE", "demo")

    def command(*words: str) -> str:
        ended = CliRunner().invoke(app, list(words))
        assert ended.exit_code == 0, ended.output
        return ended.stdout

    return command


def test_the_commands(run: Callable[..., str]) -> None:
    line = run("invite", "--cell", "rack", "--tier", "datacenter", "--vetted", "--operator", "racks inc")
    invite = Invite.from_line(line)
    assert (invite.hub_url, invite.cell, invite.fingerprint) == ("http://127.0.0.1:8042", "rack", "")
    settings, clock = load(), SystemClock()
    with registrar(settings, clock, RandomIds(clock)) as register:
        admitted = register.admit(invite.secret, "a" * 64)
        assert (admitted.account, admitted.operator, admitted.terms.tier) == ("rack", "racks inc", Tier.DATACENTER)
        run("revoke-cell", "rack")
        with pytest.raises(InviteSpent):
            register.admit(invite.secret, "a" * 64)
        again = Invite.from_line(run("invite", "--cell", "rack", "--hub-url", "https://hub.example"))
        assert again.hub_url == "https://hub.example"
        assert register.admit(again.secret, "b" * 64).cell == admitted.cell


def test_a_node_is_revoked(run: Callable[..., str]) -> None:
    run("add", "rack", "--role", "cell")
    settings: Settings = load()
    clock = SystemClock()
    with registrar(settings, clock, RandomIds(clock)) as register:
        cells: SqlCellStore = register._cells  # type: ignore[assignment]
        cell = CellRecord("cel_1", None, "op", "0" * 64, DataClass.P0, frozenset({BUNDLE}), 5)
        cells.greet(cell, [NodeRecord("nod_1", "cel_1", "f" * 64, 1, 1)])
        run("revoke-node", "nod_1")
        found = cells.node("nod_1")
        assert found is not None
        assert found.revoked_ms > 0


def test_a_new_token_lets_a_cell_without_invite_come_with_another_key(run: Callable[..., str]) -> None:
    run("add", "rack", "--role", "cell")
    settings, clock = load(), SystemClock()
    with opened(settings) as accounts, registrar(settings, clock, RandomIds(clock)) as register:
        cell = accounts.named("rack").cell or ""
        register._register.bind(Registration(cell, "a" * 64, None, 5))
        run("token", "rack")
        assert register._register.registration(cell) is None
        register._register.bind(Registration(cell, "a" * 64, Terms(), 5))
        run("token", "rack")
        assert register._register.registration(cell) is not None


def certificate(issuer: str) -> tuple[bytes, str]:
    """A hub's certificate, and its fingerprint."""
    key, now = Ed25519PrivateKey.generate(), dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    names = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]) for name in ("hub", issuer)]
    builder = x509.CertificateBuilder().subject_name(names[0]).issuer_name(names[1]).public_key(key.public_key())
    builder = builder.serial_number(5).not_valid_before(now).not_valid_after(now + dt.timedelta(days=9))
    made = builder.sign(key, None)
    return made.public_bytes(Encoding.PEM), made.fingerprint(SHA256()).hex()


def test_a_certificate_that_vouches_for_itself_is_named(tmp_path: Path) -> None:
    path = tmp_path / "hub.pem"
    http = {"tls_certificate": str(path), "tls_key": str(path)}
    for issuer in ("hub", "an authority"):
        content, digest = certificate(issuer)
        path.write_bytes(content)
        assert fingerprint(load(mode=Mode.DEMO, http=http)) == (digest if issuer == "hub" else "")
