from __future__ import annotations

from pathlib import Path

import pytest

from bithive.clock import ManualClock
from bithive.keys import SigningKey
from economy.errors import LogSilent, LogSplit, ProofMalformed
from economy.export import export
from economy.merkle import consistency_proof, leaf_hash
from economy.store import MemoryStore
from economy.verify import verify_checkpoint
from economy.witness import Witness
from economy.witness_folder import FolderSource
from tests.common.proving import Sealed


@pytest.fixture
def sealed():
    sealed = Sealed(MemoryStore())
    sealed.grow(300)
    yield sealed
    sealed.close()


@pytest.fixture
def handed(tmp_path, sealed):
    folder = tmp_path / "handed"
    folder.mkdir()
    (folder / "checkpoint.txt").write_text(sealed.proofs.checkpoint())
    return folder


def write_log(folder, sealed):
    (folder / "log.jsonl").write_text("".join(export(sealed.store, "log")))


@pytest.fixture
def witness(tmp_path, sealed):
    return Witness(tmp_path / "state", SigningKey(b"w" * 32), "w", ManualClock(), sealed.keys)


def test_files_are_enough(handed, sealed, witness):
    source = FolderSource(handed)
    observed = witness.observe(source)
    text = Path(source.hand_back(observed.text)).read_text()
    assert verify_checkpoint(text, sealed.keys, [witness.verifier]).cosigned
    sealed.grow(77)
    (handed / "checkpoint.txt").write_text(sealed.proofs.checkpoint())
    with pytest.raises(LogSilent):
        witness.observe(source)
    (handed / "consistency.json").write_text(sealed.proofs.consistency(301))
    assert witness.observe(source).grew
    sealed.grow(200)
    (handed / "checkpoint.txt").write_text(sealed.proofs.checkpoint())
    with pytest.raises(LogSplit):
        witness.observe(source)
    write_log(handed, sealed)
    assert witness.observe(source).grew
    assert not witness.observe(source).grew


@pytest.mark.parametrize("sizes", [(1, 301), (255, 301), (256, 257), (256, 301), (300, 301), (7, 8), (301, 301)])
def test_the_log_itself_is_the_proof(handed, sealed, sizes):
    write_log(handed, sealed)
    lines = "".join(export(sealed.store, "log")).encode().splitlines()
    leaves = [leaf_hash(line) for line in lines[: sizes[1]]]
    assert FolderSource(handed).consistency(*sizes) == consistency_proof(leaves, sizes[0])


def test_a_log_with_one_altered_line_is_noticed(handed, sealed, witness):
    witness.observe(FolderSource(handed))
    sealed.grow(50)
    (handed / "checkpoint.txt").write_text(sealed.proofs.checkpoint())
    write_log(handed, sealed)
    text = (handed / "log.jsonl").read_text()
    (handed / "log.jsonl").write_text(text.replace('"id":"fund/320"', '"id":"fund/9999"'))
    with pytest.raises(LogSplit):
        witness.observe(FolderSource(handed))
    for end in (0, 10, len(text) // 2, text.rindex("{", 0, -2)):
        (handed / "log.jsonl").write_text(text[:end])
        with pytest.raises(LogSilent):
            witness.observe(FolderSource(handed))
    assert list(handed.parent.glob("*evidence*")) != []


def test_files_that_are_none(handed, sealed, tmp_path):
    source = FolderSource(handed)
    (handed / "consistency.json").write_text(sealed.proofs.entry(1))
    with pytest.raises(ProofMalformed):
        source.consistency(1, 301)
    (handed / "consistency.json").write_text("x" * 5_000_000)
    with pytest.raises(ProofMalformed):
        source.consistency(1, 301)
    (handed / "checkpoint.txt").write_bytes(b"\xff")
    with pytest.raises(ProofMalformed):
        source.checkpoint()
    (handed / "log.jsonl").write_bytes(b"x" * 5_000_000)
    with pytest.raises(ProofMalformed):
        source.consistency(1, 301)
    with pytest.raises(LogSilent):
        FolderSource(tmp_path / "absent").checkpoint()
    with pytest.raises(LogSilent):
        FolderSource(tmp_path / "absent").hand_back("text")
