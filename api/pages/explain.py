"""Explanations of codes, from `docs/errors/`: what each means in plain words."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

ERRORS = Path(__file__).resolve().parents[2] / "docs" / "errors"
_CODE = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
_HEADING = re.compile(r"#\s*`(?P<code>[a-z0-9-]+)`\s*:\s*(?P<title>.+)")
_NOT_CODES = frozenset({"index"})


def is_explained(code: str) -> bool:
    """Whether `docs/errors/` has a page for the code."""
    return _CODE.fullmatch(code) is not None and code not in _NOT_CODES and (ERRORS / f"{code}.md").is_file()


def explanation(code: str) -> str | None:
    """The page of a code as Markdown, or None."""
    return (ERRORS / f"{code}.md").read_text("utf-8") if is_explained(code) else None


@cache
def title(code: str) -> str:
    """What a code means, in one phrase: the heading of its page; empty when it has none."""
    lines = (explanation(code) or "").splitlines()
    match = _HEADING.match(lines[0]) if lines else None
    return match["title"].strip() if match else ""


def codes() -> list[tuple[str, str]]:
    """Every explained code and what it means, sorted."""
    pages = sorted(ERRORS.glob("*.md")) if ERRORS.is_dir() else []
    return [(path.stem, title(path.stem)) for path in pages if is_explained(path.stem)]
