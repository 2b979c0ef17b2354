"""The ledger's pages in a real browser, and the auditor's page on files that were and were not tampered with."""

from __future__ import annotations

import json
import re
from base64 import b64decode, b64encode
from dataclasses import dataclass, field

import pytest

from api.pages.verifier_page import verifier_html
from bithive.keys import SigningKey
from bithive.outbox import Event
from economy.cosigning import accept_cosignature
from economy.entry import Account
from economy.epoch import claims_id, claims_of
from economy.export import export
from economy.notes import Algorithm, VerifierKey, cosignature_line, note_line, parse_note
from economy.proofs import Proofs
from economy.seal import log_keys, make_seal
from tests.common.economy import Network
from tests.e2e.test_pages import NARROW, PHONE, WIDE, address, chromium, eyes, house

pytestmark = pytest.mark.heavy
__all__ = ["address", "chromium", "eyes", "house"]


@dataclass
class Filed:
    """What an auditor was given, by file name; and the keys, which came another way."""

    keys: str
    files: dict[str, str]
    witness: SigningKey
    log_key: SigningKey
    party: str
    institution: str = ""
    extra: dict[str, str] = field(default_factory=dict)


@pytest.fixture
def filed(house, tmp_path):
    """A ledger with two epochs, paid at once so that there are claims, sealed twice and cosigned."""
    economy, clock = house.economy, house.clock
    network, store = Network(clock), economy.ledger.store
    for number in range(9):
        offer = network.ids.new("off")
        economy.booking.take(network.opened(offer, work_units=1000 + number, institution=house.services.institution))
        accepted = network.accepted(offer, work_units=900 + number, institution=house.services.institution)
        economy.booking.take(Event(accepted.topic, accepted.key, accepted.body | {"operator": "op"}))
        if number == 4:
            clock.advance_s(1000)
            economy.epochs.close()
            clock.advance_s(80 * 3600)
            for _ in range(4):
                economy.settlements.tick()
    clock.advance_s(1000)
    economy.epochs.close()
    make_seal(store, economy.key, clock)
    witness = SigningKey.load_or_create(tmp_path / "witness.key")
    named = VerifierKey("witness.example", Algorithm.COSIGNATURE, witness.public_hex)
    proofs = Proofs(store)
    note = proofs.checkpoint()
    line = cosignature_line(parse_note(note).text, named.name, witness, clock.now_ms() // 1000)
    accept_cosignature(store, note + str(line), [named], clock)
    with store.reading() as snapshot:
        keys, seals, rows = log_keys(snapshot), snapshot.seals(), snapshot.log()
    node = economy.parties.find("node", network.node)
    tree = claims_of(store, 2)
    claim = tree.proof(node)
    charge = next(row for row in rows if row.kind == "charge.settled")
    own = economy.parties.find("institution", house.services.institution)
    files = {
        "checkpoint.txt": proofs.checkpoint(),
        "entry.json": proofs.entry(charge.entry_id),
        "balance.json": proofs.balance(Account(own, "credit", "EUR")),
        "consistency.json": proofs.consistency(seals[0].to_seq),
        "from-any-size.json": proofs.consistency(7),
        "claim.json": proofs.claim(claims_id(2), claim.place, claim.claim.leaf().decode(), claim.size, claim.path),
        "log.jsonl": "".join(export(store, "log")),
    }
    return Filed("".join(f"{key}\n" for key in (*keys, named)), files, witness, economy.key, node, own)


@pytest.fixture
def auditor(eyes):
    """The auditor's page, with files put into it."""

    class Auditor:
        def __init__(self, size=WIDE, where="/ledger/verify", **options):
            self.seen = eyes(size, role="", **options)
            self.page = self.seen.open(where) if where.startswith("/") else self._file(where)
            self.seen.wait(lambda: self.page.get_attribute("body", "data-ready"), "the page is ready")

        def _file(self, where):
            self.seen.page.goto(where)
            return self.seen.page

        def give(self, files, keys=""):
            """The verdict on each file by name."""
            before = int(self.page.get_attribute("body", "data-done") or 0)
            if keys:
                self.page.fill("#keys", keys)
            payload = [
                {"name": name, "mimeType": "text/plain", "buffer": text if isinstance(text, bytes) else text.encode()}
                for name, text in files.items()
            ]
            self.page.set_input_files("#files", payload)
            count = len(files)
            self.seen.wait(
                lambda: (
                    int(self.page.get_attribute("body", "data-done") or 0) > before
                    and self.page.locator("article").count() >= count
                ),
                "everything is judged",
            )
            return self.verdicts()

        def verdicts(self):
            found = {}
            for card in self.page.locator("article").all():
                name = card.locator("h3").text_content()
                found[name] = (card.get_attribute("data-tone"), card.locator(".sentence").text_content())
            return found

    return Auditor


def test_everything_that_was_filed_holds(filed, auditor):
    look = auditor()
    found = look.give(filed.files, filed.keys)
    assert {name: tone for name, (tone, _) in found.items()} == dict.fromkeys(filed.files, "good")
    entry = json.loads(json.loads(filed.files["entry.json"])["leaf"])
    assert entry["body"]["id"] in found["entry.json"][1]
    assert f"{filed.institution}:credit:EUR had these totals" in found["balance.json"][1]
    assert "begins with the log of" in found["consistency.json"][1]
    assert f"{filed.party}:earned:BTT may claim" in found["claim.json"][1]
    assert "Every one of the first" in found["log.jsonl"][1]
    text = look.page.inner_text("#results")
    assert "witness.example" in text
    assert "takes from a hold" in text
    assert look.page.inner_text("#summary") == "7 files: 7 hold, 0 do not, 0 undecided."
    assert not look.seen.complaints


def changed(text, path, change):
    proof = json.loads(text)
    spot = proof
    for step in path[:-1]:
        spot = spot[step]
    spot[path[-1]] = change(spot[path[-1]])
    return json.dumps(proof, ensure_ascii=False)


def flipped(value):
    """Base64 with one bit changed."""
    raw = bytearray(b64decode(value))
    raw[5] ^= 1
    return b64encode(bytes(raw)).decode()


def digit(text):
    """A text with its first figure of an amount made another."""
    return re.sub(
        r'("amount":|"(?:credit|debit)_posted":"|"cumulative":")(\d)',
        lambda m: m[1] + str((int(m[2]) + 1) % 9 + 1),
        text,
        count=1,
    )


TAMPERED = {
    "amount in an entry": ("entry.json", ["leaf"], digit),
    "place of an entry": ("entry.json", ["index"], lambda index: index + 1),
    "path of an entry": ("entry.json", ["path", 0], flipped),
    "short path": ("entry.json", ["path"], lambda path: path[:-1]),
    "long path": ("entry.json", ["path"], lambda path: [*path, path[0]]),
    "a balance": ("balance.json", ["leaf"], digit),
    "another account": ("balance.json", ["index"], lambda index: index + 1),
    "balance as entry": ("balance.json", ["kind"], lambda _: "entry"),
    "old history": ("from-any-size.json", ["from", "root"], flipped),
    "old size": ("from-any-size.json", ["from", "size"], lambda size: size - 1),
    "consistency path": ("consistency.json", ["path", 0], flipped),
    "a claim": ("claim.json", ["claim", "leaf"], digit),
    "claims of another entry": (
        "claim.json",
        ["entry", "leaf"],
        lambda leaf: leaf.replace("claims.published", "claims.publishes"),
    ),
    "size of the claims": ("claim.json", ["claim", "size"], lambda size: size + 1),
    "root in the checkpoint": (
        "entry.json",
        ["checkpoint"],
        lambda note: re.sub(r"\n(\d+)\n", lambda m: f"\n{int(m[1]) + 1}\n", note, count=1),
    ),
    "time in the checkpoint": ("balance.json", ["checkpoint"], lambda note: re.sub(r"time (\d+)", "time 1", note)),
}
UNREADABLE = {
    "cut off": lambda files: files["entry.json"][:-200],
    "nothing": lambda files: "",
    "not JSON": lambda files: "{'format': 1}",
    "a float": lambda files: files["entry.json"].replace('"index":', '"index":0.5e1,"x":'),
    "a name twice": lambda files: files["entry.json"].replace("{", '{"kind":"balance",', 1),
    "a member too many": lambda files: changed(files["entry.json"], ["format"], lambda x: x)[:-1] + ',"more":1}',
    "another format": lambda files: files["entry.json"].replace("bithive-proof-1", "bithive-proof-2"),
    "deep": lambda files: "{" + '"a":{' * 5_000,
    "bytes": lambda files: b"\xff\xfe\x00{",
    "a picture": lambda files: b"\x89PNG\r\n\x1a\n" + bytes(500),
    "cut checkpoint": lambda files: files["checkpoint.txt"].split("\n\n")[0],
    "constructor": lambda files: '{"format":"bithive-proof-1","kind":"constructor","checkpoint":""}',
    "markup": lambda files: '<img src=x onerror="document.title=1">',
}


def test_nothing_that_was_tampered_with_holds(filed, auditor):
    look = auditor()
    given = {name: changed(filed.files[file], path, change) for name, (file, path, change) in TAMPERED.items()}
    for name, (file, *_) in TAMPERED.items():
        assert json.loads(given[name]) != json.loads(filed.files[file]), name
    given |= {name: make(filed.files) for name, make in UNREADABLE.items()}
    note = filed.files["checkpoint.txt"]
    given["checkpoint"] = note.replace("state ", "state 1", 1)
    given["cosignature"] = note[:-12] + ("B" if note[-12] != "B" else "C") + note[-11:]
    found = look.give(given, filed.keys)
    assert {name: tone for name, (tone, _) in found.items()} == dict.fromkeys(given, "bad")
    assert "was changed" in found["amount in an entry"][1]
    assert "0 hold" in look.page.inner_text("#summary")
    assert look.page.title() == "Check a ledger’s files · BitHive"
    assert not look.seen.complaints


def test_tampered_logs_do_not_hold(filed, auditor):
    look = auditor()
    lines = filed.files["log.jsonl"].splitlines(keepends=True)
    given = {
        "checkpoint.txt": filed.files["checkpoint.txt"],
        "changed": "".join([*lines[:9], digit(lines[9]).replace('"kind":"', '"kind":"x', 1), *lines[10:]]),
        "one missing": "".join(lines[:5] + lines[6:]),
        "two swapped": "".join([*lines[:5], lines[6], lines[5], *lines[7:]]),
        "one doubled": "".join([*lines[:5], lines[4], *lines[5:]]),
        "cut off": "".join(lines)[:-40],
    }
    found = look.give(given, filed.keys)
    tones = {name: tone for name, (tone, _) in found.items()}
    assert tones == {"checkpoint.txt": "good"} | dict.fromkeys(list(given)[1:], "bad")


def test_without_the_right_key_nothing_is_said_to_hold(filed, auditor, tmp_path):
    look = auditor()
    found = look.give({"entry.json": filed.files["entry.json"]})
    assert found["entry.json"][0] == "warn"
    assert "you gave no public key" in found["entry.json"][1]
    stranger = SigningKey.load_or_create(tmp_path / "stranger.key")
    own = VerifierKey.parse(filed.keys.split()[0])
    look.page.fill("#keys", str(own._replace(public_key=stranger.public_hex)))
    look.seen.says("article .sentence", "none of the public keys you gave signed")
    look.page.fill("#keys", filed.keys.replace("+", "+0", 1))
    look.seen.says("#keys-said", "not a public key")
    typo = str(own)
    look.page.fill("#keys", typo[:-4] + ("A" if typo[-4] != "A" else "B") + typo[-3:])
    look.seen.says("#keys-said", "a digit is wrong")
    assert look.verdicts()["entry.json"][0] == "warn"
    look.page.fill("#keys", filed.keys)
    look.seen.wait(lambda: look.verdicts()["entry.json"][0] == "good", "the right key decides")
    assert not look.seen.complaints


def test_a_forger_with_another_key_under_the_logs_name_is_not_believed(filed, auditor, tmp_path):
    """The whole file is made anew, consistently, and signed by somebody else."""
    forger = SigningKey.load_or_create(tmp_path / "forger.key")
    text = parse_note(filed.files["checkpoint.txt"]).text
    origin = text.split("\n")[0]
    forged = f"{text}\n{note_line(text, origin, forger)}"
    found = auditor().give({"forged.txt": forged}, filed.keys)
    assert found["forged.txt"][0] == "warn"


def test_a_key_of_another_log_does_not_sign_for_this_one(filed, auditor, tmp_path):
    """The auditor trusts it, but for another log: under its own name it says nothing about this one."""
    other = SigningKey.load_or_create(tmp_path / "other.key")
    text = parse_note(filed.files["checkpoint.txt"]).text
    trusted = VerifierKey("other.example", Algorithm.ED25519, other.public_hex)
    signed = f"{text}\n{note_line(text, trusted.name, other)}"
    found = auditor().give({"signed.txt": signed}, f"{filed.keys}{trusted}\n")
    assert found["signed.txt"][0] == "warn"


def test_two_histories_of_one_log_raise_an_alarm(filed, auditor):
    text = parse_note(filed.files["checkpoint.txt"]).text
    rows = text.split("\n")
    rows[2] = flipped(rows[2])
    other = "\n".join(rows)
    signed = f"{other}\n{note_line(other, rows[0], filed.log_key)}"
    look = auditor()
    look.give({"one.txt": filed.files["checkpoint.txt"], "two.txt": signed}, filed.keys)
    assert "two histories" in look.page.inner_text("#alarm")
    look.page.click("article:last-child button")
    look.seen.wait(lambda: not look.page.is_visible("#alarm"), "the alarm is over")


def test_it_works_from_a_disk_without_a_network(filed, auditor, tmp_path):
    page = tmp_path / "verifier.html"
    page.write_text(verifier_html(), newline="")
    look = auditor(where=page.as_uri(), offline=True)
    files = {name: text for name, text in filed.files.items() if name != "log.jsonl"}
    found = look.give(files, filed.keys)
    assert {tone for tone, _ in found.values()} == {"good"}
    asked = look.page.evaluate("performance.getEntriesByType('resource').length")
    assert asked == 0
    assert not look.seen.complaints


def test_a_file_of_keys_may_be_dropped_beside(filed, auditor):
    look = auditor()
    before = int(look.page.get_attribute("body", "data-done"))
    look.page.set_input_files("#files", [{"name": "keys.txt", "mimeType": "text/plain", "buffer": filed.keys.encode()}])
    look.seen.wait(lambda: int(look.page.get_attribute("body", "data-done")) > before, "the keys are read")
    assert look.page.inner_text("#keys-said") == "1 of the log, 1 of witnesses"
    assert look.give({"entry.json": filed.files["entry.json"]})["entry.json"][0] == "good"


@pytest.mark.parametrize("size", [WIDE, PHONE, NARROW])
def test_no_page_is_wider_than_the_window(house, filed, eyes, auditor, size):
    year = "2027"
    seen = eyes(size, role="administrator")
    for path in (
        "/ledger",
        "/ledger/parties",
        f"/ledger/statements/{filed.institution}?period={year}",
        f"/ledger/statements/{filed.party}?period={year}",
        f"/ledger/statements/{filed.party}?period={year}&account=work:RU",
    ):
        page = seen.open(path)
        assert page.locator("h1").count() == 1, path
        assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"), path
    look = auditor(size)
    look.give(filed.files | {"a-very-long-name-without-any-space-in-it-" * 5: "x"}, filed.keys)
    assert look.page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    assert not seen.complaints


def test_from_a_line_of_the_statement_to_its_proof(house, filed, eyes, auditor):
    """What an auditor does: a line, its proof, the auditor's page, without leaving the browser but for the files."""
    seen = eyes(role="administrator")
    page = seen.open(f"/ledger/statements/{filed.institution}?period=2027")
    link = page.locator("tr", has_text="Study charged").first.locator("a[href*='/ledger/proofs/entry/']")
    proof = page.evaluate("async (url) => (await fetch(url)).text()", link.get_attribute("href"))
    balance = page.evaluate(
        "async (url) => (await fetch(url)).text()", page.get_attribute("text=Proof of the balance", "href")
    )
    found = auditor().give({"line.json": proof, "balance.json": balance}, filed.keys)
    assert {tone for tone, _ in found.values()} == {"good"}
    assert link.text_content() in found["line.json"][1]
    page.fill("#period", "1999")
    page.keyboard.press("Enter")
    seen.says("main", "Nothing was booked")
    page.goto(seen.address + "/ledger")
    page.click("text=Replay the whole log now")
    seen.wait(lambda: "Everything agrees" in page.reload().text(), "the log is replayed")
    assert not seen.complaints
