"""Sealed ledgers, forged files and seals of version 1, for the tests of proofs and witnesses."""

from __future__ import annotations

from bithive.canonical import canonical
from bithive.clock import ManualClock
from bithive.keys import SigningKey
from economy.book import Seal
from economy.checkpoints import Checkpoint
from economy.entry import Entry, move
from economy.merkle import Frontier
from economy.notes import Note, NoteSignature, VerifierKey, note_line
from economy.proofs import Proofs
from economy.seal import log_keys, make_seal, seal_digest, state_root_v1
from economy.store import Store
from tests.common.economy import House

KEY = SigningKey(b"k" * 32)


class Sealed:
    """A house whose log grows by steps and is sealed after each."""

    def __init__(self, store: Store, clock: ManualClock | None = None, key: SigningKey = KEY) -> None:
        self.house = House(store, clock)
        self.store, self.clock, self.key = store, self.house.clock, key
        self.proofs, self._count = Proofs(store), 0

    def grow(self, count: int, word: str = "fund") -> Seal:
        """`count` more entries, and a seal over them."""
        self.record(count, word)
        seal = make_seal(self.store, self.key, self.clock)
        assert seal is not None
        return seal

    def record(self, count: int, word: str = "fund") -> None:
        """`count` more entries."""
        house, start = self.house, self._count
        entries = [
            Entry(f"{word}/{start + place}", "test.done", (move(house.source(), house.wallet(place % 3), place + 1),))
            for place in range(count)
        ]
        answers = house.ledger.post_all(entries)
        assert not any(isinstance(answer, Exception) for answer in answers)
        self._count += count
        self.clock.advance_s(60)

    @property
    def keys(self) -> tuple[VerifierKey, ...]:
        with self.store.reading() as snapshot:
            return log_keys(snapshot)

    def close(self) -> None:
        self.house.ledger.close()


def signed(checkpoint: Checkpoint, key: SigningKey = KEY, *more: NoteSignature) -> str:
    """Any checkpoint, signed: what a dishonest operator can make."""
    line = note_line(checkpoint.text, checkpoint.origin, key)
    return str(Note(checkpoint.text, (line, *more)))


def seal_v1(store: Store, key: SigningKey, now_ms: int) -> Seal:
    """Seal as this program did before seals were checkpoints: canonical JSON, accounts ordered by name."""
    with store.reading() as snapshot:
        head, seals = snapshot.head(), snapshot.seals()
        last = seals[-1] if seals else None
        frontier = Frontier().extend(bytes.fromhex(row.leaf_hash) for row in snapshot.log(0, head.seq))
        roots = (frontier.root().hex(), state_root_v1(snapshot.accounts()).hex(), frontier.to_text())
    place = (len(seals) + 1, (last.to_seq if last else 0) + 1, head.seq)
    unsigned = Seal(*place, *roots, seal_digest(last) if last else "0" * 64, now_ms, key.public_hex, "")
    members = {
        name: value for name, value in unsigned._asdict().items() if name not in ("signature", "version", "note")
    }
    seal = unsigned._replace(signature=key.sign(b"bithive.seal.v1\x00" + canonical(members)))
    store.add_seal(seal)
    return seal
