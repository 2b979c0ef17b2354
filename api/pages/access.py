"""The access log, for auditors and administrators."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from api.accounts import Account
from api.auth import Principal, require
from api.deps import ServicesDep
from api.pages.faults import PageRoute
from api.pages.render import page
from clinic.access_log import Access, AccessLog, AccessRow

router = APIRouter(route_class=PageRoute, include_in_schema=False)
ROWS_A_PAGE = 100
_TONES = {Access.OPENED: "good", Access.EXPORTED: "warn", Access.DELETED: "bad", Access.SEARCHED: "quiet"}


@dataclass(frozen=True, slots=True)
class LogLine:
    """One row of the log as shown."""

    seq: int
    at_ms: int
    who: str
    role: str
    did: str
    tone: str
    study_uid: str


@router.get("/access-log")
def access_log(
    request: Request,
    services: ServicesDep,
    principal: Annotated[Principal, Depends(require("access:read"))],
    before: Annotated[int | None, Query(ge=1, le=2**53)] = None,
) -> Response:
    """Who opened, exported or deleted which study; the newest first."""
    institution = principal.institution or services.institution
    found = newest(services.access_log, institution, before)
    names = {item.account_id: item for item in services.accounts.all()}
    entries = [_line(names, row) for row in found]
    older = entries[-1].seq if len(entries) == ROWS_A_PAGE and entries[-1].seq > 1 else 0
    return page(request, "access.html", here="access", entries=entries, older=older)


def newest(log: AccessLog, institution: str, before: int | None = None) -> list[AccessRow]:
    """The last rows of an institution, the newest first.

    Parameters
    ----------
    before
        Only rows whose `seq` is below this.
    """
    end = before if before is not None else _end(log, institution)
    start, found = end, list[AccessRow]()
    while len(found) < ROWS_A_PAGE and start > 1:
        low = max(0, start - 1 - 4 * ROWS_A_PAGE)
        rows = [row for row in log.read(institution, low, start - 1 - low) if row.seq < start]
        found = [*rows, *found]
        start = low + 1
    return found[::-1][:ROWS_A_PAGE]


def _end(log: AccessLog, institution: str) -> int:
    """One more than the institution's last `seq`, by asking whether there is any row after a place."""
    step = 1
    while log.read(institution, step, 1):
        step *= 2
    low, high = 0, step
    while low < high:
        middle = (low + high) // 2
        if log.read(institution, middle, 1):
            low = middle + 1
        else:
            high = middle
    return low + 1


def _line(names: Mapping[str, Account], row: AccessRow) -> LogLine:
    account = names.get(row.account)
    who, role = (account.name, account.role) if account else (row.account, "")
    return LogLine(row.seq, row.at_ms, who, role, str(row.kind), _TONES[row.kind], row.study_uid)
