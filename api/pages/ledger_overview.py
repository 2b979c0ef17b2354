"""The ledger at a glance: its end, its seals and who cosigned them, its epochs, whether it adds up; and its parties."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import groupby
from typing import Annotated, NamedTuple

from fastapi import APIRouter, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import RedirectResponse, Response

from api.auth import check_origin
from api.deps import ServicesDep
from api.ledger_access import ReaderDep
from api.ledger_desk import CheckRun
from api.pages import ledger_words as said
from api.pages.faults import PageRoute
from api.pages.ledger_seals import seal_lines
from api.pages.render import page
from api.pages.words import clock_full, counted, grouped, seconds
from economy.book import facts_of
from economy.control import is_dual, officers
from economy.cosigning import witness_keys
from economy.entry import Asset
from economy.epoch import Opened, claims_id, end_id, opened_epochs
from economy.money import BTT
from economy.parties import KINDS
from economy.periods import CLOSED, TrialBalance
from economy.store import Snapshot
from economy.weights import entries

router = APIRouter(route_class=PageRoute, include_in_schema=False)
SEALS_SHOWN, EPOCHS_SHOWN, PARTIES_A_PAGE, FAULTS_SHOWN = 10, 10, 100, 20


class Figures(NamedTuple):
    """The end of the log."""

    entries: str
    accounts: str
    parties: str
    last_ms: int
    unsealed: str
    closed_until: str
    control: str


class EpochLine(NamedTuple):
    """An epoch as shown."""

    number: int
    from_ms: int
    to_ms: int
    pool: str
    nodes: str
    paid: str
    residue: str
    claims_root: str


class BalanceLine(NamedTuple):
    """One account code's totals over all of its accounts."""

    heading: str
    debits: str
    credits: str
    net: str
    reserved: str
    expected: str


class TrialGroup(NamedTuple):
    """One asset's codes, and their sum."""

    unit: str
    lines: list[BalanceLine]
    total: BalanceLine


class TrialShown(NamedTuple):
    """The trial balance as shown."""

    seq: int
    groups: list[TrialGroup]
    balanced: bool


class CheckLines(NamedTuple):
    """The last check as shown; `tone` is a pill's."""

    tone: str
    label: str
    text: str
    faults: list[str]
    notices: list[str]
    running: bool


class PartyLine(NamedTuple):
    """A party in the list."""

    party_id: str
    kind: str


@router.get("/ledger")
def overview(request: Request, services: ServicesDep, _principal: ReaderDep) -> Response:
    """Everything an auditor asks for first."""
    store = services.ledger.store
    with store.reading() as snapshot:
        assets = {asset.code: asset for asset in snapshot.assets().values()}
        figures, epochs = _figures(snapshot), _epochs(snapshot, assets.get(BTT.code))
        last = snapshot.last_seal()
        newest = snapshot.seals_after(max(last.seal_id - SEALS_SHOWN, 0), SEALS_SHOWN) if last else []
        cosigned = snapshot.cosignatures([seal.seal_id for seal in newest]) if newest else []
    witnesses = services.settings.network.witnesses
    return page(
        request,
        "ledger.html",
        here="ledger",
        figures=figures,
        seals=[seal_lines(witnesses, seal, cosigned) for seal in reversed(newest)],
        witnesses=[key.name for key in witness_keys(witnesses)],
        epochs=epochs,
        balance=_balance(services.desk.trial_balance(store), assets),
        check=_check(services.desk.last_check),
    )


@router.post("/ledger/check")
async def begin_check(request: Request, services: ServicesDep, _principal: ReaderDep) -> Response:
    """Replay the whole log, in a thread of its own."""
    check_origin(request)
    await run_in_threadpool(services.desk.begin_check, services.ledger.store, services.clock)
    return RedirectResponse("/ledger#check", 303, headers={"Cache-Control": "no-store"})


@router.get("/ledger/parties")
def parties(
    request: Request,
    services: ServicesDep,
    _principal: ReaderDep,
    kind: Annotated[str | None, Query(max_length=32)] = None,
    after: Annotated[int, Query(ge=0, lt=2**53)] = 0,
) -> Response:
    """Every party, page by page, of one kind if asked."""
    with services.ledger.store.reading() as snapshot:
        found = snapshot.parties(after_id=after, limit=PARTIES_A_PAGE, kind=kind if kind in KINDS else None)
    listed = [PartyLine(item.party_id, said.kind(item.kind)) for item in found.values()]
    further = max(found) if len(found) == PARTIES_A_PAGE else 0
    kinds = [(name, said.kind(name)) for name in KINDS]
    return page(
        request, "ledger_parties.html", here="ledger", parties=listed, kinds=kinds, chosen=kind, further=further
    )


def _figures(snapshot: Snapshot) -> Figures:
    head, last = snapshot.head(), snapshot.last_seal()
    keys = snapshot.signing_keys()
    count = len(officers(keys))
    dual = f"two of {counted(count, 'officer')}" if is_dual(keys) else "one alone"
    closed_ms = _closed_until_ms(snapshot)
    return Figures(
        entries=grouped(head.seq),
        accounts=grouped(head.account_id),
        parties=grouped(head.party_id),
        last_ms=head.recorded_us // 1000,
        unsealed=grouped(head.seq - (last.to_seq if last else 0)),
        closed_until=said.day(closed_ms - 1) if closed_ms else "",
        control=dual,
    )


def _epochs(snapshot: Snapshot, btt: Asset | None) -> list[EpochLine]:
    newest = list(opened_epochs(snapshot))[-EPOCHS_SHOWN:]
    ids = [name(epoch.number) for epoch in newest for name in (end_id, claims_id)]
    facts = {name: facts_of(row) for name, row in snapshot.find(ids).items()}
    return [_epoch(epoch, facts, btt) for epoch in reversed(newest)] if btt else []


def _epoch(epoch: Opened, facts: dict[str, dict[str, object]], asset: Asset) -> EpochLine:
    end, claims = facts.get(end_id(epoch.number), {}), facts.get(claims_id(epoch.number), {})

    def amount(name: str) -> str:
        value = end.get(name)
        return said.amount(value, asset) if isinstance(value, int) else ""

    nodes = end.get("nodes")
    return EpochLine(
        epoch.number,
        epoch.from_ms,
        epoch.to_ms,
        said.amount(epoch.pool, asset),
        grouped(nodes) if isinstance(nodes, int) else "being closed",
        amount("paid"),
        amount("residue"),
        str(claims.get("root", "")),
    )


def _closed_until_ms(snapshot: Snapshot) -> int:
    """The end of the last period that was closed; 0 while none was."""
    closes = (json.loads(row.content).get("declares", ()) for row in entries(snapshot, CLOSED))
    ends = (item.get("period_closed_until_ms", 0) for declared in closes for item in declared)
    return max(ends, default=0)


def _balance(trial: TrialBalance, assets: Mapping[str, Asset]) -> TrialShown:
    groups = []
    for code, items in groupby(trial.lines, key=lambda item: item.asset):
        asset, totals = assets[code], trial.totals[code]
        shown = [_line(asset, said.heading(item.code), *item[2:]) for item in items]
        groups.append(TrialGroup(said.unit(asset), shown, _line(asset, "Together", *totals)))
    return TrialShown(trial.seq, groups, trial.adds_up)


def _line(asset: Asset, heading: str, reserved: int, debits: int, expected: int, credited: int) -> BalanceLine:
    amounts = (debits, credited, credited - debits, reserved, expected)
    return BalanceLine(heading, *(said.amount(value, asset) for value in amounts))


_CHECK_NONE = CheckLines("quiet", "Not checked", "Nobody has had the log replayed since this hub began.", [], [], False)


def _check(run: CheckRun | None) -> CheckLines:
    if run is None:
        return _CHECK_NONE
    if not run.ended_ms:
        text = f"Begun {clock_full(run.started_ms)}: {grouped(run.done)} of {grouped(run.total)} entries replayed."
        return CheckLines("run", "Being checked", text, [], [], True)
    if run.checked is None:
        text = f"The check of {clock_full(run.started_ms)} could not be finished: {run.failure}."
        return CheckLines("bad", "Not checked", text, [], [], False)
    checked = run.checked
    counts = ", ".join(
        counted(number, noun, plural)
        for number, noun, plural in (
            (checked.entries, "entry", "entries"),
            (checked.transfers, "transfer", None),
            (checked.accounts, "account", None),
            (checked.seals, "seal", None),
        )
    )
    text = f"{counts} replayed in {seconds(run.ended_ms - run.started_ms)}, {clock_full(run.ended_ms)}."
    faults = [f"{item.fault}: {item.place}" for item in checked.findings[:FAULTS_SHOWN]]
    if len(checked.findings) > FAULTS_SHOWN:
        faults.append(f"and {grouped(len(checked.findings) - FAULTS_SHOWN)} more")
    notices = [f"{item.fault}: {item.place}" for item in getattr(checked, "notices", [])[:FAULTS_SHOWN]]
    if faults:
        return CheckLines("bad", counted(len(checked.findings), "fault"), text, faults, notices, False)
    return CheckLines("good", "Everything agrees", text, faults, notices, False)
