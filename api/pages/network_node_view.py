"""A Node's own page as plain values: what it did, what it earned and why, what did not hold and what to do about it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from api.auth import Principal
from api.ledger_access import own_parties, sees_all
from api.network_access import census_of
from api.pages import ledger_words, network_words, words
from api.pages.ledger_rewards import RewardShown, reward_shown
from api.pages.network_view import DAY_MS, CodeShown, Standing, coarse, ended
from api.services import Services
from bithive.errors import BitHiveError
from bithive.log import get
from cluster.census import AttemptLine, CellLine, NodeLine, StrikeLine, Whose
from cluster.chain import Head, Verified, verify_chain
from cluster.counter import GENESIS, CounterReceipt
from cluster.duplicates import REPEATED
from cluster.filters import terms_of
from cluster.standing_words import MayReceive, may_receive
from cluster.strikes_words import Gravity
from cluster.strikes_words import words as strike_words
from cluster.timetable import Timetable
from economy.book import facts_of
from economy.entry import Account
from economy.line_words import ratio
from economy.measures import online_id
from economy.money import BTT, RU
from economy.party_rewards import rewards
from economy.party_statement import PartyStatement, open_statement
from economy.statement_period import Period

HOUR_MS = 3_600_000
ONLINE_HOURS = 168
ATTEMPTS_SHOWN, COUNTERS_SHOWN, COUNTERS_CHECKED = 12, 8, 200
TONES: dict[Gravity, str] = {Gravity.LATE: "warn", Gravity.FAULT: "bad", Gravity.LIE: "bad"}
GRAVITIES: dict[Gravity, str] = {
    Gravity.LATE: "late",
    Gravity.FAULT: "did not hold",
    Gravity.LIE: "taken for dishonest",
}


class AttemptShown(NamedTuple):
    """One Attempt."""

    attempt_id: str
    bundle: str
    data_class: str
    tone: str
    state: str
    reason: str
    code: str
    work_units: str
    duration: str
    at_ms: int
    receipt: str


class StrikeShown(NamedTuple):
    """Strikes with one code: what was seen and what can be done."""

    tone: str
    gravity: str
    code: str
    number: str
    last_ms: int
    meaning: str
    advice: str


class OnlineShown(NamedTuple):
    """Declared and kept time of the last week; `share` is 0 to 100, `declared` empty while no hour is booked."""

    declared: str
    kept: str
    share: int
    hours: str


class EarnedShown(NamedTuple):
    """What the ledger says; amounts with their unit, to two places. `statement` is the address of the whole statement, if it may be seen."""

    settled: str
    held: str
    not_yet: str
    rewards: list[RewardShown]
    kind: PartyStatement | None
    statement: str


class CounterShown(NamedTuple):
    """One counter-receipt."""

    sequence: int
    tone: str
    verdict: str
    reason: str
    work_units: str
    at_ms: int
    receipt: str
    digest: str


class ChainShown(NamedTuple):
    """Counter-receipts, the newest first, and whether those that were checked are a chain."""

    tone: str
    label: str
    text: str
    lines: list[CounterShown]
    number: int
    network_key: str


class NodeShown(NamedTuple):
    """The whole page."""

    node: str
    title: str
    tone: str
    state: str
    note: str
    place: str
    hardware: str
    cell: str
    slots: str
    heard_ms: int
    hours: str
    earned: EarnedShown
    online: OnlineShown
    ends: list[CodeShown]
    attempts: list[AttemptShown]
    strikes: list[StrikeShown]
    may: MayReceive
    chain: ChainShown


def node_shown(services: Services, principal: Principal, cell: CellLine, node: NodeLine) -> NodeShown:
    """Everything about a Node that the caller may see; who may is decided before (`api.network_access`)."""
    census, now_ms = census_of(services), services.clock.now_ms()
    quality = census.quality([cell.cell], now_ms - 30 * DAY_MS)
    leases = [lease for lease in census.leases(Whose(cell=cell.cell), 200) if lease.node == node.node]
    standing = Standing(services, now_ms, leases)
    state = standing.state(cell, node)
    return NodeShown(
        node=node.node,
        title=f"Node {words.node(node.node)}",
        tone=network_words.STATES[state][0],
        state=network_words.STATES[state][1],
        note=network_words.STATE_NOTES[state],
        place=words.listed([network_words.tier(node.tier or cell.tier), node.residency or cell.residency]),
        hardware=network_words.hardware(node),
        cell=words.node(cell.cell),
        slots=f"{standing.busy[node.node]} of {node.slots}",
        heard_ms=max(standing.heard.get(cell.cell, 0), cell.seen_ms),
        hours=_hours(services, node),
        earned=_earned(services, principal, node, now_ms),
        online=_online(services, node, now_ms),
        ends=ended([line for line in quality.ends if line.node == node.node]),
        attempts=[_attempt(line) for line in census.attempts(node, ATTEMPTS_SHOWN)],
        strikes=struck([line for line in quality.strikes if line.node in ("", node.node)] + _flags(services, node)),
        may=_may(services, cell, node),
        chain=_chain(services, node),
    )


def struck(strikes: Sequence[StrikeLine]) -> list[StrikeShown]:
    """Strikes by code with what they mean, the last first."""
    by_code: dict[str, list[StrikeLine]] = {}
    for line in strikes:
        by_code.setdefault(line.code, []).append(line)
    shown = []
    for code, lines in sorted(by_code.items(), key=lambda item: -max(line.last_ms for line in item[1])):
        said, count = strike_words(code), sum(line.count for line in lines)
        last_ms = max(line.last_ms for line in lines)
        tone, gravity = ("warn", "flagged") if code == REPEATED else (TONES[said.gravity], GRAVITIES[said.gravity])
        shown.append(StrikeShown(tone, gravity, code, words.grouped(count), last_ms, said.meaning, said.advice))
    return shown


def _flags(services: Services, node: NodeLine) -> list[StrikeLine]:
    """Attempts that will be computed again elsewhere, as what a reader asks about them: how many, and why."""
    return [
        StrikeLine(node.cell, node.node, attempt.flag, 1, attempt.ended_ms)
        for attempt in services.broker.store.flagged(node.node)
    ]


def counters_of(services: Services, node: str, after: int = 0, limit: int = 100) -> Sequence[CounterReceipt]:
    """A Node's counter-receipts beyond a place, in order."""
    return services.broker.store.chain.counters(node, after, limit)


def _hours(services: Services, node: NodeLine) -> str:
    record = services.broker.cells.node(node.node)
    try:
        timetable = Timetable.from_json(record.timetable) if record is not None and record.timetable else Timetable()
    except BitHiveError:
        return "unreadable"
    return f"{timetable.words()} ({timetable.zone})" if timetable.windows else "always"


def _attempt(line: AttemptLine) -> AttemptShown:
    tone, state = network_words.ENDS.get(line.state, ("quiet", line.state.lower()))
    spent_ms = line.wall_ms or max(line.ended_ms - line.leased_ms, 0)
    return AttemptShown(
        line.attempt_id,
        line.bundle,
        line.data_class,
        tone,
        state,
        network_words.code(line.code) if line.code else "",
        line.code,
        words.grouped(line.work_units) if line.state == "ACCEPTED" else "",
        words.seconds(spent_ms) if line.ended_ms else "",
        line.leased_ms,
        line.receipt_digest,
    )


def _earned(services: Services, principal: Principal, node: NodeLine, now_ms: int) -> EarnedShown:
    party = services.economy.parties.find("node", node.node)
    if party is None:
        return EarnedShown(coarse(0), coarse(0), "", [], None, "")
    store = services.ledger.store
    with store.reading() as snapshot:
        found = snapshot.accounts([Account(party, "earned", BTT.code), Account(party, "work", RU.code)])
    held = {item.account.code: item for item in found}
    earned, work = held.get("earned"), held.get("work")
    statement = open_statement(store, party, Period.month_of(now_ms), now_ms)
    may_see = sees_all(principal) or party in own_parties(services, principal)
    return EarnedShown(
        settled=coarse(earned.net if earned else 0),
        held=coarse(earned.credit_pending if earned else 0),
        not_yet=f"{ledger_words.amount(work.net, RU)} {ledger_words.unit(RU)}" if work and work.net else "",
        rewards=[reward_shown(item) for item in rewards(store, statement)],
        kind=statement,
        statement=f"/ledger/statements/{party}" if may_see else "",
    )


def _online(services: Services, node: NodeLine, now_ms: int) -> OnlineShown:
    party = services.economy.parties.find("node", node.node)
    if party is None:
        return OnlineShown("", "", 0, "")
    last = now_ms // HOUR_MS * HOUR_MS
    wanted = [online_id(party, last - back * HOUR_MS) for back in range(ONLINE_HOURS + 1)]
    with services.ledger.store.reading() as snapshot:
        hours = [facts_of(row) for row in snapshot.find(wanted).values()]
    declared_ms = sum(int(facts["declared_ms"]) for facts in hours)
    kept_ms = sum(int(facts["kept_ms"]) for facts in hours)
    if not declared_ms:
        return OnlineShown("", "", 0, "")
    share = kept_ms * 10_000 // declared_ms
    return OnlineShown(f"{declared_ms / HOUR_MS:.1f} h", f"{kept_ms / HOUR_MS:.1f} h", share // 100, ratio(share))


def _may(services: Services, cell: CellLine, node: NodeLine) -> MayReceive:
    record = services.broker.cells.cell(cell.cell)
    if record is None:
        return MayReceive((), ())
    attested = record.attested_ms > services.clock.now_ms()
    return may_receive(terms_of(record, services.broker.cells.node(node.node)), attested=attested)


def _chain(services: Services, node: NodeLine) -> ChainShown:
    head = services.broker.store.chain.head(node.node)
    if not head.sequence:
        return ChainShown("quiet", "none yet", "The first comes with the first Receipt.", [], 0, "")
    after = max(head.sequence - COUNTERS_CHECKED, 0)
    found = counters_of(services, node.node, after, COUNTERS_CHECKED)
    before = counters_of(services, node.node, after - 1, 1) if after else ()
    start = Head(before[0].sequence, before[0].digest) if before else Head(0, GENESIS)
    key = services.broker.network_key.public_hex
    tone, label, text = _judged(verify_chain(found, key, start), len(found), head)
    return ChainShown(
        tone, label, text, [_counter(one) for one in reversed(found[-COUNTERS_SHOWN:])], head.sequence, key
    )


def _judged(verified: Verified, count: int, head: Head) -> tuple[str, str, str]:
    if verified.broken is not None:
        get().error("chain.broken", seq=verified.broken.sequence, kind=verified.broken.reason)
        text = (
            f"Number {verified.broken.sequence} does not hold ({verified.broken.reason}). This is the network's fault."
        )
        return "bad", "broken", text
    some = "All of them" if count == head.sequence else f"The last {words.grouped(count)}"
    return "good", "holds", f"{some} were checked just now: signed, in order, and each names the one before."


def _counter(counter: CounterReceipt) -> CounterShown:
    return CounterShown(
        counter.sequence,
        "good" if counter.accepted else "bad",
        "accepted" if counter.accepted else counter.verdict,
        "" if counter.accepted else network_words.code(counter.verdict),
        words.grouped(counter.work_units),
        counter.arrived_ms,
        counter.receipt_digest,
        counter.digest,
    )
