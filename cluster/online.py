"""How much of the time that a contributor declared a Node was there: `node.online` events for the ledger.

Time is cut into hours since the epoch. What was declared for an hour is the timetable as it stood when the hour began;
what was kept is when the network side heard of the Node, within it. Silence of up to a minute between two signs of life
counts as being there. Time in which the network side did not run is not declared, whatever the timetable says: nobody
could have been seen. Presence earns nothing; it is one factor of what work earns (`docs/rewards.md`).
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from bithive.limits import ONLINE_FLUSH_S, ONLINE_FORGET_S, ONLINE_SILENCE_S, ONLINE_STRETCH_S
from bithive.outbox import Event
from cluster.cell_store import CellStore
from cluster.errors import BadTimetable
from cluster.online_store import OnlineStore, Span, Stretch
from cluster.protocol_node import NodeState
from cluster.timetable import Timetable

STRETCH_MS = round(ONLINE_STRETCH_S * 1000)
_SILENCE_MS = round(ONLINE_SILENCE_S * 1000)
_FLUSH_MS = round(ONLINE_FLUSH_S * 1000)
_FORGET_MS = round(ONLINE_FORGET_S * 1000)

THERE = frozenset({NodeState.UP, NodeState.DRAINING})
"""A Node that finishes before its window ends is there to the end; one that its contributor has paused is not."""


class Attendance:
    """Keeps who was there, and tells the ledger of each hour that is over.

    Parameters
    ----------
    store
        Where it is kept.
    cells
        Timetables and operators.
    tell
        Puts events into the outbox.
    """

    def __init__(self, store: OnlineStore, cells: CellStore, tell: Callable[[Sequence[Event]], None]) -> None:
        self._store, self._cells, self._tell = store, cells, tell
        self._stretches: dict[tuple[str, int], Stretch] = {}
        self._dirty: set[tuple[str, int]] = set()
        self._last: dict[str, tuple[int, bool]] = {}
        self._past: list[Span] = []
        self._watch: Span | None = None
        self._saved_ms = 0
        self._lock = threading.Lock()

    def hear(self, cell: str, states: Mapping[str, NodeState], now_ms: int) -> None:
        """A cell has said how its Nodes stand."""
        with self._lock:
            self._look(now_ms)
            for node, state in states.items():
                self._heard(cell, node, state, now_ms)

    def tick(self, now_ms: int) -> int:
        """Every `ONLINE_FLUSH_S`, save what is new and tell of the hours that are over; how many events."""
        with self._lock:
            self._look(now_ms)
            if 0 <= now_ms - self._saved_ms < _FLUSH_MS:
                return 0
            self._save()
            ended = [item for item in self._stretches.values() if item.from_ms + STRETCH_MS + _SILENCE_MS <= now_ms]
            return self._close(ended, now_ms) if ended else 0

    def close(self, now_ms: int) -> None:
        """Save what is new: the network side ends."""
        with self._lock:
            if self._watch is not None:
                self._look(now_ms)
                self._save()

    def _look(self, now_ms: int) -> None:
        """The network side is there to see; it was not, if it has not looked for longer than a silence."""
        if self._watch is None:
            self._stretches = {stretch.key: stretch for stretch in self._store.stretches()}
            self._past = list(self._store.watches())
            self._watch = (now_ms, now_ms)
        elif not 0 <= now_ms - self._watch[1] <= _SILENCE_MS:
            self._save()
            self._past.append(self._watch)
            self._watch, self._last = (now_ms, now_ms), {}
        else:
            self._watch = (self._watch[0], now_ms)

    def _heard(self, cell: str, node: str, state: NodeState, now_ms: int) -> None:
        assert self._watch is not None, "who hears looks"
        from_ms = now_ms - now_ms % STRETCH_MS
        known = any((node, earlier) in self._stretches for earlier in (from_ms, from_ms - STRETCH_MS))
        stretch = self._stretches.get((node, from_ms)) or self._open(cell, node, from_ms, now_ms)
        last = self._last.get(node)
        if last is None and known and now_ms - self._watch[0] <= _SILENCE_MS:
            last = (self._watch[0], state in THERE)  # the network side has just begun, and is found again
        if last is not None and last[1] and now_ms - last[0] <= _SILENCE_MS:
            self._credit(node, last[0], now_ms)
        self._last[node] = (now_ms, state in THERE)
        stretch = self._stretches[stretch.key]
        left_ms = 0
        if state is NodeState.AWAY and _timetable(stretch).open_at(now_ms):
            left_ms = stretch.left_ms or now_ms
        self._put(replace(stretch, heard_ms=now_ms, left_ms=left_ms))

    def _open(self, cell: str, node: str, from_ms: int, now_ms: int) -> Stretch:
        """A new hour: all of it, if the Node stayed from the one before."""
        before = self._stretches.get((node, from_ms - STRETCH_MS))
        record = self._cells.node(node)
        stayed = before is not None and not before.left_ms
        stretch = Stretch(
            node,
            cell,
            from_ms,
            from_ms if stayed else now_ms,
            json.dumps(record.timetable if record is not None else {}),
            before.heard_ms if before is not None else now_ms,
        )
        self._put(stretch)
        return stretch

    def _credit(self, node: str, from_ms: int, until_ms: int) -> None:
        start = from_ms
        while start < until_ms:
            hour = start - start % STRETCH_MS
            end = min(until_ms, hour + STRETCH_MS)
            stretch = self._stretches.get((node, hour))
            if stretch is not None:
                self._put(replace(stretch, spans=_joined(stretch.spans, (max(start, stretch.since_ms), end))))
            start = end

    def _close(self, ended: Sequence[Stretch], now_ms: int) -> int:
        assert self._watch is not None, "who tells looks"
        events, watched = [], [*self._past, self._watch]
        for stretch in ended:
            event = self._event(stretch, watched, now_ms)
            if event is not None:
                events.append(event)
            self._go_on(stretch, now_ms)
        self._save()
        self._tell(events)
        oldest_ms = now_ms - now_ms % STRETCH_MS - STRETCH_MS
        self._store.drop([stretch.key for stretch in ended], oldest_ms)
        for stretch in ended:
            self._stretches.pop(stretch.key, None)
            self._dirty.discard(stretch.key)
        self._past = [span for span in self._past if span[1] >= oldest_ms]
        return len(events)

    def _go_on(self, stretch: Stretch, now_ms: int) -> None:
        """Who has not left is expected in this hour too, though it be silent."""
        from_ms = now_ms - now_ms % STRETCH_MS
        next_ms = stretch.from_ms + STRETCH_MS
        gone = stretch.left_ms or now_ms - stretch.heard_ms > _FORGET_MS
        if gone or (stretch.node, from_ms) in self._stretches:
            return
        record = self._cells.node(stretch.node)
        if record is not None and not record.revoked_ms:
            since_ms = max(from_ms, next_ms)
            timetable = json.dumps(record.timetable)
            self._put(Stretch(stretch.node, stretch.cell, from_ms, since_ms, timetable, stretch.heard_ms))

    def _event(self, stretch: Stretch, watched: Sequence[Span], now_ms: int) -> Event | None:
        """What the ledger is told of an hour; nothing of one for which nothing was declared."""
        timetable, until_ms = _timetable(stretch), stretch.from_ms + STRETCH_MS
        seen = [(max(start, stretch.since_ms), min(end, until_ms)) for start, end in watched]
        declared_ms = _declared(timetable, seen)
        cell, record = self._cells.cell(stretch.cell), self._cells.node(stretch.node)
        if not declared_ms or cell is None or record is None or record.revoked_ms:
            return None
        body = {
            "node": stretch.node,
            "operator": cell.operator,
            "from_ms": stretch.from_ms,
            "to_ms": until_ms,
            "declared_ms": declared_ms,
            "kept_ms": min(_declared(timetable, stretch.spans), declared_ms),
            "at_ms": now_ms,
        }
        return Event("node.online", f"{stretch.node}/{stretch.from_ms}", body)

    def _put(self, stretch: Stretch) -> None:
        self._stretches[stretch.key] = stretch
        self._dirty.add(stretch.key)

    def _save(self) -> None:
        assert self._watch is not None, "who saves looks"
        self._store.save([self._stretches[key] for key in self._dirty], self._watch)
        self._dirty.clear()
        self._saved_ms = self._watch[1]


def _timetable(stretch: Stretch) -> Timetable:
    told = json.loads(stretch.timetable)
    try:
        return Timetable.from_json(told) if told else Timetable()
    except BadTimetable:
        return Timetable()  # what cannot be read excuses nobody


def _declared(timetable: Timetable, spans: Iterable[Span]) -> int:
    return sum(timetable.declared_ms(start, end) for start, end in _merged(spans))


def _merged(spans: Iterable[Span]) -> list[Span]:
    """The same time, none of it twice: after a clock was put back, spans overlap."""
    merged: list[Span] = []
    for start, end in sorted(span for span in spans if span[0] < span[1]):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return merged


def _joined(spans: tuple[Span, ...], new: Span) -> tuple[Span, ...]:
    """The spans with one more at their end."""
    if new[0] >= new[1]:
        return spans
    if spans and spans[-1][0] <= new[0] <= spans[-1][1]:
        return (*spans[:-1], (spans[-1][0], max(spans[-1][1], new[1])))
    return (*spans, new)
