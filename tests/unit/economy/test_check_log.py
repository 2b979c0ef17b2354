"""The checker's second lane gives the same answers as one process does, and its death is an error and no hang."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import pytest

from economy.book import EntryRow
from economy.check_log import Lane, page_of
from economy.entry import Entry, leaf_bytes
from economy.errors import LedgerFault
from economy.merkle import Frontier, leaf_hash


def rows(count, after=0):
    made = []
    for seq in range(after + 1, after + count + 1):
        entry = Entry(f"n/{seq}", "test.noted", facts={"text": "é\x1f" * (seq % 5)})
        leaf = leaf_hash(leaf_bytes(entry.content, seq * 10, seq)).hex()
        made.append(
            EntryRow(seq, entry.entry_id, entry.kind, entry.request_hash, seq * 10, 0, entry.content.decode(), leaf)
        )
    return made


@pytest.mark.parametrize("apart", [False, True])
def test_roots_subtrees_and_what_is_wrong(apart):
    log = rows(700)
    log[4] = log[4]._replace(leaf_hash="0" * 64)
    spaced = log[9].content.replace(":", ": ", 1)
    raw = spaced.encode()
    leaf = leaf_hash(leaf_bytes(raw, 100, 10)).hex()
    log[9] = log[9]._replace(content=spaced, request_hash=hashlib.sha256(raw).hexdigest(), leaf_hash=leaf)
    log[600] = log[600]._replace(content="{\x00")
    lane = Lane(Frontier(), (8,), apart=apart)
    answers = []
    for start in range(0, 700, 100):
        answers += lane.add(page_of(log[start : start + 100], [start + 1, start + 100]))
    answers += lane.rest()
    lane.close()
    lane.close()
    assert [seq for answer in answers for seq in answer.mismatched] == [5, 601]
    assert [seq for answer in answers for seq in answer.uncanonical] == [10]
    roots = {seq: root for answer in answers for seq, _, root, _ in answer.roots}
    leaves = [leaf_hash(leaf_bytes(row.content.encode(), row.recorded_us, row.seq)) for row in log]
    assert {seq: Frontier().extend(leaves[:seq]).root().hex() for seq in roots} == roots
    assert len(roots) == 14
    found = [subtree[:2] for answer in answers for subtree in answer.subtrees]
    assert found == [(8, 0), (8, 1)]


def test_a_process_that_dies_is_an_error():
    lane = Lane(Frontier(), (), apart=True)
    lane._process.kill()
    lane._process.wait()
    with pytest.raises(LedgerFault):
        for start in range(0, 50, 10):
            lane.add(page_of(rows(10, start), []))
    lane.close()


def test_a_process_ends_with_its_input():
    program = "from economy.check_log import serve; serve()"
    for text in (b"", b"\x00", b"\x00\x00\x00\x09x"):
        ended = subprocess.run(
            [sys.executable, "-c", program], input=text, capture_output=True, timeout=60, check=False
        )
        assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"", b"")
