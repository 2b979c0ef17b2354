"""Whatever an event carries by mistake, nothing that leaves the ledger repeats it: no entry, export, statement, proof, seal
or page, no log line and no byte of the database.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterator
from pathlib import Path

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from bithive.clock import ManualClock
from bithive.database_sql import Database
from bithive.ids import SeededIds
from bithive.outbox import Event
from economy.economy import Economy
from economy.export import FORMATS, export
from economy.party_statement import open_statement
from economy.party_statement_csv import statement_csv
from economy.party_statement_pdf import statement_pdf
from economy.proofs import checkpoint_text, prove_balance, prove_consistency, prove_entry
from economy.statement_period import Period
from economy.store import Store
from economy.store_sql import SqlStore
from tests.common.economy import Network

MARKS = ("ROE^JANE", "1.2.840.113619.2.55.3", "Jane Roe", "volume_ml=1432.7", "=HYPERLINK(1)", "1961-07-04", "a1" * 32)
"""A name, a UID, a value, a birthday, an image's plain digest, and what a spreadsheet would run."""

NAMES = (
    "offer_id attempt_id institution node cell operator bundle bundle_version work_units receipt_digest reason at_ms"
    " deadline_ms interval_ms quality_bp from_ms to_ms declared_ms kept_ms patient_name StudyInstanceUID"
)
TOPICS = ("opened", "accepted", "closed")
DIGEST_MEMBER = "receipt_digest"
members = st.sampled_from(NAMES.split())
marks = st.sampled_from(MARKS) | st.sampled_from(MARKS).map(lambda mark: {"nested": [mark]})
spoiling = st.dictionaries(members, marks, max_size=3)
moves = st.lists(st.tuples(st.sampled_from(TOPICS), spoiling, st.booleans()), min_size=1, max_size=6)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(moves)
@example([("opened", {"bundle": MARKS[1]}, True), ("accepted", {"bundle_version": MARKS[5]}, True)])
@example([("closed", {"reason": MARKS[5]}, True), ("accepted", {"bundle_version": MARKS[1]}, True)])
def test_no_mark_gets_in(events):
    with tempfile.TemporaryDirectory() as folder, capture_logs() as logs:
        economy, network = lived(Path(folder), events)
        said = dict(everything(economy))
        economy.close()
        kept = b"".join(path.read_bytes() for path in Path(folder).glob("ledger.db*"))
    for mark in (*MARKS, network.institution, network.node, network.cell, "Dr Jane"):
        assert [name for name, text in said.items() if mark in text] == []
        assert mark.encode() not in kept
        assert mark not in repr(logs)


def lived(folder: Path, events: list) -> tuple[Economy, Network]:
    """A ledger that has taken good events and spoiled ones, either before the other, and closed an epoch over them."""
    clock = ManualClock()
    store = SqlStore(Database(f"sqlite:///{folder}/ledger.db"))
    economy = Economy.on(store, folder / "keys", clock, SeededIds(1, clock), 3600)
    network = Network(clock)
    for verb, spoiled, spoiled_first in events:
        good = getattr(network, verb)(network.ids.new("off"))
        bad = Event(good.topic, f"{good.key}/ROE^JANE", good.body | without_digest(spoiled))
        for event in (bad, good) if spoiled_first else (good, bad):
            economy.booking.take(event)
    network_finds_out(economy, network)
    clock.advance_s(60)
    economy.epochs.close()
    clock.advance_s(60)
    economy.booking.take(network.opened(network.ids.new("off")))
    economy.epochs.close()
    return economy, network


def without_digest(spoiled: dict) -> dict:
    """A Receipt's digest is a keyed one by contract; a plain one in its place cannot be told from it by anybody."""
    return {name: value for name, value in spoiled.items() if not (name == DIGEST_MEMBER and value == "a1" * 32)}


def network_finds_out(economy: Economy, network: Network) -> None:
    """A full round, so that there is always something to state."""
    offer = network.ids.new("off")
    economy.booking.take(network.opened(offer))
    economy.booking.take(network.accepted(offer))


def everything(economy: Economy) -> Iterator[tuple[str, str]]:
    """All that leaves the ledger, as text."""
    store = economy.ledger.store
    for form in FORMATS:
        yield form, "".join(export(store, form))
    with store.reading() as snapshot:
        parties = [party.party_id for party in snapshot.declared().parties.values()]
        rows, accounts, seals = snapshot.log(), snapshot.accounts(), snapshot.seals()
    for seal in seals:
        yield f"seal {seal.seal_id}", f"{seal}"
        yield f"checkpoint {seal.seal_id}", checkpoint_text(store, seal.seal_id)
    for row in rows[: seals[-1].to_seq]:
        yield f"proof of {row.entry_id}", prove_entry(store, row.entry_id)
    for balance in accounts[:8]:
        yield f"proof of {balance.account}", prove_balance(store, balance.account)
    yield "consistency", prove_consistency(store, seals[0].to_seq)
    for party in parties:
        yield from statements(store, party, economy.ledger.clock.now_ms())


def statements(store: Store, party: str, now_ms: int) -> Iterator[tuple[str, str]]:
    """A party's statement in its forms."""
    statement = open_statement(store, party, Period.parse("2027"), now_ms)
    yield f"CSV of {party}", "".join(statement_csv(store, statement))
    yield f"PDF of {party}", read_pdf(statement_pdf(store, statement))


def read_pdf(content: bytes) -> str:
    """What a reader sees, and what is written about the file."""
    from pypdf import PdfReader

    reader = PdfReader(io.BytesIO(content))
    return "\n".join([*(page.extract_text() for page in reader.pages), repr(reader.metadata)])
