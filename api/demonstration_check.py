"""What `bithive demo` checks at the end: the objects, the ledger, the charge, the reward."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from api.demonstration import Outcome
from api.errors import StepFailed
from bithive.clock import Clock
from bithive.ids import RandomIds
from bithive.settings import Settings

MODALITIES = {"seg": "SEG", "sr": "SR", "sc": "OT"}


@dataclass(frozen=True, slots=True)
class Checked:
    """A study that came through.

    Attributes
    ----------
    outcome
        What was seen.
    statement
        The ledger's, after the epoch was closed.
    entries
        How many entries the ledger's checker replayed.
    hub_bytes
        The most memory that the hub ever held.
    """

    outcome: Outcome
    statement: Any
    entries: int
    hub_bytes: int


def check_outcome(outcome: Outcome, settings: Settings, hub_bytes: int, clock: Clock) -> Checked:
    """Check every step's result, close an epoch so that the node is paid, and replay the ledger.

    Raises
    ------
    StepFailed
        With the first thing that does not hold.
    """
    _check_objects(outcome)
    statement, entries = _settle(outcome, settings, clock)
    charge, parts = statement.charge, sum(share.amount for share in statement.split)
    if charge is None or charge != parts:
        raise StepFailed(f"charged: the parts sum to {parts}, the charge is {charge}")
    if statement.reward_btt is None or str(statement.reward_state) not in ("held", "paid"):
        raise StepFailed("charged: the epoch was closed and the node has earned nothing")
    return Checked(outcome, statement, entries, hub_bytes)


def _check_objects(outcome: Outcome) -> None:
    from pydicom import dcmread
    from pydicom.errors import InvalidDicomError

    for kind, content in outcome.objects.items():
        try:
            found = dcmread(io.BytesIO(content))
        except (InvalidDicomError, EOFError, ValueError) as error:
            raise StepFailed(f"written: the {kind.upper()} that WADO returned is no DICOM file") from error
        if found.get("StudyInstanceUID") != outcome.study_uid or found.get("Modality") != MODALITIES[kind]:
            raise StepFailed(f"written: the {kind.upper()} is not of this study")
        if kind == "sr" and found.get("VerificationFlag") != "UNVERIFIED":
            raise StepFailed("written: nobody has verified the SR, and it does not say so")
    if not outcome.workitem["measured"]:
        raise StepFailed("written: nothing was measured")


def _settle(outcome: Outcome, settings: Settings, clock: Clock) -> tuple[Any, int]:
    from economy.check import check
    from economy.economy import Economy
    from economy.statement import of_offer

    economy = Economy.open(settings, clock, RandomIds(clock))
    try:
        economy.epochs.close()
        statement = of_offer(economy.ledger, outcome.workitem["offer_id"])
        replayed = check(economy.ledger.store)
    finally:
        economy.close()
    if replayed.findings:
        raise StepFailed(f"charged: the ledger does not add up: {replayed.findings[0].fault}")
    return statement, replayed.entries


def lines(checked: Checked) -> Iterator[tuple[str, str]]:
    """The report, as pairs of label and text."""
    outcome, statement = checked.outcome, checked.statement
    receipt = outcome.workitem["receipt"] or {}
    for measured in outcome.workitem["measured"]:
        yield measured["name"], f"{measured['value']:,.0f} {measured['unit'].replace('mL', 'ml')}"
    yield "time", f"{outcome.seconds:.2f} s from the first byte of STOW until WADO had returned the SEG"
    replica_bytes = int(receipt.get("peak_memory_bytes", 0))
    yield "peak memory", f"hub {checked.hub_bytes / 2**20:,.0f} MiB, replica {replica_bytes / 2**20:,.0f} MiB"
    yield "written", "SEG, SR (UNVERIFIED) and secondary capture, read back by WADO"
    yield "receipt", str(statement.receipt)
    yield "signed by", f"node {receipt.get('node', '')} of cell {receipt.get('cell', '')}"
    engine = f"{receipt.get('engine', '')} {receipt.get('engine_version', '')}, {receipt.get('precision', '')}"
    ran = f"{receipt.get('bundle', '')} {receipt.get('bundle_version', '')} on {engine}"
    yield "ran", f"{ran}, {receipt.get('threads', 0)} threads, {int(receipt.get('wall_ms', 0)) / 1000:.2f} s"
    yield "charge", f"{statement.text(statement.charge)} of {statement.text(statement.hold)} held"
    for share in statement.split:
        yield f"  to the {share.label}", statement.text(share.amount)
    yield (
        "node's reward",
        f"{statement.reward_text} for {statement.work_units} work units (epoch {statement.epoch}, {statement.reward_state})",
    )
    yield "ledger", f"{checked.entries} entries replayed, 0 findings"
