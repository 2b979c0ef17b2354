"""The auditor's page: one file that checks seals, entries and balances, and needs nobody's help to do so.

Its script and style stand in it, so its policy names them by their hashes and allows nothing else, whether it is served
or opened from a disk.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from functools import cache
from pathlib import Path

from bithive import __version__

_FOLDER = Path(__file__).resolve().parent / "verifier"
_SCRIPTS = ("proofs.js", "page.js")


@cache
def verifier_html() -> str:
    """The whole page."""
    script, style = _script(), _read("page.css")
    parts = {"policy": _policy(script, style), "style": style, "script": script, "version": __version__}
    page = _read("page.html")
    for name, text in parts.items():
        page = page.replace(f"{{{{{name}}}}}", text)
    return page


@cache
def verifier_policy() -> str:
    """The Content-Security-Policy it is served under: its own script and style, nothing else from anywhere."""
    return f"{_policy(_script(), _read('page.css'))}; frame-ancestors 'none'; sandbox allow-scripts allow-downloads"


def _policy(script: str, style: str) -> str:
    hashes = (b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (script, style))
    names = " ".join(f"{kind}-src 'sha256-{digest}';" for kind, digest in zip(("script", "style"), hashes, strict=True))
    return f"default-src 'none'; {names} base-uri 'none'; form-action 'none'"


def _script() -> str:
    return "".join(_read(name) for name in _SCRIPTS)


def _read(name: str) -> str:
    return (_FOLDER / name).read_text("utf-8")
