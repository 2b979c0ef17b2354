"""Whatever an event carries by mistake, no entry, export, log line or byte of the database repeats it."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from bithive.clock import ManualClock
from bithive.database_sql import Database
from bithive.ids import SeededIds
from bithive.outbox import Event
from economy.economy import Economy
from economy.export import FORMATS, export
from economy.store_sql import SqlStore
from tests.common.economy import Network

MARKS = ("ROE^JANE", "1.2.840.113619.2.55.3", "Jane Roe", "volume_ml=1432.7", "=HYPERLINK(1)", "1961-07-04")

NAMES = (
    "offer_id attempt_id institution node cell operator bundle bundle_version work_units receipt_digest reason at_ms"
    " deadline_ms patient_name StudyInstanceUID"
)
members = st.sampled_from(NAMES.split())
marks = st.sampled_from(MARKS) | st.sampled_from(MARKS).map(lambda mark: {"nested": [mark]})
spoiling = st.dictionaries(members, marks, max_size=3)
moves = st.lists(st.tuples(st.sampled_from(["opened", "accepted", "closed"]), spoiling), min_size=1, max_size=6)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(moves)
def test_no_mark_gets_in(events):
    with tempfile.TemporaryDirectory() as folder, capture_logs() as logs:
        clock = ManualClock()
        url = f"sqlite:///{folder}/ledger.db"
        economy = Economy.on(SqlStore(Database(url)), Path(folder) / "keys", clock, SeededIds(1, clock), 3600)
        network = Network(clock)
        offer = network.ids.new("off")
        for verb, spoiled in events:
            event = getattr(network, verb)(offer)
            economy.booking.take(event)
            economy.booking.take(Event(event.topic, f"{event.key}/ROE^JANE", event.body | spoiled))
        clock.advance_s(60)
        economy.epochs.close()
        texts = ["".join(export(economy.ledger.store, form)) for form in FORMATS]
        economy.close()
        kept = b"".join(path.read_bytes() for path in Path(folder).glob("ledger.db*"))
    for mark in (*MARKS, network.institution, network.node, network.cell, "Dr Jane"):
        assert not [text for text in texts if mark in text]
        assert mark.encode() not in kept
        assert mark not in repr(logs)
