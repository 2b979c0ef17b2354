"""A year's ledger against what happened, as those know it who made it happen: nothing lost, nothing twice, nothing else."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import TYPE_CHECKING, Any

from tests.common.year_audit import hold

if TYPE_CHECKING:
    from tests.common.year import World

_NAMES = re.compile(r"(ins|nod|cel)_[0-9A-Z]{26}|basement")
"""How everybody is called elsewhere."""


def compare(world: World) -> None:
    """Raise `Broken` where ledger and truth differ. The year has ended in peace: nothing is under way any more."""
    rows = _rows(world)
    _ends(world, rows)
    _work(world, rows)
    _funds(world, rows)


def _rows(world: World) -> dict[str, dict[str, Any]]:
    rows: dict[str, dict[str, Any]] = {}
    after = 0
    with world.within.reading() as snapshot:
        while page := snapshot.log(after, 20_000):
            for row in page:
                hold("truth", _NAMES.search(row.content) is None, row.entry_id, "it names somebody")
            rows |= {row.entry_id: json.loads(row.content) for row in page}
            after = page[-1].seq
    return rows


def _ends(world: World, rows: dict[str, dict[str, Any]]) -> None:
    """Each Offer is charged once if it was accepted, released if it was closed, and holds nothing either way."""
    for offer, study in world.truth.studies.items():
        charged, closed = f"offer/{offer}/charge" in rows, f"offer/{offer}/close" in rows
        hold("truth", charged == (study.accepted is not None), offer, "charged without work, or worked for nothing")
        hold("truth", closed == bool(study.reason), offer, "closed and not closed")
        hold("truth", f"offer/{offer}/hold" in rows or charged or closed, offer, "nobody booked it")
        if study.accepted is not None:
            facts = rows[f"offer/{offer}/charge"]["facts"]
            same = {name: study.accepted[name] for name in ("bundle", "bundle_version", "work_units")}
            hold("truth", facts.items() >= same.items(), offer, "charged for other work")
    kinds = Counter(name.rpartition("/")[2] for name in rows if name.startswith("offer/"))
    world.truth.counts.update({f"offers: {kind}": count for kind, count in kinds.items()})
    open_holds = [ref for ref in world.auditor.held if ref[0].startswith("offer/")]
    hold("truth", not open_holds, f"{open_holds[:3]}", "a hold outlives its Offer")


def _work(world: World, rows: dict[str, dict[str, Any]]) -> None:
    """Each Receipt is booked once, to its node, with its own work."""
    due = {f"receipt/{body['receipt_digest']}": body for body in world.truth.accepted}
    found = {name for name in rows if name.startswith("receipt/")}
    hold("truth", found == due.keys(), f"{list(found ^ due.keys())[:3]}", "a Receipt too many or too few")
    nodes = {node: world.economy.parties.find("node", node) for node in world.network.nodes}
    for name, body in due.items():
        facts = rows[name]["facts"]
        hold("truth", facts["node"] == nodes[body["node"]], name, "another's work")
        units = body["work_units"] * body.get("quality_bp", 10_000) * speed_bp(body)
        found = sum(leg["amount"] for leg in rows[name].get("transfers", ()))
        hold("truth", found == units // 10_000, name, f"{found} units, not {units // 10_000}")
    hold("truth", len([name for name in rows if name.startswith("online/")]) == world.truth.online, "online", "differs")
    caught = {name.split("/")[1] for name in rows if name.startswith("caught/")}
    hold("truth", caught == set(world.truth.caught), "caught", "somebody else was caught")
    hold("truth", not world.auditor.held, f"{list(world.auditor.held)[:3]}", "something is held back for ever")


def speed_bp(body: dict[str, Any]) -> int:
    """At most a fifth more than one, by the rule that comes with the release."""
    interval_ms = body.get("interval_ms")
    return (
        10_000 if interval_ms is None else max(10_000, min(12_000, 10_000 * body["work_units"] // max(interval_ms, 1)))
    )


def _funds(world: World, rows: dict[str, dict[str, Any]]) -> None:
    """What an institution was granted and paid, less what it was charged, is what it has less what it owes."""
    net: Counter[str] = Counter()
    for name, body in rows.items():
        if name.startswith(("payment/", "credit/")):
            for leg in body["transfers"]:
                net[leg["credit"].split(":")[0]] += leg["amount"]
    parties = {name: world.economy.parties.find("institution", name) for name in world.network.institutions}
    for offer, study in world.truth.studies.items():
        if study.accepted is not None:
            net[str(parties[study.opened["institution"]])] -= rows[f"offer/{offer}/charge"]["facts"]["amount"]
    for party in filter(None, parties.values()):
        found = sum(world.auditor.net(f"{party}:{code}:EUR") for code in ("credit", "receivable"))
        hold("truth", found == net[party], f"institution {party}", f"has {found}, not {net[party]}")
