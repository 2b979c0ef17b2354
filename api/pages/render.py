"""Pages from templates: what is shown is escaped, nothing is kept by a browser, and no script stands in a page."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Any

from fastapi import Request
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from starlette.responses import HTMLResponse

from api.auth import Principal
from api.deps import get_services
from api.pages import words
from api.pages.explain import is_explained
from bithive import __version__
from bithive.clock import as_iso
from bithive.settings import Role

HERE = Path(__file__).resolve().parent
STATIC = HERE / "static"

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}
"""What every page carries: nothing inline, nothing from elsewhere, nothing kept."""


@cache
def asset(name: str) -> str:
    """The address of a file of ours, with a digest of all of them: a new version is a new address.

    Scripts import each other by relative addresses, so one digest stands for the whole folder.
    """
    assert (STATIC / name).is_file(), f"there is no static file {name}"
    return f"/static/{static_digest()}/{name}"


@cache
def static_digest() -> str:
    """Twelve hexadecimal digits that change when any static file does."""
    digest = hashlib.sha256()
    for path in sorted(STATIC.iterdir()):
        digest.update(path.name.encode() + b"\x00" + path.read_bytes())
    return digest.hexdigest()[:12]


def icon(name: str) -> Markup:
    """An icon of our own, drawn beside a text that says the same."""
    return Markup('<svg class="icon" aria-hidden="true"><use href="{}#{}"/></svg>').format(asset("icons.svg"), name)


@cache
def environment() -> Environment:
    """The templates, with autoescaping of everything."""
    env = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        auto_reload=False,
    )
    env.globals.update(asset=asset, icon=icon, version=__version__, is_explained=is_explained, stages=words.STAGES)
    env.filters.update(
        iso=as_iso, clock=words.clock, clock_s=words.clock_s, clock_full=words.clock_full, short=words.short
    )
    env.policies["json.dumps_kwargs"] = {"sort_keys": True}
    return env


def fill(template: str, **values: Any) -> str:
    """A template as text."""
    return environment().get_template(template).render(**values)


def page(request: Request, template: str, *, here: str = "", status: int = 200, **values: Any) -> HTMLResponse:
    """A whole page.

    Parameters
    ----------
    request
        What was asked; the principal that `api.auth` found stands in its state.
    template
        File name under `templates/`.
    here
        Which entry of the navigation this is.
    status
        HTTP status.
    values
        What the template names.
    """
    known = getattr(request.state, "principal", None)
    principal = known if isinstance(known, Principal) else None
    services = getattr(request.app.state, "services", None)
    settings = get_services(request).settings if services else None
    frame = {
        "institution_name": settings.clinic.institution_name if settings else "",
        "ledger_here": settings is not None and settings.role is not Role.CLINICAL,
    }
    content = fill(template, principal=principal, here=here, status=status, **frame, **values)
    return HTMLResponse(content, status, HEADERS)


def part(template: str, **values: Any) -> HTMLResponse:
    """A part of a page, for a script of ours to put in its place."""
    return HTMLResponse(fill(template, **values), headers=HEADERS)
