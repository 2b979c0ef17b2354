"""One study through a real hub and cell, as money: held, charged at the actual, earned, paid, claimed; and every party's
statement adds up to the unit, by arithmetic that imports nothing of the ledger.
"""

from __future__ import annotations

import csv
import io
import json
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx2
import pytest

from bithive.clock import ManualClock, SystemClock
from bithive.database_sql import Database
from bithive.ids import RandomIds
from economy.economy import Economy
from economy.store_sql import SqlStore
from tests.common.hub import ROOT, Hub
from tests.common.studies import head_study, mark

pytestmark = pytest.mark.heavy

MARKER = "ZQXLEDGER"
RATE_CARD = ROOT / "economy" / "policies" / "rate_card_1.json"
SCALE = Decimal(10**6)
FOUR_DAYS_S = 4 * 86_400
RECOMPUTE = ROOT / "examples" / "recompute_epoch.py"


@dataclass(frozen=True, slots=True)
class Booked:
    """A study whose epoch is closed.

    Attributes
    ----------
    item
        Its Workitem.
    entries
        The exported log's entries by id, as the export wrote them.
    identifiers
        What must be nowhere in the ledger.
    """

    hub: Hub
    item: dict[str, Any]
    entries: dict[str, dict[str, Any]]
    identifiers: list[str]
    folder: Path

    @property
    def offer(self) -> str:
        return str(self.item["offer_id"])

    @property
    def charge(self) -> dict[str, Any]:
        return self.entries[f"offer/{self.offer}/charge"]

    @property
    def receipt(self) -> dict[str, Any]:
        return self.entries[f"receipt/{self.charge['facts']['receipt']}"]

    def parties(self) -> dict[str, str]:
        """Random id of each party to this study, by kind."""
        kinds = {
            item["party"]: item["kind"]
            for body in self.entries.values()
            for item in body.get("declares", ())
            if item.keys() == {"party", "kind"}
        }
        legs = self.charge["transfers"]
        names = {party_of(leg["credit"]) for leg in legs if "credit" in leg}
        names.add(party_of(self.entries[f"offer/{self.offer}/hold"]["transfers"][0]["debit"]))
        return {kinds[name]: name for name in names}


def party_of(account: str) -> str:
    return account.split(":", maxsplit=1)[0]


def ledger(environment: dict[str, str], *words: str) -> str:
    """`bithive ledger ...`, beside the running hub or alone."""
    command = [sys.executable, "-m", "bithive", "ledger", *words]
    ended = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def charged(hub: Hub, offer: str) -> bool:
    """Whether the ledger's own table has the charge."""
    with closing(sqlite3.connect(f"file:{hub.state}/ledger.db?mode=ro", uri=True)) as connection:
        (count,) = connection.execute("select count(*) from entry where id = ?", [f"offer/{offer}/charge"]).fetchone()
    return bool(count)


def exported(environment: dict[str, str]) -> dict[str, dict[str, Any]]:
    """The log's entries by id."""
    lines = ledger(environment, "export", "log").splitlines()
    return {body["id"]: body for body in (json.loads(line)["body"] for line in lines)}


def fetched(hub: Hub, path: str) -> httpx2.Response:
    """What an administrator is answered."""
    with httpx2.Client(timeout=60) as client:
        answer = client.get(hub.url + path, headers=hub.headers("administrator"))
        answer.raise_for_status()
        return answer


@pytest.fixture(scope="module")
def booked(live: Hub, tmp_path_factory: pytest.TempPathFactory) -> Booked:
    folder = tmp_path_factory.mktemp("ledger-study")
    study = head_study(folder / "study", "ledger-study", step=2)
    identifiers = mark(study, MARKER)
    assert live.stow(study.files).status_code == 200
    seen = live.wait_for_state(study.study_uid, ["COMPLETED", "CANCELED"], 180)
    (item,) = seen["workitems"]
    assert item["state"] == "COMPLETED", item
    deadline = time.monotonic() + 30
    while not charged(live, item["offer_id"]):
        assert time.monotonic() < deadline, "it was never charged"
        time.sleep(0.1)
    ledger(live.environment, "close-epoch")
    return Booked(live, item, exported(live.environment), [study.study_uid, MARKER, *identifiers], folder)


def price(bundle: str, work_units: int) -> int:
    """By the published rate card, in millionths."""
    prices = json.loads(RATE_CARD.read_text())["content"]["prices"]
    rate = prices.get(bundle, prices["*"])
    return int(rate["fixed"] + work_units * rate["per_1000_work_units"] // 1000)


def test_the_hold_is_settled_at_the_actual(booked: Booked) -> None:
    held, charged = booked.entries[f"offer/{booked.offer}/hold"], booked.charge
    (pending,) = held["transfers"]
    assert held["kind"] == "charge.held"
    assert pending["amount"] == price(held["facts"]["bundle"], held["facts"]["work_units"])
    work_units = booked.item["receipt"]["work_units"]
    actual = price(charged["facts"]["bundle"], work_units)
    assert charged["facts"]["work_units"] == work_units
    posted, *parts = charged["transfers"]
    assert posted == {"amount": actual, "post": [f"offer/{booked.offer}/hold", 0]}
    assert actual <= pending["amount"]
    assert sum(part["amount"] for part in parts) == actual
    split = json.loads(RATE_CARD.read_text())["content"]["split_bp"]
    for part, share in zip(parts, split.values(), strict=True):
        assert abs(part["amount"] - actual * share // 10_000) <= 1


def test_every_party_sees_its_part_and_the_parts_are_the_charge(booked: Booked) -> None:
    sums: dict[str, Decimal] = {}
    parties = booked.parties()
    assert parties.keys() == {"institution", "node", "operator", "hub", "protocol"}
    for kind, party in parties.items():
        rows = statement(booked.hub, party)
        adds_up(rows)
        lines = [row for row in rows if row["offer"] == booked.offer and row["asset"] == "EUR"]
        sums[kind] = sum((Decimal(row["credit"] or 0) - Decimal(row["debit"] or 0) for row in lines), Decimal(0))
        assert all(row["entry"] in booked.entries for row in lines)
    assert sums["institution"] == -Decimal(booked.charge["facts"]["amount"]) / SCALE
    assert sum(sums.values()) == 0
    assert min(sums[kind] for kind in ("node", "operator", "hub", "protocol")) > 0


def statement(hub: Hub, party: str) -> list[dict[str, str]]:
    """A party's statement of this year, as rows of its CSV's table."""
    year = time.strftime("%Y", time.gmtime())
    return table(fetched(hub, f"/ledger/statements/{party}.csv?period={year}").text, "account,asset,")


def table(text: str, header: str) -> list[dict[str, str]]:
    """The rows of the table that begins with these columns, up to the next empty line or table."""
    lines = text.split("\r\n")
    start = next(number for number, line in enumerate(lines) if line.startswith(header))
    ends = [
        number for number, line in enumerate(lines) if number > start and (not line or line.startswith("row,epoch,"))
    ]
    return list(csv.DictReader(lines[start : min(ends)]))


def adds_up(rows: list[dict[str, str]]) -> None:
    """For each account: opening, then line by line, is the closing, whose debits and credits are those of the lines."""
    running = debited = credited = Decimal(0)
    for row in rows:
        debit, credit = Decimal(row["debit"] or 0), Decimal(row["credit"] or 0)
        if row["row"] == "opening":
            running, debited, credited = Decimal(row["balance"]), Decimal(0), Decimal(0)
        elif row["row"] == "closing":
            assert (debit, credit) == (debited, credited), row
        else:
            running, debited, credited = running + credit - debit, debited + debit, credited + credit
        assert Decimal(row["balance"]) == running, row
    assert rows
    assert rows[-1]["row"] == "closing"


@pytest.fixture(scope="module")
def later(booked: Booked) -> dict[str, str]:
    """The same ledger four days on: settled, and closed once more. What a command line over it is told."""
    state = booked.folder / "later"
    state.mkdir()
    with (
        closing(sqlite3.connect(booked.hub.state / "ledger.db")) as source,
        closing(sqlite3.connect(state / "ledger.db")) as copy,
    ):
        source.backup(copy)
    clock = ManualClock(SystemClock().now_ms())
    store = SqlStore(Database(f"sqlite:///{state}/ledger.db"))
    economy = Economy.on(store, booked.hub.state / "keys", clock, RandomIds(clock), 86_400)
    clock.advance_s(FOUR_DAYS_S)
    economy.tick()
    economy.epochs.close()
    economy.close()
    return booked.hub.environment | {"BITHIVE_STATE": str(state)}


def test_the_reward_is_paid_from_the_receipt(booked: Booked, later: dict[str, str]) -> None:
    entries, node = exported(later), booked.parties()["node"]
    (earned,) = booked.receipt["transfers"]
    work_units, speed_bp = booked.receipt["facts"]["work_units"], booked.receipt["facts"]["speed_bp"]
    assert party_of(earned["credit"]) == node
    assert earned["amount"] == work_units * speed_bp
    parts = [body for name, body in booked.entries.items() if name.startswith("epoch/") and "/part/" in name]
    held = [leg for body in parts for leg in body["transfers"] if leg["credit"] == f"{node}:earned:BTT"]
    assert held
    assert all(leg["timeout_s"] is None for leg in held), "it is held back first"
    assert f"{party_of(held[0]['debit'])}:pool:BTT" == held[0]["debit"]
    settled = [body for body in entries.values() if body["kind"] == "reward.settled"]
    assert len([leg for body in settled for leg in body["transfers"]]) >= len(held)
    said = recomputed(booked.folder, later)
    assert f"claim {node} {sum(leg['amount'] for leg in held)}" in said


def test_the_nodes_statement_leads_each_unit_back_to_a_receipt(booked: Booked) -> None:
    year = time.strftime("%Y", time.gmtime())
    text = fetched(booked.hub, f"/ledger/statements/{booked.parties()['node']}.csv?period={year}").text
    rows = table(text, "row,epoch,")
    rewards = {row["epoch"]: row for row in rows if row["row"] == "reward"}
    receipts = [row for row in rows if row["row"] == "receipt"]
    assert [row for row in receipts if row["receipt"] == booked.charge["facts"]["receipt"]]
    for epoch, reward in rewards.items():
        parts = [Decimal(row["amount"]) for row in receipts if row["epoch"] == epoch]
        assert sum(parts) == Decimal(reward["amount"]), reward
    assert rewards


def recomputed(folder: Path, environment: dict[str, str]) -> list[str]:
    """What a stranger's script makes of the exported log: its lines; it ends well only if the log says the same."""
    log = folder / "ledger.log"
    log.write_text(ledger(environment, "export", "log"))
    numbers = [
        json.loads(line)["body"]["facts"]["epoch"] for line in log.read_text().splitlines() if '"epoch.op' in line
    ]
    command = [sys.executable, "-I", RECOMPUTE, log, "--epoch", str(max(numbers))]
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout.splitlines()


def test_claim_receipt_and_balance_are_proven_by_files_alone(booked: Booked, later: dict[str, str]) -> None:
    folder, node = booked.folder, booked.parties()["node"]
    proofs = {
        "claim": ("claim", node),
        "receipt": ("entry", f"receipt/{booked.charge['facts']['receipt']}"),
        "charge": ("entry", f"offer/{booked.offer}/charge"),
        "balance": ("balance", f"{node}:payable:EUR"),
    }
    for name, words in proofs.items():
        ledger(later, "prove", *words, "--to", str(folder / f"{name}.json"))
    (key,) = ledger(later, "prove", "keys").split()
    alone = {"PATH": later["PATH"], "PYTHONPATH": str(ROOT), "BITHIVE_STATE": str(folder / "nothing")}
    said = ledger(alone, "verify", *(str(folder / f"{name}.json") for name in proofs), "--key", key)
    assert len(said.splitlines()) >= len(proofs)
    text = (folder / "claim.json").read_text()
    (folder / "claim.json").write_text(text.replace('cumulative\\":\\"', 'cumulative\\":\\"9'))
    with pytest.raises(AssertionError, match="does not hold"):
        ledger(alone, "verify", str(folder / "claim.json"), "--key", key)


def test_nothing_that_is_handed_out_names_the_patient(booked: Booked) -> None:
    year = time.strftime("%Y", time.gmtime())
    texts = {"log": json.dumps(booked.entries)}
    for kind, party in booked.parties().items():
        for form in ("", ".csv", ".pdf"):
            answer = fetched(booked.hub, f"/ledger/statements/{party}{form}?period={year}")
            texts[f"{kind}{form}"] = read_pdf(answer.content) if form == ".pdf" else answer.text
        assert party in texts[f"{kind}.pdf"].replace("\n", "")
    for path in ("/ledger", "/ledger/parties", "/ledger/seals", "/ledger/checkpoint"):
        texts[path] = fetched(booked.hub, path).text
    for entry in (f"offer/{booked.offer}/charge", f"receipt/{booked.charge['facts']['receipt']}"):
        texts[entry] = fetched(booked.hub, f"/ledger/entries/{entry}").text
        texts[f"proof of {entry}"] = fetched(booked.hub, f"/ledger/proofs/entry/{entry}").text
    assert {name: word for name, text in texts.items() for word in booked.identifiers if word in text} == {}


def read_pdf(content: bytes) -> str:
    """What a reader sees, and what is written about the file."""
    from pypdf import PdfReader

    reader = PdfReader(io.BytesIO(content))
    return "\n".join([*(page.extract_text() for page in reader.pages), repr(reader.metadata)])
