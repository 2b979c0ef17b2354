"""The network as a page shows it: plain values for the templates, made from the census, the ledger and who was heard of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import NamedTuple

from api.network_access import census_of
from api.pages import ledger_words, network_words, words
from api.services import Services
from bithive.limits import CELL_SILENCE_S
from cluster.attempt import AttemptState
from cluster.census import CellLine, EndLine, LeaseLine, NodeLine, Quality, Queue, Whose
from economy.book import Balance
from economy.entry import Account
from economy.money import BTT

DAY_MS = 86_400_000
CELLS_SHOWN, LEASES_SHOWN = 100, 50


class Earned(NamedTuple):
    """What a Node has earned since ever, in BTT: settled, and still held back."""

    settled: int
    held: int

    @property
    def text(self) -> str:
        """Both together, with its unit."""
        return coarse(self.settled + self.held)


class NodeShown(NamedTuple):
    """A Node in the list."""

    node: str
    tone: str
    state: str
    place: str
    hardware: str
    busy: int
    slots: int
    accepted: int
    not_accepted: int
    strikes: int
    earned: str


class CellShown(NamedTuple):
    """A Cell with its Nodes."""

    cell: str
    title: str
    place: str
    own: bool
    vetted: bool
    data_class: str
    live: bool
    heard_ms: int
    nodes: list[NodeShown]


class LeaseShown(NamedTuple):
    """An Attempt under way."""

    attempt_id: str
    bundle: str
    stage: str
    percent: int
    node: str
    urgency: str
    data_class: str
    tries: str
    age: str


class WaitShown(NamedTuple):
    """Offers that wait, of one urgency."""

    urgency: str
    number: str
    oldest: str


class CodeShown(NamedTuple):
    """How often something ended so."""

    tone: str
    label: str
    code: str
    reason: str
    number: str
    last_ms: int


class NetworkShown(NamedTuple):
    """The whole page. `more` counts Cells that are not shown; `waiting` is None where it is none of the reader's."""

    figures: list[tuple[str, str, str]]
    cells: list[CellShown]
    more: int
    leases: list[LeaseShown]
    waiting: list[WaitShown] | None
    quality: list[CodeShown]
    strikes: list[CodeShown]
    at_ms: int


def network_shown(services: Services, whose: Whose) -> NetworkShown:
    """What a reader may see of the network now."""
    census, now_ms = census_of(services), services.clock.now_ms()
    lines, total = census.cells(whose, CELLS_SHOWN)
    names = [line.cell for line in lines]
    nodes = census.nodes(names)
    leases = census.leases(whose, LEASES_SHOWN)
    quality = census.quality(None if whose.everything else names, now_ms - DAY_MS)
    earned = earnings(services, [node.node for node in nodes])
    standing = Standing(services, now_ms, leases)
    cells = [_cell(line, nodes, standing, quality, earned) for line in lines]
    return NetworkShown(
        figures=_figures(cells, total, leases, quality, earned),
        cells=cells,
        more=total - len(lines),
        leases=[_lease(line, now_ms) for line in leases],
        waiting=_waiting(census.queue(), now_ms) if whose.everything else None,
        quality=ended(quality.ends),
        strikes=struck(quality),
        at_ms=now_ms,
    )


class Standing:
    """Where each Cell and Node stands now: from what was heard, and what is leased."""

    def __init__(self, services: Services, now_ms: int, leases: Collection[LeaseLine]) -> None:
        presence = services.broker.presence
        self.heard, self._told = presence.heard(), presence.node_states()
        self.busy = Counter(line.node for line in leases if line.node)
        self._since_ms = now_ms - round(CELL_SILENCE_S * 1000)

    def is_live(self, cell: str) -> bool:
        """Whether it was heard of lately."""
        return self.heard.get(cell, 0) >= self._since_ms

    def state(self, cell: CellLine, node: NodeLine) -> str:
        """A key of `network_words.STATES`."""
        if node.revoked_ms or cell.revoked_ms:
            return "revoked"
        if not self.is_live(node.cell):
            return "silent"
        told = str(self._told.get(node.node, "up"))
        return "busy" if told == "up" and self.busy[node.node] else told


def earnings(services: Services, nodes: Collection[str]) -> dict[str, Earned]:
    """What Nodes have earned, by their id; those that the ledger has never seen are left out."""
    parties = {services.economy.parties.find("node", node): node for node in nodes}
    accounts = [Account(party, "earned", BTT.code) for party in parties if party is not None]
    with services.ledger.store.reading() as snapshot:
        found = snapshot.accounts(accounts) if accounts else []
    return {parties[item.account.owner]: _earned(item) for item in found}


def coarse(amount: int) -> str:
    """An amount of BTT with two places, the rest cut off: statements have all of them."""
    places = 10 ** (BTT.scale - 2)
    return f"{ledger_words.amount(amount // places, replace(BTT, scale=2))}\N{NO-BREAK SPACE}{BTT.code}"


def ended(ends: Collection[EndLine]) -> list[CodeShown]:
    """How Attempts ended, the good first, then by how often."""
    counts: Counter[tuple[str, str]] = Counter()
    last: dict[tuple[str, str], int] = {}
    for line in ends:
        counts[line.state, line.code] += line.count
        last[line.state, line.code] = max(line.last_ms, last.get((line.state, line.code), 0))
    order = sorted(counts, key=lambda key: (key[0] != AttemptState.ACCEPTED, -counts[key], key))
    return [
        CodeShown(
            *network_words.ENDS.get(state, ("quiet", state.lower())),
            code,
            network_words.code(code) if code else "",
            words.grouped(counts[state, code]),
            last[state, code],
        )
        for state, code in order
    ]


def struck(quality: Quality, node: str | None = None) -> list[CodeShown]:
    """Strikes by code, the last first; of one Node if asked."""
    counts: Counter[str] = Counter()
    last: dict[str, int] = {}
    for line in quality.strikes:
        if node is None or line.node == node:
            counts[line.code] += line.count
            last[line.code] = max(line.last_ms, last.get(line.code, 0))
    order = sorted(counts, key=lambda code: (-last[code], code))
    return [
        CodeShown("bad", "refused", code, network_words.code(code), words.grouped(counts[code]), last[code])
        for code in order
    ]


def _cell(
    cell: CellLine, nodes: Collection[NodeLine], standing: Standing, quality: Quality, earned: Mapping[str, Earned]
) -> CellShown:
    return CellShown(
        cell=cell.cell,
        title=f"Cell {words.node(cell.cell)}",
        place=words.listed([network_words.tier(cell.tier), cell.residency]),
        own=cell.institution is not None,
        vetted=cell.vetted,
        data_class=cell.data_class_max,
        live=standing.is_live(cell.cell),
        heard_ms=max(standing.heard.get(cell.cell, 0), cell.seen_ms),
        nodes=[_node(cell, node, standing, quality, earned) for node in nodes if node.cell == cell.cell],
    )


def _node(
    cell: CellLine, node: NodeLine, standing: Standing, quality: Quality, earned: Mapping[str, Earned]
) -> NodeShown:
    ends = [line for line in quality.ends if line.node == node.node]
    accepted = sum(line.count for line in ends if line.state == AttemptState.ACCEPTED)
    strikes = sum(line.count for line in quality.strikes if line.node == node.node)
    return NodeShown(
        node.node,
        *network_words.STATES[standing.state(cell, node)],
        words.listed([network_words.tier(node.tier), node.residency]),
        network_words.hardware(node),
        standing.busy[node.node],
        node.slots,
        accepted,
        sum(line.count for line in ends) - accepted,
        strikes,
        earned[node.node].text if node.node in earned else "",
    )


def _lease(line: LeaseLine, now_ms: int) -> LeaseShown:
    return LeaseShown(
        line.attempt_id,
        line.bundle,
        words.STAGES.get(line.stage, "Starting"),
        round(line.fraction * 100),
        line.node,
        network_words.URGENCIES.get(line.urgency, line.urgency),
        line.data_class,
        f"try {line.tries}" if line.tries > 1 else "",
        network_words.age(line.leased_ms, now_ms),
    )


def _waiting(queue: Queue, now_ms: int) -> list[WaitShown]:
    shown = []
    for urgency, said in network_words.URGENCIES.items():
        lines = [line for line in queue.offers if line.state == "OPEN" and line.urgency == urgency]
        count = sum(line.count for line in lines)
        oldest = network_words.age(min(line.oldest_ms for line in lines), now_ms) if lines else ""
        shown.append(WaitShown(said, words.grouped(count), oldest))
    return shown


def _figures(
    cells: Collection[CellShown],
    total: int,
    leases: Collection[LeaseLine],
    quality: Quality,
    earned: Mapping[str, Earned],
) -> list[tuple[str, str, str]]:
    nodes = [node for cell in cells for node in cell.nodes]
    up = [node for node in nodes if node.state in {"up", "at work"}]
    slots = sum(node.slots for node in up)
    accepted = sum(line.count for line in quality.ends if line.state == AttemptState.ACCEPTED)
    other = sum(line.count for line in quality.ends) - accepted
    both = Earned(sum(item.settled for item in earned.values()), sum(item.held for item in earned.values()))
    return [
        ("Cells", words.grouped(sum(cell.live for cell in cells)), f"of {words.grouped(total)} registered"),
        ("Nodes up", words.grouped(len(up)), f"of {words.grouped(len(nodes))}"),
        ("Under way", words.grouped(len(leases)), f"in {words.counted(slots, 'slot')}"),
        ("Accepted", words.grouped(accepted), f"last 24 hours; {words.grouped(other)} ended otherwise"),
        ("Earned", both.text, "by these nodes, since they joined"),
    ]


def _earned(balance: Balance) -> Earned:
    return Earned(balance.net, balance.credit_pending)
