"""The ledger over HTTP: who may post, read and take proofs, and what is answered."""

from __future__ import annotations

import json
import threading
from base64 import b64decode
from dataclasses import replace

import pytest
from starlette.testclient import TestClient

from api import ledger as ledger_routes
from api.ledger_access import own_party, touches, visible_party
from api.ledger_desk import LedgerDesk
from bithive.keys import SigningKey
from bithive.offer import DataClass
from cluster.broker import Broker
from cluster.data_classes import Terms
from cluster.protocol import Hello, NodeGreeting
from cluster.spool import Spool
from cluster.store import MemoryStore
from economy.entry import Account, Entry, move
from economy.errors import PartyUnknown
from economy.notes import Algorithm, VerifierKey, cosignature_line, parse_note
from economy.seal import make_seal
from economy.verify import verify_checkpoint, verify_proof
from tests.common.page_house import PageHouse

JSON = {"Content-Type": "application/json"}
TEXT = {"Content-Type": "text/plain; charset=utf-8"}


@pytest.fixture
def house(tmp_path):
    made = PageHouse(tmp_path)
    yield made
    made.close()


@pytest.fixture
def charged(house):
    """A house whose institution was charged for a study, sealed."""
    house.done()
    make_seal(house.economy.ledger.store, house.economy.key, house.clock)
    return house


@pytest.fixture
def caller(house):
    """Calls as an account of a role."""
    opened = []

    def call(role="administrator", name="", institution=None):
        client = TestClient(house.app, base_url="http://127.0.0.1")
        opened.append(client)
        if role:
            of = institution or (house.services.institution if role == "institution" else None)
            account = house.accounts.add(name or f"{role}.{len(opened)}", role, of)
            client.headers["Authorization"] = f"Bearer {house.accounts.token(account)}"
        return client

    yield call
    for client in opened:
        client.close()


def party(house, kind, ref=""):
    found = house.economy.parties.find(kind, ref)
    assert found is not None
    return found


def own(house):
    return party(house, "institution", house.services.institution)


def posted(house, number=1, amount=5):
    """An entry as its client writes it."""
    network = house.economy.parties.of("network")
    legs = (move(Account(network, "credit-issue", "EUR"), Account(network, "clearing", "EUR"), amount),)
    return Entry(f"test/{number}", "test.moved", legs, {"reason": "told"})


def keys_of(client):
    return [VerifierKey.parse(line) for line in client.get("/ledger/keys").text.split()]


def test_an_entry_is_recorded_once_and_replayed_after(house, caller):
    client, entry = caller(), posted(house)
    first = client.post("/ledger/entries", content=entry.content, headers=JSON)
    assert (first.status_code, first.json()["replayed"]) == (201, False)
    assert first.headers["Location"] == "/ledger/entries/test/1"
    assert "Idempotency-Replayed" not in first.headers
    again = client.post("/ledger/entries", json=json.loads(entry.content))
    assert (again.status_code, again.headers["Idempotency-Replayed"]) == (200, "true")
    assert again.json() == first.json() | {"replayed": True}
    other = client.post("/ledger/entries", content=posted(house, amount=6).content, headers=JSON)
    assert (other.status_code, other.json()["code"]) == (422, "entry-differs")
    assert other.headers["content-type"] == "application/problem+json"
    read = client.get("/ledger/entries/test/1").json()
    assert read["body"] == json.loads(entry.content)
    assert (read["seq"], read["request_hash"], read["seal"]) == (first.json()["seq"], entry.request_hash, None)


def test_the_same_id_while_it_is_being_recorded(house, caller, monkeypatch):
    """Held in the writer: whoever asks meanwhile with that id is told to ask again."""
    client, entry = caller(), posted(house)
    inside, go = threading.Event(), threading.Event()
    store = house.economy.ledger.store
    writing = store.writing

    def slow():
        inside.set()
        assert go.wait(10)
        return writing()

    monkeypatch.setattr(store, "writing", slow)
    answers = []
    thread = threading.Thread(target=lambda: answers.append(house.economy.ledger.post(entry)))
    thread.start()
    assert inside.wait(10)
    running = client.post("/ledger/entries", content=entry.content, headers=JSON)
    go.set()
    thread.join(10)
    assert (running.status_code, running.json()["code"]) == (409, "entry-running")
    assert client.post("/ledger/entries", content=entry.content, headers=JSON).status_code == 200
    assert len(answers) == 1


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "bad-input"),
        (b"{", "bad-input"),
        (b"\xff\xfe", "bad-input"),
        (b"[" * 100_000, "bad-input"),
        (b'{"id":"a/1","kind":"a.b","effective_ms":1.0}', "bad-input"),
        (b'{"id":"a/1","kind":"a.b","effective_ms":NaN}', "bad-input"),
        (b'{"id":"a/1","id":"a/2","kind":"a.b"}', "bad-input"),
        (b'{"id":"a/1","kind":"a.b","facts":{"n":%s}}' % (b"9" * 5_000), "bad-input"),
        (b'{"id":"a/1"}', "bad-entry"),
        (b"null", "bad-entry"),
        (b'{"id":"expiry/1/0","kind":"pending.expired"}', "bad-entry"),
    ],
)
def test_what_is_no_entry_is_refused(caller, content, code):
    answer = caller().post("/ledger/entries", content=content, headers=JSON)
    assert (answer.status_code, answer.json()["code"]) == (400, code)


def test_what_the_ledger_refuses_is_said(house, caller):
    client, network = caller(), house.economy.parties.of("network")
    legs = (move(Account(network, "clearing", "EUR"), Account(network, "pool", "EUR"), 1),)
    answer = client.post("/ledger/entries", content=Entry("test/poor", "test.moved", legs).content, headers=JSON)
    assert (answer.status_code, answer.json()["code"]) == (422, "insufficient-funds")
    assert client.get("/ledger/entries/test/poor").status_code == 404
    assert client.post("/ledger/entries", content=b"{}", headers=TEXT).status_code == 415
    large = client.post("/ledger/entries", content=b" " * 1_100_000, headers=JSON)
    assert large.status_code == 413


@pytest.mark.parametrize("role", ["auditor", "institution", "clinician", "pacs", "cell", ""])
def test_only_an_administrator_posts(house, caller, role):
    answer = caller(role).post("/ledger/entries", content=posted(house).content, headers=JSON)
    assert answer.status_code == (403 if role else 401)
    assert house.economy.ledger.find("test/1") is None


def test_a_foreign_page_posts_nothing_with_a_cookie(house, caller):
    account = house.accounts.add("boss", "administrator")
    secret, _ = house.accounts.open_session(house.accounts.link(account))
    client = caller("")
    client.cookies.set("bithive", secret)
    headers = JSON | {"Sec-Fetch-Site": "cross-site"}
    answer = client.post("/ledger/entries", content=posted(house).content, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (403, "other-origin")
    headers["Sec-Fetch-Site"] = "same-origin"
    assert client.post("/ledger/entries", content=posted(house).content, headers=headers).status_code == 201


def test_an_institution_reads_its_own_entries_and_no_others(charged, caller):
    us, them = caller("institution"), caller("institution", institution="ins_0000000000000000000000TH3M")
    charge = next(name for name in ids(charged) if name.endswith("/charge"))
    hold = next(name for name in ids(charged) if name.endswith("/hold"))
    for name in (charge, hold):
        assert us.get(f"/ledger/entries/{name}").status_code == 200
        assert verify_proof(us.get(f"/ledger/proofs/entry/{name}").text, keys_of(us)).said["entry"] == name
        for path in (f"/ledger/entries/{name}", f"/ledger/proofs/entry/{name}"):
            answer = them.get(path)
            assert (answer.status_code, answer.json()["code"]) == (404, "entry-unknown")
    receipt = next(name for name in ids(charged) if name.startswith("receipt/"))
    assert us.get(f"/ledger/entries/{receipt}").status_code == 404, "another party's work"
    assert caller("auditor").get(f"/ledger/entries/{receipt}").status_code == 200
    for role in ("clinician", "pacs", "cell"):
        assert caller(role).get(f"/ledger/entries/{charge}").status_code == 403


def ids(house):
    with house.economy.ledger.store.reading() as snapshot:
        return [row.entry_id for row in snapshot.log()]


def test_touching_is_by_hold_as_well_as_by_name(charged):
    store = charged.economy.ledger.store
    charge = charged.economy.ledger.get(next(name for name in ids(charged) if name.endswith("/charge")))
    assert '"debit":"' + own(charged) not in charge.content, "the charge names the institution only by its hold"
    assert touches(store, charge, own(charged))
    assert not touches(store, charge, "pty_0000000000000000000000N0NE")


def test_a_balance_is_proven_to_whom_it_belongs(charged, caller):
    us = caller("institution")
    name = f"{own(charged)}:credit:EUR"
    proof = verify_proof(us.get(f"/ledger/proofs/balance/{name}").text, keys_of(us))
    balance = charged.economy.ledger.balance(Account.parse(name))
    assert (proof.said["account"], proof.said["debit_posted"]) == (name, balance.debit_posted)
    theirs = f"{party(charged, 'hub')}:revenue:EUR"
    for account, code in (
        (theirs, "account-unknown"),
        (f"{own(charged)}:pool:EUR", "account-unknown"),
        ("x", "bad-entry"),
    ):
        answer = us.get(f"/ledger/proofs/balance/{account}")
        assert answer.json()["code"] == code
    assert caller("auditor").get(f"/ledger/proofs/balance/{theirs}").status_code == 200


def test_checkpoint_keys_and_consistency_are_open_and_hold(charged, caller):
    nobody = caller("")
    keys = keys_of(nobody)
    first = nobody.get("/ledger/checkpoint")
    assert first.headers["content-type"] == "text/plain; charset=utf-8"
    small = verify_checkpoint(first.text, keys).checkpoint
    charged.economy.ledger.post(posted(charged))
    make_seal(charged.economy.ledger.store, charged.economy.key, charged.clock)
    large = verify_checkpoint(nobody.get("/ledger/checkpoint").text, keys).checkpoint
    assert large.size > small.size
    assert nobody.get(f"/ledger/checkpoint?seal={small.seal_id}").text == first.text
    proof = nobody.get(f"/ledger/proofs/consistency?from={small.size}&to={large.size}")
    said = verify_proof(proof.text, keys).said
    assert (said["from_size"], said["size"]) == (small.size, large.size)
    assert nobody.get("/ledger/proofs/consistency?from=1").status_code == 200
    for path, status in (
        ("/ledger/checkpoint?seal=99", 404),
        ("/ledger/checkpoint?seal=0", 400),
        ("/ledger/checkpoint?seal=x", 400),
        ("/ledger/proofs/consistency?from=0", 400),
        ("/ledger/proofs/consistency?from=99999", 404),
        (f"/ledger/proofs/consistency?from={small.size}&to=3", 404),
        ("/ledger/proofs/consistency", 400),
        ("/ledger/seals", 401),
        ("/ledger/entries/test/1", 401),
        ("/ledger/proofs/entry/test/1", 401),
    ):
        assert nobody.get(path).status_code == status, path


def test_a_ledger_without_a_seal_says_so(house, caller):
    auditor = caller("auditor")
    house.economy.ledger.post(posted(house))
    assert auditor.get("/ledger/keys").text == ""
    for path in ("/ledger/checkpoint", "/ledger/proofs/entry/test/1", "/ledger/proofs/consistency?from=1"):
        answer = auditor.get(path)
        assert (answer.status_code, answer.json()["code"]) == (404, "not-sealed")
    assert auditor.get("/ledger/seals").json() == {"seals": [], "next": None}


def test_seals_come_in_pages(house, caller, monkeypatch):
    monkeypatch.setattr(ledger_routes, "SEALS_A_PAGE", 2)
    for number in range(5):
        house.economy.ledger.post(posted(house, number))
        make_seal(house.economy.ledger.store, house.economy.key, house.clock)
    auditor, seen, after = caller("auditor"), [], 0
    while after is not None:
        page = auditor.get(f"/ledger/seals?after={after}").json()
        seen += [seal["seal_id"] for seal in page["seals"]]
        after = page["next"]
    assert seen == [1, 2, 3, 4, 5]
    assert auditor.get("/ledger/seals?after=-1").status_code == 400


@pytest.fixture
def witness(charged, tmp_path):
    """A witness that the hub's settings name."""
    key = SigningKey.load_or_create(tmp_path / "witness.key")
    named = VerifierKey("witness.example", Algorithm.COSIGNATURE, key.public_hex)
    network = charged.services.settings.network.model_copy(update={"witnesses": (str(named),)})
    settings = charged.services.settings.model_copy(update={"network": network})
    charged.app.state.services = replace(charged.services, settings=settings)
    return key


def cosigned(house, note, key, name="witness.example"):
    at_s = house.clock.now_ms() // 1000
    return note + str(cosignature_line(parse_note(note).text, name, key, at_s))


def test_a_witness_hands_its_signature_in_once(charged, caller, witness):
    nobody = caller("")
    note = nobody.get("/ledger/checkpoint").text
    text = cosigned(charged, note, witness)
    first = nobody.post("/ledger/cosignatures", content=text.encode(), headers=TEXT)
    assert (first.status_code, first.json()["witness"]) == (201, "witness.example")
    assert nobody.post("/ledger/cosignatures", content=text.encode(), headers=TEXT).status_code == 200
    shown = nobody.get("/ledger/checkpoint").text
    assert shown == text
    seals = caller("auditor").get("/ledger/seals").json()["seals"]
    assert seals[-1]["cosignatures"] == [
        {"public_key": witness.public_hex, "witnessed_ms": first.json()["witnessed_ms"]}
    ]


def test_cosignatures_of_others_are_not_kept(charged, caller, witness, tmp_path):
    nobody = caller("")
    note = nobody.get("/ledger/checkpoint").text
    stranger = SigningKey.load_or_create(tmp_path / "stranger.key")
    text = cosigned(charged, note, witness)
    broken = text[:-20] + ("A" if text[-20] != "A" else "B") + text[-19:]
    for body, status in (
        (note, 403),
        (cosigned(charged, note, stranger, "stranger.example"), 403),
        (broken, {400, 403}),
        (text.replace("seal 1\n", "seal 7\n"), {403, 404}),
        ("", 400),
        ("\x00", 400),
        ("x" * 70_000, 413),
    ):
        answer = nobody.post("/ledger/cosignatures", content=body.encode(), headers=TEXT)
        assert answer.status_code in (status if isinstance(status, set) else {status}), (status, answer.text)
    assert nobody.post("/ledger/cosignatures", content=text.encode(), headers=JSON).status_code == 415
    assert nobody.get("/ledger/checkpoint").text == note


def test_one_maker_of_proofs_serves_a_store(house):
    desk, store = LedgerDesk(), house.economy.ledger.store
    assert desk.proofs(store) is desk.proofs(store)


def test_no_proof_names_anybody(charged, caller):
    auditor = caller("auditor")
    for name in ids(charged):
        text = auditor.get(f"/ledger/proofs/entry/{name}").text
        assert "1.2.3" not in text
        assert "Grünwald" not in text
        assert all(len(b64decode(step)) == 32 for step in json.loads(text)["path"])


def test_a_contributor_sees_its_operators_party_by_its_invite_alone(house, tmp_path):
    """What the cell calls itself in a hello opens nothing."""
    broker = Broker(MemoryStore(), house.clock, house.services.ids, Spool(tmp_path / "spool"))
    services = replace(house.services, broker=broker)
    cell = house.accounts.add("rack", "cell").cell
    contributor = house.accounts.ensure("rack.contributor", "contributor", cell=cell)
    principal = house.accounts.by_token(house.accounts.token(contributor))
    party = house.economy.parties.of("operator", "racks inc")
    node = NodeGreeting("b" * 64, 1, 1, 0, {})
    broker.hello(cell, None, Hello("a" * 64, "racks inc", DataClass.P0, (node,), ()))
    assert own_party(services, principal) is None
    secret, _ = broker.registrar.invite(cell, "rack", Terms(), "racks inc")
    broker.registrar.admit(secret, "a" * 64)
    assert own_party(services, principal) == party
    assert visible_party(services, principal, "own") == party
    with pytest.raises(PartyUnknown):
        visible_party(services, principal, house.economy.parties.of("operator", "another"))
    assert own_party(services, replace(principal, cell="cel_" + "0" * 26)) is None
