"""What an administrator of the database could do to a ledger: triggers and checks out of the way, hashes made right."""

from __future__ import annotations

import hashlib

from sqlalchemy import text

from bithive.keys import SigningKey
from economy.book import EntryRow, Seal, TransferRow
from economy.checkpoints import Checkpoint
from economy.entry import Entry, Phase, leaf_bytes
from economy.merkle import Frontier, leaf_hash
from economy.notes import Note, note_line
from economy.seal import checkpoint_of, seal_digest, state_root
from tests.common.economy import House

__all__ = ["forge", "forge_text", "sealed_by", "spoil"]


def spoil(house: House, *statements: str) -> None:
    """Run statements that the schema would refuse."""
    with house.store._database.write() as connection:
        names = connection.execute(text("SELECT name FROM sqlite_master WHERE type = 'trigger'")).scalars().all()
        for name in names:
            connection.execute(text(f"DROP TRIGGER {name}"))
        connection.execute(text("DROP INDEX IF EXISTS ix_transfer_one_resolution"))
        connection.execute(text("PRAGMA ignore_check_constraints = ON"))
        connection.execute(text("PRAGMA defer_foreign_keys = ON"))
        for statement in statements:
            connection.exec_driver_sql(statement)
        connection.execute(text("PRAGMA ignore_check_constraints = OFF"))


def forge(house: House, entry: Entry, *more: str, **place: int) -> EntryRow:
    """Record an entry without asking the planner: log, transfers and totals all agree with each other."""
    row = _row(house, entry.entry_id, entry.kind, entry.content.decode(), entry.effective_ms, **place)
    statements = [_insert("entry", row)]
    for leg in _legs(house, entry, row):
        statements += [_insert("transfer", leg), *_moved(house, leg)]
    spoil(house, *statements, *more)
    return row


def forge_text(house: House, content: str, entry_id: str = "forged/1", kind: str = "test.forged") -> EntryRow:
    """Record any text as an entry's body, with its hashes."""
    row = _row(house, entry_id, kind, content, None)
    spoil(house, _insert("entry", row))
    return row


def sealed_by(house: House, key: SigningKey, **instead: bytes | int | str) -> Seal:
    """A seal of all that is recorded, by any key, saying anything."""
    with house.store.reading() as snapshot:
        head, last = snapshot.head(), snapshot.last_seal()
        frontier = Frontier().extend(snapshot.leaves(0, head.seq))
        balances = snapshot.accounts()
    said = Checkpoint(
        checkpoint_of(last).origin if last else "bithive.ledger/0123456789abcdef0123",
        head.seq,
        frontier.root(),
        len(balances),
        state_root(balances),
        seal_digest(last) if last else "0" * 64,
        last.seal_id + 1 if last else 1,
        house.clock.now_ms(),
    )._replace(**instead)
    line = note_line(said.text, said.origin, key)
    place = (said.seal_id, last.to_seq + 1 if last else 1, said.size, said.root.hex(), said.state_root.hex())
    chain = (frontier.to_text(), said.previous, said.time_ms, key.public_hex, line.signature.hex())
    seal = Seal(*place, *chain, 2, str(Note(said.text, (line,))))
    house.store.add_seal(seal)
    return seal


def _row(
    house: House,
    entry_id: str,
    kind: str,
    content: str,
    effective_ms: int | None,
    *,
    seq: int = 0,
    recorded_us: int = 0,
) -> EntryRow:
    with house.store.reading() as snapshot:
        head = snapshot.head()
    seq = seq or head.seq + 1
    recorded_us = recorded_us or head.recorded_us + 1_000_000
    raw = content.encode()
    leaf = leaf_hash(leaf_bytes(raw, recorded_us, seq)).hex()
    value_ms = recorded_us // 1000 if effective_ms is None else effective_ms
    return EntryRow(seq, entry_id, kind, hashlib.sha256(raw).hexdigest(), recorded_us, value_ms, content, leaf)


def _legs(house: House, entry: Entry, row: EntryRow) -> list[TransferRow]:
    found: list[TransferRow] = []
    with house.store.reading() as snapshot:
        accounts = {balance.account: balance for balance in snapshot.accounts()}
        for leg, item in enumerate(entry.transfers):
            if item.pending is None:
                debit, credit = accounts.get(item.debit), accounts.get(item.credit)
                if debit is None or credit is None:
                    continue
                due = None if item.timeout_s is None else row.recorded_us + item.timeout_s * 1_000_000
                ids = (debit.asset_id, debit.account_id, credit.account_id)
                found.append(TransferRow(row.seq, leg, *ids, item.amount, int(item.phase), None, None, due))
                continue
            held = snapshot.find([item.pending.entry_id]).get(item.pending.entry_id)
            if held is None:
                continue
            first = snapshot.transfers(held.seq - 1, held.seq)[item.pending.leg]
            amount = first.amount if item.amount is None else item.amount
            found.append(
                first._replace(
                    entry_seq=row.seq,
                    leg=leg,
                    amount=amount,
                    phase=int(item.phase),
                    pending_seq=held.seq,
                    pending_leg=item.pending.leg,
                    expires_us=None,
                )
            )
    return found


def _moved(house: House, leg: TransferRow) -> list[str]:
    changes = {Phase.SINGLE: (0, leg.amount), Phase.PENDING: (leg.amount, 0)}
    if leg.pending_seq is None:
        pending, posted = changes[Phase(leg.phase)]
    else:
        with house.store.reading() as snapshot:
            held = snapshot.transfers(leg.pending_seq - 1, leg.pending_seq)[leg.pending_leg].amount
        pending, posted = -held, leg.amount if leg.phase == Phase.POST else 0
    return [
        f"UPDATE account SET {side}_pending = {side}_pending + {pending}, {side}_posted = {side}_posted + {posted}"
        f" WHERE id = {number}"
        for side, number in (("debit", leg.debit_id), ("credit", leg.credit_id))
    ]


def _insert(table: str, row: tuple[object, ...]) -> str:
    return f"INSERT INTO {table} VALUES ({', '.join(map(_literal, row))})"


def _literal(value: object) -> str:
    if value is None:
        return "NULL"
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else str(value)
